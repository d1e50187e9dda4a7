"""The contract of a reranker: what every one promises, whatever it makes of a first ranking."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fashreg.indexes.exact import ExactIndex
from fashreg.testing.rows import unit_rows
from fashreg.values import Rankings

N, D = 40, 8
HUGE = 2**53 + 1  # the first integer that float64 cannot hold
CLUSTERS, EACH = 5, 8


def clusters(seed: int = 0, spread: float = 0.12) -> Tensor:
    """(40, 8) rows of length 1: five clusters of eight, far apart for a small `spread`; two rows of each are equal."""
    noise = unit_rows(N, D, seed + 100)
    centres = torch.eye(D)[:CLUSTERS].repeat_interleave(EACH, 0)
    rows = torch.nn.functional.normalize(centres + spread * noise, dim=1)
    rows[1::EACH] = rows[::EACH]
    return rows


def ids_of(n: int = N, seed: int = 0) -> Tensor:
    """n ids in no order; one is 0, and one is beyond what a float can hold."""
    ids = 1 + torch.randperm(3 * n, generator=torch.Generator().manual_seed(seed))[:n]
    ids[n // 2], ids[n // 3] = HUGE, 0
    return ids


def gallery(spread: float = 0.6, order: Tensor | None = None) -> ExactIndex:
    """An exact index over the clusters, its rows added in some order."""
    order = torch.arange(N) if order is None else order
    index = ExactIndex(embed_dim=D)
    index.add(clusters(spread=spread)[order], ids_of()[order])
    return index


def asked(reranker: Any, queries: Tensor, k: int, index: Any = None, **limits: Any) -> tuple[Rankings, Rankings]:
    """The first ranking of width k, and what the reranker makes of it."""
    index = gallery() if index is None else index
    first = index.search(queries, k, **limits)
    return first, reranker(queries, first, index, **limits)


class Excluding:
    """An index that leaves out more than a query's own id, as a protocol may: here, two ids for each query id."""

    embed_dim = D

    def __init__(self, index: ExactIndex, banned: dict[int, list[int]]) -> None:
        self.index, self.banned, self.vectors = index, banned, index.vectors

    def __len__(self) -> int:
        return len(self.index)

    def search(self, vectors: Tensor, k: int, *, query_ids: Any = None, allowed: Any = None) -> Rankings:
        own = [-1] * len(vectors) if query_ids is None else query_ids.tolist()
        found = []
        for vector, asking in zip(vectors, own, strict=True):
            left = self.index.vectors()[1] if allowed is None else allowed
            left = left[~torch.isin(left, torch.tensor([asking, *self.banned.get(asking, [])]))]
            found.append(self.index.search(vector[None], k, allowed=left))
        return Rankings(torch.cat([f.ids for f in found]), torch.cat([f.scores for f in found]))


class RerankerContract:
    """Override `reranker` with one in its default configuration."""

    @pytest.fixture
    def reranker(self) -> Any:
        """A reranker."""
        raise NotImplementedError("override the fixture `reranker`")

    def test_it_says_how_many_ranks_it_wants_to_see(self, reranker: Any) -> None:
        assert type(reranker.depth) is int
        assert reranker.depth >= 1

    @pytest.mark.parametrize("k", [1, 2, 7, N, N + 3])
    def test_the_answer_has_the_shape_and_types_of_the_first_ranking(self, reranker: Any, k: int) -> None:
        first, found = asked(reranker, clusters(1, 0.6)[:6], k)
        assert found.ids.shape == found.scores.shape == first.ids.shape == (6, k)
        assert (found.ids.dtype, found.scores.dtype) == (torch.int64, torch.float32)
        nobody, _ = asked(reranker, clusters()[:0], k)[::-1]
        assert nobody.ids.shape == nobody.scores.shape == (0, k)

    @pytest.mark.parametrize("k", [3, N, N + 3])
    def test_every_row_names_different_items_best_first_and_pads_at_the_end(self, reranker: Any, k: int) -> None:
        _, found = asked(reranker, clusters(1, 0.6)[::3], k)
        for ids, scores in zip(found.ids.tolist(), found.scores, strict=True):
            real = [i for i in ids if i >= 0]
            assert len(real) == min(k, N)
            assert ids[len(real) :] == [-1] * (k - len(real))
            assert len(set(real)) == len(real)
            assert set(real) <= set(ids_of().tolist())
            assert bool(scores[: len(real)].isfinite().all())
            assert bool((scores[len(real) :] == -torch.inf).all())
            assert bool((scores[: len(real)].diff() <= 0).all())

    def test_a_query_of_the_gallery_never_finds_itself(self, reranker: Any) -> None:
        own = ids_of().clone()
        own[5] = -1  # no identity: nothing is left out
        _, found = asked(reranker, gallery().vectors()[0], N - 1, query_ids=own)
        assert not (found.ids == own[:, None])[own >= 0].any()
        assert bool((found.ids >= 0).all())

    @pytest.mark.parametrize("share", [1, 4, 20])
    def test_only_allowed_items_appear(self, reranker: Any, share: int) -> None:
        own, allowed = ids_of()[:6], ids_of()[:share]
        _, found = asked(reranker, gallery().vectors()[0][:6], 5, query_ids=own, allowed=allowed)
        for asking, ids in zip(own.tolist(), found.ids.tolist(), strict=True):
            left = set(allowed.tolist()) - {asking}
            real = [i for i in ids if i >= 0]
            assert set(real) <= left
            assert len(real) == min(5, len(left))

    def test_what_the_index_leaves_out_for_a_query_id_stays_out(self, reranker: Any) -> None:
        vectors, ids = gallery().vectors()
        nearest = gallery().search(vectors, 3, query_ids=ids).ids
        banned = {int(i): row[:2].tolist() for i, row in zip(ids, nearest, strict=True)}
        _, found = asked(reranker, vectors, 9, Excluding(gallery(), banned), query_ids=ids)
        for asking, row in zip(ids.tolist(), found.ids.tolist(), strict=True):
            assert not {asking, *banned[asking]} & set(row)

    def test_every_query_is_answered_on_its_own(self, reranker: Any) -> None:
        queries = clusters(1, 0.6)
        _, together = asked(reranker, queries, 9)
        _, backwards = asked(reranker, queries.flip(0), 9)
        assert torch.equal(backwards.ids.flip(0), together.ids)
        for row in (0, 11, 39):
            _, alone = asked(reranker, queries[row : row + 1], 9)
            assert torch.equal(alone.ids[0], together.ids[row])
            assert torch.allclose(alone.scores[0], together.scores[row], atol=1e-5)

    @pytest.mark.parametrize("seed", range(3))
    def test_the_order_of_the_gallery_changes_nothing_even_where_items_are_equal(
        self, reranker: Any, seed: int
    ) -> None:
        turned = gallery(order=torch.randperm(N, generator=torch.Generator().manual_seed(seed)))
        queries = clusters(1, 0.6)[::2]
        one, other = asked(reranker, queries, 12)[1], asked(reranker, queries, 12, turned)[1]
        assert torch.equal(one.ids, other.ids)
        assert torch.allclose(one.scores, other.scores, atol=1e-5)

    def test_clear_clusters_stay_clear(self, reranker: Any) -> None:
        index = gallery(spread=0.12)
        vectors, ids = index.vectors()
        cluster_of = {int(i): row // EACH for row, i in enumerate(ids)}
        _, found = asked(reranker, vectors, N - 1, index, query_ids=ids)
        for row, ranked in enumerate(found.ids.tolist()):
            assert all(cluster_of[i] == row // EACH for i in ranked[: EACH - 1])

    def test_it_is_pure(self, reranker: Any) -> None:
        index, queries, own = gallery(), clusters(1, 0.6)[:5].requires_grad_(), ids_of()[:5]
        rankings = index.search(queries, 9, query_ids=own)
        given = (queries, rankings.ids, rankings.scores, own, *index.vectors())
        kept = [x.detach().clone() for x in given]
        first = reranker(queries, rankings, index, query_ids=own)
        asked(reranker, clusters(2, 0.3), 20, gallery(spread=0.2))
        again = reranker(queries, rankings, index, query_ids=own)
        assert torch.equal(first.ids, again.ids)
        assert torch.equal(first.scores, again.scores)
        assert not first.scores.requires_grad
        now = (queries.detach(), rankings.ids, rankings.scores, own, *index.vectors())
        assert all(torch.equal(a, b) for a, b in zip(kept, now, strict=True))

    @pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
    def test_other_float_types_are_taken(self, reranker: Any, dtype: torch.dtype) -> None:
        queries = clusters(0, 0.12)[::EACH].to(dtype)
        _, found = asked(reranker, queries, 2, gallery(spread=0.12))
        assert found.scores.dtype == torch.float32
        assert set(found.ids[0].tolist()) == set(ids_of()[:2].tolist())

    def test_queries_that_do_not_fit_are_refused(self, reranker: Any) -> None:
        index, queries = gallery(), clusters(1)[:3]
        rankings = index.search(queries, 4)
        spoilt = queries.clone()
        spoilt[1, 2] = float("nan")
        bad: tuple[tuple[Tensor, Rankings, Tensor | None], ...] = (
            (torch.ones(3, D + 1), rankings, None),
            (queries[:2], rankings, None),
            (queries, rankings, ids_of()[:2]),
            (queries, Rankings(rankings.ids, rankings.scores[:, :2]), None),
            (spoilt, rankings, None),
        )
        for given, ranked, own in bad:
            with pytest.raises(ValueError):
                reranker(given, ranked, index, query_ids=own)

    def test_rankings_of_another_gallery_are_refused(self, reranker: Any) -> None:
        index, queries = gallery(), clusters(1)[:3]
        rankings = index.search(queries, 4)
        with pytest.raises(ValueError, match="index"):
            reranker(queries, Rankings(rankings.ids + 1000, rankings.scores), index)
