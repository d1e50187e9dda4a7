"""A structure comes back from plain numbers as it was; numbers that cannot be are refused before FAISS sees them."""

from __future__ import annotations

import pytest
import torch

from fashreg.errors import ModelError
from fashreg.indexes.faiss import FaissIndex
from fashreg.indexes.folder import load_index_folder
from fashreg.manifest import write_manifest
from fashreg.strict_tensors import read_tensors, write_tensors
from fashreg.testing.rows import unit_rows

N, D = 1200, 16
KINDS = [{"kind": kind} for kind in ("sq8", "ivf-sq8", "ivf-pq", "hnsw")]
FACTORIES = [
    {"factory": f} for f in ("HNSW8", "IVF16,Flat", "PQ4x4", "OPQ4_8,IVF8,PQ4x4", "PCA8,SQ8", "IVF8_HNSW8,PQ4x4fsr")
]


def filled(options, n=N):
    index = FaissIndex(embed_dim=D, **{"train_min": 700} if "OPQ" in str(options) else {}, **options)
    index.add(unit_rows(n, D), torch.arange(n))
    return index


@pytest.mark.parametrize("options", KINDS + FACTORIES, ids=str)
@pytest.mark.parametrize("changed", [False, True])
def test_a_structure_comes_back_as_it_was(options, changed, tmp_path, monkeypatch):
    index = filled(options)
    if changed:
        index.delete(torch.arange(100, 200))
        index.update(unit_rows(60, D, seed=1), torch.arange(300, 360))
    queries = unit_rows(40, D, seed=2)
    before = index.search(queries, 5)
    index.save(tmp_path / "i")
    monkeypatch.setattr("fashreg.indexes.faiss_structure.Structure.put", None)  # nothing is trained again
    again = FaissIndex.load(tmp_path / "i")
    monkeypatch.undo()
    after = again.search(queries, 5)
    assert again.trained
    least = 0.99 if index._structure.filters else 0.6  # what cannot filter has looked at more while slots were empty
    assert (after.ids == before.ids).float().mean() > least
    again.add(unit_rows(10, D, seed=3), torch.arange(5000, 5010))
    new = again.search(unit_rows(10, D, seed=3), 1).ids.flatten() == torch.arange(5000, 5010)
    assert new.sum() >= (7 if "_8" in str(options) or "PCA" in str(options) else 10)  # half the width is gone
    again.delete(torch.arange(5000, 5010))
    assert (again.search(unit_rows(10, D, seed=3), 5).ids < 5000).all()


def test_forms_that_are_not_known_are_made_again(tmp_path):
    index = filled({"factory": "NSG8"})
    index.save(tmp_path / "i")
    assert index.structure() == {}
    assert not load_index_folder(tmp_path / "i").structure
    assert FaissIndex.load(tmp_path / "i").recall(unit_rows(40, D, seed=2)) > 0.9


def damaged(name, change):
    def harm(tensors):
        tensors[name] = change(tensors[name]) if change else tensors.pop(name)[:0]
        if change is None:
            del tensors[name]

    return harm


def put(at, value):
    def change(tensor):
        tensor.view(-1)[at] = value
        return tensor

    return change


def links_above(tensors):
    """A link on the upper level to a slot that has none."""
    levels, links = tensors["levels"], tensors["links"]
    high = int((levels > 1).nonzero()[0])
    before = int(torch.where(levels[:high] > 1, 96, 64).sum())
    links[before + 64] = int((levels == 1).nonzero()[0])


GRAPH = [
    damaged("links", put(0, N)),
    damaged("links", put(0, -2)),
    damaged("links", lambda t: t[:-1]),
    damaged("links", None),
    damaged("levels", put(3, 40)),
    damaged("levels", put(3, 0)),
    damaged("levels", lambda t: t[:-1]),
    damaged("levels", lambda t: t.long()),
    damaged("entry", put(0, N)),
    damaged("entry", put(0, -1)),
    damaged("entry", lambda t: t.repeat(2)),
    damaged("slots", put(0, 1)),
    damaged("slots", put(0, N)),
    damaged("slots", put(0, -1)),
    damaged("gone", lambda t: torch.zeros(1, D)),
    damaged("trained", lambda t: t[:-1]),
    damaged("trained", lambda t: t.double()),
    damaged("made_for", put(0, -1)),
    damaged("made_for", lambda t: t.int()),
    links_above,
]
LISTS = [
    damaged("lists", put(0, 16)),
    damaged("lists", put(0, -1)),
    damaged("lists", lambda t: t[:-1]),
    damaged("lists", lambda t: t.long()),
    damaged("centroids", lambda t: t[:-1]),
    damaged("centroids", None),
    damaged("made_for", put(0, 2**39)),
    damaged("made_for", put(0, 2**62)),
    damaged("trained", None),
]


@pytest.mark.parametrize(
    ("options", "harms"), [({"kind": "hnsw"}, GRAPH), ({"kind": "ivf-pq"}, LISTS)], ids=["hnsw", "ivf-pq"]
)
def test_numbers_that_no_such_structure_has_are_refused(options, harms, tmp_path):
    filled(options).save(tmp_path / "i")
    path = tmp_path / "i" / "structure.safetensors"
    sound = path.read_bytes()
    for place, harm in enumerate(harms):
        path.write_bytes(sound)
        tensors = {name: tensor.clone() for name, tensor in read_tensors(path).items()}
        harm(tensors)
        write_tensors(path, tensors)
        write_manifest(tmp_path / "i", "index")
        with pytest.raises(ModelError, match=r"structure\.safetensors"):
            pytest.fail(f"harm {place} went unseen: {FaissIndex.load(tmp_path / 'i')}")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"factory": "IVF999999999999,Flat"}, "more than any gallery needs"),
        ({"factory": "HNSW2000000"}, "more than any gallery needs"),
        ({"factory": "PQ8x30"}, "30 bits|more than 12 bits"),
        ({"kind": "ivf-pq", "factory": "HNSW8"}, "without a factory"),
        ({"kind": "fast"}, "kind is one of"),
        ({"factory": "IVF16,Flat", "train_min": 3}, "cannot be trained on fewer than 16"),
        ({"kind": "hnsw", "nprobe": 3}, "nprobe does not apply to hnsw"),
        ({"kind": "ivf-pq", "ef_search": 3}, "ef_search does not apply to ivf-pq"),
    ],
)
def test_options_beyond_reason_are_refused_before_anything_is_allocated(config, says):
    with pytest.raises(ValueError, match=says):
        FaissIndex(embed_dim=D, **config)
