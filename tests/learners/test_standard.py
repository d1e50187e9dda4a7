from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fashreg.errors import ModelError, RecipeError
from fashreg.learners.standard import StandardLearner
from fashreg.losses.infonce import InfoNCELoss
from fashreg.losses.proxy_anchor import ProxyAnchorLoss
from fashreg.memories.xbm import XBMMemory
from fashreg.report.charts import training_charts
from fashreg.storage import load_encoder, read_provenance
from fashreg.testing.tiny_run import (
    BATCH,
    DIM,
    CrashError,
    TinyPictures,
    difference,
    run_folder,
    tiny_experience,
    tiny_session,
    tiny_source,
    weights_of,
)
from fashreg.training.objective import embed_batch, loss_with_memory
from fashreg.training.session import Session
from fashreg.values import Embedded, TrainingBatch

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def learn(session: Session, name: str = "all", task: str | None = None) -> Any:
    return StandardLearner().bind(session).learn(tiny_experience(name, task))


def scores(*values: float) -> Any:
    left = iter(values)
    return lambda encoder, experience: {"recall@1": next(left)}


def lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in found if line["kind"] == kind]


# ---- when it measures, when it stops ----


def test_patience_stops_and_the_report_says_so() -> None:
    report = learn(tiny_session(trainer={"epochs": 9, "patience": 2}, evaluate=scores(0.5, 0.6, 0.6, 0.1)))
    assert report.stopped_early
    assert [line["epoch"] for line in report.history] == [1, 2, 3, 4]
    assert (report.best, report.best_step, report.steps) == (0.6, 6, 12)


def test_the_last_epoch_is_always_measured() -> None:
    for every, epochs in ((2, [2, 4, 5]), (0, [5])):
        session = tiny_session(trainer={"epochs": 5, "evaluate_every": every}, evaluate=scores(*[0.5] * 5))
        assert [line["epoch"] for line in learn(session).history] == epochs


def test_max_steps_ends_within_an_epoch_and_measures() -> None:
    report = learn(tiny_session(trainer={"max_steps": 4}, evaluate=scores(0.1, 0.2)))
    assert (report.steps, report.images) == (4, 4 * BATCH)
    assert report.epochs == pytest.approx(4 / 3)
    assert [line["step"] for line in report.history] == [3, 4]


def test_a_metric_that_is_no_number_is_never_the_best() -> None:
    assert learn(tiny_session(evaluate=scores(float("nan"), 0.3))).best == 0.3


def test_an_evaluation_without_the_primary_metric_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"no 'map@r'; it gives recall@1"):
        learn(tiny_session(evaluate=scores(0.5), primary="map@r"))


# ---- what it leaves in the folder ----


def test_the_folder_holds_the_best_model_and_its_measured_numbers(tmp_path: Path) -> None:
    session = tiny_session(
        run_folder(tmp_path),
        trainer={"epochs": 3},
        evaluate=scores(0.2, 0.7, 0.4),
        recipe={"seed": 0},
        provenance={"data": "x"},
    )
    learn(session)
    images = TinyPictures(None).images
    loaded = load_encoder(tmp_path / "model")
    assert torch.equal(loaded.embed(images), session.encoder.embed(images))
    said = read_provenance(tmp_path / "model")
    assert said == {
        "data": "x",
        "experience": "all",
        "steps": 6,
        "seed": 0,
        "metrics": {"recall@1": 0.7},
        "recipe": {"seed": 0},
    }
    assert [line["metrics"]["recall@1"] for line in lines(tmp_path, "evaluation")] == [0.2, 0.7, 0.4]
    assert [line["step"] for line in lines(tmp_path, "train")] == list(range(1, 10))


def test_an_encoder_that_no_plugin_offers_is_refused_before_the_first_step(tmp_path: Path) -> None:
    from fashreg.heads.projection import ProjectionHead

    class Own(ProjectionHead):
        pass

    session = tiny_session(run_folder(tmp_path))
    session.encoder.head = Own(DIM, in_dim=session.encoder.head.in_dim)
    with pytest.raises(Exception, match="not offered by any installed plugin"):
        StandardLearner().bind(session)


def test_a_resumed_log_repeats_no_line_and_finds_the_best_weights_on_disk(tmp_path: Path) -> None:
    trainer = {"epochs": 3, "checkpoint_every": 1}
    whole = tiny_session(run_folder(tmp_path / "a"), trainer=trainer, evaluate=scores(0.9, 0.5, 0.4))
    learn(whole)
    died = tiny_session(run_folder(tmp_path / "b"), trainer=trainer, evaluate=scores(0.9, 0.5, 0.4), fails_at=7)
    with pytest.raises(CrashError):
        learn(died)
    again = tiny_session(run_folder(tmp_path / "b"), trainer=trainer, evaluate=scores(0.4))
    report = learn(again)
    assert not difference(weights_of(whole), weights_of(again))
    assert report.best_step == 3
    for kind in ("train", "evaluation"):
        one, other = (
            [{k: v for k, v in line.items() if k != "images_per_second"} for line in lines(tmp_path / name, kind)]
            for name in "ab"
        )
        assert one == other


def test_a_finished_run_can_be_made_longer(tmp_path: Path) -> None:
    constant = {"schedule": "constant", "checkpoint_every": 1}
    learn(tiny_session(run_folder(tmp_path), trainer={"epochs": 1, **constant}))
    longer = tiny_session(run_folder(tmp_path), trainer={"epochs": 3, **constant})
    assert learn(longer).steps == 9
    whole = tiny_session(trainer={"epochs": 3, **constant})
    learn(whole)
    assert not difference(weights_of(whole), weights_of(longer))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"loss": ProxyAnchorLoss(num_classes=6, embed_dim=DIM), "memory": None}, "does not fit"),
        ({"memory": XBMMemory(30, embed_dim=DIM)}, "the saved memory has"),
        ({"trainer": {"checkpoint_every": 1, "freeze": "backbone"}}, "does not fit"),
    ],
)
def test_a_checkpoint_of_other_parts_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    learn(tiny_session(run_folder(tmp_path), trainer={"checkpoint_every": 1}))
    with pytest.raises(ModelError, match=said):
        learn(tiny_session(run_folder(tmp_path), **change))


def test_experiences_in_another_order_are_refused(tmp_path: Path) -> None:
    learn(tiny_session(run_folder(tmp_path), trainer={"checkpoint_every": 1}), "first")
    with pytest.raises(ModelError, match="of experience 'first', not 'other'"):
        learn(tiny_session(run_folder(tmp_path), trainer={"checkpoint_every": 1}), "other")


# ---- batches, tasks, views, memory ----


def batch_of(session: Session) -> TrainingBatch:
    source = tiny_source()(tiny_experience(), None, session.processes)  # type: ignore[arg-type]
    return next(iter(source.batches(0)))


def test_the_task_of_the_experience_reaches_the_head() -> None:
    session = tiny_session()
    seen = set()
    own = session.encoder.head.forward
    session.encoder.head.forward = lambda features, task=None: (seen.add(task), own(features))[1]
    learn(session, task="colour")
    assert seen == {"colour"}


def test_a_second_view_becomes_the_partners_row_by_row() -> None:
    session = tiny_session(loss=InfoNCELoss(mode="pairs"), memory=None)
    batch = batch_of(session)
    batch.second_view = batch.images.flip(3)
    session.encoder.eval()
    rows, partners = embed_batch(session, batch)
    assert partners is not None
    expected = session.encoder(batch.second_view)
    assert torch.allclose(partners.vectors, expected, atol=1e-6)
    value, _ = loss_with_memory(session, None, rows, partners)  # type: ignore[arg-type]
    assert torch.allclose(value, session.loss(rows, partners))


def test_a_loss_over_pairs_gets_the_two_halves_of_the_batch() -> None:
    session = tiny_session(loss=InfoNCELoss(mode="pairs"), memory=None)
    rows, _ = embed_batch(session, batch_of(session))
    half = len(rows) // 2
    sides = [
        replace(rows, vectors=rows.vectors[p], labels=rows.labels[p], ids=rows.ids[p])
        for p in (slice(half), slice(half, None))
    ]
    value, _ = loss_with_memory(session, None, rows)  # type: ignore[arg-type]
    assert torch.equal(value, session.loss(*sides))


def test_the_memorys_weights_and_the_rows_it_remembers_make_the_loss() -> None:
    session = tiny_session(memory=XBMMemory(20, embed_dim=DIM, start_step=0, batch_weight=0.5, memory_weight=2.0))
    batch = batch_of(session)
    rows, _ = embed_batch(session, batch)
    alone, _ = loss_with_memory(session, None, rows)  # type: ignore[arg-type]
    assert torch.equal(alone, session.loss(rows))  # nothing is remembered yet: the plain loss, weight 1
    older = replace(rows.detach(), ids=rows.ids + 50)
    session.memory.push(older)
    value, parts = loss_with_memory(session, None, rows)  # type: ignore[arg-type]
    by_hand = 0.5 * session.loss(rows) + 2.0 * session.loss(rows, session.memory.read())
    assert torch.allclose(value, by_hand)
    assert {"batch", "memory", "batch.positive", "memory.positive"} <= set(parts)


def test_what_a_memory_says_of_its_last_align_is_logged_but_not_drawn_with_the_loss(tmp_path: Path) -> None:
    class Telling(XBMMemory):
        def align(self, batch: Embedded) -> None:
            super().align(batch)
            self.parts = {"told[steps]": self.step.float()} if int(self.step) % 2 else {}

    memory = Telling(20, embed_dim=DIM, start_step=2)
    learn(tiny_session(run_folder(tmp_path), memory=memory, trainer={"max_steps": 6, "log_every": 2}))
    assert [line.get("told[steps]") for line in lines(tmp_path, "train")] == [1.0, 3.0, 5.0]
    charts = training_charts(lines(tmp_path, "train"), [])
    assert "told[steps]" not in charts[0].legend
    assert "loss" in charts[0].legend


def test_a_memory_that_wants_random_pictures_first_gets_them_under_the_present_weights() -> None:
    session = tiny_session(memory=XBMMemory(30, embed_dim=DIM, start_step=2, fill="sampled"), trainer={"max_steps": 3})
    seen: list[list[int]] = []
    own = session.memory.read

    def read() -> Embedded:
        found: Embedded = own()
        seen.append(found.ids.tolist())
        return found

    session.memory.read = read
    learn(session)
    assert [len(ids) for ids in seen] == [0, 0, 30]
    assert len(set(seen[2])) == 30


def test_what_a_loss_needs_and_batches_lack_is_said() -> None:
    loss = InfoNCELoss()
    loss.needs = frozenset({"second_view"})
    with pytest.raises(RecipeError, match="InfoNCELoss needs second_view"):
        learn(tiny_session(loss=loss, memory=None))


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"loss": ProxyAnchorLoss(num_classes=6, embed_dim=DIM)}, "own proxies only"),
        ({"loss": InfoNCELoss(mode="pairs")}, "row i with row i"),
        ({"memory": XBMMemory(20, embed_dim=5)}, "width 5, the encoder gives 8"),
    ],
)
def test_parts_that_do_not_go_together_are_refused_at_once(parts: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        tiny_session(**parts)


def test_an_empty_source_is_refused() -> None:
    class Nothing(TinyPictures):
        def __len__(self) -> int:
            return 0

        def batches(self, epoch: int) -> Iterator[TrainingBatch]:
            return iter(())

    with pytest.raises(RecipeError, match="no batch"):
        learn(tiny_session(source=lambda experience, frozen, processes: Nothing(None)))


def test_losses_with_proxies_train_without_a_word_from_the_user() -> None:
    session = tiny_session(loss=ProxyAnchorLoss(num_classes=6, embed_dim=DIM), memory=None)
    before = weights_of(session)
    learn(session)
    assert [name for name in difference(before, weights_of(session)) if name.startswith("loss.")]


def test_a_memory_forgets_between_experiences_because_labels_are_numbered_anew() -> None:
    session = tiny_session(memory=XBMMemory(20, embed_dim=DIM, start_step=0), trainer={"epochs": 1})
    learner = StandardLearner().bind(session)
    seen: list[int] = []
    own = session.memory.read
    session.memory.read = lambda: (seen.append(len(session.memory)), own())[1]
    for name in ("first", "second"):
        learner.learn(tiny_experience(name))
    assert seen == [0, 12, 20] * 2
