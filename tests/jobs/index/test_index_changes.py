"""Pictures come, are replaced and go; what cannot be done leaves the folder as it was."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from index_shop import N, picture, state

from fashreg.errors import BusyError, DataError, ModelError
from fashreg.indexes import folder as index_folder
from fashreg.jobs import index_changes
from fashreg.jobs.index_changes import add_to_index, delete_from_index, update_index
from fashreg.jobs.indexing import build_index, load_index


def test_pictures_come_are_replaced_and_go(shop: Path, index: Path, tmp_path: Path) -> None:
    assert str(add_to_index(index, shop / "more.csv", progress=False)) == "5 pictures added; the index holds 29"
    gallery = load_index(index)
    assert gallery.search([shop / "m3.png"], k=1, where="sku=m3") == [[]]  # itself is left out
    assert [gallery.id_of(shop / f"m{i}.png") for i in range(5)] == list(range(N, N + 5))
    picture(shop / "m4.png", 7)  # the picture that 7.png shows
    changed = pd.read_csv(shop / "more.csv", dtype=str).iloc[[4]].assign(sku="new", category="coat")
    changed = changed.drop(columns="price")  # what a table does not say stays
    changed.to_csv(shop / "changed.csv", index=False)
    assert update_index(index, shop / "changed.csv", progress=False).count == 1
    (hit,) = load_index(index).search([shop / "7.png"], k=1)[0]
    assert (hit["sku"], hit["category"], hit["id"], hit["price"]) == ("new", "coat", N + 4, "0.50")
    assert delete_from_index(index, where="category=coat", ids=[0, 1], images=[shop / "2.png"]).total == 25
    left = load_index(index)
    assert {"000", "001", "002", "new"}.isdisjoint(left.items["sku"])
    assert len(left) == len(left.items) == 25
    assert add_to_index(index, shop / "changed.csv", progress=False).total == 26
    assert set(load_index(index).items["id"]) == {*range(3, N + 4), N + 4}
    picture(shop / "m4.png", 104)


def test_an_id_column_is_kept_and_matched(shop: Path, tmp_path: Path) -> None:
    table = pd.read_csv(shop / "table.csv", dtype=str).assign(number=[str(1000 + i) for i in range(N)])
    table.iloc[:20].to_csv(shop / "first.csv", index=False)
    table.iloc[18:].to_csv(shop / "second.csv", index=False)
    table.iloc[20:].to_csv(shop / "third.csv", index=False)
    ours = {"options": ["id=number"], "progress": False}
    build_index(shop / "model", shop / "first.csv", tmp_path / "i", **ours)
    before = state(tmp_path / "i")
    with pytest.raises(DataError, match=r'2 rows: 0 \("1018"\), 1 \("1019"\)'):
        add_to_index(tmp_path / "i", shop / "second.csv", **ours)
    with pytest.raises(DataError, match=r"rows are not in .*4 rows.*1020"):
        update_index(tmp_path / "i", shop / "second.csv", **ours)
    assert state(tmp_path / "i") == before
    assert add_to_index(tmp_path / "i", shop / "third.csv", **ours).total == N
    assert update_index(tmp_path / "i", shop / "second.csv", **ours).count == 6


def test_what_cannot_be_changed_leaves_the_folder_as_it_was(shop: Path, index: Path) -> None:
    before = state(index)
    for change, says in (
        (lambda: add_to_index(index, shop / "table.csv", progress=False), "pictures are in .* already: 24 rows"),
        (lambda: update_index(index, shop / "more.csv", progress=False), "rows are not in"),
        (lambda: delete_from_index(index, ids=[1, 77]), "no picture of the index has the id 77"),
        (lambda: delete_from_index(index, images=[shop / "m1.png"]), "m1.png is not in"),
        (lambda: delete_from_index(index, where="category=hat"), "category is one of: dress, shirt, skirt"),
        (lambda: delete_from_index(index), "say what to delete"),
    ):
        with pytest.raises(DataError, match=says):
            change()
        assert state(index) == before


def test_an_emptied_index_says_so_and_can_be_filled_again(shop: Path, index: Path) -> None:
    assert delete_from_index(index, ids=range(N)).total == 0
    with pytest.raises(ModelError, match="holds no picture"):
        load_index(index).search([shop / "1.png"])
    assert add_to_index(index, shop / "more.csv", progress=False).total == 5


def test_of_two_writers_one_is_told_and_nothing_is_lost(shop: Path, index: Path, monkeypatch) -> None:
    measured = index_changes.measure

    def meanwhile(*arguments: Any) -> Any:
        monkeypatch.setattr(index_changes, "measure", measured)
        delete_from_index(index, ids=[3])
        return measured(*arguments)

    monkeypatch.setattr(index_changes, "measure", meanwhile)
    with pytest.raises(BusyError, match=r"changed .* meanwhile"):
        delete_from_index(index, ids=[5])
    assert set(load_index(index).items["id"]) == set(range(N)) - {3}


def test_while_one_writes_another_is_refused(index: Path, monkeypatch) -> None:
    inside, go = threading.Event(), threading.Event()
    write = index_folder.write_tensors

    def slow(*arguments: Any, **options: Any) -> None:
        inside.set()
        go.wait(10)
        write(*arguments, **options)

    monkeypatch.setattr(index_folder, "write_tensors", slow)
    first = threading.Thread(target=delete_from_index, args=(index,), kwargs={"ids": [3]})
    first.start()
    assert inside.wait(10)
    try:
        with pytest.raises(BusyError, match="another process is writing"):
            delete_from_index(index, ids=[5])
    finally:
        go.set()
        first.join()
    assert set(load_index(index).items["id"]) == set(range(N)) - {3}
