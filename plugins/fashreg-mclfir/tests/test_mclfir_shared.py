"""Heads on one trunk: what rests stays to the bit, what learns moves, and what it costs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fashreg_mclfir.fine_tune import FineTuneLearner
from fashreg_mclfir.mcl_fir import MCLFIRLearner
from mclfir_run import (
    LEARNERS,
    NAMES,
    answers,
    end_of,
    experience,
    head_weights,
    learn,
    network,
    networks,
    shared,
    stream_session,
    views_of,
)
from torch import Tensor

from fashreg.config_trainer import TrainerConfig
from fashreg.errors import ModelError
from fashreg.samplers.pairs import PairsSampler
from fashreg.testing.tiny_run import difference, tiny_encoder
from fashreg.training.cost import CostCounter
from fashreg.training.schedule import lr_factor, steps_per_epoch, total_steps
from fashreg.training.session import Session
from fashreg.values import TrainingBatch

IN_TURN = [name for name in LEARNERS if name not in ("joint", "retrain", "replay-distil")]


def stream(learner: Any, session: Session) -> list[tuple[dict[str, dict[str, Tensor]], dict[str, Tensor], list[int]]]:
    """After each experience: every head so far, its answers, and what the optimiser held."""
    learner.bind(session)
    found = []
    for place, name in enumerate(NAMES):
        held: list[int] = []
        own = learner.groups

        def groups(own: Any = own, held: list[int] = held) -> Any:
            made = own()
            held += [id(p) for group in made for p in group["params"]]
            return made

        learner.groups = groups
        learner.learn(experience(name))
        learner.groups = own
        known = NAMES[: place + 1]
        found.append(({n: head_weights(session, n) for n in known}, {n: answers(session, n) for n in known}, held))
    return found


@pytest.mark.parametrize("name", IN_TURN)
def test_old_heads_stay_to_the_bit_and_out_of_the_optimiser(name: str) -> None:
    """Parameters and batch-norm statistics, with averaged weights and weight decay."""
    session = stream_session(trainer={"ema_decay": 0.9, "weight_decay": 0.1}, views=views_of(name))
    rows = stream(LEARNERS[name](), session)
    for place, (heads, _, held) in enumerate(rows):
        for old in NAMES[:place]:
            assert not difference(rows[NAMES.index(old)][0][old], heads[old]), old
            assert not {id(p) for p in session.encoder.head.head_of(old).parameters()} & set(held)
        assert {id(p) for p in session.encoder.head.head_of(NAMES[place]).parameters()} <= set(held)


@pytest.mark.parametrize("name", IN_TURN)
def test_old_answers_stay_to_the_bit_where_the_trunk_rests_and_move_where_it_learns(name: str) -> None:
    learner = LEARNERS[name]()
    rows = stream(learner, stream_session(trainer={"epochs": 1}, views=views_of(name)))
    same = [torch.equal(rows[0][1]["colour"], later[1]["colour"]) for later in rows[1:]]
    assert same == [learner.encoder == "first"] * 2


@pytest.mark.parametrize("encoder", ["first", "frozen"])
def test_a_trunk_that_rests_is_not_in_the_optimiser_and_keeps_its_statistics(encoder: Any) -> None:
    session = stream_session(trainer={"epochs": 1})
    trunk = {id(p) for p in session.encoder.backbone.parameters()}
    start = {name: value.clone() for name, value in session.encoder.backbone.state_dict().items()}
    rows = stream(FineTuneLearner(encoder, batch_norm="trained"), session)
    assert bool(trunk & set(rows[0][2])) == (encoder == "first")
    assert not trunk & set(rows[1][2])
    moved = difference(start, session.encoder.backbone.state_dict())
    assert bool(moved) == (encoder == "first")


@pytest.mark.parametrize(("batch_norm", "moves"), [("trained", [1, 1]), ("first", [1, 0]), ("frozen", [0, 0])])
def test_batch_norm_statistics_move_when_they_are_to(batch_norm: Any, moves: list[int]) -> None:
    session = stream_session(trainer={"epochs": 1})
    learner = FineTuneLearner(batch_norm=batch_norm).bind(session)
    found = []
    for name in NAMES[:2]:
        before = {n: b.clone() for n, b in session.encoder.backbone.named_buffers()}
        learner.learn(experience(name))
        found.append(int(bool(difference(before, dict(session.encoder.backbone.named_buffers())))))
    assert found == moves


def test_independent_networks_leave_old_answers_to_the_bit_and_hold_near_to_the_start() -> None:
    session = stream_session(encoder=networks(), trainer={"epochs": 1})
    learner = MCLFIRLearner("independent", "frozen", weight=10.0, batch_norm="trained")
    seen: list[float] = []
    own = learner.terms

    def terms(batch: TrainingBatch, passed: Any) -> Any:
        made = own(batch, passed)
        seen.append(made["distillation"].item())
        assert made["distillation"].requires_grad
        return made

    learner.terms = terms  # type: ignore[method-assign]
    rows = stream(learner, session)
    assert all(torch.equal(rows[0][1]["colour"], later[1]["colour"]) for later in rows[1:])
    assert not difference(rows[0][0]["colour"], rows[2][0]["colour"])
    assert all(value > 0.0 for value in seen)
    start = network().state_dict()
    kept = learner.kept.network.head.head_of("season").backbone.state_dict()
    assert not difference(start, kept)
    assert difference(start, session.encoder.head.head_of("season").backbone.state_dict())


def test_at_the_first_step_in_evaluation_mode_a_teacher_and_its_student_agree() -> None:
    session = stream_session(trainer={"freeze_batch_norm": True, "max_steps": 1})
    learner = MCLFIRLearner(weight=1.0)
    seen: list[float] = []
    own = learner.terms
    learner.terms = lambda batch, passed: [seen.append(t := own(batch, passed)), t][1]  # type: ignore
    learner.bind(session).learn(experience("colour"))
    assert [made["distillation"].item() for made in seen] == pytest.approx([0.0], abs=1e-12)


def test_independent_without_networks_says_what_to_write() -> None:
    learner = MCLFIRLearner("independent", "frozen").bind(stream_session(encoder=shared()))
    with pytest.raises(ModelError, match="own-network") as caught:
        learner.learn(experience("colour"))
    assert "truncated" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mode": "both"}, "shared, independent"),
        ({"teacher": "moving"}, "rolling, restarted, frozen"),
        ({"target": "old"}, "features, embeddings, old-heads"),
        ({"mode": "independent"}, "teacher: frozen"),
        ({"decay": 1.5}, "within 0..1"),
        ({"weight": -1.0}, "weight must be >= 0"),
        ({"encoder": "always"}, "encoder must be one of"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        MCLFIRLearner(**options)


def test_one_head_for_all_tasks_is_trained_in_each() -> None:
    session = stream_session(encoder=tiny_encoder())
    start = end_of(session)
    learner = FineTuneLearner().bind(session)
    for name in NAMES[:2]:
        learner.learn(experience(name))
        now = end_of(session)
        assert any(name.startswith("encoder.head") for name in difference(start, now))
        start = now
    assert learner.older == (None,)


def test_the_order_of_the_tasks_does_not_decide_a_heads_first_weights() -> None:
    first, second = shared("colour", "sleeve"), shared("sleeve", "colour")
    for name in ("colour", "sleeve"):
        assert not difference(first.head.head_of(name).state_dict(), second.head.head_of(name).state_dict())


# ---- what it costs ----


def test_passes_are_counted_as_they_are_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures through the trunk of the encoder and of every copy of it, against the counter."""
    for name, make in LEARNERS.items():
        if name == "retrain":
            continue
        session = stream_session(trainer={"epochs": 1}, encoder=shared(*NAMES[:2]), views=views_of(name))
        ran = [0]
        kind = type(session.encoder.backbone)
        own = kind.forward

        def forward(self: Any, images: Tensor, ran: list[int] = ran, own: Any = own) -> Tensor:
            ran[0] += len(images)
            made: Tensor = own(self, images)
            return made

        with monkeypatch.context() as patch:
            patch.setattr(kind, "forward", forward)
            learn(make(), session, *NAMES[:2])
        counted = session.cost.snapshot().image_passes
        backward = 2 * sum(_trained(name, session))
        assert counted == ran[0] + backward, name


def _trained(name: str, session: Session) -> list[int]:
    """Pictures whose gradient was taken: 36 an experience; again as many replayed; 12 x 2 for each Fisher matrix."""
    pictures = [36, 36]
    if name.startswith("replay"):
        pictures.append(36)
    if name.startswith("ewc"):
        pictures += [24, 24]
    return pictures


def test_the_released_set_up_is_12500_steps_and_200000_tuples_an_increment() -> None:
    """10 epochs of 20,000 doublets in batches of 16; rates 1e-4 x 3, 9e-5 x 3, 8.1e-5 x 3, 7.29e-5."""
    sampler = PairsSampler(torch.arange(600) % 6, batch_size=32, anchors="balanced", pairs=20_000)
    trainer = TrainerConfig(
        epochs=10, batch_size=32, lr=1e-4, weight_decay=0.0, schedule="step", step_epochs=3, step_factor=0.9
    )
    steps, counter = total_steps(trainer, len(sampler)), CostCounter()
    assert (len(sampler), steps, steps_per_epoch(trainer, len(sampler))) == (1250, 12_500, 1250)
    session = stream_session(trainer=trainer, cost=counter)
    assert session.cost is counter
    counter.begin("skirt_length")
    counter.tuples(steps * 16)
    counter.forward(steps * 32)
    counter.backward(steps * 32)
    counter.forward(steps * 32)
    spent = counter.of("skirt_length")
    assert spent.tuples == 200_000
    assert spent.image_passes / spent.tuples == 8  # true doublets with a teacher; the released code takes 12
    rates = [trainer.lr * lr_factor(trainer, epoch * 1250, steps, 1250) for epoch in range(10)]
    assert rates == pytest.approx([1e-4] * 3 + [9e-5] * 3 + [8.1e-5] * 3 + [7.29e-5])


def test_tuples_and_passes_of_a_small_run_add_up() -> None:
    session = stream_session(trainer={"epochs": 1}, views=2)
    learn(MCLFIRLearner(teacher_view="second"), session, *NAMES[:2])
    for name in NAMES[:2]:
        spent = session.cost.of(name)
        assert spent.tuples == 18  # 36 pictures in 3 batches of 6 pairs
        assert spent.image_passes == 36 * 4  # student forward and backward, teacher forward


# ---- arithmetic ----


@pytest.mark.parametrize("name", ["mcl-fir-embeddings", "mcl-fir-old-heads", "lwf-similarity", "ewc", "replay-distil"])
def test_it_trains_in_bf16_with_weights_and_teacher_in_float32(name: str) -> None:
    session, learner = stream_session(trainer={"precision": "bf16", "epochs": 1}), LEARNERS[name]()
    seen: list[torch.dtype] = []
    own = learner.terms

    def terms(batch: TrainingBatch, passed: Any) -> Any:
        made = own(batch, passed)
        seen.extend(term.dtype for term in made.values())
        return made

    learner.terms = terms
    learn(learner, session, *NAMES[:2])
    assert seen
    assert set(seen) == {torch.float32}
    assert all(value.dtype == torch.float32 for value in end_of(session).values() if value.is_floating_point())
    assert all(bool(torch.isfinite(value).all()) for value in end_of(session).values())
    kept = getattr(learner, "kept", None) or getattr(learner, "before_this", None)
    if kept is not None:
        assert all(p.dtype == torch.float32 for p in kept.network.parameters())


@pytest.mark.parametrize("cut", [2, "backbone"])
def test_frozen_stages_run_once_for_student_and_teacher(cut: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    session = stream_session(trainer={"freeze": cut, "epochs": 1})
    ran = [0]
    stem = session.encoder.backbone.net.conv_stem
    stem.register_forward_hook(lambda module, given, made: ran.__setitem__(0, ran[0] + len(made)))
    learn(MCLFIRLearner(teacher="frozen", target="old-heads", weight=1.0), session, *NAMES[:2])
    assert ran[0] == 72
    teacher_passes = 36 if cut == 2 else 0  # a trunk that rests has nothing to be held
    assert session.cost.snapshot().image_passes == 72 * 3 + teacher_passes
