from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fashreg.encoder import Encoder
from fashreg.learners.standard import StandardLearner
from fashreg.losses.infonce import InfoNCELoss
from fashreg.memories.xbm import XBMMemory
from fashreg.testing.tiny_run import (
    BATCH,
    DIM,
    CrashError,
    run_folder,
    tiny_experience,
    tiny_session,
)
from fashreg.training.cost import Cost, CostCounter
from fashreg.training.session import Session

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Units seen at the encoder itself: 3 for a picture whose gradient is taken, else 1; measuring left out."""
    units: list[int] = []
    own = Encoder.steps

    def steps(self: Encoder, x: Tensor, start: int, stop: int, task: str | None = None) -> Tensor:
        if not torch.is_inference_mode_enabled():
            units.append(len(x) * (3 if torch.is_grad_enabled() else 1))
        return own(self, x, start, stop, task)

    monkeypatch.setattr(Encoder, "steps", steps)
    return units


def test_costs_add_up_and_tell_apart() -> None:
    one, other = Cost(3, 10, 0.5, 7, 100), Cost(1, 2, 0.25, 3, 50)
    assert one + other == Cost(4, 12, 0.75, 10, 150)
    assert one + other - other == one
    assert Cost.from_dict(one.as_dict()) == one
    assert one.as_dict() == {
        "tuples": 3,
        "image_passes": 10,
        "seconds": 0.5,
        "parameters": 7,
        "exemplar_bytes": 100,
    }


def test_a_forward_pass_is_one_unit_and_a_backward_pass_two_for_the_experience_at_hand() -> None:
    counter = CostCounter()
    counter.begin("first")
    counter.forward(32)
    counter.begin("second")
    counter.forward(16)
    counter.backward(16)
    counter.tuples(8)
    counter.begin("second")
    counter.seconds(0.5)
    assert counter.of("first") == Cost(0, 32)
    assert counter.of("second") == Cost(8, 48, 0.5)
    assert counter.snapshot() == Cost(8, 80, 0.5)
    assert counter.of("never") == Cost()


def test_processes_count_their_share_for_all() -> None:
    counter = CostCounter(copies=4)
    counter.forward(8)
    counter.tuples(2)
    counter.seconds(1.0)
    assert counter.snapshot() == Cost(8, 32, 1.0)


def test_what_is_kept_counts_by_its_growth() -> None:
    counter = CostCounter()
    counter.begin("first")
    counter.keeps("encoder", parameters=100)
    counter.keeps("exemplars", exemplar_bytes=640)
    counter.begin("second")
    counter.keeps("encoder", parameters=120)
    counter.keeps("exemplars", exemplar_bytes=600)
    counter.keeps("encoder", parameters=120)
    assert (counter.of("first").parameters, counter.of("second").parameters) == (100, 20)
    assert (counter.of("second").exemplar_bytes, counter.snapshot().exemplar_bytes) == (-40, 600)


def test_a_timed_block_within_another_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(float(second) for second in range(10))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    counter = CostCounter()
    with counter.timed(), counter.timed():
        pass
    assert counter.snapshot().seconds == 1.0


def test_a_counter_goes_on_where_its_state_was_taken() -> None:
    counter, other = CostCounter(), CostCounter()
    counter.begin("first")
    counter.forward(3)
    counter.keeps("encoder", parameters=10)
    other.forward(99)
    other.load_state_dict(counter.state_dict())
    other.keeps("encoder", parameters=11)
    assert other.snapshot() == Cost(0, 3, 0.0, 11)
    assert counter.snapshot() == Cost(0, 3, 0.0, 10)


def learn(session: Session, *names: str) -> list[dict[str, float]]:
    learner = StandardLearner().bind(session)
    return [learner.learn(tiny_experience(name)).cost for name in names or ("all",)]


@pytest.mark.parametrize("memory", [None, "sampled"])
def test_the_counter_agrees_with_a_spy_at_the_encoder(memory: str | None, passed: list[int]) -> None:
    chosen: Any = None if memory is None else XBMMemory(20, embed_dim=DIM, start_step=2, fill="sampled")
    session = tiny_session(memory=chosen, evaluate=lambda encoder, experience: {"recall@1": measure(encoder)})
    found = learn(session)[0]
    assert found["image_passes"] == sum(passed) == 6 * BATCH * 3 + (0 if memory is None else 20)
    assert found["tuples"] == 6 * BATCH
    assert found["parameters"] == sum(p.numel() for p in session.encoder.parameters())


def measure(encoder: Encoder) -> float:
    return float(encoder.embed(torch.zeros(3, 3, 32, 32)).sum())


def test_a_loss_over_pairs_takes_two_pictures_for_a_tuple() -> None:
    session = tiny_session(loss=InfoNCELoss(mode="pairs"), memory=None)
    assert learn(session)[0]["tuples"] == 6 * BATCH // 2


def test_a_second_view_passes_too_and_belongs_to_the_same_tuple() -> None:
    session = tiny_session(loss=InfoNCELoss(mode="pairs"), memory=None, trainer={"max_steps": 1})
    session.loss.needs = frozenset({"second_view"})
    own = session.source

    def source(*given: Any) -> Any:
        made = own(*given)
        batches = made.batches

        def doubled(epoch: int) -> Any:
            for batch in batches(epoch):
                batch.second_view = batch.images.flip(3)
                yield batch

        made.batches = doubled
        return made

    session.source = source
    found = learn(session)[0]
    assert (found["tuples"], found["image_passes"]) == (BATCH, 2 * BATCH * 3)


def test_every_experience_has_its_own_cost(passed: list[int]) -> None:
    costs = learn(tiny_session(memory=None), "first", "second")
    assert [one["image_passes"] for one in costs] == [sum(passed) / 2] * 2
    assert costs[0]["parameters"] > 0
    assert costs[1]["parameters"] == 0
    assert all(one["seconds"] > 0 for one in costs)


def test_a_resumed_run_counts_what_the_whole_one_counts(tmp_path: Path) -> None:
    trainer = {"checkpoint_steps": 2}
    whole = learn(tiny_session(run_folder(tmp_path / "whole"), trainer=trainer), "first", "second")
    with pytest.raises(CrashError):
        learn(tiny_session(run_folder(tmp_path / "died"), trainer=trainer, fails_at=5), "first", "second")
    again = learn(tiny_session(run_folder(tmp_path / "died"), trainer=trainer), "first", "second")
    for one, other in zip(whole, again, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
