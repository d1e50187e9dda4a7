"""A batch against many references, block by block: the (B, M) score matrix is never kept.

Most references of a large memory share neither label nor id with anything in the batch: each is a negative of every
anchor and needs no mask. The few others are the **mixed** ones; masks are made for their columns alone. Where mixed
references are many, or a relevance matrix is given, whole blocks get masks.

Nothing here is recorded by autograd: a loss computes its value and its gradient on the way and joins them with
`fashreg.functional.similarity.with_gradient`. Memory: two blocks of B x m scores, whatever M is, and one of m x D rows
where the references are an affine image of stored rows (`fashreg.values.AffineEmbedded`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fashreg.functional.pairs import PairCodes
from fashreg.functional.reference_rows import ReferenceRows, ScaledRows
from fashreg.values import Embedded

DENSE_UP_TO = 1 << 17  # scores B x M below which the plain dense form is as good
_BLOCK_SCORES = {"cpu": 1 << 17, "cuda": 1 << 24}  # scores in a block: half a core's L2 cache; enough to fill a GPU
_OTHER_DEVICE, _LEAST_BLOCK = 1 << 20, 256
_MIXED_SHARE = 0.4  # above this share of mixed references whole blocks get masks


@dataclass(slots=True)
class Block:
    """Some columns of the score matrix.

    scores: (B, m), may be overwritten. rows: the m references. spare: (B, m), room of the same type. columns: places
    (c,) of the mixed columns, None where all m are. positive, negative: masks (B, c) of these; None where there are
    none. Every other column is a negative of every anchor.
    """

    scores: Tensor
    rows: ScaledRows
    spare: Tensor
    columns: Tensor | None = None
    positive: Tensor | None = None
    negative: Tensor | None = None

    def pick(self, x: Tensor) -> Tensor:
        """The mixed columns of x (B, m): (B, c)."""
        return x if self.columns is None else x.index_select(1, self.columns)

    def put(self, x: Tensor, values: Tensor) -> None:
        """Write `values` (B, c) over the mixed columns of x (B, m)."""
        if self.columns is not None:
            x.index_copy_(1, self.columns, values)
        elif values is not x:
            x.copy_(values)

    def mixed_rows(self) -> ScaledRows:
        """The c rows of the mixed columns."""
        return self.rows if self.columns is None else self.rows.pick(self.columns)

    def keep_negatives(self, x: Tensor) -> Tensor:
        """x (B, m) times the mask of negatives, in place."""
        if self.negative is not None:
            self.put(x, self.pick(x).mul_(self.negative))
        return x


def worth_blocks(batch: Embedded, references: Embedded | None) -> bool:
    """Whether a loss should go block by block: many scores, and no gradient wanted for the references."""
    if references is None or (references.requires_grad and torch.is_grad_enabled()):
        return False
    return len(batch) * len(references) > DENSE_UP_TO


def _among(values: Tensor, pool: Tensor) -> Tensor:
    """Which of many values occur in a small pool; bisection, several times faster here than torch.isin."""
    pool = pool.sort().values
    return torch.bucketize(values, pool) != torch.bucketize(values, pool, right=True)


class ScoreBlocks:
    """Anchors (B, D), already unit where wanted, against M references, which are moved and made unit by the block.

    all() and mixed() may be walked several times, one at a time: they share their room.
    counts(): positives and negatives of each anchor, (B, 1) each.
    """

    def __init__(
        self,
        anchors: Tensor,
        batch: Embedded,
        references: Embedded,
        relevance: Tensor | None = None,
        *,
        normalize: bool = True,
    ) -> None:
        self.anchors, self.references, self.relevance = anchors.detach(), references, relevance
        self.rows = ReferenceRows(references, self.anchors, normalize=normalize)
        self.size = len(references)
        budget = _BLOCK_SCORES.get(anchors.device.type, _OTHER_DEVICE)
        self.block = max(1, min(max(_LEAST_BLOCK, budget // max(1, len(batch))), self.rows.most))
        self.mixed_index, self.codes = self._split(batch)
        self._scores, self._spare = (anchors.new_empty(len(batch) * self.block) for _ in range(2))

    def _split(self, batch: Embedded) -> tuple[Tensor | None, PairCodes]:
        """Positions of the mixed references, ascending (None: all are), and the codes of those."""
        labels, ids, dtype = self.references.labels.long(), self.references.ids.long(), self.anchors.dtype
        if self.relevance is None:
            touched = _among(labels, batch.labels.long())
            touched |= _among(ids, batch.ids[batch.ids >= 0].long())
            index = touched.nonzero().flatten()
            if len(index) <= _MIXED_SHARE * self.size:
                return index, PairCodes.of(batch, labels[index], ids[index], dtype=dtype)
        return None, PairCodes.of(batch, labels, ids, dtype=dtype)

    def _score(self, part: slice | Tensor) -> tuple[Tensor, ScaledRows, Tensor]:
        rows = self.rows.read(part)
        shape = (len(self.anchors), len(rows))
        room = shape[0] * shape[1]
        return rows.score(self.anchors, self._scores[:room].view(shape)), rows, self._spare[:room].view(shape)

    def all(self) -> Iterator[Block]:
        """Every reference once, in order."""
        index, starts = self.mixed_index, range(0, self.size, self.block)
        cuts = [*starts, self.size]
        if index is not None:
            cuts = torch.searchsorted(index, torch.tensor(cuts, device=index.device)).tolist()
        for i, start in enumerate(starts):
            found, rows, spare = self._score(slice(start, start + self.block))
            block, part = Block(found, rows, spare), slice(cuts[i], cuts[i + 1])
            if cuts[i + 1] > cuts[i]:
                block.columns = None if index is None else index[part] - start
                block.positive, block.negative = self._masks(part)
            yield block

    def mixed(self) -> Iterator[Block]:
        """The mixed references only, gathered: blocks whose columns are all mixed."""
        index = self.mixed_index
        for part in self._parts():
            found, rows, spare = self._score(part if index is None else index[part])
            yield Block(found, rows, spare, None, *self._masks(part))

    def _parts(self) -> list[slice]:
        total = self.size if self.mixed_index is None else len(self.mixed_index)
        return [slice(start, min(start + self.block, total)) for start in range(0, total, self.block)]

    def _masks(self, part: slice) -> tuple[Tensor, Tensor]:
        relevance = None if self.relevance is None else self.relevance[:, part]
        return self.codes.columns(part).masks(relevance)

    def counts(self) -> tuple[Tensor, Tensor]:
        """Positives and negatives of each anchor, (B, 1) each, without scoring anything."""
        pure = 0 if self.mixed_index is None else self.size - len(self.mixed_index)
        positives = self.anchors.new_zeros(len(self.anchors), 1)
        negatives = positives + pure
        for part in self._parts():
            positive, negative = self._masks(part)
            positives += positive.sum(1, keepdim=True)
            negatives += negative.sum(1, keepdim=True)
        return positives, negatives
