"""PairsSampler: anchors first, positives second, different images of one class."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fashreg.samplers.pairs import PairsSampler

SIZES = {7: 1, 3: 5, 2**60: 2, -4: 9, 0: 1, 12: 3}
LABELS = [label for label, size in SIZES.items() for _ in range(size)]


def pairs_of(sampler: PairsSampler, epochs: int = 1) -> list[tuple[int, int]]:
    found = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        for batch in sampler:
            half = len(batch) // 2
            found += list(zip(batch[:half], batch[half:], strict=True))
    return found


@pytest.mark.parametrize("anchors", ["each-image", "balanced"])
def test_a_pair_is_two_images_of_one_class(anchors: str) -> None:
    for anchor, positive in pairs_of(PairsSampler(LABELS, batch_size=6, anchors=anchors), 20):  # type: ignore[arg-type]
        assert anchor != positive
        assert LABELS[anchor] == LABELS[positive]
        assert SIZES[LABELS[anchor]] > 1


def test_each_image_with_a_partner_is_an_anchor_once_a_round() -> None:
    sampler = PairsSampler(LABELS, batch_size=4, pairs=38)  # 19 images have a partner: two rounds
    assert len(sampler) == 19
    anchors = Counter(anchor for anchor, _ in pairs_of(sampler))
    assert set(anchors) == {i for i, label in enumerate(LABELS) if SIZES[label] > 1}
    assert set(anchors.values()) == {2}


def test_balanced_anchors_ask_every_class_equally_often() -> None:
    sampler = PairsSampler(LABELS, batch_size=8, anchors="balanced", pairs=40)
    asked = Counter(LABELS[anchor] for anchor, _ in pairs_of(sampler))
    assert asked == {3: 10, 2**60: 10, -4: 10, 12: 10}
    rounds = [LABELS[anchor] for anchor, _ in pairs_of(sampler)]
    assert all(len(set(rounds[i : i + 4])) == 4 for i in range(0, 40, 4))


def test_anchors_and_positives_are_uniform_within_their_class() -> None:
    sampler = PairsSampler([0] * 4 + [1] * 2, batch_size=4, anchors="balanced", pairs=600)
    met = Counter(pair for pair in pairs_of(sampler, 10) if pair[0] < 4)
    assert len(met) == 12
    expected = sum(met.values()) / 12
    assert sum((n - expected) ** 2 / expected for n in met.values()) < 31.3  # chi-square, 11 degrees, 0.1 %


def test_an_epoch_has_as_many_pairs_as_images_with_a_partner() -> None:
    assert len(PairsSampler(LABELS, batch_size=6)) == 19 // 3
    assert len(PairsSampler(LABELS, batch_size=6, pairs=20_000)) == 6666


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"batch_size": 7}, "batch_size 7 is not two or more pairs"),
        ({"batch_size": 2}, "batch_size 2 is not two or more pairs"),
        ({"batch_size": 6, "pairs": 2}, "batch_size 6 takes 3 pairs and an epoch has 2"),
        ({"batch_size": 4, "labels": [1] * 8}, "1 of 1 classes have two images"),
        ({"batch_size": 4, "labels": list(range(8))}, "0 of 8 classes have two images"),
        ({"batch_size": 4, "anchors": "all"}, '"each-image" or "balanced"'),
    ],
)
def test_what_cannot_be_served_is_refused_with_the_way_out(facts: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PairsSampler(**{"labels": LABELS, **facts})


def test_every_parameter_is_kept_as_the_attribute_of_its_name() -> None:
    options = {"batch_size": 4, "anchors": "balanced", "pairs": 9, "seed": 5, "rank": 1, "world_size": 2}
    sampler = PairsSampler(LABELS, **options)  # type: ignore[arg-type]
    assert {name: getattr(sampler, name) for name in options} == options


@settings(max_examples=100, deadline=None)
@given(
    labels=st.lists(st.integers(-3, 3), min_size=8, max_size=40),
    pairs=st.integers(1, 4),
    anchors=st.sampled_from(["each-image", "balanced"]),
)
def test_any_labels_give_true_pairs_or_a_refusal(labels: list[int], pairs: int, anchors: str) -> None:
    try:
        sampler = PairsSampler(labels, batch_size=2 * pairs, anchors=anchors)  # type: ignore[arg-type]
    except ValueError:
        company = [n for n in Counter(labels).values() if n > 1]
        assert len(company) < 2 or sum(company) < pairs or pairs == 1
        return
    found = pairs_of(sampler)
    assert len(found) == len(sampler) * pairs
    assert all(a != p and labels[a] == labels[p] for a, p in found)
