import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fashreg.functional.slices import slice_means

NAN = math.nan


def test_each_slice_has_its_mean_and_says_how_many_queries_stand_behind_it():
    values = torch.tensor([1.0, 0.0, NAN, 0.5, NAN, 1.0])
    found = slice_means(values, torch.tensor([7, 7, 7, 2**62, 3, -1]))
    assert found.codes.tolist() == [3, 7, 2**62]
    assert found.means[1:].tolist() == [0.5, 0.5]
    assert found.means[0].isnan()
    assert found.support.tolist() == [0, 2, 1]
    assert found.queries.tolist() == [1, 3, 1]


def test_the_worst_slice_is_looked_for_among_those_with_support():
    codes = torch.tensor([0] * 10 + [1] * 12 + [2] * 2 + [3] * 11)
    values = torch.cat([torch.full((10,), 0.5), torch.full((12,), 0.25), torch.zeros(2), torch.full((11,), 0.25)])
    found = slice_means(values, codes)
    assert found.codes[found.worst()].tolist() == [1]  # 2 is worse, on two queries; 3 is as bad, on fewer
    assert found.codes[found.worst(9)].tolist() == [1, 3, 0]
    assert found.codes[found.worst(min_support=2)].tolist() == [2]
    assert found.worst(min_support=13).tolist() == []


def test_every_slice_has_one_voice_in_the_macro_mean():
    found = slice_means(torch.tensor([1.0, 1.0, 1.0, 0.0, NAN]), torch.tensor([0, 0, 0, 1, 2]))
    assert found.macro() == 0.5
    assert found.macro(min_support=2) == 1.0
    with pytest.raises(ValueError, match="none of the 3 slices has 4 queries"):
        found.macro(min_support=4)


@given(st.lists(st.tuples(st.integers(-2, 4), st.one_of(st.floats(0, 1), st.just(NAN))), max_size=40))
def test_means_equal_the_plain_ones(rows):
    values, codes = torch.tensor([v for _, v in rows]).double(), torch.tensor([c for c, _ in rows], dtype=torch.int64)
    found = slice_means(values, codes)
    assert found.codes.tolist() == sorted({c for c, _ in rows if c >= 0})
    for code, mean, support, queries in zip(
        found.codes.tolist(), found.means.tolist(), found.support.tolist(), found.queries.tolist(), strict=True
    ):
        own = [v for c, v in zip(codes.tolist(), values.tolist(), strict=True) if c == code]
        known = [v for v in own if not math.isnan(v)]
        assert (len(known), len(own)) == (support, queries)
        assert math.isclose(mean, sum(known) / len(known), abs_tol=1e-12) if known else math.isnan(mean)


def test_no_queries_make_no_slices():
    found = slice_means(torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    assert len(found) == 0
    assert found.worst().tolist() == []


def test_impossible_input_is_refused_with_its_reason():
    with pytest.raises(ValueError, match="integers"):
        slice_means(torch.ones(2), torch.ones(2))
    with pytest.raises(ValueError, match="2 codes need as many values"):
        slice_means(torch.ones(3), torch.tensor([1, 2]))
    with pytest.raises(ValueError, match="at least 1"):
        slice_means(torch.ones(1), torch.tensor([1])).worst(min_support=0)
