"""Which pairs count: 0/1 masks of positives and negatives from labels, ids or a relevance matrix.

The rule, everywhere: a pair of equal non-negative ids is never a pair, and a row is never paired with itself.
Without a relevance matrix, equal labels make a positive and unequal labels a negative. With one, (B, N): > 0 positive,
0 negative, < 0 (or NaN) not a pair; labels are then not looked at.

Masks are numbers 0.0 and 1.0 and not booleans: on a CPU arithmetic between booleans and floats costs several times
more than between floats, and so does comparing int64. Where there is much to compare, labels and ids are replaced by
their rank among the distinct ones, a small float, so every int64 value is still told apart exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fashreg.functional.similarity import rows_of, scores
from fashreg.values import Embedded

_NOBODY, _NO_ONE = -1, -2  # codes of negative ids, of anchors and of references: equal to no rank nor each other
_FEW = 1 << 15  # comparisons of int64 that cost less than finding the ranks
_EXCLUSION_TAU = {torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


def _ranks(own: Tensor, others: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Integers replaced by their rank among all distinct ones, as small floats; few are left as they are."""
    if len(own) * len(own if others is None else others) <= _FEW:
        return own.long(), own.long() if others is None else others.long()
    both = own.long() if others is None else torch.cat([own.long(), others.long()])
    codes = torch.unique(both, return_inverse=True)[1].to(dtype)
    return codes[: len(own)], codes if others is None else codes[len(own) :]


@dataclass(frozen=True)
class PairCodes:
    """Labels and ids of anchors (B,) and references (N,) as codes that are equal exactly when the originals are.

    Only equality between an anchor and a reference is kept. itself: anchors and references are the same rows.
    dtype: that of the masks.
    """

    dtype: torch.dtype
    anchor_labels: Tensor
    anchor_ids: Tensor
    labels: Tensor
    ids: Tensor
    itself: bool

    @classmethod
    def of(
        cls, batch: Embedded, labels: Tensor | None = None, ids: Tensor | None = None, *, dtype: torch.dtype
    ) -> PairCodes:
        """Codes of `batch` against references with these labels and ids, or against itself when they are None."""
        label_codes, others = _ranks(batch.labels, labels, dtype)
        id_codes, other_ids = _ranks(batch.ids, ids, dtype)
        id_codes = id_codes.masked_fill(batch.ids < 0, _NOBODY)
        if ids is None:
            return cls(dtype, label_codes, id_codes, label_codes, other_ids.masked_fill(batch.ids < 0, _NO_ONE), True)
        return cls(dtype, label_codes, id_codes, others, other_ids.masked_fill(ids < 0, _NO_ONE), False)

    def columns(self, chosen: slice | Tensor) -> PairCodes:
        """The same anchors with some of the references."""
        return replace(self, labels=self.labels[chosen], ids=self.ids[chosen])

    def masks(self, relevance: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Positives and negatives, (B, N) each, 0.0 or 1.0."""
        room = torch.empty(len(self.anchor_ids), len(self.ids), dtype=self.dtype, device=self.ids.device)
        real = torch.ne(self.anchor_ids[:, None], self.ids[None], out=room)  # a pair at all
        if self.itself:
            real.fill_diagonal_(0.0)
        positive, negative = torch.empty_like(real), real
        if relevance is None:
            torch.eq(self.anchor_labels[:, None], self.labels[None], out=positive).mul_(real)
            return positive, negative.sub_(positive)
        relevance = relevance.to(real.device)
        torch.gt(relevance, 0, out=positive).mul_(real)
        return positive, negative.mul_(torch.eq(relevance, 0, out=torch.empty_like(real)))


@torch.no_grad()
def pair_masks(
    batch: Embedded,
    references: Embedded | None = None,
    relevance: Tensor | None = None,
    *,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """Positives and negatives of `batch` (B) against `references` (N), or against itself: (B, N) masks of 0 and 1."""
    n = len(batch) if references is None else len(references)
    if relevance is not None and relevance.shape != (len(batch), n):
        raise ValueError(f"relevance must have one row an anchor and one column a reference: ({len(batch)}, {n}); "
                         f"got {tuple(relevance.shape)}")  # fmt: skip
    if references is None:
        return PairCodes.of(batch, dtype=dtype).masks(relevance)
    return PairCodes.of(batch, references.labels, references.ids, dtype=dtype).masks(relevance)


@torch.no_grad()
def exclude_similar(batch: Embedded, references: Embedded | None = None, tau: float | None = None) -> Tensor:
    """Relevance (B, N) from labels, with -1 (not a pair) wherever the similarity exceeds 1 - tau.

    Finds copies of an image that carry another id, or none. Rows flagged `unit` are taken as they are. `tau` defaults
    to what the storage can resolve: 1e-5 in fp32, 2e-3 in fp16, 1.6e-2 in bf16 (a self pair of bf16 rows may come out
    at 0.99, so the fp32 value would let it through; ids are the sure way).
    """
    stored = batch if references is None else references
    if tau is None:
        tau = max(_EXCLUSION_TAU.get(rows.vectors.dtype, 1e-5) for rows in (batch, stored))
    if tau < 0:
        raise ValueError(f"tau must not be negative, got {tau}")
    anchors = rows_of(batch)
    similar = scores(anchors, None if references is None else rows_of(references)) > 1.0 - tau
    positive, negative = pair_masks(batch, references, dtype=anchors.dtype)
    return torch.where(similar, -1.0, positive - (1 - positive - negative))
