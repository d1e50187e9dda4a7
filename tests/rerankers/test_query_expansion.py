"""Query expansion against the formula written out, and where it helps and hurts."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from fashreg.functional.query_expansion import expanded_queries
from fashreg.indexes.exact import ExactIndex
from fashreg.rerankers.query_expansion import QueryExpansionReranker
from fashreg.testing.rows import unit_rows


def filled(rows: torch.Tensor, metric: Any = "cosine") -> ExactIndex:
    index = ExactIndex(metric, embed_dim=rows.shape[1])
    index.add(rows, torch.arange(len(rows)))
    return index


def plain(query: list[float], neighbours: list[list[float]], alpha: float) -> list[float]:
    def unit(v: list[float]) -> list[float]:
        return [x / math.hypot(*v) for x in v]

    total = unit(query)
    for g in map(unit, neighbours):
        cosine = sum(a * b for a, b in zip(unit(query), g, strict=True))
        weight = 1.0 if alpha == 0 else max(0.0, cosine) ** alpha
        total = [t + weight * x for t, x in zip(total, g, strict=True)]
    return [x * math.hypot(*query) for x in unit(total)]


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 3.0])
def test_the_expanded_query_is_the_formula(alpha: float) -> None:
    queries, neighbours = 2 * unit_rows(4, 5), torch.stack([unit_rows(6, 5, seed=s) for s in range(4)])
    found = expanded_queries(queries, neighbours, torch.ones(4, 6, dtype=torch.bool), alpha)
    wanted = [plain(q, n, alpha) for q, n in zip(queries.tolist(), neighbours.tolist(), strict=True)]
    assert torch.allclose(found, torch.tensor(wanted), atol=1e-5)


def test_a_case_worked_out_by_hand() -> None:
    # q = (1, 0), g = (cos 60, sin 60), alpha = 1: q' = (1 + 1/2 * 1/2, 1/2 * sqrt(3)/2) = (5/4, sqrt(3)/4), over its
    # length sqrt(28)/4. alpha = 0: q' = (3/2, sqrt(3)/2), the direction of 30 degrees.
    query, near = torch.tensor([[1.0, 0.0]]), torch.tensor([[[0.5, math.sqrt(3) / 2]]])
    here = torch.ones(1, 1, dtype=torch.bool)
    one = expanded_queries(query, near, here, 1.0)
    assert torch.allclose(one, torch.tensor([[5.0, math.sqrt(3)]]) / math.sqrt(28))
    none = expanded_queries(query, near, here, 0.0)
    assert torch.allclose(none, torch.tensor([[math.sqrt(3) / 2, 0.5]]))


def test_absent_and_opposite_neighbours_weigh_nothing() -> None:
    query = torch.tensor([[3.0, 4.0]])
    others = torch.tensor([[[-3.0, -4.0], [0.0, 1.0]]])
    moved = expanded_queries(query, others, torch.tensor([[True, False]]), 3.0)
    assert torch.allclose(moved, query)


def test_a_sum_without_direction_leaves_the_query() -> None:
    query = torch.tensor([[3.0, 4.0]])
    moved = expanded_queries(query, -query[None], torch.ones(1, 1, dtype=torch.bool), 0.0)
    assert torch.allclose(moved, query)
    nothing = expanded_queries(torch.zeros(1, 2), torch.zeros(1, 3, 2), torch.ones(1, 3, dtype=torch.bool), 3.0)
    assert torch.equal(nothing, torch.zeros(1, 2))


@pytest.mark.parametrize("alpha", [0.0, 3.0])
def test_the_answer_is_a_search_with_the_expanded_query(alpha: float) -> None:
    rows = unit_rows(40, 6)
    index, own = filled(rows), torch.arange(8)
    first = index.search(rows[:8], 10, query_ids=own)
    found = QueryExpansionReranker(n=4, alpha=alpha)(rows[:8], first, index, query_ids=own)
    moved = [plain(rows[q].tolist(), rows[first.ids[q, :4]].tolist(), alpha) for q in range(8)]
    wanted = index.search(torch.tensor(moved), 10, query_ids=own)
    assert torch.equal(found.ids, wanted.ids)
    assert torch.allclose(found.scores, wanted.scores, atol=1e-5)


def test_it_finds_what_the_first_search_missed() -> None:
    angles = torch.tensor([0.0, 20, 40, 60, -45, -50]).deg2rad()  # a chain to one side, two strangers on the other
    rows = torch.stack([angles.cos(), angles.sin()], 1)
    index, own = filled(rows), torch.tensor([0])
    first = index.search(rows[:1], 4, query_ids=own)
    assert first.ids.tolist() == [[1, 2, 4, 5]]
    found = QueryExpansionReranker(n=2)(rows[:1], first, index, query_ids=own)
    assert found.ids.tolist() == [[1, 2, 3, 4]]


def test_the_length_of_the_query_is_kept_for_an_index_of_inner_products() -> None:
    rows = unit_rows(20, 6)
    index = filled(rows, "inner")
    reranker = QueryExpansionReranker()
    one = reranker(rows[:3], index.search(rows[:3], 5), index)
    ten = reranker(10 * rows[:3], index.search(10 * rows[:3], 5), index)
    assert torch.equal(one.ids, ten.ids)
    assert torch.allclose(10 * one.scores, ten.scores, atol=1e-4)


def test_many_queries_are_done_in_blocks_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = unit_rows(40, 6)
    index = filled(rows)
    whole = QueryExpansionReranker()(rows, index.search(rows, 9), index)
    monkeypatch.setattr("fashreg.rerankers.query_expansion._BLOCK_BYTES", 8 * 3 * 6 * 7)
    assert torch.equal(whole.ids, QueryExpansionReranker()(rows, index.search(rows, 9), index).ids)


@pytest.mark.parametrize("options", [{"n": 0}, {"alpha": -1.0}, {"alpha": float("nan")}, {"alpha": float("inf")}])
def test_impossible_values_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="alpha"):
        QueryExpansionReranker(**options)
    with pytest.raises(ValueError, match="expanded_queries"):
        expanded_queries(torch.zeros(2, 3), torch.zeros(2, 1, 4), torch.ones(2, 1, dtype=torch.bool), 1.0)
