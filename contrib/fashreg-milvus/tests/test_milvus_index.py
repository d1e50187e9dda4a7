"""MilvusIndex: the contract over the real engine (embedded, in a file, behind a port), then what is its own."""

from __future__ import annotations

import fcntl
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from fashreg_milvus import asking, collection
from fashreg_milvus.index import MilvusIndex
from torch import Tensor

from fashreg import build, spec_of
from fashreg.errors import BusyError, ModelError
from fashreg.indexes.exact import ExactIndex
from fashreg.testing.index import D, IndexContract, agrees, filled, ids_of, plain_search, rows
from fashreg.testing.rows import unit_rows

N_ALL = 40
names = (f"test_{number}" for number in itertools.count())


class TestEmbedded(IndexContract):
    @pytest.fixture
    def index(self) -> Any:
        return MilvusIndex(embed_dim=8)


class TestGraphs(IndexContract):
    """Rows lie in several segments, each with a graph of its own; filters go out in parts."""

    @pytest.fixture
    def index(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        monkeypatch.setattr(collection, "_FLUSH", 16)
        monkeypatch.setattr(asking, "MOST", 100)
        monkeypatch.setattr(asking, "IDS", 7)
        return MilvusIndex(index_type="HNSW", build={"M": 4}, embed_dim=8)


class TestOnAServer(IndexContract):
    @pytest.fixture
    def index(self, server: str) -> Any:
        return MilvusIndex(server, next(names), embed_dim=8)


@pytest.fixture
def gallery() -> MilvusIndex:
    return filled(MilvusIndex(embed_dim=D))


def found(one: Any, queries: Tensor, k: int, **options: Any) -> list[list[int]]:
    ids: list[list[int]] = one.search(queries, k, **options).ids.tolist()
    return ids


def test_it_is_offered_by_name_and_its_spec_builds_an_equal_one(tmp_path: Path) -> None:
    one = build("index", "milvus", uri=str(tmp_path / "a.db"), build={"M": 8}, index_type="HNSW", embed_dim=4)
    spec = spec_of(one)
    assert (spec["name"], spec["plugin"], spec["config"]["build"]) == ("milvus", "fashreg-milvus", {"M": 8})
    one.add(unit_rows(3, 4, 0), torch.arange(3))
    assert len(build("index", spec)) == 3


@pytest.mark.parametrize("metric", ["cosine", "inner"])
def test_scores_are_those_of_the_exact_index_bit_for_bit(metric: Any) -> None:
    vectors, queries = torch.randn(300, 16) * 3, torch.randn(20, 16)
    one, plain = MilvusIndex(metric=metric, embed_dim=16), ExactIndex(metric, embed_dim=16)
    for each in (one, plain):
        each.add(vectors, torch.arange(300))
    ours, theirs = one.search(queries, 12), plain.search(queries, 12)
    assert torch.equal(ours.ids, theirs.ids)
    assert torch.equal(ours.scores, theirs.scores)
    assert torch.equal(one.vectors()[0], plain.vectors()[0])


def test_more_equal_scores_than_are_fetched_are_still_ordered_by_id(monkeypatch: pytest.MonkeyPatch) -> None:
    one = MilvusIndex(embed_dim=D)
    one.add(rows(1).expand(300, D), torch.arange(300).flip(0))
    assert found(one, rows(2), 3)[0] == [0, 1, 2]
    monkeypatch.setattr(asking, "MOST", 100)  # more than this is searched here
    assert found(one, rows(2), 3)[0] == [0, 1, 2]


def test_depths_that_milvus_does_not_serve_are_served_here(monkeypatch: pytest.MonkeyPatch, gallery: Any) -> None:
    monkeypatch.setattr(asking, "MOST", 10)
    for options in ({}, {"allowed": ids_of()[:9]}):
        wanted = plain_search(rows(3, seed=1), rows(), ids_of(), N_ALL, **{k: v.tolist() for k, v in options.items()})
        assert agrees(gallery.search(rows(3, seed=1), N_ALL, **options), *wanted)
    assert found(gallery, rows(1), 30, allowed=ids_of()[:1], query_ids=ids_of()[:1]) == [[-1] * 30]
    with pytest.raises(ValueError, match="empty"):
        MilvusIndex(embed_dim=D).search(rows(1), 30)


def test_long_filters_are_asked_in_parts(monkeypatch: pytest.MonkeyPatch, gallery: Any) -> None:
    monkeypatch.setattr(asking, "IDS", 7)
    allowed = ids_of()[3:36]
    wanted = plain_search(rows(4, seed=1), rows(), ids_of(), 9, allowed=allowed.tolist())
    assert agrees(gallery.search(rows(4, seed=1), 9, allowed=allowed), *wanted)


def test_items_are_filtered_by_expressions(gallery: Any) -> None:
    fresh, kinds = unit_rows(6, D, 30), ["dress", "dress", "shoe", "shoe", "dress", "hat"]
    items = [{"kind": kind, "price": 10.0 * i, "note": 'say "ah"'} for i, kind in enumerate(kinds)]
    gallery.add(fresh, torch.arange(900, 906), items=items)
    assert sorted(found(gallery, fresh[:1], 9, where='kind == "dress"')[0]) == [-1] * 6 + [900, 901, 904]
    assert found(gallery, fresh[4:5], 1, where='kind == "dress" and price < 35') != [[904]]
    allowed = torch.tensor([901, 904, int(ids_of()[0])])
    assert sorted(found(gallery, fresh[:1], 3, where='kind == "dress"', allowed=allowed)[0]) == [-1, 901, 904]
    gallery.update(unit_rows(1, D, 31), torch.tensor([904]))
    assert found(gallery, unit_rows(1, D, 31), 1, where='kind == "dress"') == [[904]]


@pytest.mark.parametrize("where", ['kind == "none"', "kind ==== 3", "unknown_field > 3"])
def test_an_expression_that_fits_nothing_or_means_nothing_is_refused(gallery: Any, where: str) -> None:
    with pytest.raises(ValueError, match="where"):
        gallery.search(rows(1), 3, where=where)


@pytest.mark.parametrize("items", [[{"a": 1}], [{"a": 1}, {"id": 4}]])
def test_items_that_do_not_fit_are_refused(gallery: Any, items: Any) -> None:
    with pytest.raises(ValueError, match="item"):
        gallery.add(rows(2, seed=9), torch.tensor([901, 902]), items=items)
    assert len(gallery) == N_ALL


@pytest.mark.parametrize(
    ("index_type", "nprobe", "least"), [("HNSW", None, 0.9), ("IVF_FLAT", 1, 0.2), ("IVF_SQ8", 8, 0.9)]
)
def test_approximate_types_may_miss_but_find_enough_and_never_another_score(
    index_type: str, nprobe: int | None, least: float
) -> None:
    vectors, queries = unit_rows(1000, 16, 0), unit_rows(30, 16, 1)
    ivf: Any = {"build": {"nlist": 16}, "probe": {"nprobe": nprobe}} if nprobe else {}
    one, plain = MilvusIndex(index_type=index_type, embed_dim=16, **ivf), ExactIndex(embed_dim=16)
    for each in (one, plain):
        each.add(vectors, torch.arange(1000))
    one._stored.flush()
    mine, true = one.search(queries, 10), plain.search(queries, 1000)
    assert (mine.ids >= 0).all()
    scores = torch.full((30, 1000), torch.nan).scatter_(1, true.ids, true.scores)
    assert torch.equal(scores.gather(1, mine.ids), mine.scores)
    assert least < one.recall(queries, 10) < (1.0 if nprobe == 1 else 1.1)
    assert found(one, queries, 5, allowed=torch.arange(5)) == found(plain, queries, 5, allowed=torch.arange(5))


def test_rows_stay_in_a_file_and_two_indexes_of_a_process_share_it(tmp_path: Path) -> None:
    path = str(tmp_path / "a.db")
    one, two = filled(MilvusIndex(path, embed_dim=D)), MilvusIndex(path, embed_dim=D)
    other = MilvusIndex(path, "other", embed_dim=D)
    assert (len(two), len(other)) == (N_ALL, 0)
    one.close()
    one.close()
    assert found(two, rows()[:1], 1) == [ids_of()[:1].tolist()]
    two.close()
    other.close()
    with pytest.raises(ModelError, match="it was closed"):
        len(two)
    again = MilvusIndex(path, embed_dim=D)
    assert agrees(again.search(rows(3), 4), *plain_search(rows(3), rows(), ids_of(), 4))
    again.close()


def test_another_process_that_has_the_file_is_named(tmp_path: Path) -> None:
    MilvusIndex(str(tmp_path / "a.db"), embed_dim=D).close()
    with (tmp_path / "a.db" / "LOCK").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BusyError, match=r"another process has .*a\.db open"):
            MilvusIndex(str(tmp_path / "a.db"), embed_dim=D)
    assert len(MilvusIndex(str(tmp_path / "a.db"), embed_dim=D)) == 0


def test_private_databases_are_one_and_leave_no_collections_behind() -> None:
    one = MilvusIndex(embed_dim=D)
    client, name = one._database.client, one._database.name
    keeper = MilvusIndex(embed_dim=D)
    assert name in keeper._database.client.list_collections()
    del one, client
    assert name not in MilvusIndex(embed_dim=D)._database.client.list_collections()


@pytest.mark.parametrize("bad", ["a.txt", "ftp://somewhere", "http://user:secret@host:1", "http://", "no/folder/a.db"])
def test_addresses_that_cannot_be_are_refused(bad: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, ModelError), match=r"uri|folder") as error:
        MilvusIndex(bad, embed_dim=D)
    assert "secret" not in str(error.value)


def test_an_address_where_nothing_answers_is_named(nobody: str) -> None:
    with pytest.raises(ModelError, match=f"no Milvus answers at {nobody}"):
        MilvusIndex(nobody, embed_dim=D)


def test_a_file_that_is_no_database_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "old.db").write_bytes(b"SQLite format 3\0")
    with pytest.raises(ModelError, match=r"old\.db is no database of Milvus Lite 3"):
        MilvusIndex(str(tmp_path / "old.db"), embed_dim=D)


def test_a_collection_made_for_others_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "a.db")
    kept = MilvusIndex(path, embed_dim=D)
    for options, said in (
        ({"embed_dim": 9}, r"unit FLOAT_VECTOR \(8\)"),
        ({"embed_dim": D, "metric": "inner"}, "vector FLOAT_VECTOR"),
        ({"embed_dim": D, "index_type": "HNSW"}, "index_type FLAT"),
    ):
        with pytest.raises(ValueError, match=said):
            MilvusIndex(path, **options)  # type: ignore[arg-type]
    kept.close()


@pytest.mark.parametrize(
    "options",
    [{"index_type": "flat"}, {"index_type": "DISKANN"}, {"refine": 0}, {"metric": "l2"}, {"collection": "a b"}],
)
def test_impossible_options_are_refused(options: Any) -> None:
    with pytest.raises(ValueError, match=str(next(iter(options)))):
        MilvusIndex(embed_dim=D, **options)


def test_a_token_is_taken_from_the_environment_and_never_saved(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "root:secret")
    one = filled(MilvusIndex(server, next(names), token_env="SHOP_TOKEN", embed_dim=D))
    assert one._database.client._config.token == "root:secret"
    one.save(tmp_path / "saved")
    assert all(b"secret" not in path.read_bytes() for path in (tmp_path / "saved").iterdir())


def test_an_add_that_breaks_off_leaves_nothing_behind(gallery: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "_FLUSH", 5)
    calls = itertools.count()
    insert = gallery._stored._client.insert

    def breaking(*given: Any) -> Any:
        if next(calls) == 2:
            from pymilvus.exceptions import MilvusException

            raise MilvusException(message="the line is cut")
        return insert(*given)

    monkeypatch.setattr(gallery._stored._client, "insert", breaking)
    with pytest.raises(ModelError, match="the line is cut"):
        gallery.add(rows(20, seed=8), torch.arange(900, 920))
    assert len(gallery) == N_ALL
    assert not set(range(900, 920)) & set(gallery.vectors()[1].tolist())


def test_vectors_are_given_by_id_in_the_order_asked(gallery: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "_BYTES", 4 * D * 3)
    places = torch.tensor([7, 2, 30, 2, 0, 19, 20])
    assert torch.equal(gallery.vectors_of(ids_of()[places]), gallery.vectors_of(ids_of())[places])
    assert torch.allclose(gallery.vectors_of(ids_of()), rows(), atol=1e-6)
    assert gallery.vectors_of(ids_of()[:0]).shape == (0, D)
    with pytest.raises(ValueError, match="901"):
        gallery.vectors_of(torch.tensor([901, 0]))


def test_a_saved_gallery_meets_its_collection_again_unless_that_has_changed(tmp_path: Path) -> None:
    one = filled(MilvusIndex(str(tmp_path / "a.db"), embed_dim=D))
    one.save(tmp_path / "saved")
    again = MilvusIndex.load(tmp_path / "saved")
    assert len(again) == N_ALL
    again.update(rows(1, seed=5), ids_of()[:1])
    with pytest.raises(ModelError, match="has changed since this gallery was saved"):
        MilvusIndex.load(tmp_path / "saved")
    again.delete(ids_of()[:1])
    with pytest.raises(ModelError, match="39 rows, saved were 40"):
        MilvusIndex.load(tmp_path / "saved")
    again.close()
    one.close()


def test_the_embedded_engine_is_reached_past_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    assert len(MilvusIndex(str(tmp_path / "a.db"), embed_dim=D)) == 0
