import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fashreg.functional import metrics, ranks
from fashreg.functional.neighbours import WHOLE_RANKING, nearest
from fashreg.functional.ranks import judge_whole
from fashreg.functional.relevance import relevance_from_labels, relevance_from_pairs
from fashreg.functional.similarity import unit_rows


def integers(low, high, shape, seed):
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(seed))


def rows_of(n, d=8, seed=0):
    return unit_rows(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)))


def same(found, wanted):
    """Hit ranks equal to those of the ranking written out."""
    assert found.offsets.tolist() == wanted.offsets.tolist()
    assert found.ranks.tolist() == wanted.ranks.tolist()
    assert found.counts.tolist() == wanted.counts.tolist()
    assert found.items.tolist() == wanted.items.tolist()
    assert (found.gains is None) == (wanted.gains is None)
    assert found.gains is None or torch.equal(found.gains, wanted.gains)
    assert found.depth is None


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 60),
    q=st.integers(0, 9),
    classes=st.integers(1, 6),
    seed=st.integers(0, 10**6),
    leave_out=st.booleans(),
    sources=st.booleans(),
    compared=st.sampled_from([0, 3, 100]),
)
def test_hit_ranks_equal_those_of_the_ranking_written_out(n, q, classes, seed, leave_out, sources, compared):
    gallery, queries = integers(-1, 2, (n, 2), seed).float(), integers(-1, 2, (q, 2), seed + 1).float()
    ids = torch.randperm(3 * n, generator=torch.Generator().manual_seed(seed))[:n]
    query_ids = integers(-2, 3 * n, (q,), seed + 2) if leave_out else torch.full((q,), -1)
    labels, asked = integers(0, classes, (n,), seed + 3), integers(0, classes, (q,), seed + 4)
    left_out = {}
    if sources:
        left_out = {
            "query_sources": integers(-1, 3, (q,), seed + 5),
            "gallery_sources": integers(-1, 3, (n,), seed + 6),
        }
    relevance = relevance_from_labels(asked, query_ids, labels, ids, **left_out)
    written = nearest(queries, gallery, ids, WHOLE_RANKING, query_ids, **left_out)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranks, "_COMPARED", compared)
        patch.setattr(ranks, "_ROWS", 4)
        patch.setattr(ranks, "_ROWS_SORTED", 2)
        found = judge_whole(queries, gallery, relevance, ids, query_ids, **left_out, block_bytes=1 << 12)
    same(found, metrics.judge(written, relevance))


@pytest.mark.parametrize("block_bytes", [1 << 13, 1 << 18, 1 << 27])
def test_blocks_change_nothing(block_bytes):
    vectors, ids = rows_of(2500, 16).repeat(2, 1), torch.randperm(5000, generator=torch.Generator().manual_seed(1))
    labels = integers(0, 900, (5000,), 2)
    asked = slice(0, 300)
    relevance = relevance_from_labels(labels[asked], ids[asked], labels, ids)
    found = judge_whole(vectors[asked], vectors, relevance, ids, ids[asked], block_bytes=block_bytes)
    same(found, metrics.judge(nearest(vectors[asked], vectors, ids, WHOLE_RANKING, ids[asked]), relevance))


def test_grades_stay_with_their_items_and_ids_outside_the_gallery_have_no_rank():
    gallery, ids = rows_of(6, 4), torch.tensor([5, 9, 1, 7, 3, 2])
    relevance = relevance_from_pairs(torch.tensor([-1, -1]), [[9, 2, 100], []], [[1.0, 3.0, 2.0], []])
    found = judge_whole(rows_of(2, 4, seed=3), gallery, relevance, ids)
    written = nearest(rows_of(2, 4, seed=3), gallery, ids, WHOLE_RANKING)
    same(found, metrics.judge(written, relevance))
    assert found.counts.tolist() == [3, 0]
    assert sorted(found.gains.tolist()) == [1.0, 3.0]


def test_a_query_of_many_relevant_items_does_not_widen_the_others():
    vectors, ids = rows_of(600, 8), torch.arange(600)
    labels = torch.where(ids < 400, 0, ids // 2)
    relevance = relevance_from_labels(labels, ids, labels, ids)
    found = judge_whole(vectors, vectors, relevance, ids, ids)
    same(found, metrics.judge(nearest(vectors, vectors, ids, WHOLE_RANKING, ids), relevance))


def test_a_gallery_in_a_file_is_ranked_in_place(tmp_path):
    file = str(tmp_path / "vectors")
    kept = torch.from_file(file, shared=True, size=3000 * 8).view(3000, 8)
    kept.copy_(rows_of(3000))
    ids, labels = torch.arange(3000), torch.arange(3000) // 3
    relevance = relevance_from_labels(labels[:50], ids[:50], labels, ids)
    found = judge_whole(kept[:50], kept, relevance, ids, ids[:50])
    same(found, judge_whole(rows_of(3000)[:50], rows_of(3000), relevance, ids, ids[:50]))
    assert found.counts.tolist() == [2] * 50


def test_relevance_of_other_queries_is_refused():
    relevance = relevance_from_labels(torch.zeros(2).long(), torch.arange(2), torch.zeros(2).long(), torch.arange(2))
    with pytest.raises(ValueError, match="relevance is of 2 queries and 1 came"):
        judge_whole(torch.ones(1, 3), torch.ones(2, 3), relevance, torch.arange(2))
