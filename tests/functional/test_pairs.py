"""Which pairs count."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fashreg.functional.pairs import exclude_similar, pair_masks
from fashreg.values import Embedded

LABELS = [0, 1, -1, 2**24, 2**24 + 1, 2**53 + 1, 2**62, -(2**62)]


def of(labels: list[int], ids: list[int], vectors: torch.Tensor | None = None, unit: bool = False) -> Embedded:
    rows = torch.zeros(len(labels), 2) if vectors is None else vectors
    return Embedded(rows, torch.tensor(labels, dtype=torch.long), torch.tensor(ids, dtype=torch.long), unit=unit)


def test_a_batch_against_itself_by_hand() -> None:
    positive, negative = pair_masks(of([0, 0, 1, 0], [5, 6, 7, 5]))  # rows 0 and 3 are one image
    assert positive.tolist() == [[0, 1, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]]
    assert negative.tolist() == [[0, 0, 1, 0], [0, 0, 1, 0], [1, 1, 0, 1], [0, 0, 1, 0]]


def test_relevance_says_all_but_equal_ids() -> None:
    relevance = torch.tensor([[2.5, 0.0, -1.0, float("nan")], [1e-30, 1.0, 0.0, 1.0]])
    positive, negative = pair_masks(of([9, 9], [1, 2]), of([9, 9, 9, 9], [3, 4, 5, 2]), relevance)
    assert positive.tolist() == [[1, 0, 0, 0], [1, 1, 0, 0]]
    assert negative.tolist() == [[0, 1, 0, 0], [0, 0, 1, 0]]
    positive, _ = pair_masks(of([9], [1]), of([8, 8], [3, 4]), torch.tensor([[True, False]]))
    assert positive.tolist() == [[1, 0]]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_masks_equal_the_loop_for_any_integers(data: st.DataObject) -> None:
    def some(n: int) -> Embedded:
        labels = data.draw(st.lists(st.sampled_from(LABELS), min_size=n, max_size=n))
        return of(labels, data.draw(st.lists(st.integers(-2, 4), min_size=n, max_size=n)))

    batch = some(data.draw(st.integers(0, 5)))
    references = data.draw(st.none() | st.integers(0, 6).map(some))
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64]))
    positive, negative = pair_masks(batch, references, dtype=dtype)
    others = batch if references is None else references
    assert positive.shape == negative.shape == (len(batch), len(others))
    assert positive.dtype == negative.dtype == dtype
    for i in range(len(batch)):
        for j in range(len(others)):
            void = (references is None and i == j) or (batch.ids[i] >= 0 and bool(batch.ids[i] == others.ids[j]))
            same = bool(batch.labels[i] == others.labels[j])
            assert (positive[i, j], negative[i, j]) == (float(same and not void), float(not same and not void))


def test_narrow_integers_are_as_good() -> None:
    batch = Embedded(
        torch.zeros(2, 2), torch.tensor([1, 2], dtype=torch.int16), torch.tensor([0, 1], dtype=torch.int32)
    )
    positive, negative = pair_masks(batch, of([2, 1], [-1, -1]))
    assert positive.tolist() == [[0, 1], [1, 0]]
    assert negative.tolist() == [[1, 0], [0, 1]]


def test_a_relevance_of_another_shape_is_named() -> None:
    with pytest.raises(ValueError, match=r"\(2, 2\).*\(2, 3\)"):
        pair_masks(of([0, 1], [0, 1]), None, torch.zeros(2, 3))


def test_similar_rows_are_no_pair_whatever_their_ids() -> None:
    vectors = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])  # rows 0 and 2 point the same way
    relevance = exclude_similar(of([0, 0, 0], [0, 1, 2], vectors))
    assert relevance.tolist() == [[-1, 1, -1], [1, -1, 1], [-1, 1, -1]]
    stored = of([0, 1], [-1, -1], torch.tensor([[5.0, 0.0], [1.0, 1.0]]))
    assert exclude_similar(of([0, 0, 0], [0, 1, 2], vectors), stored).tolist() == [[-1, 0], [1, 0], [-1, 0]]
    assert exclude_similar(of([0, 0, 0], [0, 1, 2], vectors), stored, tau=0.5).tolist() == [[-1, -1], [1, -1], [-1, -1]]
    with pytest.raises(ValueError, match="tau"):
        exclude_similar(stored, tau=-1.0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_similarity_test_knows_what_storage_resolves(dtype: torch.dtype) -> None:
    rows = torch.nn.functional.normalize(torch.randn(64, 32, generator=torch.Generator().manual_seed(0))).to(dtype)
    batch = of(list(range(64)), list(range(64)), rows, unit=True)
    copies = of(list(range(64)), [-1] * 64, rows, unit=True)
    assert exclude_similar(batch, copies).diagonal().eq(-1).all()
    assert not exclude_similar(batch, copies, tau=1e-5).diagonal().eq(-1).all()
