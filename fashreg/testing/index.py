"""The contract of an index: what every searchable gallery promises, however it searches."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fashreg.errors import ModelError
from fashreg.testing.index_cases import HUGE, D, N, agrees, filled, ids_of, plain_search, rows
from fashreg.testing.index_changes import ChangeRules

__all__ = ["HUGE", "D", "IndexContract", "N", "agrees", "filled", "ids_of", "plain_search", "rows"]


class IndexContract(ChangeRules):
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
