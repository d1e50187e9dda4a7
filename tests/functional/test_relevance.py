from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fashreg.functional.relevance import (
    counts,
    gains,
    hits,
    relevance_from_labels,
    relevance_from_pairs,
    relevant_of,
    select,
)

BIG = 2**62


def t(*values):
    return torch.tensor(values, dtype=torch.int64)


def test_items_with_the_label_of_the_query_are_relevant_and_the_query_itself_is_not():
    labels, ids = t(0, 0, 1, 0), t(10, 11, 12, 13)
    relevance = relevance_from_labels(labels, ids, labels, ids)
    assert counts(relevance).tolist() == [2, 2, 0, 2]
    ranked = t(10, 13, 12, -1).expand(4, 4)
    assert hits(relevance, ranked).tolist() == [
        [False, True, False, False],
        [True, True, False, False],
        [False, False, False, False],
        [True, False, False, False],
    ]


def test_labels_and_ids_of_any_size_are_told_apart():
    labels, ids = t(BIG, BIG + 1, BIG, -BIG), t(BIG + 7, BIG + 6, BIG + 5, 0)
    relevance = relevance_from_labels(labels, ids, labels, ids)
    assert counts(relevance).tolist() == [1, 0, 1, 0]
    assert hits(relevance, t(BIG + 5, BIG + 6, BIG + 7, 0).expand(4, 4))[0].tolist() == [True, False, False, False]


def test_a_label_that_the_gallery_lacks_has_no_relevant_items():
    relevance = relevance_from_labels(t(-5, 1, 3, 9), t(0, 1, 2, 3), t(1, 3), t(7, 8))
    assert counts(relevance).tolist() == [0, 1, 1, 0]
    assert hits(relevance, t(8, 7).expand(4, 2)).tolist() == [[False] * 2, [False, True], [True, False], [False] * 2]


def test_a_query_without_identity_is_never_taken_for_a_pad():
    relevance = relevance_from_labels(t(1), t(-1), t(1, 1), t(0, 5))
    assert counts(relevance).tolist() == [2]
    assert hits(relevance, t(5, 0, -1, -1)[None]).tolist() == [[True, True, False, False]]


def test_an_empty_gallery_and_no_queries_are_taken():
    none = t()
    assert counts(relevance_from_labels(t(1), t(1), none, none)).tolist() == [0]
    assert not hits(relevance_from_labels(t(1), t(1), none, none), t(3)[None]).any()
    assert counts(relevance_from_labels(none, none, t(1), t(1))).tolist() == []


@given(
    st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 40)), max_size=25, unique_by=lambda row: row[1]),
    st.lists(st.tuples(st.integers(-3, 3), st.integers(-2, 40)), max_size=8),
    st.randoms(use_true_random=False),
)
def test_counts_and_hits_equal_the_plain_comparison(gallery, queries, random):
    mixed = random.sample(gallery, len(gallery))
    relevance = relevance_from_labels(
        t(*(q[0] for q in queries)), t(*(q[1] for q in queries)), t(*(g[0] for g in mixed)), t(*(g[1] for g in mixed))
    )
    ranked = [-1, *range(-3, 42)]
    label_of = {i: label for label, i in gallery}
    wanted = [[i >= 0 and i != own and label_of.get(i) == label for i in ranked] for label, own in queries]
    assert hits(relevance, t(*ranked).expand(len(queries), -1)).tolist() == wanted
    assert counts(relevance).tolist() == [sum(label == g and i != own for g, i in gallery) for label, own in queries]


def test_pairs_name_relevant_ids_one_by_one_with_grades():
    relevance = relevance_from_pairs(t(100, 101, 7), [[5, 3], [], [9, 7]], [[1.0, 0.5], [], [2.0, 9.0]])
    assert counts(relevance).tolist() == [2, 0, 1]
    ranked = t(3, 4, 5, 7, 9, -1).expand(3, 6)
    assert gains(relevance, ranked).tolist() == [[0.5, 0, 1, 0, 0, 0], [0] * 6, [0, 0, 0, 0, 2, 0]]
    assert torch.equal(hits(relevance, ranked), gains(relevance, ranked) > 0)


def test_gains_without_grades_are_one_per_hit():
    relevance = relevance_from_pairs(t(1), [t(5, 3)])
    assert gains(relevance, t(3, 4, 5)[None]).tolist() == [[1.0, 0.0, 1.0]]


def test_some_of_the_queries_can_be_selected():
    relevance = relevance_from_pairs(t(1, 2, 3), [[5], [6, 7], []])
    assert counts(select(relevance, t(1, 0))).tolist() == [2, 1]
    assert counts(select(relevance, torch.tensor([False, True, True]))).tolist() == [2, 0]


def test_items_of_the_query_s_own_source_are_not_relevant():
    labels, ids, cameras = t(1, 1, 1, 1, 2), t(10, 11, 12, 13, 14), t(0, 0, BIG, -1, 0)
    relevance = relevance_from_labels(labels, ids, labels, ids, query_sources=cameras, gallery_sources=cameras)
    assert counts(relevance).tolist() == [2, 2, 3, 3, 0]  # source -1 is nobody's: 13 sees all and is seen by all
    assert hits(relevance, ids.expand(5, 5)).int().tolist() == [
        [0, 0, 1, 1, 0],
        [0, 0, 1, 1, 0],
        [1, 1, 0, 1, 0],
        [1, 1, 1, 0, 0],
        [0, 0, 0, 0, 0],
    ]
    assert counts(select(relevance, t(3, 0))).tolist() == [3, 2]


def test_a_source_that_the_gallery_lacks_excludes_nothing():
    relevance = relevance_from_labels(
        t(1, 1), t(-1, -1), t(1, 1), t(0, 5), query_sources=t(7, 3), gallery_sources=t(3, 9)
    )
    assert counts(relevance).tolist() == [2, 1]
    assert hits(relevance, t(0, 5).expand(2, 2)).tolist() == [[True, True], [False, True]]


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 2)), max_size=15),
    st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 3), st.integers(-1, 16)), max_size=8),
    st.randoms(use_true_random=False),
)
def test_relevant_ids_written_out_equal_the_plain_comparison(gallery, queries, random):
    order = random.sample(range(len(gallery)), len(gallery))
    relevance = relevance_from_labels(
        t(*(q[0] for q in queries)),
        t(*(q[2] for q in queries)),
        t(*(gallery[i][0] for i in order)),
        t(*order),
        query_sources=t(*(q[1] for q in queries)),
        gallery_sources=t(*(gallery[i][1] for i in order)),
    )
    wanted = [
        [i for i, (g, place) in enumerate(gallery) if g == label and i != own and (source < 0 or place != source)]
        for label, source, own in queries
    ]
    offsets, ids, grades = relevant_of(relevance)
    assert [ids[a:b].tolist() for a, b in pairwise(offsets)] == wanted
    assert grades is None
    assert counts(relevance).tolist() == [len(row) for row in wanted]
    offsets, ids, _ = relevant_of(relevance, slice(1, 3))
    assert [ids[a:b].tolist() for a, b in pairwise(offsets)] == wanted[1:3]


def test_relevant_ids_written_out_carry_their_grades():
    relevance = relevance_from_pairs(t(5, 101, 7), [[5, 3], [], [9, 7]], [[1.0, 0.5], [], [2.0, 9.0]])
    offsets, ids, grades = relevant_of(relevance, t(2, 0))
    assert (offsets.tolist(), ids.tolist(), grades.tolist()) == ([0, 1, 2], [9, 3], [2.0, 0.5])


def test_blocks_do_not_change_hits(monkeypatch):
    from fashreg.functional import relevance as module

    labels, ids = torch.arange(30) % 4, torch.arange(30) * 3
    relevance, ranked = relevance_from_labels(labels, ids, labels, ids), ids.expand(30, 30)
    whole = hits(relevance, ranked)
    monkeypatch.setattr(module, "_BLOCK", 64)
    assert torch.equal(hits(relevance, ranked), whole)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: relevance_from_labels(torch.ones(2), t(1, 2), t(1), t(1)), "integers"),
        (lambda: relevance_from_labels(t(1), t(1, 2), t(1), t(1)), "equal numbers"),
        (lambda: relevance_from_labels(t(1), t(1), t(1, 1), t(3, 3)), "3 occurs more than once"),
        (lambda: relevance_from_labels(t(1), t(1), t(1, 1), t(3, -1)), "0 or larger, got -1"),
        (lambda: relevance_from_labels(t(1), t(1), t(1), t(1), query_sources=t(1)), "for the queries and for the gal"),
        (
            lambda: relevance_from_labels(t(1), t(1), t(1), t(1), query_sources=t(1), gallery_sources=t(1, 2)),
            "1 queries and 1 gallery rows need as many sources, got 1 and 2",
        ),
        (lambda: relevance_from_pairs(t(1, 2), [[1]]), "as many lists"),
        (lambda: relevance_from_pairs(t(1), [[1, 2]], [[1.0]]), "as many lists"),
        (lambda: relevance_from_pairs(t(8, 9), [[1], [4, 2, 4]]), "query 9 names the relevant id 4 twice"),
        (lambda: relevance_from_pairs(t(1), [[-1]]), "0 or larger"),
        (lambda: relevance_from_pairs(t(1), [[1.5]]), "integers"),
        (lambda: relevance_from_pairs(t(1), [[1]], [[0.0]]), "larger than 0"),
        (lambda: relevance_from_pairs(t(1), [[1]], [[float("nan")]]), "larger than 0"),
        (lambda: relevance_from_pairs(t(1), [[1, 6]], gallery_ids=t(1, 2)), "6 is not in the gallery"),
        (lambda: hits(relevance_from_pairs(t(1), [[1]]), t(1, 2)), r"\(Q, K\)"),
    ],
)
def test_impossible_input_is_refused_with_its_reason(make, says):
    with pytest.raises(ValueError, match=says):
        make()
