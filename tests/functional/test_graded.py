import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fashreg.functional.graded import relevance_from_attributes, relevance_from_label_sets
from fashreg.functional.relevance import counts, relevance_from_labels, relevant_of

BIG = 2**61


def t(*values):
    return torch.tensor(values, dtype=torch.int64)


def written(relevance):
    """Relevant ids with grades, a dict for each query."""
    offsets, ids, grades = relevant_of(relevance)
    values = [1.0] * len(ids) if grades is None else grades.tolist()
    pairs = list(zip(ids.tolist(), values, strict=True))
    return [dict(pairs[a:b]) for a, b in zip(offsets.tolist(), offsets.tolist()[1:], strict=False)]


def test_the_grade_is_the_share_of_known_attributes_that_are_equal():
    gallery = t([0, 0, 0], [0, 0, 1], [0, 1, 1], [1, 1, 1], [0, -1, 1], [-1, -1, -1])
    relevance = relevance_from_attributes(t([0, 0, 0]), t(-1), gallery, t(5, 4, 3, 2, 1, 0))
    assert written(relevance) == [{5: 1.0, 4: 2 / 3, 3: 1 / 3, 1: 1 / 2}]
    relevance = relevance_from_attributes(t([0, 0, 0]), t(4), gallery, t(5, 4, 3, 2, 1, 0), threshold=0.5)
    assert written(relevance) == [{5: 1.0, 1: 1 / 2}]  # 4 is the query itself


def test_an_unknown_value_equals_nothing_not_even_another_unknown_one():
    relevance = relevance_from_attributes(t([-1, 3], [-7, -1]), t(-1, -1), t([-1, 3], [-7, 4]), t(0, 1))
    assert written(relevance) == [{0: 1.0}, {}]


def test_a_single_attribute_is_relevance_by_label():
    values, ids = t(0, 1, 0, 2, -1, -1, 0), t(9, 3, 4, 1, 7, 8, 0)
    by_value = relevance_from_attributes(values[:, None], ids, values[:, None], ids)
    by_label = relevance_from_labels(values, ids, values, ids)
    wanted = written(by_label)
    wanted[4] = wanted[5] = {}  # labels of -1 are a label, attributes of -1 are unknown
    assert written(by_value) == wanted


def test_items_that_share_a_label_are_relevant_by_as_much_as_they_share():
    gallery = t([1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0])
    query, ids = t([1, 1, 0, 0]), t(10, 11, 12, 13, 14)
    assert written(relevance_from_label_sets(query, t(-1), gallery, ids)) == [{10: 1, 11: 1, 13: 1}]
    graded = relevance_from_label_sets(query, t(-1), gallery, ids, graded=True)
    assert written(graded) == [{10: 1.0, 11: 2 / 3, 13: 1 / 2}]
    assert written(relevance_from_label_sets(query, t(10), gallery, ids, at_least=2)) == [{11: 1}]
    assert relevance_from_label_sets(query, t(-1), gallery.bool(), ids).grades is None


def test_items_of_the_query_s_own_source_are_left_out():
    values, ids, shops = t([0, 0], [0, 0], [0, 1], [0, 0]), t(0, 1, 2, 3), t(BIG, BIG, 5, -1)
    relevance = relevance_from_attributes(values, ids, values, ids, query_sources=shops, gallery_sources=shops)
    assert written(relevance) == [
        {2: 0.5, 3: 1.0},
        {2: 0.5, 3: 1.0},
        {0: 0.5, 1: 0.5, 3: 0.5},
        {0: 1.0, 1: 1.0, 2: 0.5},
    ]


@given(
    st.lists(st.lists(st.integers(-1, 2), min_size=2, max_size=2), min_size=1, max_size=9),
    st.lists(st.lists(st.integers(-1, 2), min_size=2, max_size=2), max_size=12),
    st.sampled_from([1, 200, 2000]),
)
def test_blocks_of_any_size_give_the_same_relevance(queries, gallery, block_bytes):
    asked, own = t(*queries), torch.arange(len(queries))
    items, ids = t(*gallery).view(-1, 2), torch.arange(len(gallery)).flip(0)
    whole = relevance_from_attributes(asked, own, items, ids)
    blocks = relevance_from_attributes(asked, own, items, ids, block_bytes=block_bytes)
    assert written(whole) == written(blocks)
    assert counts(whole).tolist() == [len(row) for row in written(whole)]


def test_equal_query_rows_share_their_group():
    values = t([1, 2], [1, 2], [0, 0]).repeat(50, 1)
    ids = torch.arange(150)
    relevance = relevance_from_attributes(values, ids, values, ids)
    assert len(relevance.offsets) == 3
    assert len(relevance.ids) == 150


def test_no_queries_and_an_empty_gallery_are_taken():
    none = torch.zeros(0, 2, dtype=torch.int64)
    assert written(relevance_from_attributes(none, t(), t([1, 2]), t(1))) == []
    assert written(relevance_from_attributes(t([1, 2]), t(1), none, t())) == [{}]
    assert written(relevance_from_label_sets(none, t(), none, t())) == []


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: relevance_from_attributes(t([1]), t(1), t([1]), t(1), threshold=1.5), "share of attributes"),
        (lambda: relevance_from_attributes(t([1, 2]), t(1), t([1]), t(1)), "the same attributes, got 2 and 1"),
        (lambda: relevance_from_attributes(t(1), t(1), t(1), t(1)), "a column for each attribute"),
        (lambda: relevance_from_attributes(torch.ones(1, 1), t(1), t([1]), t(1)), "integers"),
        (lambda: relevance_from_attributes(t([1], [2]), t(1), t([1]), t(1)), "equal numbers"),
        (lambda: relevance_from_attributes(t([1]), t(1), t([1], [1]), t(1, 1)), "1 occurs more than once"),
        (lambda: relevance_from_label_sets(t([2]), t(1), t([1]), t(1)), "0/1"),
        (lambda: relevance_from_label_sets(t([1]), t(1), t([1]), t(1), at_least=0), "at_least must be 1"),
        (lambda: relevance_from_label_sets(t([1]), t(1), t([1]), t(1), query_sources=t(1)), "or for neither"),
    ],
)
def test_impossible_input_is_refused_with_its_reason(make, says):
    with pytest.raises(ValueError, match=says):
        make()
