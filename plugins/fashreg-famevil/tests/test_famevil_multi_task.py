"""The learner: what learns at which rate, whose turn it is, how gradients are scaled and mixed, where it goes on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from famevil_run import BATCH, KINDS, all_tasks, batch_of, learnt, small_encoder, small_session
from fashreg_famevil.balancing import impartial, measured_scales
from fashreg_famevil.multi_task import MultiTaskLearner
from torch import Tensor

from fashreg.assembly import build
from fashreg.errors import OptionError, RecipeError
from fashreg.testing.tiny_run import CrashError, difference, tiny_encoder, tiny_session
from fashreg.values import TrainingBatch

PLAIN = {"optimizer": "sgd", "momentum": 0.0, "schedule": "constant", "weight_decay": 0.0, "lr": 0.01}


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda handle: None)


def bound(learner: MultiTaskLearner, **parts: Any) -> MultiTaskLearner:
    learner.bind(small_session(**parts)).before(all_tasks())
    return learner


# ---- what learns ----


def test_matrices_alone_have_weight_decay_and_the_clip_has_its_own_rate() -> None:
    """Defect 12 of the published code: norms and scalars are decayed there."""
    trainer = {"weight_decay": 0.01, "backbone_lr_factor": 0.5, "head_lr_factor": 2.0}
    learner = bound(MultiTaskLearner(clip_lr_factor=0.02), trainer=trainer)
    encoder, groups = learner.session.encoder, learner.groups()
    place = {id(p): group for group in groups for p in group["params"]}
    trained = [(name, p) for name, p in encoder.named_parameters() if p.requires_grad]
    for name, parameter in trained:
        group = place.pop(id(parameter))
        small = parameter.ndim < 2 or name.endswith((".scale", ".bias"))
        assert group["weight_decay"] == (0.0 if small else 0.01), name
        part = 0.02 * 0.5 if ".trunk.clip." in name else 2.0 if name.startswith("head.") else 0.5
        assert group["lr_factor"] == part, name
    assert not place
    assert sum(len(group["params"]) for group in groups) == len(trained)


def test_what_is_frozen_stays_to_the_bit_and_the_rest_learns() -> None:
    session = small_session(trainer={"epochs": 2, "weight_decay": 0.1})
    before = {name: value.clone() for name, value in session.encoder.state_dict().items()}
    learnt(session, MultiTaskLearner(clip="frozen", across="frozen"))
    moved = set(difference(before, session.encoder.state_dict()))
    assert moved
    assert not {name for name in moved if ".clip." in name or ".cross." in name}
    for task in KINDS:
        assert {name for name in moved if f"task_adapters.task_{task}." in name}
        assert {name for name in moved if f"heads.task_{task}." in name}


def answers(session: Any, task: str) -> Tensor:
    batch = batch_of(task, 16)
    session.encoder.eval()
    with torch.no_grad():
        if KINDS[task] == "composed":
            found: Tensor = session.encoder.forward_composed(batch.images, batch.texts, task)
        else:
            found = session.encoder(batch.images, task)
    return found


def test_learning_one_task_with_clip_and_way_across_frozen_leaves_the_others_equal_to_the_bit() -> None:
    """Optimisers with momentum and decay cannot reach them either."""
    session = small_session(trainer={"weight_decay": 0.1, "ema_decay": 0.9})
    learnt(session)
    kept = {task: answers(session, task) for task in KINDS}
    state = {name: value.clone() for name, value in session.encoder.state_dict().items()}
    one = {"say": "captioning"}
    MultiTaskLearner(clip="frozen", across="frozen").bind(session).learn(all_tasks("later", one))
    moved = difference(state, session.encoder.state_dict())
    assert moved
    assert all("task_say" in name for name in moved)
    assert all(torch.equal(answers(session, task), kept[task]) for task in KINDS if task != "say")
    assert not torch.equal(answers(session, "say"), kept["say"])


def test_what_rests_is_in_evaluation_mode() -> None:
    learner = bound(MultiTaskLearner(clip="frozen"))
    learner.training_mode()
    trunk = learner.session.encoder.backbone.trunk
    assert not any(module.training for module in trunk.clip.modules())
    assert all(module.training for module in trunk.task_adapters.modules())


# ---- whose turn ----


def turns_of(learner: MultiTaskLearner) -> list[str]:
    seen: list[str] = []
    own = learner.objective

    def spy(batch: TrainingBatch) -> Any:
        seen.append(str(batch.task))
        return own(batch)

    learner.objective = spy  # type: ignore[method-assign]
    learnt(small_session(turns=learner.turns), learner)
    return seen


def test_every_batch_of_every_task_comes_once_an_epoch() -> None:
    assert Counter(turns_of(MultiTaskLearner())) == dict.fromkeys(KINDS, 2)
    assert turns_of(MultiTaskLearner("round-robin")) == [*KINDS, *KINDS]


def test_the_order_is_a_pure_function_of_lengths_and_seed() -> None:
    learner = MultiTaskLearner("round-robin")
    assert learner.turns({"a": 3, "b": 1}, (0, 1)) == ["a", "b", "a", "a"]
    assert MultiTaskLearner("round-robin", batches={"b": 2}).turns({"a": 1, "b": 1}, (0, 1)) == ["a", "b", "b"]
    for schedule in ("uniform", "size-proportional"):
        chosen = MultiTaskLearner(schedule)  # type: ignore[arg-type]
        lengths = {"a": 9, "b": 5, "c": 2}
        assert chosen.turns(lengths, (3, 4)) == chosen.turns(lengths, (3, 4))
        assert chosen.turns(lengths, (3, 4)) != chosen.turns(lengths, (3, 5))
        assert Counter(chosen.turns(lengths, (3, 4))) == lengths


# ---- texts that are left out ----


def test_some_rows_of_a_classification_are_shown_without_their_text_and_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learner, seen = bound(MultiTaskLearner(empty_texts=0.5)), []
    backbone = learner.session.encoder.backbone
    own = backbone.tokenize
    monkeypatch.setattr(backbone, "tokenize", lambda texts: seen.extend(texts) or own(texts))
    batch = batch_of("name", 16)
    torch.manual_seed(0)
    learner.objective(batch)
    assert 2 < seen.count("") < 14
    assert all(text in ("", asked) for text, asked in zip(seen, batch.texts or (), strict=True))
    assert "" not in list(batch.texts or ())
    for task in ("match", "edit", "say"):
        seen.clear()
        learner.objective(batch_of(task, 16))
        assert "" not in seen


# ---- gradients ----


def gradients_of(learner: MultiTaskLearner, tasks: tuple[str, ...]) -> dict[str, dict[str, Tensor]]:
    """Each task's own gradient, by parameter."""
    encoder, found = learner.session.encoder, {}
    for task in tasks:
        encoder.zero_grad()
        learner.objective(batch_of(task)).value.backward()
        found[task] = {n: p.grad.clone() for n, p in encoder.named_parameters() if p.grad is not None}
    encoder.zero_grad()
    return found


class FakeRun:
    """As much of a run as `gradients` needs."""

    def __init__(self, learner: MultiTaskLearner) -> None:
        self.parameters = list(learner.session.encoder.parameters())
        self.optimisation = self.log = self
        self.position = None

    def backward(self, value: Tensor, share: float) -> None:
        (value * share).backward()

    def note(self, *said: Any) -> None:
        pass


def taken(learner: MultiTaskLearner, tasks: tuple[str, ...]) -> dict[str, Tensor]:
    learner.session.encoder.zero_grad()
    learner.gradients(FakeRun(learner), [batch_of(task) for task in tasks])  # type: ignore[arg-type]
    return {n: p.grad.clone() for n, p in learner.session.encoder.named_parameters() if p.grad is not None}


def test_accumulated_batches_of_several_tasks_give_the_mean_of_their_gradients() -> None:
    learner = bound(MultiTaskLearner())
    each = gradients_of(learner, tuple(KINDS))
    for name, found in taken(learner, tuple(KINDS)).items():
        wanted = sum(gradients.get(name, torch.zeros_like(found)) for gradients in each.values()) / 4
        assert torch.allclose(found, torch.as_tensor(wanted), atol=1e-6), name


def test_adaptive_scales_reach_the_clip_alone() -> None:
    learner = bound(MultiTaskLearner(adaptive=True))
    each = gradients_of(learner, ("match", "say"))
    learner.scales = {"match": 0.5, "say": 1.5}
    for name, found in taken(learner, ("match", "say")).items():
        shared = ".clip." in name
        wanted = sum(
            (learner.scales[task] if shared else 1.0) * each[task].get(name, torch.zeros_like(found)) / 2
            for task in each
        )
        assert torch.allclose(found, torch.as_tensor(wanted), atol=1e-6), name


def test_scales_follow_what_was_measured() -> None:
    kinds = {"itc": "cross-modal", "tgir": "composed", "scr": "classification", "cap": "captioning"}
    metrics = {"itc/mean_recall": 0.63, "tgir/mean_recall": 0.54, "scr/macro_f1": 0.855, "cap/bleu@4": 0.30}
    wanted = {"itc": 0.99906190, "tgir": 0.99906190, "scr": 0.99718569, "cap": 1.00469052}
    assert measured_scales(metrics, kinds) == pytest.approx(wanted, abs=1e-8)
    assert measured_scales({"itc/mean_recall": 0.5, "scr/macro_f1": float("nan")}, kinds) == {"itc": 1.0}
    assert measured_scales({"bleu@4": 0.2}, {"cap": "captioning"}) == {"cap": 1.0}
    learner = bound(MultiTaskLearner(adaptive=True, bases={"say": 0.2}))
    learner.measured({"say/bleu@4": 0.2, "match/mean_recall": 0.35})
    assert learner.scales["say"] < 1.0 < learner.scales["match"]
    again = MultiTaskLearner(adaptive=True)
    again.load_state_dict(learner.state_dict())
    assert again.scales == learner.scales


def test_impartial_mixing_is_that_of_every_parameter_by_itself() -> None:
    learner = bound(MultiTaskLearner("round-robin", impartial=True), trainer={"accumulate": 4})
    each = gradients_of(learner, tuple(KINDS))
    found = taken(learner, (*KINDS, "say"))  # a task that comes twice counts with its mean
    assert set(found) == {name for gradients in each.values() for name in gradients}
    for name, value in found.items():
        wanted = impartial([gradients[name] for gradients in each.values() if name in gradients])
        assert torch.allclose(value, wanted, atol=1e-6, rtol=1e-3), name


def test_gradients_that_overflow_are_left_to_the_loss_scaling() -> None:
    from fashreg_famevil.mixing import GradientsByTask

    parameter = torch.nn.Parameter(torch.zeros(3))
    kept = GradientsByTask([parameter], mixed=True)
    for task, value in (("a", float("inf")), ("b", 1.0)):
        parameter.grad = torch.full((3,), value)
        kept.take(task)
    kept.give()
    assert parameter.grad is not None
    assert torch.isinf(parameter.grad).all()


def test_bf16_arithmetic_gives_about_the_same_value_and_full_precision_rows() -> None:
    values: dict[str, list[float]] = {}
    for precision in ("fp32", "bf16"):
        learner = bound(MultiTaskLearner(), trainer={"precision": precision})
        for task in KINDS:
            objective = learner.objective(batch_of(task))
            assert objective.rows.vectors.dtype == objective.value.dtype == torch.float32
            objective.value.backward()
            values.setdefault(task, []).append(float(objective.value.detach()))
        assert all(torch.isfinite(p.grad).all() for p in learner.session.encoder.parameters() if p.grad is not None)
    for task, (full, half) in values.items():
        assert half == pytest.approx(full, rel=0.05, abs=0.05), task


# ---- interruption ----


@pytest.mark.parametrize("how", ["impartial", "uniform"])
def test_a_run_that_died_goes_on_bit_for_bit(how: str, tmp_path: Path) -> None:
    """In the middle of the second epoch, when gradients are scaled by what was measured after the first, tasks begin
    anew within an epoch, and texts are left out at random. Compared are the last weights, not the best.
    """
    measured = {"match/mean_recall": 0.5, "edit/mean_recall": 0.1, "name/macro_f1": 0.9, "say/bleu@4": 0.2}

    def run(folder: Path, fails_at: int | None = None) -> dict[str, Tensor]:
        options: dict[str, Any] = (
            {"impartial": True, "schedule": "round-robin"}
            if how == "impartial"
            else {"schedule": how, "batches": {"match": 5, "say": 1}}
        )
        trainer = {
            "epochs": 2,
            "evaluate_every": 1,
            "checkpoint_steps": 1,
            "accumulate": 4 if how == "impartial" else 1,
        }
        learner = MultiTaskLearner(adaptive=True, empty_texts=0.5, clip_lr_factor=1.0, **options)
        parts = {"turns": learner.turns, "evaluate": lambda *asked: {"recall@1": 0.1, **measured}}
        session = small_session(folder, fails_at=fails_at, trainer=trainer, **parts)
        last: dict[str, Tensor] = {}
        learner.stepped = lambda step: last.update(  # type: ignore[method-assign]
            {name: value.clone() for name, value in session.encoder.state_dict().items()}
        )
        learnt(session, learner)
        assert learner.scales["edit"] > 1.4
        return last

    whole = run(tmp_path / "whole")
    with pytest.raises(CrashError):
        run(tmp_path / "died", 15)
    assert not difference(whole, run(tmp_path / "died"))


# ---- what cannot be ----


def test_what_cannot_be_is_refused() -> None:
    for options, said in (
        ({"schedule": "random"}, "schedule must be one of"),
        ({"clip": "thawed"}, "clip must be one of trained, frozen"),
        ({"clip_lr_factor": 0.0}, "clip: frozen"),
        ({"distillation_weight": 3.0}, "0 to 2"),
        ({"empty_texts": 2.0}, "0 to 1"),
        ({"impartial": True}, 'needs schedule "round-robin"'),
        ({"bases": {"say": 0.0}}, "bases of task 'say' must be above 0"),
    ):
        with pytest.raises(ValueError, match=said):
            MultiTaskLearner(**options)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="accumulate=4"):
        bound(MultiTaskLearner("round-robin", impartial=True))
    with pytest.raises(RecipeError, match=r"loss_weights.*'sell'.*match, edit"):
        bound(MultiTaskLearner(loss_weights={"sell": 1.0}))
    with pytest.raises(RecipeError, match="backbone=fame-vil"):
        MultiTaskLearner().bind(tiny_session(encoder=tiny_encoder(), memory=None))
    with pytest.raises(RecipeError, match="section `tasks`"):
        MultiTaskLearner().bind(small_session()).before(all_tasks().__class__("all", None))


def test_bases_of_a_recipe_are_above_0() -> None:
    for base in (0.0, -1.0, float("nan")):
        with pytest.raises(OptionError, match=r"bases\.say"):
            build("learner", {"name": "multi-task", "bases": {"say": base}})


def test_its_cost_counts_both_pictures_of_an_edit() -> None:
    learner = bound(MultiTaskLearner())
    session = learner.session
    session.cost.begin("one")
    learner.objective(batch_of("edit"))
    assert session.cost.of("one").image_passes == 3 * 2 * BATCH
    learner.objective(batch_of("say"))
    assert session.cost.of("one").image_passes == 3 * 3 * BATCH


# ---- and it learns ----


def test_a_hundred_steps_bring_all_four_losses_well_below_guessing() -> None:
    session = small_session(trainer={"epochs": 10, "lr": 3e-3})
    learner, last = MultiTaskLearner(clip_lr_factor=0.3), {}
    own = learner.objective

    def spy(batch: TrainingBatch) -> Any:
        found = own(batch)
        last[batch.task] = float(found.parts["loss"].detach())
        return found

    learner.objective = spy  # type: ignore[method-assign]
    learnt(session, learner)
    guessing = {"match": 2.08, "edit": 2.08, "name": 1.386, "say": 6.397}
    for task, value in guessing.items():
        assert last[task] < 0.6 * value, (task, last[task])
    assert small_encoder().backbone.vocabulary == 600
