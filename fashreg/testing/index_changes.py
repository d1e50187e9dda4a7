"""The part of an index's contract that says what deletes and updates do, and what they leave alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fashreg.testing.index_cases import D, N, agrees, filled, ids_of, plain_search, rows


class ChangeRules:
    """Tests of IndexContract; the fixture `index` is its."""

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
