"""The evaluation folder: what is written comes back, and what is damaged is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fashreg.errors import ModelError
from fashreg.jobs.evaluation_folder import load_evaluation, save_evaluation
from fashreg.jobs.evaluation_result import Evaluation, Neighbours, PerQuery, StoredVectors
from fashreg.manifest import write_manifest
from fashreg.protocol import Protocol
from fashreg.strict_tensors import write_tensors


@pytest.fixture
def evaluation() -> Evaluation:
    ids = torch.tensor([3, 5, 8])
    return Evaluation(
        metrics={"recall@1": 0.5, "map[colour]": 1.0},
        primary="recall@1",
        protocol=Protocol(data="f" * 64, rule="leave-one-out", label="style", source="t.csv"),
        counts={"queries": 3, "gallery": 3, "queries_without_relevant": 1},
        intervals={"recall@1": (0.1, 0.9)},
        slices={"season": {"été": {"recall@1": 0.5, "support": 2}}},
        per_query=PerQuery(ids, {"recall@1": torch.tensor([0.0, 1.0, torch.nan]).double()}),
        neighbours=Neighbours(ids, torch.tensor([[5], [3], [-1]]), torch.tensor([[0.5], [0.5], [-torch.inf]])),
        items=[{"id": i, "image": f"/{i}.jpg", "label": "a", "attributes": {"colour": None}} for i in ids.tolist()],
        vectors=StoredVectors(ids, torch.eye(3)),
    )


def test_everything_comes_back_as_it_was_saved(evaluation: Evaluation, tmp_path: Path) -> None:
    found = load_evaluation(save_evaluation(evaluation, tmp_path / "e"))
    assert found.as_dict() == evaluation.as_dict()
    assert found.protocol == evaluation.protocol
    assert found.items == evaluation.items
    for part in ("neighbours", "vectors"):
        for name in getattr(found, part).__slots__:
            is_, was = getattr(getattr(found, part), name), getattr(getattr(evaluation, part), name)
            assert torch.equal(is_, was) if isinstance(was, torch.Tensor) else is_ == was
    assert torch.equal(found.per_query.ids, evaluation.per_query.ids)
    assert torch.equal(found.per_query.values["recall@1"].nan_to_num(-1), torch.tensor([0.0, 1, -1]).double())


def test_parts_that_were_not_kept_stay_away(evaluation: Evaluation, tmp_path: Path) -> None:
    bare = Evaluation(evaluation.metrics, evaluation.primary, evaluation.protocol, evaluation.counts)
    found = load_evaluation(save_evaluation(bare, tmp_path / "e"))
    assert found.per_query is found.neighbours is found.items is found.vectors is None
    assert found.as_dict() == bare.as_dict()


def test_a_run_folder_gives_the_evaluation_inside_it(evaluation: Evaluation, tmp_path: Path) -> None:
    save_evaluation(evaluation, tmp_path / "run" / "evaluation")
    assert load_evaluation(tmp_path / "run").metrics == evaluation.metrics
    (tmp_path / "other").mkdir()
    with pytest.raises(ModelError, match="fashreg evaluate"):
        load_evaluation(tmp_path / "other")
    with pytest.raises(ModelError, match="there is no folder"):
        load_evaluation(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["evaluation.json", "per_query.safetensors", "neighbours.safetensors", "items.jsonl"])
def test_a_cut_file_is_named(evaluation: Evaluation, tmp_path: Path, name: str) -> None:
    path = save_evaluation(evaluation, tmp_path / "e") / name
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ModelError, match=name):
        load_evaluation(tmp_path / "e")


def rewritten(folder: Path) -> Path:
    """The manifest made anew, as one would who changes a file on purpose."""
    write_manifest(folder, "evaluation")
    return folder


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"ids": torch.arange(3), "metric:recall@1": torch.zeros(2).double()}, "2.*values for 3 queries"),
        ({"ids": torch.arange(3), "metric:recall@1": torch.zeros(3)}, "float64"),
        ({"ids": torch.arange(3).float()}, "'ids' is torch.float32"),
        ({"metric:recall@1": torch.zeros(3).double()}, "missing"),
        ({"ids": torch.arange(1), "metric:x": torch.tensor([torch.inf]).double()}, "infinity"),
        ({"ids": torch.arange(1), "x": torch.zeros(1).double()}, "metric:x"),
    ],
)
def test_numbers_of_another_shape_or_type_are_refused(evaluation, tmp_path, tensors, words) -> None:
    folder = save_evaluation(evaluation, tmp_path / "e")
    write_tensors(folder / "per_query.safetensors", tensors)
    with pytest.raises(ModelError, match=f"per_query.safetensors.*{words}"):
        load_evaluation(rewritten(folder))


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"metrics": {}},
        {"metrics": {"recall@1": "high"}},
        {"primary": "map"},
        {"intervals": {"recall@1": [0.1]}},
        {"protocol": {"data": "x"}},
        {"protocol": {"data": "x", "rule": "leave-one-out", "colour": 1}},
    ],
)
def test_a_changed_description_is_refused(evaluation: Evaluation, tmp_path: Path, change: dict) -> None:
    folder = save_evaluation(evaluation, tmp_path / "e")
    document = json.loads((folder / "evaluation.json").read_text())
    (folder / "evaluation.json").write_text(json.dumps({**document, **change}))
    with pytest.raises(ModelError, match=r"evaluation\.json"):
        load_evaluation(rewritten(folder))


def test_saving_again_replaces_the_folder_whole(evaluation: Evaluation, tmp_path: Path) -> None:
    save_evaluation(evaluation, tmp_path / "e")
    bare = Evaluation({"recall@1": 1.0}, "recall@1", evaluation.protocol, evaluation.counts)
    found = load_evaluation(save_evaluation(bare, tmp_path / "e"))
    assert found.metrics == {"recall@1": 1.0}
    assert not (tmp_path / "e" / "items.jsonl").exists()


def test_what_is_no_evaluation_is_never_replaced(evaluation: Evaluation, tmp_path: Path) -> None:
    model, run, file = tmp_path / "model", tmp_path / "run", tmp_path / "file"
    for folder, name in ((model, "config.json"), (run, "recipe.yaml")):
        folder.mkdir()
        (folder / name).write_text("{}")
    write_manifest(model, "model")
    file.write_text("mine")
    for place, words in ((model, "holds the fashreg model"), (run, "holds other files"), (file, "is a file")):
        with pytest.raises(ModelError, match=words):
            save_evaluation(evaluation, place)
    assert (model / "config.json").exists()
    assert (run / "recipe.yaml").exists()
