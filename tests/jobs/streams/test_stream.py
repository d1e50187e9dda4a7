"""Learning a stream: rows of the matrix, and what they must equal."""

from __future__ import annotations

import json
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from stream_shop import stream_recipe
from stream_training import AllAtOnceLearner, measured, train, weights

import fashreg
from fashreg.data.table import Table, read_table
from fashreg.errors import RecipeError
from fashreg.evaluators.attribute_retrieval import AttributeRetrievalEvaluator
from fashreg.jobs.evaluation import evaluate_table, evaluate_vectors
from fashreg.jobs.stream_record import read_record
from fashreg.jobs.training import TrainedRun, check
from fashreg.learners.standard import StandardLearner
from fashreg.training.objective import Objective
from fashreg.values import TrainingBatch

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def judged(shop: pd.DataFrame, attributes: tuple[str, ...] = ("colour", "stripes")) -> Table:
    return read_table(shop, {"attributes": list(attributes), "label": None}, split="test", need_label=False)


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
