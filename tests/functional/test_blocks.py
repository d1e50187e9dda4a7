"""References block by block: every column once, with the masks of the dense form."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fashreg.functional import blocks
from fashreg.functional.blocks import Block, ScoreBlocks, worth_blocks
from fashreg.functional.pairs import pair_masks
from fashreg.functional.similarity import unit_rows
from fashreg.values import Embedded


@pytest.fixture(autouse=True)
def _small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "_LEAST_BLOCK", 4)
        patch.setattr(blocks, "_BLOCK_SCORES", {"cpu": 1})
        yield


def some(n: int, seed: int, classes: int) -> Embedded:
    g = torch.Generator().manual_seed(seed)
    vectors = torch.randn(n, 3, generator=g, dtype=torch.float64)
    return Embedded(vectors, torch.randint(0, classes, (n,), generator=g), torch.randint(-1, 30, (n,), generator=g))


def masks_of(block: Block, b: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The masks of a whole block, its unmasked columns written out as negatives."""
    m = block.scores.shape[1]
    positive, negative = torch.zeros(b, m, dtype=torch.float64), torch.ones(b, m, dtype=torch.float64)
    if block.positive is not None and block.negative is not None:
        block.put(positive, block.positive)
        block.put(negative, block.negative)
    return positive, negative


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(0, 23), st.sampled_from([1, 4, 60]), st.booleans(), st.integers(0, 999))
def test_the_blocks_together_are_the_dense_matrix(b: int, m: int, classes: int, said: bool, seed: int) -> None:
    batch, references = some(b, seed, classes), some(m, seed + 1, classes)
    relevance = torch.randint(-1, 2, (b, m), generator=torch.Generator().manual_seed(seed)) if said else None
    anchors = unit_rows(batch.vectors)
    cut = ScoreBlocks(anchors, batch, references, relevance)
    wanted = pair_masks(batch, references, relevance, dtype=torch.float64)
    empty = torch.zeros(b, 0, dtype=torch.float64)
    found = [(block.scores.clone(), *masks_of(block, b)) for block in cut.all()] or [(empty, empty, empty)]
    joined = [torch.cat(parts, dim=1) for parts in zip(*found, strict=True)]
    assert torch.allclose(joined[0], anchors @ unit_rows(references.vectors).T, atol=1e-14)
    assert torch.equal(joined[1], wanted[0])
    assert torch.equal(joined[2], wanted[1])
    counts = [mask.sum(1, keepdim=True) for mask in wanted]
    assert all(torch.equal(a, c) for a, c in zip(cut.counts(), counts, strict=True))
    mixed = [block.positive for block in cut.mixed() if block.positive is not None]
    assert torch.equal(sum((p.sum(1, keepdim=True) for p in mixed), torch.zeros_like(counts[0])), counts[0])


def test_pure_negatives_carry_no_mask_and_mixed_columns_are_few() -> None:
    batch = Embedded(torch.ones(2, 3), torch.tensor([7, 8]), torch.tensor([0, 1]))
    labels, ids = torch.arange(100, 140), torch.arange(50, 90)
    labels[13], ids[30] = 8, 0  # a positive of row 1, and another image under row 0's id
    cut = ScoreBlocks(batch.vectors, batch, Embedded(torch.ones(40, 3), labels, ids))
    assert cut.mixed_index is not None
    assert cut.mixed_index.tolist() == [13, 30]
    masked = [i for i, block in enumerate(cut.all()) if block.columns is not None]
    assert masked == [13 // 4, 30 // 4]
    for block in cut.all():
        if block.columns is not None:
            assert block.mixed_rows().vectors.shape == (1, 3)
            assert block.keep_negatives(block.scores.clone()).sum() < block.scores.sum()
        else:
            assert torch.equal(block.keep_negatives(block.scores.clone()), block.scores)


def test_blocks_are_for_many_references_that_want_no_gradient() -> None:
    batch, few = some(2, 0, 3), some(9, 1, 3)
    many = Embedded(few.vectors.expand(9, 3).repeat(10_000, 1), few.labels.repeat(10_000), few.ids.repeat(10_000))
    assert worth_blocks(batch, many)
    assert not worth_blocks(batch, few)
    assert not worth_blocks(batch, None)
    asking = Embedded(many.vectors.clone().requires_grad_(), many.labels, many.ids)
    assert not worth_blocks(batch, asking)
    with torch.no_grad():
        assert worth_blocks(batch, asking)
