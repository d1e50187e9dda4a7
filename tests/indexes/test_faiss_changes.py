"""Structures that follow their rows: filters, deletes, updates, growth, and a search as broad as is asked."""

from __future__ import annotations

import pytest
import torch

from fashreg.indexes import faiss as module
from fashreg.indexes.exact import ExactIndex
from fashreg.indexes.faiss import FaissIndex
from fashreg.testing.rows import unit_rows

N, D = 1500, 16
KINDS = ["sq8", "ivf-sq8", "ivf-pq", "hnsw"]


def both(**options):
    index, exact = FaissIndex(embed_dim=D, **options), ExactIndex(embed_dim=D)
    for one in (index, exact):
        one.add(unit_rows(N, D), torch.arange(N))
    return index, exact


def share_found(index, exact, queries, **options):
    found, true = index.search(queries, 10, **options).ids, exact.search(queries, 10, **options).ids
    return float((found[:, :, None] == true[:, None, :]).any(1).float().mean())


@pytest.mark.parametrize("options", [*({"kind": k} for k in KINDS), {"factory": "PQ8x4"}], ids=str)
@pytest.mark.parametrize("correlated", [False, True])
def test_a_filter_inside_faiss_finds_no_less_than_without(options, correlated, monkeypatch):
    monkeypatch.setattr(module, "_FEW", 0)
    monkeypatch.setattr(module, "_NARROW", 8)
    index, exact = both(**options)
    queries = unit_rows(40, D, seed=1)
    plain = share_found(index, exact, queries)
    order = (exact.vectors()[0] @ queries[0]).argsort() if correlated else torch.randperm(N)
    for some in (order[:250], order[: N // 2]):
        assert torch.isin(index.search(queries, 10, allowed=some).ids, some).all()
        assert share_found(index, exact, queries, allowed=some) >= min(0.99, plain) - 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_changes_leave_nothing_of_what_was_and_find_what_is(kind):
    index, exact = both(kind=kind)
    before = share_found(index, exact, unit_rows(40, D, seed=1))
    for step in range(4):
        gone, changed = torch.arange(step * 100, step * 100 + 60), torch.arange(600 + step * 50, 650 + step * 50)
        for one in (index, exact):
            one.delete(gone)
            one.update(unit_rows(50, D, seed=step + 5), changed)
        found = index.search(unit_rows(50, D, seed=step + 5), 10)
        assert found.ids[:, 0].tolist() == changed.tolist()
        assert not torch.isin(found.ids, gone).any()
        assert all(len(set(row)) == 10 for row in found.ids.tolist())
    assert share_found(index, exact, unit_rows(40, D, seed=1)) > before - 0.05
    for one in (index, exact):
        one.delete(one.vectors()[1][:900])  # the structure is made anew
    assert index._structure.slots.empty == 0
    assert share_found(index, exact, unit_rows(40, D, seed=1)) > before - 0.15  # a third of the rows in as many lists


def test_lists_grow_with_the_gallery():
    index = FaissIndex(kind="ivf-sq8", embed_dim=D)
    index.add(unit_rows(700, D), torch.arange(700))
    assert index._structure.lists == 16
    index.add(unit_rows(1000, D, seed=1), torch.arange(700, 1700))
    assert index._structure.lists == 16
    index.add(unit_rows(2000, D, seed=2), torch.arange(1700, 3700))
    assert index._structure.lists == 64
    assert index.recall(unit_rows(30, D, seed=3)) > 0.5


def test_tuning_widens_the_search_until_it_finds_what_is_asked():
    index, _ = both(factory="IVF32,Flat", nprobe=1)
    queries = unit_rows(50, D, seed=1)
    assert index.recall(queries) < 0.6
    assert index.tune(queries, 10, 0.9) >= 0.9
    assert 1 < index.nprobe < 32
    assert index.tune(queries, 10, 1.0) == 1.0
    assert index.recall(queries) == 1.0
    graph, _ = both(factory="HNSW8", ef_search=1)
    assert graph.tune(queries, 10, 0.95) >= 0.95 > FaissIndex.recall(both(factory="HNSW8", ef_search=1)[0], queries)
    assert graph.ef_search > 1


def test_candidates_are_ranked_as_exact_search_ranks_them_even_among_crowds_of_equals():
    vectors = torch.cat([unit_rows(300, D), unit_rows(2, D, seed=1).repeat(200, 1)])
    ids = torch.randperm(700)
    index, exact = FaissIndex("SQ8", refine=30, embed_dim=D), ExactIndex(embed_dim=D)
    for one in (index, exact):
        one.add(vectors, ids)
    found, true = index.search(vectors[:50], 8), exact.search(vectors[:50], 8)
    assert torch.equal(found.ids, true.ids)
    assert torch.equal(found.scores, true.scores)
    crowd = index.search(vectors[300:302], 20).ids
    assert [sorted(row) == row for row in crowd.tolist()] == [True, True]
