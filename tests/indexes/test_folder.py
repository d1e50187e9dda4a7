import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fashreg.errors import ModelError
from fashreg.indexes.exact import ExactIndex
from fashreg.indexes.faiss import FaissIndex
from fashreg.indexes.folder import load_index_folder, save_index
from fashreg.manifest import write_manifest
from fashreg.strict_tensors import write_tensors

SPEC = {"name": "exact", "plugin": "fashreg", "version": "0.1.0", "config": {"metric": "cosine", "embed_dim": 2}}
ITEMS = [
    {"id": 7, "path": "a.jpg", "price": 3},
    {"id": 2**62, "path": "ü.jpg", "price": None},
    {"id": 0, "path": "c", "price": 2**60},
]


@pytest.fixture
def index():
    made = ExactIndex(embed_dim=2)
    made.add(torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 4.0]]), torch.tensor([7, 2**62, 0]))
    return made


@pytest.fixture
def folder(index, tmp_path):
    save_index(index, tmp_path / "i", items=ITEMS, model_fingerprint="abc", spec=SPEC, extra={"task": None})
    return tmp_path / "i"


def test_everything_comes_back(index, folder):
    saved = load_index_folder(folder, model_fingerprint="abc")
    assert (saved.spec, saved.model_fingerprint, saved.extra) == (SPEC, "abc", {"task": None})
    assert torch.equal(saved.vectors, index.vectors()[0])
    assert saved.ids.tolist() == [7, 2**62, 0]
    assert saved.items["id"].tolist() == [7, 2**62, 0]
    assert saved.items["path"].tolist() == ["a.jpg", "ü.jpg", "c"]
    assert saved.items["price"].tolist() == [3, None, 2**60]


def test_another_models_index_is_refused_even_when_the_dimensions_agree(folder):
    with pytest.raises(ModelError, match=r"another model \(fingerprint abc, this one is xyz\)"):
        load_index_folder(folder, model_fingerprint="xyz")
    assert load_index_folder(folder).model_fingerprint == "abc"


def test_a_data_frame_keeps_what_its_cells_say(index, tmp_path):
    frame = pd.DataFrame(
        {
            "id": np.array([0, 7, 2**62]),
            "label": ["001", "1e5", ""],
            "count": pd.array([1, None, 3], dtype="Int64"),
            "share": [0.5, float("nan"), 1.0],
            "flag": [True, False, True],
            "day": pd.to_datetime(["2024-01-02", None, "2024-01-03"]),
            "path": [Path("a"), Path("b"), Path("c")],
        },
        index=[5, 5, 5],
    )
    save_index(index, tmp_path / "i", items=frame)
    items = load_index_folder(tmp_path / "i").items
    assert items["id"].tolist() == [0, 7, 2**62]
    assert items["label"].tolist() == ["001", "1e5", ""]
    assert items["count"].tolist() == [1, None, 3]
    assert items["share"].isna().tolist() == [False, True, False]
    assert items["flag"].tolist() == [True, False, True]
    assert items["day"].tolist() == ["2024-01-02 00:00:00", None, "2024-01-03 00:00:00"]
    assert items["path"].tolist() == ["a", "b", "c"]


def test_items_without_ids_are_in_the_order_of_the_vectors(index, tmp_path):
    save_index(index, tmp_path / "i", items=[{"path": p} for p in "abc"])
    assert load_index_folder(tmp_path / "i").items["id"].tolist() == [7, 2**62, 0]


def test_an_index_without_items_or_rows_can_be_saved(tmp_path):
    ExactIndex(embed_dim=3).save(tmp_path / "i")
    saved = load_index_folder(tmp_path / "i")
    assert saved.items is None
    assert saved.vectors.shape == (0, 3)
    assert len(ExactIndex.load(tmp_path / "i")) == 0
    save_index(ExactIndex(embed_dim=3), tmp_path / "j", items=[])
    assert load_index_folder(tmp_path / "j").items.columns.tolist() == ["id"]


@pytest.mark.parametrize(
    ("items", "says"),
    [
        (ITEMS[:2], "3 vectors need as many items, got 2"),
        ([{**row, "id": 1} for row in ITEMS], "not the ids of the vectors"),
        ([{**row, "box": (1, 2)} for row in ITEMS], "column 'box' holds a tuple"),
        ([{**row, "size": float("inf")} for row in ITEMS], "JSON compliant"),
    ],
)
def test_items_that_do_not_fit_are_refused_and_nothing_is_written(index, tmp_path, items, says):
    with pytest.raises(ValueError, match=says):
        save_index(index, tmp_path / "i", items=items)
    assert list(tmp_path.iterdir()) == []


def test_a_failing_save_keeps_the_old_index(index, folder):
    with pytest.raises(ValueError):
        save_index(index, folder, items=ITEMS[:1])
    with pytest.raises(TypeError):
        save_index(index, folder, extra={"x": object()})
    assert load_index_folder(folder).model_fingerprint == "abc"


def test_each_class_loads_its_own_options_and_refuses_those_of_another(tmp_path):
    made = FaissIndex("HNSW8", ef_search=33, embed_dim=4)
    made.add(torch.eye(4), torch.arange(4))
    made.save(tmp_path / "i")
    assert FaissIndex.load(tmp_path / "i").ef_search == 33
    with pytest.raises(ModelError, match="saved by the index 'FaissIndex', which is not a ExactIndex"):
        ExactIndex.load(tmp_path / "i")


def rewritten(folder, name, change):
    """Change a file and make the manifest agree, as somebody who means harm would."""
    path = folder / name
    if name.endswith(".json"):
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
    else:
        change(path)
    write_manifest(folder, "index")


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("index.json", lambda c: c.update(count=2**40), r"vectors\.safetensors does not hold"),
        ("index.json", lambda c: c.update(embed_dim=3), r"vectors\.safetensors does not hold"),
        ("index.json", lambda c: c.update(count=-1), r"index\.json speaks of -1"),
        ("index.json", lambda c: c.update(count=True), r"index\.json is not"),
        ("index.json", lambda c: c.update(version=9), "version 9"),
        ("index.json", lambda c: c.update(code="x"), r"index\.json is not"),
        ("index.json", lambda c: c.pop("spec"), r"index\.json is not"),
        ("index.json", lambda c: c.update(spec={"name": 3, "config": {}}), r"index\.json: its spec"),
        ("index.json", lambda c: c["spec"]["config"].update(metric="l2"), r"index\.json holds options"),
        ("index.json", lambda c: c["spec"]["config"].update(embed_dim=5), r"index\.json holds options"),
        ("items.jsonl", lambda p: p.write_text("{}\n" * 3), r"items\.jsonl: every line"),
        ("items.jsonl", lambda p: p.write_text('{"id": 7}\n' * 3), r"items\.jsonl: its ids"),
        ("items.jsonl", lambda p: p.write_text('{"id": 7}\n{"id": \n'), r"items\.jsonl: line 2"),
        ("items.jsonl", lambda p: p.write_text(""), r"items\.jsonl: its ids"),
        ("vectors.safetensors", lambda p: p.write_bytes(b"\x80\x04" * 99), r"vectors\.safetensors"),
    ],
)
def test_a_folder_that_lies_is_refused_by_file(folder, name, change, says):
    rewritten(folder, name, change)
    with pytest.raises(ModelError, match=says):
        ExactIndex.load(folder)


@pytest.mark.parametrize(
    ("vectors", "ids", "says"),
    [
        (torch.full((3, 2), torch.nan), [7, 2**62, 0], "'vectors' holds NaN"),
        (torch.ones(3, 2), [7, 7, 0], "not unique"),
        (torch.ones(3, 2), [7, -1, 0], "not unique or not 0 or larger"),
        (torch.ones(3, 2).double(), [7, 1, 0], "should be F32"),
    ],
)
def test_tensors_that_lie_are_refused(folder, vectors, ids, says):
    rewritten(folder, "vectors.safetensors", lambda p: write_tensors(p, {"vectors": vectors, "ids": torch.tensor(ids)}))
    with pytest.raises(ModelError, match=says):
        load_index_folder(folder)
