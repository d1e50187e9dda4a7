"""RandomSampler, and the mechanics that all samplers share, on the simplest of them."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fashreg.samplers.class_balanced import ClassBalancedSampler
from fashreg.samplers.pairs import PairsSampler
from fashreg.samplers.random import RandomSampler


@settings(max_examples=100, deadline=None)
@given(size=st.integers(1, 60), batch_size=st.integers(1, 12), epoch=st.integers(0, 50), seed=st.integers(0, 2**40))
def test_an_epoch_is_a_permutation_cut_into_batches(size: int, batch_size: int, epoch: int, seed: int) -> None:
    if batch_size > size:
        with pytest.raises(ValueError, match=f"batch_size {batch_size} is larger than the set of {size}"):
            RandomSampler([0] * size, batch_size=batch_size)
        return
    whole = RandomSampler([0] * size, batch_size=batch_size, drop_last=False, seed=seed)
    whole.set_epoch(epoch)
    assert sorted(p for batch in whole for p in batch) == list(range(size))
    full = RandomSampler([0] * size, batch_size=batch_size, seed=seed)
    full.set_epoch(epoch)
    assert list(full) == [batch for batch in whole if len(batch) == batch_size]


def test_a_smaller_last_batch_is_shared_equally() -> None:
    labels = [0] * 21  # batches of 8, 8 and 5; four ranks take one image each of the last and leave one
    ranks = [RandomSampler(labels, batch_size=8, drop_last=False, rank=r, world_size=4) for r in range(4)]
    assert [[len(batch) for batch in sampler] for sampler in ranks] == [[2, 2, 1]] * 4
    none_left = RandomSampler([0] * 19, batch_size=8, drop_last=False, world_size=4)  # 3 images for 4 ranks
    assert len(none_left) == len(list(none_left)) == 2


def test_an_epoch_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="epoch must be 0 or more, got -1"):
        RandomSampler([0] * 9, batch_size=3).set_epoch(-1)


def test_a_running_iteration_is_not_disturbed_by_the_next_epoch() -> None:
    sampler = RandomSampler([0] * 12, batch_size=3)
    expected = list(sampler)
    running = iter(sampler)
    sampler.set_epoch(1)
    assert list(running) == expected
    assert list(sampler) != expected


def test_every_parameter_is_kept_as_the_attribute_of_its_name() -> None:
    options = {"batch_size": 4, "drop_last": False, "seed": 5, "rank": 1, "world_size": 2}
    sampler = RandomSampler([3, 4, 5, 6], **options)  # type: ignore[arg-type]
    assert {name: getattr(sampler, name) for name in options} == options
    assert sampler.labels.tolist() == [3, 4, 5, 6]
    with pytest.raises(ValueError, match="drop_last must be True or False"):
        RandomSampler([0] * 4, batch_size=2, drop_last="no")  # type: ignore[arg-type]


@pytest.mark.parametrize("classes", [20, 11_000, 90_000])
def test_a_hundred_thousand_labels_make_an_epoch_in_a_second(classes: int) -> None:
    labels = np.random.default_rng(0).integers(0, classes, 100_000)
    for sampler_class in (RandomSampler, PairsSampler, ClassBalancedSampler):
        start = time.process_time()
        assert sum(map(len, sampler_class(labels, batch_size=64))) > 30_000
        assert time.process_time() - start < 1


def test_one_per_class_shows_another_image_of_every_class_each_epoch() -> None:
    labels = [7] * 5 + [8] * 3 + [9] + [10] * 4
    sampler = RandomSampler(labels, batch_size=2, one_per_class=True, seed=1)
    assert len(sampler) == 2
    seen = set()
    for epoch in range(12):
        sampler.set_epoch(epoch)
        shown = [position for batch in sampler for position in batch]
        assert sorted(labels[position] for position in shown) == [7, 8, 9, 10]
        seen.update(shown)
    assert len(seen) > 9
    assert len(RandomSampler(labels, batch_size=3, one_per_class=True, drop_last=False)) == 2
    with pytest.raises(ValueError, match="4 classes"):
        RandomSampler(labels, batch_size=5, one_per_class=True)
