"""A memory may hand out stored rows and a map: every loss reads it, and the usual ones never write the rows out."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fashreg.losses.contrastive import ContrastiveLoss
from fashreg.losses.infonce import InfoNCELoss
from fashreg.losses.multi_similarity import MultiSimilarityLoss
from fashreg.losses.triplet import TripletLoss
from fashreg.values import AffineEmbedded, Embedded

B, M, D = 24, 12_000, 16
FUSED: dict[str, nn.Module] = {
    "contrastive": ContrastiveLoss(),
    "contrastive by pairs": ContrastiveLoss(form="hinge", normaliser="pairs"),
    "contrastive as it is": ContrastiveLoss(normalize=False),
    "infonce": InfoNCELoss(),
    "infonce against negatives": InfoNCELoss(denominator="negatives"),
    "infonce, cold": InfoNCELoss(temperature=0.005),
    "multi-similarity": MultiSimilarityLoss(),
    "multi-similarity, mined": MultiSimilarityLoss(epsilon=0.1, skip_empty=True),
}
EVERY_FUSED = pytest.mark.parametrize("name", FUSED)


def remembered(m: int = M, *, classes: int = 300, unit: bool = True, dtype: torch.dtype = torch.float32) -> Any:
    g = torch.Generator().manual_seed(3)
    stored = nn.functional.normalize(torch.randn(m, D, generator=g) + 0.5)
    scale, shift = 0.6 + torch.rand(D, generator=g), 0.2 * torch.randn(D, generator=g)
    labels = torch.randint(0, classes, (m,), generator=g)
    return AffineEmbedded(stored.to(dtype), scale, shift, labels, torch.arange(m), unit=unit)


def written_out(references: AffineEmbedded) -> Embedded:
    return Embedded(references.vectors, references.labels, references.ids, unit=references.unit)


def batch_of(references: AffineEmbedded, dtype: torch.dtype = torch.float32) -> Embedded:
    vectors = (references.vectors[:B] + 0.1 * torch.ones(B, D)).to(dtype).requires_grad_()
    return Embedded(vectors, references.labels[:B], references.ids[:B] + torch.arange(B) % 2 * M)


def measured(loss: nn.Module, references: Embedded, batch: Embedded, relevance: Tensor | None = None) -> Any:
    leaf = batch.vectors.detach().clone().requires_grad_()
    value = loss(Embedded(leaf, batch.labels, batch.ids), references, relevance)
    value.backward()
    return value.detach(), leaf.grad


class Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the number of elements of the largest floating tensor that any operation made anew (views do not count)."""

    numel = 0

    def __init__(self, *known: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.known = {tensor.untyped_storage().data_ptr() for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for one in out if isinstance(out, tuple | list) else (out,):
            fresh = isinstance(one, Tensor) and one.untyped_storage().data_ptr() not in self.known
            if fresh and one.is_floating_point():
                self.numel = max(self.numel, one.numel())
        return out


@EVERY_FUSED
@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("classes", [3, 300])
def test_moved_references_count_as_the_rows_written_out(name: str, unit: bool, classes: int) -> None:
    references = remembered(classes=classes, unit=unit)
    batch, coldness = batch_of(references), 20 if "cold" in name else 1  # exponents of 200 s in place of 10 s
    found, wanted = (measured(FUSED[name], r, batch) for r in (references, written_out(references)))
    for one, other in zip(found, wanted, strict=True):
        assert bool(other.any())
        assert torch.allclose(one, other, rtol=2e-5 * coldness, atol=2e-6 * coldness * float(other.abs().max()))


@EVERY_FUSED
def test_fp64_rows_agree_to_fp64_rounding(name: str) -> None:
    kept = remembered()
    references = AffineEmbedded(
        kept.stored.double(), kept.scale.double(), kept.shift.double(), kept.labels, kept.ids, True
    )
    batch = batch_of(references, torch.float64)
    found, wanted = (measured(FUSED[name], r, batch) for r in (references, written_out(references)))
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-14)


@EVERY_FUSED
def test_a_relevance_matrix_names_the_pairs_here_too(name: str) -> None:
    references = remembered()
    relevance = torch.randint(-1, 2, (B, M), generator=torch.Generator().manual_seed(0))
    batch = batch_of(references)
    found, wanted = (measured(FUSED[name], r, batch, relevance) for r in (references, written_out(references)))
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one, other, rtol=5e-4, atol=5e-5 * float(other.abs().max()))


@EVERY_FUSED
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("classes", [3, 300])
def test_neither_the_scores_nor_the_rows_are_ever_written_out(name: str, dtype: torch.dtype, classes: int) -> None:
    references = remembered(2 * M, classes=classes, dtype=dtype)
    batch = batch_of(remembered(2 * M, classes=classes))
    with Largest(references.stored) as largest:
        measured(FUSED[name], references, batch)
    assert largest.numel < references.stored.numel() / 2
    assert largest.numel < B * len(references) / 2
    with Largest(references.stored) as largest:
        measured(TripletLoss(), references, batch)
    assert largest.numel >= B * len(references), "the test no longer sees what a loss writes out"


def test_bf16_storage_costs_no_more_than_its_rounding() -> None:
    exact, stored = remembered(), remembered(dtype=torch.bfloat16)
    batch = batch_of(exact)
    rounded = AffineEmbedded(stored.stored.float(), stored.scale, stored.shift, stored.labels, stored.ids, True)
    found, wanted = (measured(ContrastiveLoss(), r, batch) for r in (stored, rounded))
    assert all(torch.allclose(one, other, rtol=1e-5, atol=1e-5) for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize("mode", ["few", "triplet"])
def test_other_ways_of_scoring_take_them_written_out(mode: str) -> None:
    references = remembered(100 if mode == "few" else 500)
    batch, loss = batch_of(references), ContrastiveLoss() if mode == "few" else TripletLoss()
    found, wanted = (measured(loss, r, batch) for r in (references, written_out(references)))
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


def test_no_gradient_reaches_the_stored_rows_or_the_map() -> None:
    kept = remembered()
    stored, scale, shift = (part.clone().requires_grad_() for part in (kept.stored, kept.scale, kept.shift))
    references = AffineEmbedded(stored, scale, shift, kept.labels, kept.ids, unit=True)
    assert not references.requires_grad
    assert not references.vectors.requires_grad
    measured(ContrastiveLoss(), references, batch_of(kept))
    assert stored.grad is scale.grad is shift.grad is None


def test_the_rows_are_the_affine_image_and_unit_where_said() -> None:
    stored = torch.tensor([[1.0, 2.0], [3.0, -1.0]])
    labels, ids = torch.tensor([4, 5]), torch.tensor([6, 7])
    plain = AffineEmbedded(stored, torch.tensor([2.0, 3.0]), torch.tensor([1.0, -2.0]), labels, ids)
    assert plain.vectors.tolist() == [[3.0, 4.0], [7.0, -5.0]]
    assert (len(plain), plain.width, plain.unit) == (2, 2, False)
    unit = AffineEmbedded(stored, plain.scale, plain.shift, labels, ids, unit=True)
    assert unit.vectors[0].tolist() == pytest.approx([0.6, 0.8])
    assert unit.detach() is unit
    assert torch.equal(unit.to("cpu").vectors, unit.vectors)
    assert isinstance(unit, Embedded)
    assert "stored=(2, 2)" in repr(unit)


def test_replacing_a_field_gives_plain_rows() -> None:
    references = remembered(5)
    renamed = dataclasses.replace(references, labels=references.labels + 1)
    assert type(renamed) is Embedded
    assert torch.equal(renamed.vectors, references.vectors)
    assert torch.equal(renamed.labels, references.labels + 1)
    assert renamed.unit


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scale": torch.ones(D + 1)}, r"scale \(17,\)"),
        ({"labels": torch.arange(4)}, r"labels \(4,\)"),
        ({"stored": torch.ones(D)}, r"stored \(16,\)"),
        ({"ids": torch.ones(5)}, "ids must be integers"),
        ({"stored": torch.ones(5, D, dtype=torch.int64)}, "stored must be real numbers"),
    ],
)
def test_parts_that_do_not_fit_are_refused(wrong: dict[str, Tensor], message: str) -> None:
    kept = remembered(5)
    parts = {name: getattr(kept, name) for name in ("stored", "scale", "shift", "labels", "ids")}
    with pytest.raises(ValueError, match=message):
        AffineEmbedded(**{**parts, **wrong})
    with pytest.raises(dataclasses.FrozenInstanceError):
        kept.labels = kept.ids


@pytest.mark.parametrize("rows", [slice(1, 4), torch.tensor([3, 0]), torch.tensor([True, False, True, False, False])])
def test_some_of_the_rows_can_be_taken(rows: Any) -> None:
    references = remembered(5)
    taken, plain = references.take(rows), written_out(references).take(rows)
    assert isinstance(taken, AffineEmbedded)
    assert type(plain) is Embedded
    for one in (taken, plain):
        assert torch.allclose(one.vectors, references.vectors[rows], atol=1e-7)
        assert torch.equal(one.labels, references.labels[rows])
        assert torch.equal(one.ids, references.ids[rows])
        assert one.unit
