"""ClassBalancedSampler: P classes of K images, small classes, length of an epoch, clear refusals."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from fashreg.samplers.class_balanced import ClassBalancedSampler, bundles, most_batches


def labels_of(sizes: list[int]) -> list[int]:
    return [label for label, size in enumerate(sizes) for _ in range(size)]


def counts(batch: list[int], labels: list[int]) -> Counter[int]:
    return Counter(labels[p] for p in batch)


def test_one_epoch_worked_out_by_hand() -> None:
    # K = 2, B = 4: classes of 4, 3 and 2 images make 2 + 2 + 1 slots (the third image of class 1 brings another along);
    # min(slots, 2) sums to 5 >= 2 * 2, min(slots, 3) to 5 < 2 * 3, so there are 2 batches and one slot is left over.
    labels = labels_of([4, 3, 2])
    sampler = ClassBalancedSampler(labels, batch_size=4, images_per_class=2)
    assert len(sampler) == 2
    for batch in sampler:
        assert sorted(counts(batch, labels).values()) == [2, 2]


def test_small_classes_are_bundled_whole_and_seen_once() -> None:
    labels = labels_of([8, 8, 8, 3, 2, 2, 1, 1, 1, 1, 1])  # bundles: 3+1, 2+2, 1+1+1+1
    sampler = ClassBalancedSampler(labels, batch_size=12, images_per_class=4)
    assert len(sampler) == 3
    batches = list(sampler)
    assert sorted(p for batch in batches for p in batch) == list(range(len(labels))), "36 images, each once"
    sizes = Counter(labels)
    for batch in batches:
        assert all(n == min(4, sizes[label]) for label, n in counts(batch, labels).items())


def test_a_bundle_that_cannot_be_filled_repeats_its_images() -> None:
    labels = labels_of([3, 3, 3])
    for batch in ClassBalancedSampler(labels, batch_size=8, images_per_class=4):
        assert sorted(counts(batch, labels).values()) == [4, 4]
        assert len(set(batch)) == 6


def test_small_classes_are_repeated_if_one_wants() -> None:
    labels = labels_of([6, 5, 3, 1])
    sampler = ClassBalancedSampler(labels, batch_size=8, images_per_class=4, small_classes="repeat")
    assert len(sampler) == 3  # 2 + 2 + 1 + 1 slots
    batches = list(sampler)
    assert all(sorted(counts(batch, labels).values()) == [4, 4] for batch in batches)
    assert {p for batch in batches for p in batch} == set(range(15))


def test_small_classes_are_left_out_if_one_wants() -> None:
    labels = labels_of([6, 5, 4, 3, 1])
    sampler = ClassBalancedSampler(labels, batch_size=8, images_per_class=4, small_classes="exclude")
    seen = {p for epoch in range(20) for batch in (sampler.set_epoch(epoch), *sampler)[1:] for p in batch}
    assert seen == set(range(15))


def test_a_short_last_slot_takes_other_images_of_its_class() -> None:
    labels = labels_of([7, 5])
    for batch in ClassBalancedSampler(labels, batch_size=8, images_per_class=4):
        assert len(set(batch)) == 8


def test_images_of_a_class_that_dwarfs_the_others_are_all_reached_in_time() -> None:
    labels = labels_of([60, 4, 4, 4])
    sampler = ClassBalancedSampler(labels, batch_size=8, images_per_class=4)
    assert len(sampler) == 3  # the three others each beside another part of the large class
    seen = set()
    for epoch in range(60):
        sampler.set_epoch(epoch)
        seen |= {p for batch in sampler for p in batch}
    assert seen == set(range(len(labels)))


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"batch_size": 8, "images_per_class": 8}, r"batch_size 8.*images_per_class 8.*16 or more.*4 or less"),
        ({"batch_size": 2, "images_per_class": 2}, r"use batch_size 4 or more$"),
        ({"batch_size": 8, "images_per_class": 1}, r"images_per_class must be 2 or more, got 1"),
        ({"batch_size": 10}, r"batch_size 10 is no multiple of images_per_class 4: use batch_size 8 or 12"),
        ({"batch_size": 24}, r"24.*4 needs 6 classes.*the 5 there are fill 5.*batch_size 20 or images_per_class 6"),
        ({"batch_size": 80}, r"batch_size 80 is larger than the set of 30 images: use 30 or less"),
        ({"batch_size": 8, "labels": [7] * 12}, r"all 12 images have the label 7.*two classes"),
        ({"batch_size": 8, "labels": [-1] * 12}, r"all 12 images have no label.*two classes"),
        ({"batch_size": 8, "labels": list(range(12))}, r"none of the 12 classes has two images"),
        ({"batch_size": 8, "small_classes": "drop"}, r"small_classes must be one of"),
        ({"batch_size": 8, "labels": [0] * 5 + [1, 2, 3], "small_classes": "exclude"}, r'small_classes "bundle"'),
        ({"batch_size": 8, "labels": [0.0, 1.0] * 6}, r"labels must be integers, got float64"),
        ({"batch_size": 8, "labels": []}, r"labels must be \(N,\) with N >= 1"),
        ({"batch_size": 8, "seed": -1}, r"seed must be 0 or more"),
        ({"batch_size": 8, "world_size": 3}, r"batch_size 8.*3 processes: use 9"),
    ],
)
def test_what_cannot_be_served_is_refused_with_the_way_out(facts: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClassBalancedSampler(**{"labels": labels_of([6] * 5), **facts})


def test_the_ways_out_that_a_refusal_names_work() -> None:
    labels = labels_of([6] * 5)
    assert len(ClassBalancedSampler(labels, batch_size=20)) > 0
    assert len(ClassBalancedSampler(labels, batch_size=24, images_per_class=6)) > 0


def test_another_seed_or_batch_size_is_not_continued() -> None:
    labels = labels_of([6] * 5)
    state = ClassBalancedSampler(labels, batch_size=8, seed=1).state_dict()
    with pytest.raises(ValueError, match="seed=1, this one 2"):
        ClassBalancedSampler(labels, batch_size=8, seed=2).load_state_dict(state)
    with pytest.raises(ValueError, match="batch_size=8, this one 12"):
        ClassBalancedSampler(labels, batch_size=12, seed=1).load_state_dict(state)
    with pytest.raises(ValueError, match="at batch 99"):
        ClassBalancedSampler(labels, batch_size=8, seed=1).load_state_dict({**state, "batch": 99})


def test_every_parameter_is_kept_as_the_attribute_of_its_name() -> None:
    options = {"batch_size": 8, "images_per_class": 2, "small_classes": "repeat", "seed": 5, "rank": 1, "world_size": 2}
    sampler = ClassBalancedSampler(labels_of([4, 4, 4, 4]), **options)  # type: ignore[arg-type]
    assert {name: getattr(sampler, name) for name in options} == options


def test_classes_meet_each_other_about_equally_often() -> None:
    labels = labels_of([8] * 10)
    sampler = ClassBalancedSampler(labels, batch_size=8, images_per_class=4)
    met: Counter[tuple[int, ...]] = Counter()
    for epoch in range(300):
        sampler.set_epoch(epoch)
        met.update(tuple(sorted(counts(batch, labels))) for batch in sampler)
    assert len(met) == 45
    expected = sum(met.values()) / 45
    # A pair meets once or twice in an epoch, so its count spreads somewhat wider than a Poisson count would.
    assert sum((n - expected) ** 2 / expected for n in met.values()) < 3 * 44


@settings(max_examples=150, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=2, max_size=12),
    images_per_class=st.integers(2, 5),
    classes=st.integers(2, 5),
    mode=st.sampled_from(["bundle", "repeat", "exclude"]),
    epoch=st.integers(0, 1000),
)
@example(sizes=[1, 1, 1, 2], images_per_class=2, classes=2, mode="bundle", epoch=0)
def test_any_data_give_batches_of_whole_slots(
    sizes: list[int], images_per_class: int, classes: int, mode: str, epoch: int
) -> None:
    labels = labels_of(sizes)
    try:
        sampler = ClassBalancedSampler(
            labels,
            batch_size=images_per_class * classes,
            images_per_class=images_per_class,
            small_classes=mode,  # type: ignore[arg-type]
        )
    except ValueError:
        assume(False)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(batches) == len(sampler) > 0
    uses: Counter[int] = Counter()
    for batch in batches:
        assert len(batch) == images_per_class * classes
        uses.update(set(batch))
        for label, n in counts(batch, labels).items():
            different = len({p for p in batch if labels[p] == label})
            assert different == min(images_per_class, sizes[label]), "a class comes with K images, or with all it has"
            assert n == images_per_class or mode == "bundle"
            assert not (mode == "exclude" and sizes[label] < images_per_class)
    assert max(uses.values()) <= 2, "an image comes again only to fill the last slot of its class"


@settings(max_examples=200, deadline=None)
@given(slots=st.lists(st.integers(0, 9), min_size=1, max_size=8), per_batch=st.integers(1, 6))
def test_the_number_of_batches_is_what_dealing_by_hand_reaches(slots: list[int], per_batch: int) -> None:
    left, dealt = sorted(slots), 0
    while sum(n > 0 for n in left) >= per_batch:  # taking the fullest classes first is known to reach the most
        left = sorted([*left[:-per_batch], *(n - 1 for n in left[-per_batch:])])
        dealt += 1
    assert most_batches(np.asarray(slots), per_batch) == dealt


@settings(max_examples=200, deadline=None)
@given(room=st.integers(2, 6), data=st.data())
def test_bundles_hold_every_small_class_once_and_no_more_than_fits(room: int, data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, room - 1), max_size=20))
    made = bundles(np.asarray(sizes, np.int64), room)
    assert sorted(size for bundle in made for size in bundle) == sorted(sizes)
    assert all(0 < sum(bundle) <= room for bundle in made)
    for i, bundle in enumerate(made):  # room is left only where nothing that came later would have fitted
        assert all(min(later) > room - sum(bundle) for later in made[i + 1 :])
