"""Comparing results: paired over queries, spread over trainings, never across protocols."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fashreg.errors import ModelError
from fashreg.jobs.comparison import compare
from fashreg.jobs.evaluation_folder import save_evaluation
from fashreg.jobs.evaluation_result import Evaluation, PerQuery
from fashreg.protocol import Protocol

PROTOCOL = Protocol(data="d" * 64, rule="leave-one-out", source="t.csv", label="style")
QUERIES = 400


def result(share: float, seed: int = 0, **changes: object) -> Evaluation:
    """A result with this share of hits; equal seeds hit the same queries first."""
    random = torch.Generator().manual_seed(seed)
    hits = (torch.rand(QUERIES, generator=random) < share).double()
    found = Evaluation(
        metrics={"recall@1": float(hits.mean()), "chance": 0.1},
        primary="recall@1",
        protocol=PROTOCOL,
        counts={"queries": QUERIES, "gallery": QUERIES, "queries_without_relevant": 0},
        per_query=PerQuery(torch.arange(QUERIES), {"recall@1": hits}),
    )
    return replace(found, **changes)


def test_a_better_model_is_seen_to_be_better() -> None:
    found = compare(result(0.5), result(0.6))
    recall = found.differences["recall@1"]
    assert recall.difference == pytest.approx(0.1, abs=0.03)
    assert 0 < recall.low < recall.difference < recall.high
    assert recall.p_value < 0.001
    assert recall.worse == 0
    assert recall.better == round(recall.difference * QUERIES)
    assert found.differences["chance"].p_value is None
    assert "over queries" in found.notes[0]


def test_chance_alone_is_not_taken_for_better() -> None:
    recall = compare(result(0.5, seed=1), result(0.5, seed=2)).differences["recall@1"]
    assert recall.p_value > 0.05
    assert recall.low < 0 < recall.high


def test_trainings_are_averaged_and_their_spread_is_told() -> None:
    first, second = [result(0.5, seed=s) for s in range(4)], [result(0.9, seed=s) for s in range(4, 8)]
    found = compare(first, second)
    values = torch.tensor([e.metrics["recall@1"] for e in first], dtype=torch.float64)
    side = found.as_dict()["metrics"]["recall@1"]["a"]
    assert side["mean"] == pytest.approx(float(values.mean()))
    assert side["std"] == pytest.approx(float(values.std()))
    assert found.differences["recall@1"].p_trainings == pytest.approx(2 / 70)  # of 8 over 4
    assert "±" in found.summary()
    assert found.notes == ()


def test_queries_that_are_alike_are_compared_as_groups_where_both_say_so() -> None:
    groups = torch.arange(QUERIES) // 8

    def grouped(share: float, seed: int) -> Evaluation:
        hits = result(share, seed).per_query.values["recall@1"][:50].repeat_interleave(8)
        return result(share, per_query=PerQuery(torch.arange(QUERIES), {"recall@1": hits}, groups))

    one, other = grouped(0.5, 1), grouped(0.6, 2)
    careless = replace(one, per_query=replace(one.per_query, groups=None))
    with_groups, without = (compare(first, other).differences["recall@1"] for first in (one, careless))
    assert with_groups.p_value > without.p_value
    assert with_groups.high - with_groups.low > 2 * (without.high - without.low)


def test_a_difference_within_the_spread_of_trainings_is_noted() -> None:
    found = compare([result(0.5), result(0.6)], [result(0.56, seed=3), result(0.55, seed=4)])
    assert any("no larger than the spread" in note for note in found.notes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": "e" * 64}, r"data: other rows or pictures \(fingerprints dddddddd and eeeeeeee\)"),
        ({"label": "colour"}, "label: 'style' and 'colour'"),
        ({"rule": "queries against gallery"}, "rule: 'leave-one-out' and 'queries against gallery'"),
        ({"exclusions": ("same-id", "same-source:camera")}, "exclusions: .*same-source:camera"),
        ({"evaluators": ({"name": "retrieval", "config": {"ks": [5]}},)}, r"evaluators: .*'ks': \[5\]"),
        ({"split": "test", "label": None}, "split: None and 'test'; label: 'style' and None"),
    ],
)
def test_other_protocols_are_refused_saying_what_differs(changes, words) -> None:
    with pytest.raises(ModelError, match=f"same protocol: {words}"):
        compare(result(0.5), result(0.6, protocol=replace(PROTOCOL, **changes)))


def test_every_training_of_a_side_must_follow_the_protocol() -> None:
    stranger = result(0.5, protocol=replace(PROTOCOL, label="colour"))
    with pytest.raises(ModelError, match="same protocol"):
        compare([result(0.5), stranger], result(0.5))


def test_how_a_model_was_asked_is_noted_and_not_refused() -> None:
    other = replace(PROTOCOL, task="colour", rerankers=({"name": "k-reciprocal", "config": {}},), source="b.csv")
    notes = compare(result(0.5), result(0.6, protocol=other)).notes
    assert "rerankers differ: none in A, k-reciprocal in B" in notes
    assert "task differ: none in A, colour in B" in notes


def test_other_queries_or_metrics_are_refused() -> None:
    shifted = PerQuery(torch.arange(QUERIES) + 1, {"recall@1": torch.zeros(QUERIES).double()})
    with pytest.raises(ModelError, match="different queries"):
        compare(result(0.5), result(0.5, per_query=shifted))
    with pytest.raises(ModelError, match="different metrics: map"):
        compare(result(0.5), result(0.5, metrics={"recall@1": 0.5, "chance": 0.1, "map": 0.3}))
    holes = PerQuery(torch.arange(QUERIES), {"recall@1": torch.full((QUERIES,), torch.nan).double()})
    with pytest.raises(ModelError, match=r"recall@1: the two results do not count the same"):
        compare(result(0.5), result(0.5, per_query=holes))


def test_results_without_numbers_by_query_give_the_bare_difference() -> None:
    found = compare(result(0.5, per_query=None), result(0.6))
    assert found.differences["recall@1"].p_value is None
    assert found.differences["recall@1"].difference == pytest.approx(0.1, abs=0.03)
    json.dumps(found.as_dict(), allow_nan=False)


def test_folders_are_evaluations_runs_lists_or_folders_of_runs(tmp_path: Path) -> None:
    for name, share, seed in (("a/1", 0.5, 1), ("a/2", 0.5, 2), ("b/1", 0.9, 3), ("b/2", 0.9, 4)):
        save_evaluation(result(share, seed), tmp_path / name / "evaluation")
    (tmp_path / "a" / "notes.txt").write_text("mine")
    whole = compare(tmp_path / "a", tmp_path / "b")
    listed = compare(f"{tmp_path}/a/1,{tmp_path}/a/2", [tmp_path / "b/1/evaluation", tmp_path / "b/2"])
    assert whole.differences == listed.differences
    assert [Path(folder).name for folder in whole.first.folders] == ["1", "2"]
    with pytest.raises(ModelError, match="nowhere"):
        compare(tmp_path / "a", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="holds no evaluation"):
        compare(tmp_path / "empty", tmp_path / "a")
    with pytest.raises(ModelError, match="at least one"):
        compare([], tmp_path / "a")


def run_of_tasks(folder: Path, wishes: float, words: float) -> Path:
    """As training leaves a run with tasks, as far as comparing looks."""
    for name, share in (("wishes", wishes), ("words", words)):
        save_evaluation(result(share, protocol=replace(PROTOCOL, label=name)), folder / f"evaluation-{name}")
    (folder / "recipe.yaml").write_text("tasks: {}\n")
    return folder


def test_runs_with_tasks_are_compared_task_by_task(tmp_path: Path) -> None:
    one, other = run_of_tasks(tmp_path / "a", 0.5, 0.5), run_of_tasks(tmp_path / "b", 0.6, 0.4)
    assert compare(one, other, task="wishes").differences["recall@1"].difference > 0
    assert compare(one, other, task="words").differences["recall@1"].difference < 0
    again = run_of_tasks(tmp_path / "seeds/1", 0.6, 0.4), run_of_tasks(tmp_path / "seeds/2", 0.7, 0.4)
    several = compare(one, tmp_path / "seeds", task="wishes").second
    assert several.folders == tuple(str(run / "evaluation-wishes") for run in again)
    with pytest.raises(ModelError, match=r"a was measured on wishes, words: say which to compare, --task wishes"):
        compare(one, other)
    with pytest.raises(ModelError, match=r"on wishes, words, and not on 'word': say which"):
        compare(one, other, task="word")


def test_a_run_with_one_task_needs_no_name_of_it(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_evaluation(result(0.5), tmp_path / name / "evaluation-only")
        (tmp_path / name / "recipe.yaml").write_text("tasks: {}\n")
    assert compare(tmp_path / "a", tmp_path / "b").differences["recall@1"].difference == 0
