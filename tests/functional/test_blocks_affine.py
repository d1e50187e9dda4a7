"""References moved by an affine map, scored block by block: the numbers of the rows written out, without those rows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fashreg.functional import blocks, reference_rows
from fashreg.functional.blocks import ScoreBlocks
from fashreg.functional.reference_rows import ReferenceRows
from fashreg.functional.similarity import unit_rows
from fashreg.values import AffineEmbedded, Embedded


@pytest.fixture(autouse=True)
def _small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "_LEAST_BLOCK", 4)
        patch.setattr(blocks, "_BLOCK_SCORES", {"cpu": 1})
        patch.setattr(reference_rows, "_ROOM", {"cpu": 9})
        yield


def moved(m: int, seed: int, classes: int = 5, dtype: torch.dtype = torch.float64, unit: bool = True) -> AffineEmbedded:
    g = torch.Generator().manual_seed(seed)
    stored, scale, shift = (torch.randn(shape, generator=g, dtype=torch.float64) for shape in ((m, 3), 3, 3))
    labels, ids = torch.randint(0, classes, (m,), generator=g), torch.randint(-1, 30, (m,), generator=g)
    return AffineEmbedded(stored.to(dtype), scale, shift, labels, ids, unit=unit)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(0, 23), st.booleans(), st.booleans(), st.sampled_from([1, 4, 60]), st.integers())
def test_blocks_of_moved_rows_are_those_of_the_rows_written_out(
    b: int, m: int, unit: bool, normalize: bool, classes: int, seed: int
) -> None:
    references = moved(m, seed % 2**31, classes, unit=unit)
    g = torch.Generator().manual_seed(seed % 2**31 + 1)
    anchors = unit_rows(torch.randn(b, 3, generator=g, dtype=torch.float64))
    batch = Embedded(anchors, torch.randint(0, classes, (b,), generator=g), torch.arange(b))
    rows = unit_rows(references.vectors) if normalize or unit else references.vectors
    cut, weights = ScoreBlocks(anchors, batch, references, normalize=normalize), torch.rand(b, m, generator=g).double()
    assert cut.block <= 3
    start, total = 0, torch.zeros_like(anchors)
    for block in cut.all():
        part = slice(start, start := start + block.scores.shape[1])
        assert torch.allclose(block.scores, anchors @ rows[part].T, atol=1e-13)
        if block.columns is not None:
            chosen = block.mixed_rows()
            mine = torch.zeros_like(anchors)
            chosen.add_to(mine, weights[:, part][:, block.columns].clone())
            assert torch.allclose(mine, weights[:, part][:, block.columns] @ rows[part][block.columns], atol=1e-12)
        block.rows.add_to(total, weights[:, part].clone())
    assert start == m
    assert torch.allclose(total, weights @ rows, atol=1e-12)
    index = torch.arange(m) if cut.mixed_index is None else cut.mixed_index
    found = [block.scores.clone() for block in cut.mixed()]
    assert torch.allclose(torch.cat([anchors.new_zeros(b, 0), *found], dim=1), anchors @ rows[index].T, atol=1e-13)


def test_a_row_that_the_map_sends_to_zero_scores_zero_and_pulls_nowhere() -> None:
    stored = torch.tensor([[1.0, 2.0, 3.0], [1.0, 0.0, 0.0]])
    references = AffineEmbedded(stored, torch.ones(3), -stored[0], torch.zeros(2).long(), torch.arange(2), unit=True)
    anchors, total = torch.eye(3)[:1], torch.zeros(1, 3)
    rows = ReferenceRows(references, anchors, normalize=True).read(slice(0, 2))
    assert rows.score(anchors, torch.empty(1, 2))[0, 0] == 0
    rows.add_to(total, torch.tensor([[7.0, 0.0]]))
    assert not total.any()
    assert not references.vectors[0].any()


def test_rows_stored_in_half_precision_are_moved_in_full() -> None:
    references = moved(5, 0, dtype=torch.bfloat16)
    anchors = torch.eye(3)
    rows = ReferenceRows(references, anchors, normalize=True).read(slice(0, 3))
    assert rows.vectors.dtype == references.vectors.dtype == torch.float32
    exact = references.stored[:3].double() * references.scale + references.shift
    assert torch.allclose(rows.vectors.double(), exact, atol=1e-6)
    assert torch.allclose(rows.score(anchors, torch.empty(3, 3)).T, references.vectors[:3], atol=1e-6)


def test_stored_rows_are_left_as_they_are() -> None:
    references = moved(7, 1, unit=False)
    before = references.stored.clone()
    rows = ReferenceRows(references, torch.eye(3, dtype=torch.float64), normalize=True)
    rows.read(slice(0, 3)).add_to(torch.zeros(3, 3, dtype=torch.float64), torch.ones(3, 3, dtype=torch.float64))
    assert torch.equal(references.stored, before)
