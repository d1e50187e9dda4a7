"""Measuring from the command line: intervals, slices, sources, folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fashreg.jobs.evaluation_folder import load_evaluation


@pytest.fixture
def ours(shop: Path) -> tuple[object, ...]:
    return ("evaluate", shop / "run/model", "--table", shop / "atelier/table.csv", "--split", "test")


def test_training_leaves_the_evaluation_of_its_end(shop: Path) -> None:
    after = json.loads((shop / "run/results.json").read_text())["after"]
    found = load_evaluation(shop / "run")
    assert found.as_dict() == after
    assert found.protocol.split == "test"
    assert set(after["intervals"]) == set(after["metrics"])


def test_evaluate_writes_a_folder_of_the_same_protocol_as_training(shop: Path, fashreg, ours, tmp_path: Path) -> None:
    done = fashreg(*ours, "--out", tmp_path / "e", "--json")
    assert done.status == 0, done.err
    found, trained = load_evaluation(tmp_path / "e"), load_evaluation(shop / "run")
    assert json.loads(done.out) == found.as_dict()
    assert found.protocol.hash == trained.protocol.hash
    assert found.metrics == pytest.approx(trained.metrics, abs=1e-6)
    assert len(found.items) == found.counts["queries"] == len(found.neighbours)


def test_the_summary_shows_intervals_and_the_worst_slices(fashreg, ours) -> None:
    out = fashreg(*ours, "--slice", "category").out
    assert "recall@1" in out
    assert "  [0." in out
    assert "by category, worst first" in out


def test_evaluators_and_rerankers_are_named_with_their_options(fashreg, ours) -> None:
    done = fashreg(
        *ours, "--json", "--evaluator", "{name: retrieval, ks: [3]}", "--reranker", "{name: query-expansion, n: 2}"
    )
    assert done.status == 0, done.err
    result = json.loads(done.out)
    assert "recall@3" in result["metrics"]
    assert result["protocol"]["rerankers"][0]["config"]["n"] == 2


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--slice", "categry"), ('no column "categry"', '"category"')),
        (("--source", "camera"), ('no column "camera"',)),
        (("--evaluator", "{name: "), ("is no component",)),
        (("--evaluator", "retreival"), ("did you mean 'retrieval'",)),
        (("--reranker", "k-reciprocl"), ("did you mean 'k-reciprocal'",)),
    ],
)
def test_a_mistake_is_told_in_one_line(fashreg, ours, more, words) -> None:
    done = fashreg(*ours, *more)
    assert done.status == 1
    assert "Traceback" not in done.err
    for word in words:
        assert word in done.err, done.err


def test_an_evaluation_never_takes_the_place_of_a_model(shop: Path, fashreg, ours) -> None:
    done = fashreg(*ours, "--out", shop / "run/model")
    assert done.status == 1
    assert "holds the fashreg model" in done.err
    assert (shop / "run/model/model.safetensors").exists()


def test_compare_tells_a_model_from_itself_with_reranking(shop: Path, fashreg, ours, tmp_path: Path) -> None:
    assert fashreg(*ours, "--reranker", "k-reciprocal", "--out", tmp_path / "reranked").status == 0
    done = fashreg("compare", shop / "run", tmp_path / "reranked", "--json")
    assert done.status == 0, done.err
    found = json.loads(done.out)
    metric = found["metrics"][found["primary"]]
    assert metric["difference"] == pytest.approx(metric["b"]["mean"] - metric["a"]["mean"])
    assert 0 < metric["p_value"] <= 1
    text = fashreg("compare", shop / "run", tmp_path / "reranked").out
    assert "rerankers differ: none in A, k-reciprocal in B" in text
    assert "[95 % interval]" in text


def test_compare_refuses_another_protocol_in_one_line(shop: Path, fashreg, ours, tmp_path: Path) -> None:
    assert fashreg(*ours, "--label", "category", "--out", tmp_path / "e").status == 0
    done = fashreg("compare", shop / "run", tmp_path / "e")
    assert done.status == 1
    assert "same protocol" in done.err
    assert "and 'category'" in done.err
    gone = fashreg("compare", shop / "run", tmp_path / "gone")
    assert gone.status == 1
    assert "gone" in gone.err
