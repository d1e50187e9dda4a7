"""Moving: an index folder into Milvus and back, with items, model and what has changed in between."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from fashreg_milvus.index import MilvusIndex
from fashreg_milvus.moving import main, pull, push

from fashreg import build, spec_of
from fashreg.errors import ModelError
from fashreg.indexes.folder import load_index_folder, save_index
from fashreg.jobs.index_changes import delete_from_index
from fashreg.jobs.indexing import open_gallery
from fashreg.testing.index import D, filled, ids_of, rows
from fashreg.testing.rows import unit_rows

EXTRA = {"model": "runs/a/model", "task": None, "table": "abc"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of a FAISS index with items, two cells of them empty."""
    faiss = filled(build("index", "faiss", embed_dim=D))
    kinds = [None if i < 2 else "dress" if i % 2 else "shoe" for i in range(40)]
    items = pd.DataFrame({"id": ids_of().numpy(), "kind": kinds, "price": [float(i) for i in range(40)]})
    save_index(faiss, tmp_path / "faiss", items=items, model_fingerprint="f" * 64, spec=spec_of(faiss), extra=EXTRA)
    return tmp_path / "faiss"


def test_a_gallery_goes_to_a_server_and_comes_back_bit_for_bit(folder: Path, server: str, tmp_path: Path) -> None:
    assert push(folder, tmp_path / "there", uri=server, collection="moved", index_type="HNSW") == 40
    assert pull(tmp_path / "there", tmp_path / "back", index="faiss") == 40
    one, two = load_index_folder(folder), load_index_folder(tmp_path / "back")
    assert (two.spec["name"], two.model_fingerprint, two.extra) == ("faiss", one.model_fingerprint, EXTRA)
    order = one.ids.argsort()
    assert torch.equal(two.ids, one.ids[order])
    assert torch.equal(two.vectors, one.vectors[order])
    assert one.items is not None
    assert two.items is not None
    pd.testing.assert_frame_equal(one.items.sort_values("id", ignore_index=True), two.items, check_dtype=False)


def test_what_was_pushed_is_searched_and_filtered_by_its_items(folder: Path, tmp_path: Path) -> None:
    push(folder, tmp_path / "there", uri=str(tmp_path / "a.db"), collection="shop")
    saved = load_index_folder(tmp_path / "there")
    assert saved.spec["config"]["collection"] == "shop"
    with_collection = build("index", saved.spec)
    with_collection.restore(saved.vectors, saved.ids)
    shoes = {int(i) for i in ids_of()[2:20:2]}
    found = with_collection.search(rows(3), 9, where='kind == "shoe" and price < 20')
    assert set(found.ids.flatten().tolist()) == shoes
    with_collection.close()


def test_pull_gives_what_the_collection_holds_now(folder: Path, tmp_path: Path) -> None:
    push(folder, tmp_path / "there", uri=str(tmp_path / "a.db"))
    live = MilvusIndex(str(tmp_path / "a.db"), embed_dim=D)
    live.delete(ids_of()[:5])
    live.add(unit_rows(1, D, 9), torch.tensor([901]), items=[{"kind": "hat"}])
    live.close()
    assert pull(tmp_path / "there", tmp_path / "back") == 36
    back = load_index_folder(tmp_path / "back")
    assert set(back.ids.tolist()) == {*ids_of()[5:].tolist(), 901}
    assert back.items is not None
    assert back.items.set_index("id").loc[901].isna().all()
    assert back.items.set_index("id").loc[int(ids_of()[7]), "kind"] == "dress"


def test_an_index_folder_of_a_collection_changes_like_any_other(folder: Path, tmp_path: Path) -> None:
    push(folder, tmp_path / "there", uri=str(tmp_path / "a.db"))
    gone = ids_of()[:4].tolist()
    assert str(delete_from_index(tmp_path / "there", ids=gone)) == "4 pictures deleted; the index holds 36"
    saved = load_index_folder(tmp_path / "there")
    gallery = open_gallery(saved, None)
    found = gallery.search_vectors(rows()[:1], 40, where="kind=dress")
    assert {hit["id"] for hit in found[0]} == set(ids_of()[5::2].tolist())
    gallery.index.delete(ids_of()[5:6])
    with pytest.raises(ModelError, match=r"^the collection 'gallery' in .* has changed since"):
        open_gallery(saved, None)
    gallery.index.close()


def test_nothing_is_pushed_upon_rows_that_are_there_or_pulled_from_nowhere(folder: Path, tmp_path: Path) -> None:
    held = filled(MilvusIndex(str(tmp_path / "a.db"), embed_dim=D))
    with pytest.raises(ModelError, match="holds 40 rows already"):
        push(folder, tmp_path / "there", uri=str(tmp_path / "a.db"))
    assert len(held) == 40
    with pytest.raises(ModelError, match="pull takes one that push wrote"):
        pull(folder, tmp_path / "back")
    held.close()
    assert not (tmp_path / "there").exists()


def test_the_command_says_what_it_did_and_what_it_could_not(
    folder: Path, nobody: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there, back = str(tmp_path / "there"), str(tmp_path / "back")
    assert main(["push", str(folder), "--uri", str(tmp_path / "a.db"), "--out", there]) == 0
    assert main(["pull", there, "--index", "faiss", "--out", back]) == 0
    assert capsys.readouterr().out == f"40 rows; {there}\n40 rows; {back}\n"
    assert main(["push", str(folder), "--uri", nobody, "--out", there]) == 1
    assert f"no Milvus answers at {nobody}" in capsys.readouterr().err
