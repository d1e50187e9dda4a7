"""What the released code gets wrong (the list of docs/mclfir.md), each held by a test here.

8, names read letter by letter: test_mclfir_text. 9, NaN for a row of zeros, 12, the heat map: test_mclfir_attention.
"""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from fashreg_mclfir.mcl_fir import MCLFIRLearner
from fashreg_mclfir.teacher import Teacher
from mclfir_run import LEARNERS, NAMES, TaskPictures, experience, labels_of, learn, shared, stream_session, views_of
from torch import Tensor, nn

from fashreg.config_data import DataConfig
from fashreg.data.splits import usable
from fashreg.data.table import read_table
from fashreg.errors import DataError, ModelError, RecipeError
from fashreg.samplers.pairs import PairsSampler
from fashreg.storage import load_encoder, save_encoder
from fashreg.strict_tensors import read_tensors
from fashreg.training.session import Session


def bound(**options: Any) -> tuple[MCLFIRLearner, Session]:
    session = stream_session(trainer={"max_steps": 3}, views=options.pop("views", 1))
    return MCLFIRLearner(**{"weight": 0.1, "decay": 0.5, **options}).bind(session), session


def test_1_one_encoder_serves_all_heads_and_is_the_same_storage_throughout() -> None:
    learner, session = bound()
    trunk = [parameter.data_ptr() for parameter in session.encoder.backbone.parameters()]
    seen: list[int] = []
    for name in NAMES:
        learner.learn(experience(name))
        assert [parameter.data_ptr() for parameter in session.encoder.backbone.parameters()] == trunk
        seen.append(sum(p.numel() for p in session.encoder.parameters()))
    assert isinstance(session.encoder.head.heads, nn.ModuleDict)
    one = sum(p.numel() for p in session.encoder.head.head_of(NAMES[0]).parameters())
    assert [after - before for before, after in pairwise(seen)] == [one, one]


def test_2_the_teacher_is_averaged_after_every_step() -> None:
    """Against a plain average of the student's weights, taken down after every step."""
    learner, session = bound()
    learner.before(experience("colour"))
    start = {name: value.clone() for name, value in learner.kept.network.backbone.state_dict().items()}
    learner, session = bound()
    students: list[dict[str, Tensor]] = []
    own = learner.stepped

    def stepped(step: int) -> None:
        students.append({name: value.clone() for name, value in session.encoder.backbone.state_dict().items()})
        own(step)

    learner.stepped = stepped  # type: ignore[method-assign]
    learner.learn(experience("colour"))
    assert len(students) == 3
    for name, value in learner.kept.network.backbone.state_dict().items():
        expected = start[name]
        for student in students:
            expected = 0.5 * expected + 0.5 * student[name] if value.is_floating_point() else student[name]
        assert torch.allclose(value, expected, atol=1e-6), name
    last = students[-1]
    now = learner.kept.network.backbone.state_dict()
    assert any(not torch.equal(value, last[name]) for name, value in now.items())


@pytest.mark.parametrize("view", ["same", "second"])
def test_3_the_teacher_sees_the_view_that_was_asked_for(view: str, monkeypatch: pytest.MonkeyPatch) -> None:
    learner, _ = bound(teacher_view=view, views=2)
    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    own_terms, own_features = learner.terms, Teacher.features
    entries: list[Tensor] = []

    def features(self: Teacher, entry: Tensor, start: int, task: str | None = None) -> Tensor:
        entries.append(entry)
        return own_features(self, entry, start, task)

    def terms(batch: Any, passed: Any) -> Any:
        made = own_terms(batch, passed)
        seen.append((entries[-1], batch.images, batch.second_view))
        return made

    monkeypatch.setattr(Teacher, "features", features)
    learner.terms = terms  # type: ignore[method-assign]
    learner.learn(experience("colour"))
    assert len(seen) == 3
    for entry, images, second in seen:
        assert torch.equal(entry, images) == (view == "same")
        assert torch.equal(entry, second) == (view == "second")
    assert learner.needs == (frozenset({"second_view"}) if view == "second" else frozenset())


def test_3_a_source_without_a_second_view_is_refused_with_the_way_out() -> None:
    learner, _ = bound(teacher_view="second")
    with pytest.raises(RecipeError, match="teacher_view=same"):
        learner.learn(experience("colour"))


@pytest.mark.parametrize("target", ["features", "embeddings", "old-heads"])
def test_4_the_teacher_is_in_evaluation_mode_while_the_student_trains(
    target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its statistics are the average's alone: its own passes leave them as they were."""
    learner, session = bound(target=target, batch_norm="trained")
    own = Teacher.features
    checked: list[bool] = []

    def features(self: Teacher, *given: Any) -> Tensor:
        assert session.encoder.backbone.training
        assert not any(module.training for module in self.network.modules())
        before = {name: value.clone() for name, value in self.state_dict().items()}
        made = own(self, *given)
        checked.append(all(torch.equal(value, before[name]) for name, value in self.state_dict().items()))
        return made

    monkeypatch.setattr(Teacher, "features", features)
    for name in NAMES[:2]:
        learner.learn(experience(name))
    assert checked
    assert all(checked)


def test_5_batch_norm_statistics_are_averaged_too() -> None:
    learner, session = bound(batch_norm="trained", decay=0.9)
    learner.learn(experience("colour"))
    teacher, student = learner.kept.network.backbone.state_dict(), session.encoder.backbone.state_dict()
    fresh = shared().backbone.state_dict()
    statistics = [name for name in student if name.endswith(("running_mean", "running_var"))]
    assert statistics
    for name in statistics:
        assert not torch.equal(teacher[name], fresh[name]), name
        assert not torch.equal(teacher[name], student[name]), name


def test_6_no_teacher_is_part_of_the_model_or_of_its_folder(tmp_path: Path) -> None:
    for name in ("mcl-fir-embeddings", "mcl-fir-second-view", "lwf", "ewc-batch", "replay-distil", "retrain"):
        session = stream_session(trainer={"max_steps": 1}, views=views_of(name))
        learn(LEARNERS[name](), session, *NAMES[:2])
        trunk = sum(p.numel() for p in shared().backbone.parameters())
        heads = sum(p.numel() for task in NAMES[:2] for p in session.encoder.head.head_of(task).parameters())
        assert sum(p.numel() for p in session.encoder.parameters()) == trunk + heads
    save_encoder(session.encoder, tmp_path / "model")
    stored = read_tensors(tmp_path / "model" / "model.safetensors")
    assert set(stored) == set(session.encoder.state_dict())
    assert not any("teacher" in name or "before" in name for name in stored)


def test_7_weights_are_loaded_strictly_and_give_the_same_answers(tmp_path: Path) -> None:
    session = stream_session(trainer={"max_steps": 2})
    learn(MCLFIRLearner(), session, *NAMES[:2])
    save_encoder(session.encoder, tmp_path / "model")
    images = TaskPictures(None, labels_of("colour")).images
    again = load_encoder(tmp_path / "model")
    for name in NAMES[:2]:
        assert torch.equal(again.embed(images, task=name), session.encoder.embed(images, task=name))
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(ModelError):
        load_encoder(tmp_path / "model")
    state = learner_state()
    state["teacher"].pop(next(iter(state["teacher"])))
    learner, _ = bound()
    learner.before(experience("colour"))
    with pytest.raises(RuntimeError, match="Missing key"):
        learner.load_state_dict(state)


def learner_state() -> dict[str, Any]:
    learner, _ = bound()
    learner.learn(experience("colour"))
    return learner.state_dict()


def test_10_the_seed_alone_decides_what_is_drawn() -> None:
    """Pairs, and the weights at the end of two increments, whatever other generators did before."""
    ends = []
    for number in (1, 2):
        np.random.seed(number)
        random.seed(number)
        torch.manual_seed(number)
        session = stream_session(trainer={"max_steps": 3})
        learn(MCLFIRLearner(weight=0.1), session, *NAMES[:2])
        ends.append({name: value.clone() for name, value in session.encoder.state_dict().items()})
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())
    drawn = [list(PairsSampler([0, 0, 0, 1, 1, 1, 1], batch_size=4, anchors="balanced", seed=s)) for s in (3, 3, 4)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_11_a_value_with_one_picture_ends_no_loop_and_a_missing_file_is_named(tmp_path: Path) -> None:
    drawn = PairsSampler([0, 0, 1, 1, 2], batch_size=4, anchors="balanced", pairs=50)
    assert 4 not in {position for batch in drawn for position in batch}
    data = DataConfig(attributes=["colour"], label=None)
    rows = pd.DataFrame({"image": [str(tmp_path / "gone.png")], "colour": ["red"]})
    with pytest.raises(DataError, match=r"gone\.png"):
        usable(read_table(rows, data, need_label=False), data, classes=0)


def test_13_two_data_sets_are_learnt_side_by_side_as_each_alone() -> None:
    """No class holds what a data set is: two runs that take turns end where each ends alone."""

    def begun(seed: int) -> tuple[MCLFIRLearner, Session]:
        session = stream_session(encoder=shared(seed=seed), trainer={"max_steps": 2})
        return MCLFIRLearner(weight=0.1).bind(session), session

    alone = []
    for seed, names in ((0, NAMES[:2]), (1, NAMES[1:])):
        learner, session = begun(seed)
        for name in names:
            learner.learn(experience(name))
        alone.append(session.encoder.state_dict())
    (one, first), (other, second) = begun(0), begun(1)
    for mine, theirs in pairwise(NAMES):
        one.learn(experience(mine))
        other.learn(experience(theirs))
    for ended, session in zip(alone, (first, second), strict=True):
        now = session.encoder.state_dict()
        assert list(now) == list(ended)
        assert all(torch.equal(value, ended[name]) for name, value in now.items())
