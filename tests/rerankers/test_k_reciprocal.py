"""k-reciprocal re-ranking against plain sets, against a case worked out by hand, and where it helps."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from plain_k_reciprocal import Points, reranked
from torch import Tensor

from fashreg.functional.k_reciprocal import shared_neighbours
from fashreg.functional.metrics import average, average_precision, judge
from fashreg.functional.relevance import relevance_from_labels
from fashreg.indexes.exact import ExactIndex
from fashreg.rerankers.k_reciprocal import KReciprocalReranker
from fashreg.testing.rows import unit_rows
from fashreg.values import Rankings


def filled(rows: Tensor, metric: Any = "cosine") -> ExactIndex:
    index = ExactIndex(metric, embed_dim=rows.shape[1])
    index.add(rows, torch.arange(len(rows)) * 7 + 3)
    return index


def rows_of(ids: Tensor) -> Tensor:
    return (ids - 3) // 7


@pytest.mark.parametrize(("k1", "k2", "weight"), [(1, 1, 0.3), (4, 1, 0.0), (4, 3, 0.3), (7, 6, 0.5), (60, 9, 0.1)])
def test_it_agrees_with_plain_sets(k1: int, k2: int, weight: float) -> None:
    rows = unit_rows(30, 4, seed=k1)
    index, own = filled(rows), torch.arange(6) * 7 + 3
    first = index.search(rows[:6], 18, query_ids=own)
    found = KReciprocalReranker(k1, k2, weight, depth=15)(rows[:6], first, index, query_ids=own)
    for q in range(6):
        candidates = rows[rows_of(first.ids[q, :15])].tolist()
        plain = reranked(rows[q].tolist(), candidates, k1, k2, weight)
        assert torch.allclose(found.scores[q, :15], torch.tensor([s for _, s in plain]), atol=1e-5)
        places = {int(i): place for place, i in enumerate(first.ids[q])}
        score_at = dict(plain)
        for rank, item in enumerate(found.ids[q, :15].tolist()):  # equal scores may swap by rounding
            assert math.isclose(score_at[places[item]], float(found.scores[q, rank]), abs_tol=1e-5)


def test_a_case_worked_out_by_hand() -> None:
    # Points on a circle: the query q at 0 degrees, a at 10, b at 12, c at 15, d at 16, e at 16.5.
    # Two nearest: N(q) = {q, a, b}, N(a) = {a, b, c}, N(b) = {b, a, c}, N(c) = {c, d, e} = N(d) = N(e).
    # Mutual: R(q) = {q}, R(a) = {a, b} = R(b), R(c) = {c, d, e} = R(d) = R(e).
    # Mutual among the one nearest: {q}, {a, b}, {a, b}, {c}, {d, e}, {d, e}: no set grows. q shares nobody.
    angles = torch.tensor([0.0, 10, 12, 15, 16, 16.5]).deg2rad()
    points = torch.stack([angles.cos(), angles.sin()], 1)[None]
    present = torch.ones(1, 6, dtype=torch.bool)
    assert torch.allclose(shared_neighbours(points, present, 2, 1), torch.tensor([[1.0, 0, 0, 0, 0, 0]]))
    # With a as the query: V(a) gives 1 / (1 + w) to a and w / (1 + w) to b, w = exp(cos 2 - 1), and V(b) the same with
    # a and b exchanged; the sum of minima is 2 w / (1 + w), of maxima 2 / (1 + w), so a and b have similarity w.
    w = math.exp(math.cos(math.radians(2)) - 1)
    shared = shared_neighbours(points[:, [1, 0, 2, 3, 4, 5]], present, 2, 1)
    assert torch.allclose(shared, torch.tensor([[1.0, 0, w, 0, 0, 0]]))


def test_absent_points_change_nothing() -> None:
    rows = unit_rows(12, 4)
    wide = torch.cat([rows[:9], torch.zeros(5, 4)])[None]
    present = (torch.arange(14) < 9)[None]
    alone = shared_neighbours(rows[None, :9], present[:, :9], 5, 3)
    padded = shared_neighbours(wide, present, 5, 3)
    assert torch.allclose(padded[:, :9], alone)
    assert padded[:, 9:].eq(0).all()


def test_sets_are_independent_and_equal_points_go_by_place() -> None:
    points = torch.stack([unit_rows(10, 4, seed=s) for s in range(3)])
    points[:, 4:7] = points[:, 3:4]
    present = torch.ones(3, 10, dtype=torch.bool)
    together = shared_neighbours(points, present, 3, 2)
    for s in range(3):
        assert torch.allclose(shared_neighbours(points[s : s + 1], present[:1], 3, 2)[0], together[s])
        plain = Points(points[s].tolist(), 3, 2)
        assert torch.allclose(together[s], torch.tensor([plain.similarity(g) for g in range(10)]), atol=1e-5)


def two_rings(seed: int) -> tuple[Tensor, Tensor]:
    """Forty points each on two arcs that bend round one another: near ends of different arcs look alike."""
    t = torch.linspace(0, math.pi, 40)
    one = torch.stack([t.cos(), t.sin(), torch.full_like(t, 1.5)], 1)
    other = torch.stack([1 - t.cos(), 0.45 - t.sin(), torch.full_like(t, 1.5)], 1)
    noise = 0.02 * torch.randn(80, 3, generator=torch.Generator().manual_seed(seed))
    rows = torch.nn.functional.normalize(torch.cat([one, other]) + noise, dim=1)
    return rows, torch.arange(2).repeat_interleave(40)


@pytest.mark.parametrize("seed", range(3))
def test_it_finds_more_of_a_class_that_is_a_curve(seed: int) -> None:
    rows, labels = two_rings(seed)
    index, ids = filled(rows), torch.arange(80) * 7 + 3
    relevance = relevance_from_labels(labels, ids, labels, ids)
    first = index.search(rows, 79, query_ids=ids)
    found = KReciprocalReranker(k1=8, k2=4)(rows, first, index, query_ids=ids)
    before, after = (average(average_precision(judge(r, relevance))) for r in (first, found))
    assert after > before + 0.015


def test_ranks_beyond_its_depth_stay_behind_in_their_order() -> None:
    rows = unit_rows(50, 6)
    index = filled(rows)
    first = index.search(rows[:8], 50)
    found = KReciprocalReranker(k1=3, k2=2, depth=12)(rows[:8], first, index)
    assert torch.equal(found.ids[:, 12:], first.ids[:, 12:])
    assert torch.equal(found.ids[:, :12].sort(1).values, first.ids[:, :12].sort(1).values)
    assert torch.allclose(found.scores[:, 12:], torch.minimum(0.3 * first.scores[:, 12:], found.scores[:, 11:12]))


def test_with_the_whole_weight_on_the_original_distance_nothing_moves() -> None:
    rows = unit_rows(40, 6)
    index = filled(rows)
    first = index.search(rows[:9], 30)
    found = KReciprocalReranker(original_weight=1.0)(rows[:9], first, index)
    assert torch.equal(found.ids, first.ids)
    assert torch.allclose(found.scores, first.scores, atol=1e-6)


def test_the_length_of_vectors_does_not_matter_among_candidates() -> None:
    rows = unit_rows(30, 6)
    longer = rows * torch.linspace(0.5, 3, 30)[:, None]
    plain, inner = filled(rows), filled(longer, "inner")
    first = plain.search(rows[:5], 20)
    reranker = KReciprocalReranker(k1=5, k2=2)
    one, other = reranker(rows[:5], first, plain), reranker(9 * rows[:5], first, inner)
    assert torch.equal(one.ids, other.ids)
    assert torch.allclose(one.scores, other.scores, atol=1e-6)


def test_an_index_of_inner_products_still_gives_falling_scores() -> None:
    rows = unit_rows(60, 6) * torch.linspace(1, 9, 60)[:, None]
    index = filled(rows, "inner")
    found = KReciprocalReranker(depth=10)(rows[:5], index.search(rows[:5], 60), index)
    assert (found.scores.diff(dim=1) <= 0).all()


def test_many_queries_are_done_in_blocks_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = unit_rows(40, 6)
    index = filled(rows)
    first = index.search(rows, 12)
    whole = KReciprocalReranker()(rows, first, index)
    monkeypatch.setattr("fashreg.rerankers.k_reciprocal._BLOCK_BYTES", 4 * 10 * 13 * 13 * 7)
    parts = KReciprocalReranker()(rows, first, index)
    assert torch.equal(whole.ids, parts.ids)
    assert torch.allclose(whole.scores, parts.scores, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [{"k1": 0}, {"k2": 0}, {"depth": 0}, {"depth": 5000}, {"original_weight": 1.1}, {"original_weight": -0.1}],
)
def test_impossible_values_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        KReciprocalReranker(**options)
    with pytest.raises(ValueError, match="shared_neighbours"):
        shared_neighbours(torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool), 1, 1)


def test_an_index_far_away_is_asked_for_the_candidates_only() -> None:
    rows = unit_rows(30, 6)
    near = filled(rows)

    class Far:
        embed_dim, search = 6, near.search

        def vectors_of(self, ids: Tensor) -> Tensor:
            assert len(ids) == 2 * 8
            return rows[rows_of(ids)]

    first: Rankings = near.search(rows[:2], 8)
    found = KReciprocalReranker()(rows[:2], first, Far())  # type: ignore[arg-type]
    assert torch.equal(found.ids, KReciprocalReranker()(rows[:2], first, near).ids)
