"""Learning a stream: rows of the matrix, what they must equal, interruptions, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from stream_shop import stream_recipe, stream_shop

import fashreg
from fashreg.data.table import Table, read_table
from fashreg.errors import DataError, FashregError, ModelError, RecipeError
from fashreg.evaluators.attribute_retrieval import AttributeRetrievalEvaluator
from fashreg.jobs.evaluation import evaluate_table, evaluate_vectors
from fashreg.jobs.stream_judging import Judge
from fashreg.jobs.stream_record import read_record
from fashreg.jobs.training import TrainedRun, check
from fashreg.learners.standard import StandardLearner
from fashreg.testing.tiny_run import CrashError
from fashreg.training.objective import Objective
from fashreg.training.run import Run
from fashreg.values import TrainingBatch

SIZES = {**stream_recipe()["data"], "attributes": ["colour", "size"]}


pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return stream_shop(tmp_path_factory.mktemp("shop"))


def train(shop: pd.DataFrame, out: Path | None = None, *, resume: bool = False, **changes: Any) -> TrainedRun:
    written, given = divided(changes)
    return fashreg.train(stream_recipe(**written), table=shop, out=out, resume=resume, quiet=True, **given)


def divided(changes: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a recipe can hold, and classes."""
    given = {name: value for name, value in changes.items() if isinstance(value, type)}
    return {name: value for name, value in changes.items() if name not in given}, given


def judged(shop: pd.DataFrame, attributes: tuple[str, ...] = ("colour", "stripes")) -> Table:
    return read_table(shop, {"attributes": list(attributes), "label": None}, split="test", need_label=False)


def measured(run: TrainedRun, table: Table) -> dict[str, float]:
    return evaluate_table(run.encoder, table, [AttributeRetrievalEvaluator()]).metrics


def weights(run: TrainedRun) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.encoder.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def told(out: Path) -> dict[str, Any]:
    """stream.json without what a clock decides."""
    content: dict[str, Any] = json.loads((out / "stream.json").read_text())
    for cost in content["cost"]:
        cost.pop("seconds")
    return content


@pytest.fixture(scope="module")
def whole(shop: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    return train(shop, tmp_path_factory.mktemp("whole") / "run")


# ---- what a run tells ----


def test_a_row_after_each_experience_holds_what_is_learnt_and_what_comes_next(whole: TrainedRun) -> None:
    assert whole.stream is not None
    assert whole.folder is not None
    record = read_record(whole.folder / "stream.json")
    assert record == whole.stream.record
    assert (record.by, record.experiences, record.columns) == (
        "attribute",
        ("colour", "stripes"),
        ("colour", "stripes"),
    )
    assert record.judged == "test"
    assert dict(record.queries) == {"colour": 12, "stripes": 12}
    assert all(value is not None for row in record.map for value in row)
    assert json.loads(json.dumps(whole.as_dict()))["stream"] == whole.stream.as_dict()
    assert len(whole.stream.reports) == 2
    assert whole.report.steps == sum(report.steps for report in whole.stream.reports) == 24


def test_the_last_row_is_what_the_model_gives_when_it_is_loaded(whole: TrainedRun, shop: pd.DataFrame) -> None:
    assert whole.stream is not None
    assert whole.folder is not None
    assert whole.after is not None
    metrics = evaluate_table(
        fashreg.load(whole.folder / "model"), judged(shop), [AttributeRetrievalEvaluator()]
    ).metrics
    for name, mean, recall in zip(
        whole.stream.record.columns, whole.stream.record.map[-1], whole.stream.record.recall[-1], strict=True
    ):
        assert mean == whole.after.metrics[f"map[{name}]"] == metrics[f"map[{name}]"]
        assert recall == metrics[f"recall@1[{name}]"]
        assert whole.stream.record.chance[name] == pytest.approx(metrics[f"map_random[{name}]"], abs=1e-12)
    assert whole.stream.numbers["final/weighted"] == pytest.approx(whole.after.metrics["map/weighted"])
    assert whole.stream.numbers["final/mean"] == pytest.approx(whole.after.metrics["map/mean"])


def test_the_first_row_is_what_the_first_experience_alone_gives(whole: TrainedRun, shop: pd.DataFrame) -> None:
    assert whole.stream is not None
    alone = train(shop, stream={"order": ["colour"]})
    assert alone.stream is not None
    assert alone.stream.record.columns == ("colour",)
    assert alone.stream.record.map[0][0] == whole.stream.record.map[0][0]
    assert set(alone.encoder.head.tasks) == {"colour"}


def test_the_entry_before_a_task_is_learnt_is_of_its_untrained_head_on_the_encoder_so_far(
    whole: TrainedRun, shop: pd.DataFrame
) -> None:
    assert whole.stream is not None
    alone = train(shop, stream={"order": ["colour"]})
    alone.encoder.head.add_task("stripes")
    assert measured(alone, judged(shop))["map[stripes]"] == whole.stream.record.map[0][1]


def test_the_terminal_shows_the_matrix_and_its_numbers(whole: TrainedRun) -> None:
    assert whole.stream is not None
    text = whole.summary()
    first = whole.stream.record.map[0]
    assert f"{first[0]:.4f}" in text
    assert f"({first[1]:.4f})" in text
    assert "backward_transfer" in text
    assert "chance" in text


def test_the_cost_of_an_experience_is_counted_and_adds_up(whole: TrainedRun) -> None:
    assert whole.stream is not None
    costs = whole.stream.record.cost
    for cost, report in zip(costs, whole.stream.reports, strict=True):
        assert cost == report.cost
        assert cost is not None
        assert cost["image_passes"] == 3 * 8 * report.steps
        assert cost["tuples"] == 4 * report.steps
    kept = sum(cost["parameters"] for cost in costs if cost is not None)
    assert kept == sum(p.numel() for p in whole.encoder.parameters())
    assert whole.report.cost["image_passes"] == sum(cost["image_passes"] for cost in costs if cost is not None)


# ---- frozen encoder, orders ----


def test_with_a_frozen_encoder_nothing_is_forgotten_and_the_order_is_of_no_matter(shop: pd.DataFrame) -> None:
    runs = []
    for order in (["colour", "stripes", "size"], ["size", "stripes", "colour"]):
        recipe = stream_recipe()
        data = {**recipe["data"], "attributes": ["colour", "stripes", "size"]}
        trainer = {**recipe["trainer"], "freeze": "backbone", "epochs": 1}
        runs.append(train(shop, data=data, trainer=trainer, stream={"order": order}))
    streams = [run.stream for run in runs]
    for stream in streams:
        assert stream is not None
        assert stream.numbers["forgetting/max"] == stream.numbers["forgetting/last"] == 0.0
        for a, name in enumerate(stream.record.columns):
            known = {row[a] for row in stream.record.map[stream.record.experiences.index(name) :]}
            assert len(known) == 1
    last = [dict(zip(s.record.columns, s.record.map[-1], strict=True)) for s in streams if s is not None]
    assert last[0] == last[1]
    heads = [{k: v for k, v in weights(run).items() if k.startswith("head.")} for run in runs]
    assert all(torch.equal(value, heads[1][name]) for name, value in heads[0].items())


def test_one_head_for_all_is_judged_by_its_one_vector(shop: pd.DataFrame) -> None:
    run = train(shop, head={"name": "projection", "out_dim": 8}, stream={"heads": "one"})
    assert run.stream is not None
    metrics = measured(run, judged(shop))
    assert run.stream.record.map[-1] == (metrics["map[colour]"], metrics["map[stripes]"])


def test_kept_features_are_shared_by_attributes_of_the_same_rows_and_give_the_same_rows(
    shop: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fashreg.encoder import Encoder

    seen: list[int] = []
    own = Encoder.until
    monkeypatch.setattr(Encoder, "until", lambda self, x, stage: (seen.append(len(x)), own(self, x, stage))[1])
    recipe = stream_recipe()
    trainer = {**recipe["trainer"], "freeze": "backbone", "epochs": 1}
    kept = {"cache": "features", "cache_dtype": "fp32", "cache_views": 1}
    runs = [train(shop, trainer={**trainer, **more}) for more in ({}, kept)]
    assert sum(seen) == 24 + 12 + 12  # each picture of the three splits once, for both attributes
    rows = [run.stream.record.map for run in runs if run.stream is not None]
    for one, other in zip(*rows, strict=True):
        assert one == pytest.approx(other, abs=0.02)


# ---- who asks, who can be found ----


def test_query_and_gallery_flags_are_respected(shop: pd.DataFrame) -> None:
    flagged = shop.assign(is_query=True, is_gallery=True)
    flagged.loc[flagged.split == "test", "is_query"] = [row % 3 == 0 for row in range(12)]
    flagged.loc[flagged.split == "test", "is_gallery"] = [row % 3 != 0 for row in range(12)]
    recipe = stream_recipe()
    run = train(flagged, data={**recipe["data"], "attributes": ["colour"]}, stream={})
    assert run.stream is not None
    assert dict(run.stream.record.queries) == {"colour": 4}
    table = read_table(flagged, {"attributes": ["colour"], "label": None}, split="test", need_label=False)
    found = evaluate_table(run.encoder, table, [AttributeRetrievalEvaluator()])
    assert run.stream.record.map[-1][0] == found.metrics["map[colour]"]
    assert run.stream.record.chance["colour"] == pytest.approx(found.metrics["map_random[colour]"])


def test_without_a_test_split_validation_judges(shop: pd.DataFrame) -> None:
    run = train(shop[shop.split != "test"].reset_index(drop=True), stream={"order": ["colour"]})
    assert run.stream is not None
    assert run.stream.record.judged == "validation"


# ---- by value ----


def test_by_value_each_stage_asks_among_all_values_so_far_with_the_heads_joined(shop: pd.DataFrame) -> None:
    run = train(shop, stream={"by": "value", "attribute": "colour", "stages": 2})
    assert run.stream is not None
    record = run.stream.record
    assert (record.by, record.columns) == ("value", ("stage-1", "stage-2"))
    assert tuple(run.encoder.head.tasks) == ("stage-1", "stage-2")
    table = judged(shop, ("colour",))
    vectors = [run.encoder.embed(table, task=task) for task in run.encoder.head.tasks]
    joined = torch.cat(vectors, dim=1) / 2**0.5
    found = evaluate_vectors(joined, table, [AttributeRetrievalEvaluator()])
    by_query = dict(zip(found.per_query.ids.tolist(), found.per_query.values["map[colour]"].tolist(), strict=True))  # type: ignore[union-attr]
    for stage, values in enumerate((("blue", "green"), ("red", "white"))):
        codes, names = table.attributes["colour"]
        own = [by_query[i] for i, code in zip(table.ids.tolist(), codes, strict=True) if names[code] in values]
        assert record.map[1][stage] == pytest.approx(np.mean(own))
        assert record.queries[f"stage-{stage + 1}"] == len(own)
    assert run.after is not None
    assert run.after.metrics["map[colour]"] == pytest.approx(np.mean(list(by_query.values())))


def test_by_value_the_first_stage_is_judged_among_its_own_values(shop: pd.DataFrame) -> None:
    stream = {"by": "value", "attribute": "colour", "stages": 2}
    run = train(shop, stream=stream)
    assert run.stream is not None
    order = {**stream, "order": ["blue", "green", "red", "white"]}
    assert train(shop, stream=order).stream.record.map == run.stream.record.map  # type: ignore[union-attr]
    narrow = judged(shop, ("colour",)).labelled_by("colour", ["blue", "green"])
    expected = evaluate_vectors(torch.zeros(len(narrow), 2), narrow, [AttributeRetrievalEvaluator()])
    assert run.stream.record.chance["stage-1"] == pytest.approx(expected.metrics["map_random[colour]"])


# ---- learners that want everything at once ----


class AllAtOnceLearner(StandardLearner):
    """Takes a stream as one experience."""

    whole_stream = True


def test_a_learner_that_wants_the_whole_stream_gets_one_experience_and_one_row(shop: pd.DataFrame) -> None:
    run = train(shop, learner=AllAtOnceLearner)
    assert run.stream is not None
    record = run.stream.record
    assert (record.experiences, record.columns) == (("all",), ("colour", "stripes"))
    assert len(record.map) == 1
    metrics = measured(run, judged(shop))
    assert record.map[0] == (metrics["map[colour]"], metrics["map[stripes]"])
    assert run.stream.numbers["final/mean"] == run.stream.numbers["average_incremental"]
    assert np.isnan(run.stream.numbers["forgetting/max"])
    history = run.stream.reports[0].history
    assert history[0]["map"] == pytest.approx((history[0]["map[colour]"] + history[0]["map[stripes]"]) / 2)


class TwoViewsLearner(StandardLearner):
    """Looks at a second view of every picture."""

    needs = frozenset({"second_view"})
    seen: ClassVar[list[bool]] = []

    def objective(self, batch: TrainingBatch) -> Objective:
        self.seen.append(batch.second_view is not None and batch.second_view.shape == batch.images.shape)
        return super().objective(batch)


class ReadingLearner(StandardLearner):
    """Reads the texts."""

    needs = frozenset({"texts"})


def test_what_a_learner_needs_is_in_every_batch_or_refused(shop: pd.DataFrame) -> None:
    TwoViewsLearner.seen.clear()
    train(shop, learner=TwoViewsLearner, stream={"order": ["colour"]})
    assert TwoViewsLearner.seen == [True] * 12
    with pytest.raises(RecipeError, match=r"needs texts, and the recipe names none: --set data.text=COLUMN"):
        check(stream_recipe(), table=shop, learner=ReadingLearner)


# ---- interruption ----


def dies(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int) -> None:
    """The machine goes down at the `call`-th call (from 1) of a method."""
    own: Callable[..., Any] = getattr(owner, name)
    count = 0

    def fails(*given: Any, **more: Any) -> Any:
        nonlocal count
        count += 1
        if count == call:
            raise CrashError
        return own(*given, **more)

    monkeypatch.setattr(owner, name, fails)


@pytest.mark.parametrize(
    ("owner", "name", "call", "learned_again"),
    [
        (Run, "step", 17, {"stripes"}),  # in the middle of the second experience
        (Run, "step", 5, {"colour", "stripes"}),  # in the middle of the first
        (Judge, "row", 1, {"stripes"}),  # learned, and not yet measured
        (Judge, "row", 2, set()),
    ],
)
def test_a_stream_that_died_goes_on_to_the_same_weights_and_the_same_file(
    shop: pd.DataFrame,
    whole: TrainedRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    call: int,
    learned_again: set[str],
) -> None:
    with monkeypatch.context() as patch:
        dies(patch, owner, name, call)
        with pytest.raises(CrashError):
            train(shop, tmp_path)
    taught: set[str] = set()
    own = Run.step
    monkeypatch.setattr(Run, "step", lambda self, group: (taught.add(self.experience.name), own(self, group))[1])
    again = train(shop, tmp_path, resume=True)
    assert taught == learned_again
    assert same(weights(again), weights(whole))
    assert whole.folder is not None
    assert told(tmp_path) == told(whole.folder)


def test_a_resumed_stream_measures_no_row_twice(
    shop: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        dies(patch, Run, "step", 17)
        with pytest.raises(CrashError):
            train(shop, tmp_path)
    assert len(read_record(tmp_path / "stream.json").map) == 1
    rows: list[int] = []
    own = Judge.row
    monkeypatch.setattr(Judge, "row", lambda self, *given: (rows.append(1), own(self, *given))[1])
    train(shop, tmp_path, resume=True)
    assert len(rows) == 1


def test_a_row_that_is_gone_and_cannot_be_measured_any_more_is_missed(
    shop: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        dies(patch, Run, "step", 17)
        with pytest.raises(CrashError):
            train(shop, tmp_path)
    kept = (tmp_path / "stream.json").read_text()
    (tmp_path / "stream.json").unlink()
    with pytest.raises(ModelError, match="lacks the row of 'colour'"):
        train(shop, tmp_path, resume=True)
    (tmp_path / "stream.json").write_text(kept.replace('"colour": 12', '"colour": 13'))
    with pytest.raises(ModelError, match=r"another stream .different: queries"):
        train(shop, tmp_path, resume=True)


# ---- what is refused before the first step ----


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"head": "projection"}, RecipeError, "multi-task, tasks: .*stream.heads=one"),
        ({"head": "multi-task"}, RecipeError, r"starts with default.*head.tasks=\[\]"),
        ({"stream": {"heads": "one"}}, RecipeError, "has a head for each task"),
        ({"stream": {"order": ["color"]}}, RecipeError, "did you mean 'colour'"),
        ({"loss": "proxy-anchor"}, RecipeError, "proxies of one table's classes"),
        ({"trainer": {"batch_size": 20}, "data": SIZES}, RecipeError, "experience 'size'.*the set of 16 images"),
        ({"learner": AllAtOnceLearner, "memory": "xbm", "loss": "contrastive"}, RecipeError, "--set memory=null"),
    ],
)
def test_what_does_not_go_with_a_stream_is_said_before_the_first_step(
    shop: pd.DataFrame, changes: dict[str, Any], error: type[FashregError], said: str
) -> None:
    written, given = divided(changes)
    with pytest.raises(error, match=said):
        check(stream_recipe(**written), table=shop, **given)


def test_an_attribute_with_one_value_cannot_be_learned(shop: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="'colour' has 1 value"):
        check(stream_recipe(), table=shop.assign(colour="red"))


def test_what_could_not_be_measured_is_said_before_it_is_learned(shop: pd.DataFrame) -> None:
    lone = shop.copy()
    lone.loc[lone.split == "test", "stripes"] = ""
    with pytest.raises(DataError, match="no query of 'stripes'"):
        check(stream_recipe(), table=lone)
    with pytest.raises(RecipeError, match=r"data.holdout=0.2"):
        check(stream_recipe(), table=shop[shop.split == "train"].reset_index(drop=True))


def test_a_ready_sampler_belongs_to_one_table(shop: pd.DataFrame) -> None:
    from fashreg.samplers.pairs import PairsSampler

    with pytest.raises(RecipeError, match="a ready sampler"):
        check(stream_recipe(), table=shop, sampler=PairsSampler([0, 0, 1, 1] * 6, batch_size=8))


def test_a_dry_run_tells_the_experiences(shop: pd.DataFrame) -> None:
    text = check(stream_recipe(), table=shop).describe()
    assert "experience colour: 24 pictures, 4 values, 6 batches" in text
    assert "experience stripes: 24 pictures, 3 values, 6 batches" in text
