"""The contract of an index: what every searchable gallery promises, however it searches."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fashreg.errors import ModelError
from fashreg.testing.rows import unit_rows
from fashreg.values import Rankings

N, D = 40, 8
HUGE = 2**53 + 1  # the first integer that float64 cannot hold


def rows(n: int = N, seed: int = 0) -> Tensor:
    """(n, 8) rows of length 1."""
    return unit_rows(n, D, seed)


def ids_of(n: int = N, seed: int = 0) -> Tensor:
    """n ids in no order; one is 0, and one is beyond what a float can hold."""
    ids = 1 + torch.randperm(3 * n, generator=torch.Generator().manual_seed(seed))[:n]
    if n > 2:
        ids[n // 2], ids[n // 3] = HUGE, 0
    return ids


def filled(index: Any, n: int = N) -> Any:
    """The index with n rows."""
    index.add(rows(n), ids_of(n))
    return index


def plain_search(
    queries: Tensor, gallery: Tensor, ids: Tensor, k: int, own: Sequence[int] = (), allowed: Sequence[int] | None = None
) -> tuple[list[list[int]], list[list[float]]]:
    """Every pair scored in fp64 and sorted by (larger score, smaller id)."""
    found = []
    for q, query in enumerate(queries.double()):
        pairs = [(-round(float(query @ g), 6), int(i)) for g, i in zip(gallery.double(), ids, strict=True)]
        kept = [p for p in pairs if (not own or p[1] != own[q]) and (allowed is None or p[1] in allowed)]
        found.append((sorted(kept)[:k] + [(torch.inf, -1)] * k)[:k])
    return [[i for _, i in row] for row in found], [[-s for s, _ in row] for row in found]


def agrees(found: Rankings, ids: list[list[int]], scores: list[list[float]]) -> bool:
    """Right ids in the right order, right scores, right types."""
    types = (found.ids.dtype, found.scores.dtype) == (torch.int64, torch.float32)
    return types and found.ids.tolist() == ids and torch.allclose(found.scores, torch.tensor(scores), atol=2e-6)


class IndexContract:
    """Override `index` with an empty one of embed_dim 8. What is asked here is little enough to be answered exactly."""

    @pytest.fixture
    def index(self) -> Any:
        """An empty index, embed_dim 8."""
        raise NotImplementedError("override the fixture `index`")

    def test_a_new_index_is_empty_and_says_so_when_searched(self, index: Any) -> None:
        assert (len(index), index.embed_dim) == (0, D)
        with pytest.raises(ValueError, match="empty"):
            index.search(rows(1), 3)

    @pytest.mark.parametrize("k", [1, 5, N - 1, N])
    def test_the_nearest_come_first_with_their_scores(self, index: Any, k: int) -> None:
        queries = rows(6, seed=1)
        assert agrees(filled(index).search(queries, k), *plain_search(queries, rows(), ids_of(), k))
        assert len(index) == N

    def test_a_query_leaves_itself_out_and_still_gets_k(self, index: Any) -> None:
        own = ids_of()[:6].clone()
        own[5] = -1  # no identity: nothing is left out
        found = filled(index).search(rows()[:6], 4, query_ids=own)
        assert agrees(found, *plain_search(rows()[:6], rows(), ids_of(), 4, own.tolist()))
        assert int(found.ids[5, 0]) == int(ids_of()[5])

    def test_more_than_there_is_is_padded(self, index: Any) -> None:
        own = ids_of()[:3]
        found = filled(index).search(rows()[:3], N + 2, query_ids=own)
        assert agrees(found, *plain_search(rows()[:3], rows(), ids_of(), N + 2, own.tolist()))
        assert found.ids[:, -3:].tolist() == [[-1] * 3] * 3

    @pytest.mark.parametrize("share", [1, 3, N // 2, N])
    def test_a_filter_of_any_selectivity_gives_the_best_of_what_is_allowed(self, index: Any, share: int) -> None:
        filled(index)
        queries = rows(4, seed=2)
        far = (rows() @ queries[0]).argsort()[:share]  # the rows that an unfiltered search finds last
        allowed = ids_of()[far]
        wanted = plain_search(queries, rows(), ids_of(), 3, allowed=allowed.tolist())
        assert agrees(index.search(queries, 3, allowed=allowed), *wanted)

    def test_filter_and_own_id_work_together(self, index: Any) -> None:
        own, allowed = ids_of()[:2], ids_of()[:3]
        found = filled(index).search(rows()[:2], 3, query_ids=own, allowed=allowed)
        assert agrees(found, *plain_search(rows()[:2], rows(), ids_of(), 3, own.tolist(), allowed.tolist()))
        alone = index.search(rows()[:1], 2, query_ids=own[:1], allowed=own[:1])
        assert alone.ids.tolist() == [[-1, -1]]

    def test_a_filter_that_leaves_nothing_or_names_strangers_is_refused(self, index: Any) -> None:
        filled(index)
        for allowed in (ids_of()[:0], torch.tensor([int(ids_of()[0]), HUGE + 1])):
            with pytest.raises(ValueError, match="allowed"):
                index.search(rows(1), 1, allowed=allowed)

    def test_equal_scores_are_ordered_by_id_whatever_the_order_of_adding(self, index: Any) -> None:
        copies, ids = rows(1).expand(12, D), torch.tensor([9, 4, 11, 2, 7, 0, 10, 5, 3, 8, 1, 6])
        index.add(copies[:7], ids[:7])
        index.add(copies[7:], ids[7:])
        assert index.search(rows(1), 4).ids.tolist() == [[0, 1, 2, 3]]
        assert index.search(rows(1), 4, query_ids=torch.tensor([1])).ids.tolist() == [[0, 2, 3, 4]]

    def test_rows_added_in_parts_equal_rows_added_at_once(self, index: Any) -> None:
        for start in range(0, N, 13):
            index.add(rows()[start : start + 13], ids_of()[start : start + 13])
            index.search(rows(1), 1)
        index.add(rows(0), ids_of()[:0])
        queries = rows(5, seed=3)
        assert agrees(index.search(queries, 7), *plain_search(queries, rows(), ids_of(), 7))

    def test_what_is_stored_can_be_read_back(self, index: Any) -> None:
        vectors, ids = filled(index).vectors()
        order, wanted = ids.argsort(), ids_of().argsort()
        assert torch.equal(ids[order], ids_of()[wanted])
        assert torch.allclose(vectors[order], rows()[wanted], atol=1e-6)

    @pytest.mark.parametrize("taken", ["twice in one add", "stored already", "negative"])
    def test_an_impossible_id_is_named_and_nothing_is_added(self, index: Any, taken: str) -> None:
        filled(index)
        stored = int(ids_of()[4])
        bad = {"twice in one add": [901, 902, 901], "stored already": [901, stored, 902], "negative": [901, -5, 902]}
        named = {"twice in one add": "901", "stored already": str(stored), "negative": "-5"}
        with pytest.raises(ValueError, match=named[taken]):
            index.add(rows(3, seed=5), torch.tensor(bad[taken]))
        assert len(index) == N
        assert agrees(index.search(rows(2, seed=6), 3), *plain_search(rows(2, seed=6), rows(), ids_of(), 3))
        index.add(rows(1, seed=7), torch.tensor([901]))
        assert len(index) == N + 1

    def test_deleted_rows_are_found_no_more_and_the_others_as_before(self, index: Any) -> None:
        filled(index)
        for gone, left in ((ids_of()[5:25], [*range(5), *range(25, N)]), (ids_of()[1:3], [0, 3, 4, *range(25, N)])):
            index.delete(gone)
            index.delete(gone[:0])
            wanted = plain_search(rows()[:8], rows()[left], ids_of()[left], 6)
            assert agrees(index.search(rows()[:8], 6), *wanted)
            assert len(index) == len(left)
        stored = index.vectors()[1]
        assert stored.sort().values.tolist() == sorted(ids_of()[left].tolist())
        with pytest.raises(ValueError, match=str(int(gone[0]))):
            index.search(rows(1), 1, allowed=gone[:1])

    def test_an_index_may_be_emptied_and_filled_again(self, index: Any) -> None:
        filled(index).delete(ids_of())
        assert (len(index), len(index.vectors()[1])) == (0, 0)
        with pytest.raises(ValueError, match="empty"):
            index.search(rows(1), 3)
        index.add(rows(seed=4), ids_of())
        assert agrees(index.search(rows(4), 5), *plain_search(rows(4), rows(seed=4), ids_of(), 5))

    def test_an_updated_row_answers_by_its_new_vector_only(self, index: Any) -> None:
        filled(index)
        now = rows()
        for seed, part in ((20, slice(3, 30)), (21, slice(10, 12)), (22, slice(0, 0))):
            now[part] = rows(N, seed)[part]
            index.update(now[part].clone(), ids_of()[part])
            vectors, ids = index.vectors()
            assert torch.allclose(vectors[ids.argsort()], now[ids_of().argsort()], atol=1e-6)
            queries = torch.cat([rows()[:8], now[8:16]])
            assert agrees(index.search(queries, 6), *plain_search(queries, now, ids_of(), 6))
        assert len(index) == N

    @pytest.mark.parametrize("bad", ["not stored", "given twice", "not whole numbers", "not one by one"])
    def test_a_delete_that_cannot_be_done_changes_nothing(self, index: Any, bad: str) -> None:
        filled(index)
        first, second = ids_of()[:2].tolist()
        given = {"not stored": [first, 901], "given twice": [first, second, first], "not whole numbers": [0.0]}
        with pytest.raises(ValueError, match={"not stored": "901", "given twice": str(first)}.get(bad)):
            index.delete(torch.tensor(given.get(bad, [[first, second]])))
        assert len(index) == N
        assert agrees(index.search(rows(2, seed=6), 3), *plain_search(rows(2, seed=6), rows(), ids_of(), 3))

    @pytest.mark.parametrize("bad", ["not stored", "given twice", "too few", "too wide", "no number"])
    def test_an_update_that_cannot_be_done_changes_nothing(self, index: Any, bad: str) -> None:
        filled(index)
        fresh, ids = rows(3, seed=12), ids_of()[:3].clone()
        if bad in ("not stored", "given twice"):
            ids[2] = 901 if bad == "not stored" else ids[0]
        elif bad == "no number":
            fresh[1, 0] = torch.nan
        else:
            fresh = fresh[:2] if bad == "too few" else torch.ones(3, D + 1)
        named = {"not stored": "901", "given twice": str(int(ids[0])), "no number": "1 holds NaN or infinity"}
        with pytest.raises(ValueError, match=named.get(bad)):
            index.update(fresh, ids)
        assert len(index) == N
        assert agrees(index.search(rows(2, seed=6), 3), *plain_search(rows(2, seed=6), rows(), ids_of(), 3))

    def test_a_deleted_id_may_come_back_with_another_vector(self, index: Any) -> None:
        filled(index).delete(ids_of()[:7])
        index.add(rows(N, seed=13)[:7], ids_of()[:7])
        now = torch.cat([rows(N, seed=13)[:7], rows()[7:]])
        queries = rows(5, seed=14)
        assert agrees(index.search(queries, 7), *plain_search(queries, now, ids_of(), 7))
        own, allowed = ids_of()[:4], ids_of()[:9]
        found = index.search(now[:4], 3, query_ids=own, allowed=allowed)
        assert agrees(found, *plain_search(now[:4], now, ids_of(), 3, own.tolist(), allowed.tolist()))

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_what_is_no_number_is_refused_on_both_sides(self, index: Any, value: float) -> None:
        spoilt = rows(3, seed=8)
        spoilt[1, 2] = value
        with pytest.raises(ValueError, match="1 holds NaN or infinity"):
            index.add(spoilt, torch.tensor([901, 902, 903]))
        with pytest.raises(ValueError, match="1 holds NaN or infinity"):
            filled(index).search(spoilt, 2)
        assert len(index) == N

    def test_other_widths_shapes_and_k_below_one_are_refused(self, index: Any) -> None:
        filled(index)
        calls: tuple[Callable[[], Any], ...] = (
            lambda: index.add(torch.ones(2, D + 1), torch.tensor([901, 902])),
            lambda: index.add(rows(2), torch.tensor([901])),
            lambda: index.add(rows(2), torch.tensor([901.0, 902.0])),
            lambda: index.search(torch.ones(2, D - 1), 1),
            lambda: index.search(rows(1)[0], 1),
            lambda: index.search(rows(2), 1, query_ids=torch.tensor([1])),
            lambda: index.search(rows(2), 0),
            lambda: index.search(rows(2), -1),
        )
        for call in calls:
            with pytest.raises(ValueError):
                call()
        assert len(index) == N

    def test_callers_keep_their_tensors_and_may_change_them(self, index: Any) -> None:
        vectors, ids, queries = rows(), ids_of(), rows(3, seed=9).requires_grad_()
        index.add(vectors, ids)
        kept = queries.detach().clone()
        first = index.search(queries, 3)
        assert torch.equal(queries.detach(), kept)
        assert not first.scores.requires_grad
        vectors.zero_()
        ids.zero_()
        assert agrees(index.search(queries, 3), *plain_search(kept, rows(), ids_of(), 3))

    @pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
    def test_other_float_types_are_taken(self, index: Any, dtype: torch.dtype) -> None:
        index.add(rows().to(dtype), ids_of())
        found = index.search(rows()[:5].to(dtype), 1)
        assert found.ids[:, 0].tolist() == ids_of()[:5].tolist()
        assert found.scores.dtype == torch.float32

    def test_no_queries_give_no_rows(self, index: Any) -> None:
        assert filled(index).search(rows(0), 3).ids.shape == (0, 3)

    def test_a_saved_index_answers_as_before(self, index: Any) -> None:
        queries = rows(6, seed=10)
        filled(index).delete(ids_of()[8:10])
        index.update(rows(N, seed=15)[:3], ids_of()[:3])
        with tempfile.TemporaryDirectory() as folder:
            index.save(Path(folder) / "a")
            index.save(Path(folder) / "a")
            again = type(index).load(Path(folder) / "a")
        before, after = index.search(queries, 7), again.search(queries, 7)
        assert torch.equal(before.ids, after.ids)
        assert torch.equal(before.scores, after.scores)
        assert all(torch.equal(a, b) for a, b in zip(index.vectors(), again.vectors(), strict=True))
        again.add(rows(1, seed=11), torch.tensor([901]))
        with pytest.raises(ValueError, match=str(HUGE)):
            again.add(rows(1), torch.tensor([HUGE]))
        assert len(again) == N - 1

    def test_a_damaged_folder_is_refused_by_name(self, index: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder) / "a"
            filled(index).save(whole)
            for path in sorted(p for p in whole.rglob("*") if p.is_file()):
                content = path.read_bytes()
                for harm in (content[: len(content) // 2], content[:-2] + b"x" + content[-1:]):
                    path.write_bytes(harm)
                    with pytest.raises(ModelError, match=path.name):
                        type(index).load(whole)
                path.write_bytes(content)
            assert len(type(index).load(whole)) == N
            with pytest.raises(ModelError, match="nowhere"):
                type(index).load(Path(folder) / "nowhere")
