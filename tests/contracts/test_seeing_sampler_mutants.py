"""Seeded faults: samplers that look at proxies wrongly in one way each, and the contract test that notices."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from seeded_faults import failing_tests
from torch import Tensor

from fashreg.samplers.random import RandomSampler
from fashreg.testing.sampler_seeing import SeeingContract

CLASSES = 9


class Sound(RandomSampler):
    """Turns every batch round by a number that it reads off the proxies; the one the faults below are seeded into.

    Looks every second step; what it saw at batch b of an epoch counts from batch b + 3, or from the next epoch.
    """

    ahead = 3

    def __init__(self, **facts: Any) -> None:
        super().__init__(**facts)
        self.turns: dict[int, int] = {}  # from which batch, over all epochs -> by how much

    def now(self) -> int:
        return self.epoch * len(self) + self.batch

    def wants(self, step: int) -> bool:
        return step % 2 == 0

    def see(self, proxies: Tensor, step: int) -> None:
        if proxies.ndim != 2 or not len(proxies) or len(proxies) % CLASSES:
            raise ValueError(f"proxies must be (C K, D) with C = {CLASSES} classes, got {tuple(proxies.shape)}")
        self.turns[min(self.now() + self.ahead, (self.epoch + 1) * len(self))] = self.read(proxies)

    def read(self, proxies: Tensor) -> int:
        return 1 + int(proxies.detach().double().abs().sum() * 1000) % 7

    def turned(self, number: int) -> int:
        past = [since for since in self.turns if since <= number]
        return self.turns[max(past)] if past else 0

    def __iter__(self) -> Iterator[list[int]]:
        return self.batches(self.epoch, self.batch)

    def batches(self, epoch: int, start: int) -> Iterator[list[int]]:
        drawn = self.draw(np.random.default_rng([self.seed, epoch]))
        for number in range(start, len(self)):
            yield self._share(np.roll(drawn[number], self.turned(epoch * len(self) + number))).tolist()

    def state_dict(self) -> dict[str, Any]:
        turns = [torch.tensor(list(pair)) for pair in self.turns.items()]
        return {**super().state_dict(), **({"turns": turns} if turns else {})}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.turns = dict(pair.tolist() for pair in state.get("turns", []))


class NeverLooks(Sound):
    """Asks for nothing."""

    def wants(self, step: int) -> bool:
        return False


class LooksAway(Sound):
    """Looks, and draws as before."""

    def read(self, proxies: Tensor) -> int:
        return 1


class CountsAtOnce(Sound):
    """What it saw counts for the next batch that is drawn, so a loader's depth decides."""

    ahead = 0


class CountsFromWhatWasFetched(Sound):
    """What it saw counts from the last batch that was fetched."""

    fetched = 0

    def batches(self, epoch: int, start: int) -> Iterator[list[int]]:
        for batch in super().batches(epoch, start):
            self.fetched += 1
            yield batch

    def see(self, proxies: Tensor, step: int) -> None:
        super().see(proxies, step)
        self.turns[self.fetched] = self.turns.popitem()[1]


class ForgetsWhatItSaw(Sound):
    """A resumed run begins blind."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict({name: value for name, value in state.items() if name != "turns"})


class ForgetsWhatIsToCome(Sound):
    """Only what counts already is saved."""

    def state_dict(self) -> dict[str, Any]:
        turns, self.turns = self.turns, {since: turn for since, turn in self.turns.items() if since <= self.now()}
        state = super().state_dict()
        self.turns = turns
        return state


class SavesItsOwnTensors(Sound):
    """The saved tensors go on changing."""

    def __init__(self, **facts: Any) -> None:
        super().__init__(**facts)
        self.looks = torch.zeros(1, dtype=torch.int64)

    def see(self, proxies: Tensor, step: int) -> None:
        super().see(proxies, step)
        self.looks += 1

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "looks": self.looks}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.looks = state["looks"].clone()


class AskingCounts(Sound):
    """Every second question is answered with yes."""

    asked = 0

    def wants(self, step: int) -> bool:
        self.asked += 1
        return self.asked % 2 == 0


class RanksSeeForThemselves(Sound):
    """Each rank draws its own conclusion."""

    def read(self, proxies: Tensor) -> int:
        return super().read(proxies) + self.rank


class KeepsTheProxies(Sound):
    """The caller's tensor is kept, and read when a batch is drawn."""

    def __init__(self, **facts: Any) -> None:
        super().__init__(**facts)
        self.kept: dict[int, Tensor] = {}

    def see(self, proxies: Tensor, step: int) -> None:
        super().see(proxies, step)
        self.kept[max(self.turns)] = proxies.detach()

    def turned(self, number: int) -> int:
        past = [since for since in self.kept if since <= number]
        return self.read(self.kept[max(past)]) if past else super().turned(number)


class NormalisesInPlace(Sound):
    """The caller's proxies are unit afterwards."""

    def see(self, proxies: Tensor, step: int) -> None:
        super().see(proxies, step)
        with torch.no_grad():
            proxies /= proxies.norm(dim=1, keepdim=True)


class OneProxyAClass(Sound):
    """Several proxies a class are refused."""

    def see(self, proxies: Tensor, step: int) -> None:
        if len(proxies) != CLASSES:
            raise ValueError(f"{CLASSES} proxies wanted, got {len(proxies)} of {proxies.ndim} dimensions")
        super().see(proxies, step)


class FullPrecisionOnly(Sound):
    """Reads with numpy, which knows no bfloat16."""

    def read(self, proxies: Tensor) -> int:
        return 1 + int(np.abs(proxies.detach().numpy()).sum() * 1000) % 7


class TakesAnyProxies(Sound):
    """What belongs to other classes is looked at without a word."""

    def see(self, proxies: Tensor, step: int) -> None:
        super().see(proxies.reshape(-1)[:1].expand(CLASSES, 1) if proxies.numel() else torch.ones(CLASSES, 1), step)


class DrawsFromTheGlobalState(Sound):
    """Breaks ties with the global generator."""

    def read(self, proxies: Tensor) -> int:
        random.random()
        return super().read(proxies)


class LosesImagesOnceItLooks(Sound):
    """Image 7 comes no more."""

    def batches(self, epoch: int, start: int) -> Iterator[list[int]]:
        for batch in super().batches(epoch, start):
            yield [8 if position == 7 and self.turns else position for position in batch]


FAULTS: dict[type, str] = {
    NeverLooks: "test_it_asks_to_look_and_what_it_sees_changes_later_batches",
    LooksAway: "test_it_asks_to_look_and_what_it_sees_changes_later_batches",
    CountsAtOnce: "test_a_loader_that_fetches_ahead_changes_no_batch",
    CountsFromWhatWasFetched: "test_a_loader_that_fetches_ahead_changes_no_batch",
    ForgetsWhatItSaw: "test_a_saved_sampler_goes_on_with_what_it_saw",
    ForgetsWhatIsToCome: "test_a_saved_sampler_goes_on_with_what_it_saw",
    SavesItsOwnTensors: "test_a_saved_state_is_not_touched_by_what_comes_after",
    AskingCounts: "test_asking_changes_nothing",
    RanksSeeForThemselves: "test_every_rank_sees_the_same",
    KeepsTheProxies: "test_proxies_are_left_alone_and_not_kept",
    NormalisesInPlace: "test_proxies_are_left_alone_and_not_kept",
    OneProxyAClass: "test_several_proxies_a_class_and_half_precision_are_taken",
    FullPrecisionOnly: "test_several_proxies_a_class_and_half_precision_are_taken",
    TakesAnyProxies: "test_proxies_that_do_not_fit_the_classes_are_refused_with_the_numbers",
    DrawsFromTheGlobalState: "test_looking_moves_no_global_random_state",
    LosesImagesOnceItLooks: "test_every_image_is_still_reached_once_it_looks",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_contract_notices(fault: type) -> None:
    assert FAULTS[fault] in failing_tests(SeeingContract, "make", lambda: fault)


def test_the_contract_finds_nothing_wrong_with_the_sampler_the_faults_were_seeded_into() -> None:
    assert failing_tests(SeeingContract, "make", lambda: Sound) == set()
