"""Seeded faults: samplers that are wrong in one way each, and the contract test that notices."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from seeded_faults import failing_tests

from fashreg.samplers.class_balanced import ClassBalancedSampler
from fashreg.samplers.random import RandomSampler
from fashreg.samplers.schedule import Batches
from fashreg.testing.sampler import ClassBalancedContract


class Sound(ClassBalancedSampler):
    """The sampler that every fault below is seeded into."""


class IgnoresTheEpoch(Sound):
    """Every epoch is the first."""

    def draw(self, random: np.random.Generator) -> Batches:
        return super().draw(np.random.default_rng(self.seed))


class IgnoresTheSeed(Sound):
    """The epoch alone decides."""

    def draw(self, random: np.random.Generator) -> Batches:
        return super().draw(np.random.default_rng(self.epoch))


class AddsSeedAndEpoch(Sound):
    """Seed 1 is seed 0 one epoch later."""

    def draw(self, random: np.random.Generator) -> Batches:
        return super().draw(np.random.default_rng(self.seed + self.epoch))


class ReadsTheGlobalState(Sound):
    """Batches hang on whoever drew random numbers before."""

    def draw(self, random: np.random.Generator) -> Batches:
        return super().draw(np.random.default_rng(np.random.randint(2**31)))


class SeedsTheGlobalState(Sound):
    """Reproducible, at everybody else's cost."""

    def draw(self, random_: np.random.Generator) -> Batches:
        random.seed(self.seed)
        return super().draw(random_)


class RanksOverlap(Sound):
    """Every rank takes the first share."""

    def __iter__(self) -> Iterator[list[int]]:
        rank, self.rank = self.rank, 0
        yield from list(super().__iter__())
        self.rank = rank


class RanksDrawForThemselves(Sound):
    """Every rank draws other batches."""

    def draw(self, random: np.random.Generator) -> Batches:
        return super().draw(np.random.default_rng([self.seed, self.epoch, self.rank]))


class SharesByStrides(Sound):
    """Rank r takes rows r, r + W, ...: gathering in rank order mixes the batch."""

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.draw(np.random.default_rng([self.seed, self.epoch]))[self.batch :]:
            yield batch[self.rank :: self.world_size].tolist()


class UnequalShares(RandomSampler):
    """The remainder of a smaller last batch goes to the first ranks."""

    def __init__(self, **facts: Any) -> None:
        super().__init__(**{k: v for k, v in facts.items() if k != "images_per_class"}, drop_last=False)

    def draw(self, random: np.random.Generator) -> Batches:
        order = random.permutation(len(self.labels))
        return [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.draw(np.random.default_rng([self.seed, self.epoch]))[self.batch :]:
            yield np.array_split(batch, self.world_size)[self.rank].tolist()


class ResumeRestarts(Sound):
    """The epoch is resumed, the place in it is not."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict({**state, "batch": 0})


class ResumeRepeatsOne(Sound):
    """The last batch that was done comes again."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict({**state, "batch": max(state["batch"] - 1, 0)})


class FetchedIsDone(Sound):
    """What a loader fetched ahead counts as done."""

    def __iter__(self) -> Iterator[list[int]]:
        for batch in super().__iter__():
            self.batch += 1
            yield batch


class NewEpochInTheMiddle(Sound):
    """set_epoch keeps the place in the epoch before."""

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


class LengthOfTheRest(Sound):
    """len() shrinks as the epoch goes on."""

    def __len__(self) -> int:
        return super().__len__() - getattr(self, "batch", 0)


class LengthOffByOne(Sound):
    """One batch more than promised is missing."""

    def draw(self, random: np.random.Generator) -> Batches:
        return super().draw(random)[:-1]


class BeyondTheData(Sound):
    """Positions counted from 1."""

    def draw(self, random: np.random.Generator) -> Batches:
        return np.asarray(super().draw(random)) + 1


class YieldsArrays(Sound):
    """Positions are numpy integers."""

    def __iter__(self) -> Iterator[Any]:
        for batch in super().__iter__():
            yield list(np.asarray(batch))


class NeverReachesTheRest(Sound):
    """The same images are left out every epoch."""

    def draw(self, random: np.random.Generator) -> Batches:
        batches = np.asarray(super().draw(random))
        return np.where(batches == 5, 6, batches)


class LabelsByReference(Sound):
    """The caller's array is kept and not copied."""

    def __init__(self, labels: Any, **facts: Any) -> None:
        super().__init__(labels, **facts)
        self.labels = labels if isinstance(labels, np.ndarray) else self.labels


class LabelsAsFloats(Sound):
    """Labels pass through float64's neighbour."""

    def __init__(self, labels: Any, **facts: Any) -> None:
        super().__init__(np.asarray(labels).astype(np.float32).astype(np.int64), **facts)


class ShortensTheBatch(Sound):
    """A batch larger than the set is cut without a word."""

    def __init__(self, labels: Any, *, batch_size: int, **facts: Any) -> None:
        super().__init__(labels, batch_size=min(batch_size, len(labels) // 8 * 4), **facts)


class TakesAnyRank(Sound):
    """Ranks wrap around."""

    def __init__(self, labels: Any, *, rank: int, world_size: int, **facts: Any) -> None:
        super().__init__(labels, rank=rank % world_size, world_size=world_size, **facts)


class WrongK(Sound):
    """One image of each batch belongs to the batch before."""

    def draw(self, random: np.random.Generator) -> Batches:
        batches = np.asarray(super().draw(random)).copy()
        batches[:, 0] = np.roll(batches[:, 0], 1)
        return batches


class ClassTwice(Sound):
    """Slots are dealt at random, so a class may sit in two slots of a batch."""

    def draw(self, random: np.random.Generator) -> Batches:
        batches = np.asarray(super().draw(random))
        slots = batches.reshape(-1, self.images_per_class)
        return random.permutation(slots).reshape(batches.shape)


class SameImageTwice(Sound):
    """Images of a slot are drawn with replacement."""

    def draw(self, random: np.random.Generator) -> Batches:
        batches = np.asarray(super().draw(random)).copy()
        batches[:, 1] = batches[:, 0]
        return batches


FAULTS: dict[type, str] = {
    IgnoresTheEpoch: "test_epochs_differ",
    IgnoresTheSeed: "test_seeds_differ_and_are_no_epochs_in_disguise",
    AddsSeedAndEpoch: "test_seeds_differ_and_are_no_epochs_in_disguise",
    ReadsTheGlobalState: "test_the_global_random_states_are_neither_read_nor_moved",
    SeedsTheGlobalState: "test_the_global_random_states_are_neither_read_nor_moved",
    RanksOverlap: "test_the_shares_of_the_ranks_in_order_are_the_batch_of_one_process",
    RanksDrawForThemselves: "test_the_shares_of_the_ranks_in_order_are_the_batch_of_one_process",
    SharesByStrides: "test_the_shares_of_the_ranks_in_order_are_the_batch_of_one_process",
    UnequalShares: "test_the_shares_of_the_ranks_in_order_are_the_batch_of_one_process",
    ResumeRestarts: "test_a_saved_sampler_goes_on_after_the_batches_that_are_done",
    ResumeRepeatsOne: "test_a_saved_sampler_goes_on_after_the_batches_that_are_done",
    FetchedIsDone: "test_fetching_ahead_is_not_progress",
    NewEpochInTheMiddle: "test_a_finished_epoch_has_nothing_left_and_the_next_starts_at_its_first_batch",
    LengthOfTheRest: "test_a_saved_sampler_goes_on_after_the_batches_that_are_done",
    LengthOffByOne: "test_the_length_is_the_number_of_batches_of_every_epoch",
    BeyondTheData: "test_batches_are_lists_of_positions_within_the_data",
    YieldsArrays: "test_batches_are_lists_of_positions_within_the_data",
    NeverReachesTheRest: "test_every_image_of_a_class_with_company_is_reached",
    LabelsByReference: "test_labels_changed_after_construction_change_nothing",
    LabelsAsFloats: "test_labels_may_be_a_list_an_array_or_a_tensor_and_of_any_magnitude",
    ShortensTheBatch: "test_a_batch_larger_than_the_set_is_refused_with_both_numbers",
    TakesAnyRank: "test_a_batch_that_cannot_be_shared_and_a_rank_that_does_not_exist_are_refused",
    WrongK: "test_a_batch_holds_p_classes_of_k_different_images",
    ClassTwice: "test_a_class_is_never_twice_in_a_batch_even_when_it_dwarfs_the_others",
    SameImageTwice: "test_a_batch_holds_p_classes_of_k_different_images",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_contract_notices(fault: type) -> None:
    assert FAULTS[fault] in failing_tests(ClassBalancedContract, "make", lambda: fault)


def test_the_contract_finds_nothing_wrong_with_the_sampler_the_faults_were_seeded_into() -> None:
    assert failing_tests(ClassBalancedContract, "make", lambda: Sound) == set()
