import pytest
import torch

from fashreg.functional.judged import Judged, joined, judged_from_hits


def t(*values):
    return torch.tensor(values, dtype=torch.int64)


def test_hits_written_out_become_ranks_by_query():
    found = torch.tensor([[False, True, False, True], [False] * 4, [True, False, False, False]])
    gains = torch.tensor([[9.0, 2, 9, 3], [9] * 4, [5, 9, 9, 9]])
    judged = judged_from_hits(found, t(3, 0, 1), t(4, 4, 2), gains)
    assert judged.offsets.tolist() == [0, 2, 2, 3]
    assert judged.ranks.tolist() == [2, 4, 1]
    assert judged.gains.tolist() == [2, 3, 5]
    assert judged.owners().tolist() == [0, 0, 2]
    assert judged.places().tolist() == [1, 2, 1]
    assert judged.sums(judged.gains).tolist() == [5, 0, 5]
    assert (len(judged), judged.depth) == (3, 4)


def test_something_is_unseen_only_when_hits_are_missing_and_the_ranking_is_full():
    found = torch.tensor([[True, False], [True, False], [True, False]])
    judged = judged_from_hits(found, t(2, 2, 1), t(2, 1, 2))  # one more beyond, or padded, or all found
    assert judged.unseen().tolist() == [True, False, False]
    assert not judged_from_hits(found, t(2, 2, 1), t(2, 1, 2), whole=True).unseen().any()


def test_blocks_of_queries_join_in_order():
    first = judged_from_hits(torch.tensor([[True, True]]), t(2))
    second = judged_from_hits(torch.tensor([[False, False], [False, True]]), t(0, 1))
    whole = joined([first, second])
    assert whole.offsets.tolist() == [0, 2, 2, 3]
    assert whole.ranks.tolist() == [1, 2, 2]
    assert whole.counts.tolist() == [2, 0, 1]
    assert whole.items.tolist() == [2, 2, 2]


def test_no_queries_are_taken():
    none = judged_from_hits(torch.zeros(0, 3, dtype=torch.bool), t())
    assert none.offsets.tolist() == [0]
    assert none.sums(torch.zeros(0)).tolist() == []
    assert len(joined([none, none])) == 0


def test_blocks_that_saw_different_things_do_not_join():
    deep = judged_from_hits(torch.tensor([[True, True]]), t(2))
    flat = judged_from_hits(torch.tensor([[True]]), t(2))
    graded = Judged(t(0, 1), t(1), t(1), t(2), 2, torch.ones(1))
    for parts in ([deep, flat], [deep, graded], []):
        with pytest.raises(ValueError, match="join"):
            joined(parts)
