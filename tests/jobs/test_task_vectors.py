"""Several attributes of one table: one pass of the trunk where memory allows, and the same numbers either way."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fashreg.config_trainer import TrainerConfig
from fashreg.data.table import Table, read_table
from fashreg.encoder import Encoder
from fashreg.evaluators.attribute_retrieval import AttributeRetrievalEvaluator
from fashreg.evaluators.retrieval import RetrievalEvaluator
from fashreg.jobs.evaluation import evaluate_table
from fashreg.jobs.task_vectors import TaskVectors
from fashreg.testing.tiny_run import DIM, tiny_encoder_of_tasks

TASKS = ("colour", "season", "length")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """Eighteen pictures of noise, with three attributes; two cells of one are empty."""
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(18):
        noise = np.random.default_rng(i).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{i}.png")
    columns = {"colour": list("rgb") * 6, "season": list("ssw") * 6, "length": ["", "", *"kl" * 8]}
    frame = pd.DataFrame({"image": [f"{i}.png" for i in range(18)], "label": list("ab") * 9, **columns})
    return read_table(frame, {"root": str(folder), "attributes": list(TASKS)})


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures each pass of a trunk saw."""
    seen: list[int] = []
    steps = Encoder.steps

    def spied(self: Encoder, x: torch.Tensor, start: int, stop: int, task: str | None = None) -> torch.Tensor:
        if start == 0:
            seen.append(len(x))
        return steps(self, x, start, stop, task)

    monkeypatch.setattr(Encoder, "steps", spied)
    return seen


def test_all_tasks_that_fit_share_a_pass_and_the_others_do_not_crowd_them(table: Table, passes: list[int]) -> None:
    encoder = tiny_encoder_of_tasks(*TASKS)
    each = 4 * len(table) * DIM
    for room, expected in ((3 * each, 1), (3 * each - 1, 2), (2 * each, 2), (each, 3), (1, 3)):
        passes.clear()
        made = TaskVectors(encoder, table, TASKS, kept_bytes=room)
        found = {task: made(task) for task in TASKS}
        assert len(passes) == expected, room
        for task, vectors in found.items():
            assert torch.equal(vectors, encoder.embed(table, task=task))


def test_what_is_kept_never_takes_more_than_it_may(table: Table) -> None:
    each = 4 * len(table) * DIM
    made = TaskVectors(tiny_encoder_of_tasks(*TASKS), table, TASKS, kept_bytes=2 * each)
    for task in (*TASKS, "colour"):
        made(task)
        assert sum(v.numel() * 4 for v in made._kept.values()) <= 2 * each


def test_a_task_asked_for_again_or_out_of_order_costs_no_second_pass(table: Table, passes: list[int]) -> None:
    made = TaskVectors(tiny_encoder_of_tasks(*TASKS), table, [*TASKS, "season"])
    for task in ("season", "length", "colour", "season"):
        made(task)
    assert len(passes) == 1


def test_attributes_and_labels_are_measured_in_one_pass_with_the_numbers_of_many(
    table: Table, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = tiny_encoder_of_tasks(*TASKS)
    judges = [RetrievalEvaluator(), AttributeRetrievalEvaluator()]
    together = evaluate_table(encoder, table, judges, task="season")
    assert len(passes) == 1
    defaults = TaskVectors.__init__.__kwdefaults__
    monkeypatch.setattr(TaskVectors.__init__, "__kwdefaults__", {**defaults, "kept_bytes": 1})
    passes.clear()
    one_by_one = evaluate_table(encoder, table, judges, task="season")
    assert len(passes) == 4
    assert together.as_dict() == one_by_one.as_dict()
    assert {f"map[{task}]" for task in TASKS} <= set(together.metrics)


def test_during_training_what_is_frozen_runs_once_for_all_attributes(table: Table, passes: list[int]) -> None:
    encoder = tiny_encoder_of_tasks(*TASKS)
    trainer = TrainerConfig(freeze="backbone", cache="features", cache_dtype="fp32")
    plain = evaluate_table(encoder, table, [AttributeRetrievalEvaluator()])
    cached = evaluate_table(encoder, table, [AttributeRetrievalEvaluator()], trainer=trainer)
    passes.clear()
    assert evaluate_table(encoder, table, [AttributeRetrievalEvaluator()], trainer=trainer).metrics == cached.metrics
    assert passes == []  # nothing of the trunk ran again
    assert cached.metrics == pytest.approx(plain.metrics)
