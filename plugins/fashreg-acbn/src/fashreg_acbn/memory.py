"""A cross-batch memory whose stored rows are moved, at every step, to the moments of the present embedding."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from fashreg.functional.similarity import widen
from fashreg.memories.xbm import XBMMemory
from fashreg.values import AffineEmbedded, Embedded
from fashreg_acbn.drift_log import drift_parts
from fashreg_acbn.filtering import MomentFilter
from fashreg_acbn.matching import matched, matching_factor
from fashreg_acbn.moments import batch_moments
from fashreg_acbn.precise import apply_but_keep
from fashreg_acbn.sums import change_of_sums, moments_of, sums_of

_WIDE = ("scale", "shift", "sums")  # buffers in double precision
_MOST = 2.0**8  # the scale, or its inverse, beyond which the rows are written out
_TURNS = 8  # ... or after so many turns of the ring
_BLOCK = 256  # rows written out at once


class ACBNMemory(XBMMemory):
    """A cross-batch memory that follows the drift: its rows keep the mean and the spread of the present embedding.

    Rows made by older weights lie elsewhere than the present weights would put them. In each dimension the rows R in
    memory are moved to a wanted mean and standard deviation before the loss sees them,

        r' = (r - mean(R)) / std(R) * wanted std + wanted mean

    where the wanted moments are, by `kind`, those of the present batch ("xbn"), a Kalman filter's estimate from all
    batches so far ("adaptive"), or an exponential average with the filter's final gain ("ema"). The filter: the
    moments walk at random with variance q a step, a batch shows them with an error of variance r;
    p- = p + q, K = p- / (p- + r), m += K (z - m), p = (1 - K) p-.

    One step is align(batch), loss(batch, read()), optimiser step, push(batch), as with xbm, and costs as much: the map
    of all rows is kept as one scale and shift per dimension (O(B D) a step), and read() hands out an AffineEmbedded,
    which contrastive, infonce and multi-similarity score as it is; other losses get it written out.

    Source: Ajanthan, Ma, van den Hengel, Gould, "Adaptive Cross Batch Normalization for Metric Learning", 2023,
        https://arxiv.org/abs/2303.17127

    Differs from the paper: its text was not at hand, only the principle (moment matching at every iteration, a Kalman
    filter of five equations). Ours are: the values of q, r, p0; population statistics; the filter on the std and not on
    the variance; where rows are normalised; all guards; the push after the step, as in xbm. docs/acbn.md lists them.

    Guards: fewer than 2 B rows in memory (or M, if that is less) are left alone; a factor std/std stays within 1/4 and
    4; a dimension without spread is only shifted. A batch's worth in independent rows is estimated from its labels
    (`fashreg_acbn.moments`). Below `min_effective`, "xbn" takes its mean only, and the filters trust it less, r growing
    as 1/worth; a single class says nothing about the spread. A batch that is not finite is refused, nothing changes.

    State beside xbm's, all in buffers: scale, shift (D,), sums (2, D) of the stored rows and of their squares,
    since_rebase, and the filters' (`fashreg_acbn.filtering`). All ranks that are given the same gathered batches hold
    the same state; `checksum` shows it.

    See also: xbm (the memory it is built on: ring, warm-up, exclusion, fill); contrastive, multi-similarity.

    Args:
        capacity: M, number of rows remembered.
        embed_dim: D, width of the embedding.
        kind: "adaptive" (Kalman), "xbn" (the batch's own moments), "ema" (the filter's final gain from the start).
        q: variance of the moments' walk in one step; with r = 1 the gain ends at 0.095 for 0.01, 0.5 for 0.5. Larger
            for large batches and large learning rates.
        r: variance of a batch's moments around the true ones; 0 trusts every batch. Only q/r and p0/r matter.
        p0: variance of the estimate after the first batch; p0 = r makes the filter begin as a running mean.
        noise: "scalar" takes q, r and p0 as they are, one gain for all dimensions; "principled" multiplies r and p0
            with what sampling theory says, var / B for a mean and var / (2 (B - 1)) for a std, and q with the mean
            variance of a dimension, so that dimensions of little spread follow faster. B is the batch's worth.
        placement: "unit" keeps rows of length 1 and, when they are read, divides the moved rows by their length; "raw"
            keeps embeddings before normalisation and leaves that to the loss, so drift in length is followed, too.
        min_effective: the worth below which a batch is trusted less, see Guards; 1 trusts any.
        unbiased: widen the std of a batch by what small samples lose on the average; false takes it as it is.
        drift_every: steps between two looks at the drift, logged as `parts` (`fashreg_acbn.drift_log`); 0 for none.
        batch_weight: weight of loss(batch, batch).
        memory_weight: weight of loss(batch, memory).
        start_step: optimiser steps without the memory; the filters begin with it.
        exclusion: "id" gives every row its image's id; "slot" only those of the latest push, see xbm.
        fill: "gradual", or "sampled" from the training images when it starts, see xbm.
        dtype: how rows are stored; the moments are always kept in double precision.
    """

    scale: Tensor
    shift: Tensor
    sums: Tensor
    since_rebase: Tensor

    def __init__(
        self,
        capacity: Annotated[int, Field(gt=0)] = 8192,
        *,
        embed_dim: Annotated[int, Field(gt=0)],
        kind: Literal["adaptive", "xbn", "ema"] = "adaptive",
        q: Annotated[float, Field(ge=0)] = 0.01,
        r: Annotated[float, Field(ge=0)] = 1.0,
        p0: Annotated[float, Field(ge=0)] = 1.0,
        noise: Literal["scalar", "principled"] = "scalar",
        placement: Literal["unit", "raw"] = "unit",
        min_effective: Annotated[float, Field(ge=1)] = 8.0,
        unbiased: bool = True,
        drift_every: Annotated[int, Field(ge=0)] = 50,
        batch_weight: Annotated[float, Field(ge=0)] = 1.0,
        memory_weight: Annotated[float, Field(ge=0)] = 1.0,
        start_step: Annotated[int, Field(ge=0)] = 1000,
        exclusion: Literal["id", "slot"] = "id",
        fill: Literal["gradual", "sampled"] = "gradual",
        dtype: Literal["float32", "bfloat16"] = "float32",
    ) -> None:
        super().__init__(
            capacity,
            embed_dim=embed_dim,
            batch_weight=batch_weight,
            memory_weight=memory_weight,
            start_step=start_step,
            exclusion=exclusion,
            fill=fill,
            unit=placement == "unit",
            dtype=dtype,
        )
        if placement not in ("unit", "raw"):
            raise ValueError(f'placement must be "unit" or "raw", got {placement!r}')
        self.kind, self.noise, self.placement = kind, noise, placement
        self.q, self.r, self.p0, self.min_effective, self.unbiased = q, r, p0, min_effective, unbiased
        self.drift_every, self.parts = drift_every, dict[str, Tensor]()
        self.filter = MomentFilter(embed_dim, kind, q, r, p0, noise, min_effective, unbiased)
        self.register_buffer("scale", torch.ones(embed_dim, dtype=torch.float64))
        self.register_buffer("shift", torch.zeros(embed_dim, dtype=torch.float64))
        self.register_buffer("sums", torch.zeros(2, embed_dim, dtype=torch.float64))
        self.register_buffer("since_rebase", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def align(self, batch: Embedded) -> None:
        """Count one optimiser step, take in the moments of the batch (B, D), and move the rows in memory to them.

        Several processes: give the gathered batch, so that the moments are those of all rows on every rank.
        """
        super().align(batch)
        if self.parts:
            self.parts = {}
        if not self._started() or not len(batch):
            return
        now = batch_moments(batch.vectors, batch.labels)
        if math.isnan(now.effective):
            self._storable(batch)  # names the row
        spread_known = self.filter.observe(now)
        if len(self) >= max(1, min(2 * len(batch), self.capacity)):
            step = int(self.step)
            before = self.moments() if self.drift_every and step % self.drift_every == 0 else None
            if int(self.since_rebase) >= _TURNS * self.capacity or (step % 4 == 0 and self._far()):
                self._rebase()
            self._match(spread_known)
            if before is not None:
                self.parts = drift_parts(self, batch, torch.stack(before), self.filter.level)

    def read(self) -> AffineEmbedded:
        """Filled slots in slot order, moved to the present moments: n rows with n <= M; no gradient.

        With placement "unit" they have length 1. Valid until the next align, push, load or reset.
        """
        kept = super().read()
        return AffineEmbedded(kept.vectors, self.scale.float(), self.shift.float(), kept.labels, kept.ids, self.unit)

    @torch.no_grad()
    def push(self, batch: Embedded) -> None:
        """Remember the batch's rows (B, D), B <= M, where the present map puts them; ignored in warm-up."""
        start, n = int(self.write_pos), len(batch) if self._started() else 0
        head = min(n, self.capacity - start)
        slots = [self.emb[start : start + head], *([self.emb[: n - head]] if n > head else [])]
        before = [rows.to(self.sums.dtype, copy=True) for rows in slots]
        super().push(batch)
        for rows, old in zip(slots, before, strict=True):
            self.sums.add_(change_of_sums(old, rows))
        self.since_rebase.add_(n)

    @torch.no_grad()
    def reset(self) -> None:
        """Forget everything, the warm-up and the filters too: as newly made."""
        super().reset()
        self.scale.fill_(1.0)

    def reinflate(self) -> None:
        """Make the filters as uncertain as after their first batch, so that they follow quickly again.

        For a loop of one's own, when the learning rate is raised or the data change; after a fall it is not needed.
        """
        self.filter.reinflate()

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (D,) of the rows in memory as they stand now, before any normalisation."""
        mean, std = moments_of(self.sums, len(self))
        return torch.addcmul(self.shift, mean, self.scale), std.mul_(self.scale)

    def checksum(self) -> int:
        """A number that is equal on all ranks while they hold the same memory. Reads all of it: once in a while."""
        value = 0
        for tensor in self.state_dict().values():
            data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
            value = zlib.crc32(data.tobytes(), value)
        return value

    def extra_repr(self) -> str:
        """Shown by print()."""
        return f"{super().extra_repr()}, {self.kind}, q={self.q:g}, r={self.r:g}"

    def _match(self, spread_known: bool) -> None:
        """Move the rows in memory to the filters' mean and, where there is one, to their spread."""
        mean, std = moments_of(self.sums, len(self))
        wanted_mean, wanted_std = self.filter.level.unbind()
        factor = matching_factor(std.mul_(self.scale), wanted_std) if spread_known else torch.ones_like(std)
        scale, shift = matched(self.scale, factor, mean, wanted_mean)
        self.scale.copy_(scale)
        self.shift.copy_(shift)

    def _far(self) -> bool:
        """Whether the scale of some dimension has gone so far that storing new rows would cost digits."""
        least, most = torch.stack(torch.aminmax(self.scale)).tolist()
        return bool(max(most, 1.0 / least) > _MOST)

    def _rebase(self) -> None:
        """Write the moved rows out, so that scale is 1 and shift 0 again."""
        self.sums.zero_()
        scale, shift = self.scale.float(), self.shift.float()
        for start in range(0, len(self), _BLOCK):
            rows = self.emb[start : min(start + _BLOCK, len(self))]
            rows.copy_(torch.addcmul(shift, rows.float(), scale))
            self.sums.add_(sums_of(rows, self.sums.dtype))
        self.scale.fill_(1.0)
        self.shift.zero_()
        self.since_rebase.zero_()

    def _storable(self, batch: Embedded) -> Tensor:
        """The rows u that the present map puts where the batch's rows are, or ValueError; see xbm."""
        super()._storable(batch)
        rows = widen(batch.vectors.detach().to(self.scale.device))
        moved_back = torch.sub(rows, self.shift.to(rows.dtype)).div_(self.scale.to(rows.dtype))
        return moved_back.to(self.emb.dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ACBNMemory:
        """Follow a move to another device; the moments keep their precision and the counters stay on the host."""
        apply_but_keep(self, super()._apply, fn, _WIDE, ("since_rebase",))
        return self
