"""The contracts of a sampler: `SamplerContract` for every one, `ClassBalancedContract` for P classes x K images."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

SIZES = (9, 8, 7, 6, 5, 4, 4, 5, 6)  # images per class: every class large enough for K = 4, most no multiple of it
LABELS = [label for label, size in enumerate(SIZES) for _ in range(size)][::-1]  # 54 images
BATCH = 8

Make = Callable[..., Any]


def epoch_of(sampler: Any, epoch: int) -> list[list[int]]:
    """All batches of one epoch from its start."""
    sampler.set_epoch(epoch)
    return list(sampler)


class SamplerContract:
    """Override `make`: a function that takes labels, batch_size, seed, rank and world_size by name and gives a sampler.

    labels are int64; the fixture fills in whatever else the sampler wants. `advance_to(n)` says that n batches of the
    epoch are done: loaders fetch ahead, so iterating alone is no progress.
    """

    @pytest.fixture
    def make(self) -> Make:
        """Makes the sampler under test: make(labels=, batch_size=, seed=, rank=, world_size=)."""
        raise NotImplementedError("override the fixture `make`")

    def sampler(self, make: Make, **changed: Any) -> Any:
        """A sampler over 54 images of 9 classes in batches of 8, or with what is changed."""
        facts = {"labels": np.asarray(LABELS), "batch_size": BATCH, "seed": 3, "rank": 0, "world_size": 1}
        return make(**{**facts, **changed})

    def test_batches_are_lists_of_positions_within_the_data(self, make: Make) -> None:
        for epoch in range(3):
            for batch in epoch_of(self.sampler(make), epoch):
                assert isinstance(batch, list)
                assert all(type(p) is int and 0 <= p < len(LABELS) for p in batch)

    def test_the_length_is_the_number_of_batches_of_every_epoch(self, make: Make) -> None:
        sampler = self.sampler(make)
        assert len(sampler) > 0
        assert [len(epoch_of(sampler, epoch)) for epoch in range(4)] == [len(sampler)] * 4

    def test_every_batch_has_the_batch_size_and_only_the_last_may_be_smaller(self, make: Make) -> None:
        for epoch in range(3):
            sizes = [len(batch) for batch in epoch_of(self.sampler(make), epoch)]
            assert sizes[:-1] == [BATCH] * (len(sizes) - 1)
            assert 0 < sizes[-1] <= BATCH

    def test_same_seed_and_epoch_give_the_same_batches_whatever_came_before(self, make: Make) -> None:
        sampler, other = self.sampler(make), self.sampler(make)
        second = epoch_of(sampler, 2)
        assert list(sampler) == second, "iterating is no progress by itself"
        epoch_of(other, 5)
        assert epoch_of(other, 2) == second
        assert list(self.sampler(make)) == epoch_of(sampler, 0), "a new sampler stands at epoch 0"

    def test_epochs_differ(self, make: Make) -> None:
        sampler = self.sampler(make)
        assert len({json.dumps(epoch_of(sampler, epoch)) for epoch in range(4)}) == 4

    def test_seeds_differ_and_are_no_epochs_in_disguise(self, make: Make) -> None:
        drawn = [epoch_of(self.sampler(make, seed=seed), 1) for seed in range(3)]
        drawn += [epoch_of(self.sampler(make, seed=3 - epoch), epoch) for epoch in (0, 2, 3)]
        assert len({json.dumps(batches) for batches in drawn}) == len(drawn)

    def test_every_image_of_a_class_with_company_is_reached(self, make: Make) -> None:
        sampler = self.sampler(make)
        seen = {p for epoch in range(40) for batch in epoch_of(sampler, epoch) for p in batch}
        assert seen == set(range(len(LABELS)))

    @pytest.mark.parametrize("world_size", [2, 4])
    def test_the_shares_of_the_ranks_in_order_are_the_batch_of_one_process(self, make: Make, world_size: int) -> None:
        whole = epoch_of(self.sampler(make), 1)
        shares = [epoch_of(self.sampler(make, rank=r, world_size=world_size), 1) for r in range(world_size)]
        assert {len(share) for share in shares} == {len(self.sampler(make, world_size=world_size))}
        for batch, *parts in zip(whole, *shares, strict=False):
            assert len({len(part) for part in parts}) == 1, "every rank has the same number of rows"
            together = [p for part in parts for p in part]
            assert together == batch[: len(together)]
            assert len(batch) - len(together) < world_size
        assert 0 <= len(whole) - len(shares[0]) <= 1

    @pytest.mark.parametrize("done", [0, 1, 3])
    def test_a_saved_sampler_goes_on_after_the_batches_that_are_done(self, make: Make, done: int) -> None:
        for rank in (0, 1):
            sampler, fresh = (self.sampler(make, rank=rank, world_size=2) for _ in range(2))
            batches = epoch_of(sampler, 2)
            sampler.advance_to(done)
            fresh.load_state_dict(json.loads(json.dumps(sampler.state_dict())))
            assert list(fresh) == batches[done:]
            assert fresh.state_dict() == sampler.state_dict()
            assert len(fresh) == len(batches), "the length is the epoch's, not the rest's"
            assert epoch_of(fresh, 3) == epoch_of(sampler, 3)

    def test_fetching_ahead_is_not_progress(self, make: Make) -> None:
        sampler, fresh = self.sampler(make), self.sampler(make)
        batches = epoch_of(sampler, 1)
        running = iter(sampler)
        for _ in range(3):
            next(running)
        sampler.advance_to(1)
        state = sampler.state_dict()
        next(running)
        assert sampler.state_dict() == state
        fresh.load_state_dict(state)
        assert list(fresh) == batches[1:]

    def test_a_finished_epoch_has_nothing_left_and_the_next_starts_at_its_first_batch(self, make: Make) -> None:
        sampler = self.sampler(make)
        following = epoch_of(sampler, 2)
        sampler.set_epoch(1)
        sampler.advance_to(len(sampler))
        assert list(sampler) == []
        sampler.set_epoch(2)
        assert list(sampler) == following

    def test_progress_beyond_the_epoch_is_refused(self, make: Make) -> None:
        sampler = self.sampler(make)
        for batch in (-1, len(sampler) + 1):
            with pytest.raises(ValueError, match=str(batch)):
                sampler.advance_to(batch)

    def test_the_global_random_states_are_neither_read_nor_moved(self, make: Make) -> None:
        found = []
        for seed in (1, 2):
            random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
            expected = (random.random(), np.random.random(), torch.rand(()).item())
            random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
            found.append([epoch_of(self.sampler(make), epoch) for epoch in range(3)])
            assert (random.random(), np.random.random(), torch.rand(()).item()) == expected
        assert found[0] == found[1]

    def test_labels_may_be_a_list_an_array_or_a_tensor_and_of_any_magnitude(self, make: Make) -> None:
        expected = list(self.sampler(make))
        large = [2**53 + label for label in LABELS]
        for labels in (LABELS, torch.tensor(LABELS), np.asarray(LABELS, np.int32), large, torch.tensor(large)):
            assert list(self.sampler(make, labels=labels)) == expected

    def test_labels_changed_after_construction_change_nothing(self, make: Make) -> None:
        labels = np.asarray(LABELS)
        sampler = self.sampler(make, labels=labels)
        labels[:] = 0
        assert list(sampler) == list(self.sampler(make))

    def test_a_torch_loader_takes_it_as_batch_sampler(self, make: Make) -> None:
        sampler = self.sampler(make)
        data: Any = torch.arange(len(LABELS))
        loader: Any = torch.utils.data.DataLoader(data, batch_sampler=sampler)
        assert [batch.tolist() for batch in loader] == list(sampler)

    def test_a_batch_larger_than_the_set_is_refused_with_both_numbers(self, make: Make) -> None:
        with pytest.raises(ValueError, match=r"(?s)(?=.*\b64\b)(?=.*\b54\b)"):
            self.sampler(make, batch_size=64)

    def test_a_batch_that_cannot_be_shared_and_a_rank_that_does_not_exist_are_refused(self, make: Make) -> None:
        with pytest.raises(ValueError, match=r"(?s)(?=.*\b8\b)(?=.*\b3\b)"):
            self.sampler(make, world_size=3)
        with pytest.raises(ValueError, match=r"\b2\b"):
            self.sampler(make, rank=2, world_size=2)


class ClassBalancedContract(SamplerContract):
    """Also for samplers of P classes x K images: `make` then takes images_per_class by name, too."""

    @pytest.mark.parametrize("images_per_class", [2, 4])
    def test_a_batch_holds_p_classes_of_k_different_images(self, make: Make, images_per_class: int) -> None:
        sampler = self.sampler(make, images_per_class=images_per_class)
        for batch in (batch for epoch in range(4) for batch in epoch_of(sampler, epoch)):
            assert len(set(batch)) == BATCH
            assert set(Counter(LABELS[p] for p in batch).values()) == {images_per_class}

    def test_a_class_is_never_twice_in_a_batch_even_when_it_dwarfs_the_others(self, make: Make) -> None:
        labels = [0] * 40 + [1] * 6 + [2] * 6 + [3] * 6
        sampler = self.sampler(make, labels=labels, images_per_class=4)
        for batch in (batch for epoch in range(4) for batch in epoch_of(sampler, epoch)):
            assert set(Counter(labels[p] for p in batch).values()) == {4}

    def test_what_no_drawing_could_serve_is_refused_with_the_numbers(self, make: Make) -> None:
        with pytest.raises(ValueError, match=r"\b9\b.*\b8\b|\b8\b.*\b9\b"):
            self.sampler(make, images_per_class=9)
        with pytest.raises(ValueError, match=r"\b54\b"):
            self.sampler(make, labels=[7] * 54)
        with pytest.raises(ValueError, match=r"\b3\b"):
            self.sampler(make, labels=[0, 1, 2] * 18, images_per_class=2)
