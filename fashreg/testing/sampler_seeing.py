"""`SeeingContract`: for samplers that look at the loss's proxies (`wants`, `see`), beside what every sampler keeps."""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from fashreg.testing.sampler import LABELS, SIZES, Make, SamplerContract
from fashreg.training.packing import pack, unpack

EPOCHS, WIDTH = 4, 5


class Trained(NamedTuple):
    """A batch that was trained on, whether the sampler looked after it, and its state then."""

    batch: list[int]
    looked: bool
    state: dict[str, Any]


def proxies_at(step: int, each: int = 1, seed: int = 0) -> Tensor:
    """Proxies (9 each, 5) as they stand after a step: others each time."""
    random = torch.Generator().manual_seed(1000 * seed + step)
    return torch.randn(len(SIZES) * each, WIDTH, generator=random)


def training(sampler: Any, *, fetched: int = 0, after: Trained | None = None, **proxies: int) -> Iterator[Trained]:
    """Train for 4 epochs as the standard learner does, with a loader that is `fetched` batches ahead.

    after: what a checkpoint was taken at; the sampler has its state already.
    """
    epoch, done = (0, 0) if after is None else (after.state["epoch"], after.state["batch"])
    step = epoch * len(sampler) + done
    for now in range(epoch, EPOCHS):
        if now > epoch or after is None:
            sampler.set_epoch(now)
            done = 0
        batches, waiting = iter(sampler), deque[list[int]]()
        while True:
            waiting.extend(islice(batches, fetched + 1 - len(waiting)))
            if not waiting:
                break
            batch, step, done = waiting.popleft(), step + 1, done + 1
            sampler.advance_to(done)
            if looked := sampler.wants(step):
                sampler.see(proxies_at(step, **proxies), step)
            yield Trained(batch, looked, sampler.state_dict())


def stored(state: Mapping[str, Any]) -> Any:
    """A state that went through a checkpoint."""
    tensors, plain = pack(state)
    return unpack({name: tensor.clone() for name, tensor in tensors.items()}, json.loads(json.dumps(plain)))


def batches_of(trained: Iterator[Trained]) -> list[list[int]]:
    """The batches alone."""
    return [one.batch for one in trained]


class SeeingContract(SamplerContract):
    """Override `make` as for SamplerContract; the samplers must want to look within 3 epochs of 54 images.

    Class c's proxies are the rows c K .. (c + 1) K - 1 of what is shown, K any number.
    """

    def test_it_asks_to_look_and_what_it_sees_changes_later_batches(self, make: Make) -> None:
        one, other = (list(training(self.sampler(make), seed=seed)) for seed in range(2))
        looks = [i for i, trained in enumerate(one) if trained.looked]
        assert looks, "it never wanted to look"
        assert all(type(trained.looked) is bool for trained in one)
        assert [o.batch for o in one[: looks[0] + 1]] == [o.batch for o in other[: looks[0] + 1]]
        assert [o.batch for o in one[looks[0] + 1 :]] != [o.batch for o in other[looks[0] + 1 :]]

    def test_asking_changes_nothing(self, make: Make) -> None:
        sampler = self.sampler(make)
        for trained in training(sampler):
            before = pack(sampler.state_dict())[1]
            answers = {sampler.wants(step) for step in (10**6, 10**6)}
            assert len(answers) == 1
            assert pack(sampler.state_dict())[1] == before == pack(trained.state)[1]

    @pytest.mark.parametrize("fetched", [1, 2, 3])
    def test_a_loader_that_fetches_ahead_changes_no_batch(self, make: Make, fetched: int) -> None:
        expected = batches_of(training(self.sampler(make)))
        assert batches_of(training(self.sampler(make), fetched=fetched)) == expected

    @pytest.mark.parametrize("fetched", [0, 3])
    def test_a_saved_sampler_goes_on_with_what_it_saw(self, make: Make, fetched: int) -> None:
        whole = list(training(self.sampler(make), fetched=fetched))
        for place, at in enumerate(whole):
            fresh = self.sampler(make)
            fresh.load_state_dict(stored(at.state))
            assert pack(fresh.state_dict())[1] == pack(at.state)[1]
            rest = list(training(fresh, fetched=fetched, after=at))
            assert [(o.batch, o.looked) for o in rest] == [(o.batch, o.looked) for o in whole[place + 1 :]]

    def test_a_saved_state_is_not_touched_by_what_comes_after(self, make: Make) -> None:
        sampler = self.sampler(make)
        kept = [(trained.state, stored(trained.state)) for trained in training(sampler)]
        for state, copy in kept:
            (tensors, plain), (tensors_then, plain_then) = pack(state), pack(copy)
            assert plain == plain_then
            assert all(torch.equal(tensors[name], tensors_then[name]) for name in tensors)

    def test_every_rank_sees_the_same(self, make: Make) -> None:
        whole = batches_of(training(self.sampler(make)))
        shares = [batches_of(training(self.sampler(make, rank=rank, world_size=2))) for rank in range(2)]
        assert [first + second for first, second in zip(*shares, strict=True)] == whole

    def test_proxies_are_left_alone_and_not_kept(self, make: Make) -> None:
        sampler, expected = self.sampler(make), list(training(self.sampler(make)))
        found = []
        shown: list[Tensor] = []
        see = sampler.see

        def spoiled(proxies: Tensor, step: int) -> None:
            given = proxies.clone().requires_grad_()
            see(given, step)
            assert torch.equal(given.detach(), proxies)
            shown.append(given.detach().zero_())

        sampler.see = spoiled
        found = list(training(sampler))
        assert shown
        assert [o.batch for o in found] == [o.batch for o in expected]

    def test_several_proxies_a_class_and_half_precision_are_taken(self, make: Make) -> None:
        assert len(batches_of(training(self.sampler(make), each=3))) == EPOCHS * len(self.sampler(make))
        for dtype in (torch.float16, torch.bfloat16, torch.float64):
            self.sampler(make).see(proxies_at(1).to(dtype), 1)

    def test_proxies_that_do_not_fit_the_classes_are_refused_with_the_numbers(self, make: Make) -> None:
        for wrong in (torch.ones(len(SIZES) + 1, WIDTH), torch.ones(len(SIZES)), torch.ones(0, WIDTH)):
            with pytest.raises(ValueError, match=rf"(?s)(?=.*\b{len(SIZES)}\b)(?=.*\b{len(wrong)}\b)"):
                self.sampler(make).see(wrong, 1)

    def test_looking_moves_no_global_random_state(self, make: Make) -> None:
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        expected = (random.random(), np.random.random(), torch.rand(()).item())
        shown = [proxies_at(step) for step in range(2)]
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        sampler = self.sampler(make)
        for step, proxies in enumerate(shown):
            sampler.see(proxies, step)
        assert (random.random(), np.random.random(), torch.rand(()).item()) == expected

    def test_every_image_is_still_reached_once_it_looks(self, make: Make) -> None:
        sampler = self.sampler(make)
        for _ in training(sampler):
            pass
        seen: set[int] = set()
        for epoch in range(EPOCHS, EPOCHS + 40):
            sampler.set_epoch(epoch)
            sampler.see(proxies_at(0), epoch)
            seen.update(position for batch in sampler for position in batch)
        assert seen == set(range(len(LABELS)))
