"""Cross-batch memory: the embeddings of the latest batches, kept as they were when they were made."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fashreg.errors import ModelError
from fashreg.values import Embedded

_COUNTERS = ("write_pos", "count", "latest", "step")


class XBMMemory(nn.Module):
    """A ring of the M latest embeddings, so that a small batch meets many negatives.

    Embeddings drift slowly once training has settled, so rows r_j made some steps ago still stand for their images:

        total = batch_weight * loss(batch, batch) + memory_weight * loss(batch, memory)

    with a gradient through the batch's rows alone. One step is align(batch), loss(batch, read()), optimiser step,
    push(batch); align counts the steps. push writes slots (write_pos + 0..B-1) mod M and overwrites the oldest.

    Source: Wang, Zhang, Huang, Scott, "Cross-Batch Memory for Embedding Learning", CVPR 2020,
        https://arxiv.org/abs/1912.06798

    Differs from the authors' code:
    - They enqueue the batch before the loss, so their memory always holds it; here it is pushed after the step and its
      pairs come from loss(batch, batch), whose weight is therefore 1. In a loop of one's own, pushing first gives
      their form.
    - A true ring with a stored fill count: no slot is skipped at the wrap, and label 0 means nothing special.
    - The same image is left out by id, never by a similarity close to 1, which half precision cannot tell. Who wants
      the similarity test finds it on the loss's side (`fashreg.functional.pairs`), as every choice about how a loss is
      normalised (per anchor or per pair); a memory only remembers.

    State, all in buffers: emb (M, D), label, sample_id and step_inserted (M,), counters write_pos, count, latest, step.
    The counters stay on the host and the rows keep their dtype when the module is moved or cast.

    Corner cases: read() gives filled slots in slot order, as views: valid until the next push, load or reset, and a
    backward pass that comes only after such a push fails loudly in torch instead of using changed rows. While warming
    up read() is empty and push() ignored. A batch larger than the memory, rows of another width, rows that are not
    finite and (with `unit`) rows without length 1 raise ValueError naming the row, and nothing is stored; the first
    align makes the same check, so that a wrong head shows at step 1. Length 1 means within 1e-3, or within 4 machine
    epsilons of the batch's dtype where that is more: fp16 0.0039, bf16 0.031.

    See also: contrastive, multi-similarity (losses); acbn (plugin fashreg-acbn, the memory that follows the drift).

    Args:
        capacity: M, number of rows remembered. The authors' default; on small sets as large as the training split.
        embed_dim: D, width of the embedding.
        batch_weight: weight of loss(batch, batch); 0 leaves the batch's own pairs out.
        memory_weight: weight of loss(batch, memory); 0 trains as if there were no memory.
        start_step: optimiser steps without the memory: it is first read and filled at start_step + 1, so a gradual fill
            shows its first rows one step later. 1000 suits runs of many thousand steps that start with fast drift;
            short runs from pretrained weights want 0 to 100 (a run of fewer steps never uses its memory).
        exclusion: "id" gives every row its image's id, so no stale copy of an image is ever paired with it; "slot"
            gives ids to the latest push only and other rows -1 - slot: stale copies are positives, as the authors' are.
        fill: "gradual" fills from the batches as they come; "sampled" asks, when it starts, for M randomly drawn
            training images under the present model (see `wanted`).
        unit: demand rows of length 1 and say so in read(), which spares the loss a normalisation; False takes any.
        dtype: how rows are stored; "bfloat16" halves the memory and rounds components by up to 0.2 %.
    """

    emb: Tensor
    label: Tensor
    sample_id: Tensor
    step_inserted: Tensor
    write_pos: Tensor
    count: Tensor
    latest: Tensor
    step: Tensor

    def __init__(
        self,
        capacity: Annotated[int, Field(gt=0)] = 8192,
        *,
        embed_dim: Annotated[int, Field(gt=0)],
        batch_weight: Annotated[float, Field(ge=0)] = 1.0,
        memory_weight: Annotated[float, Field(ge=0)] = 1.0,
        start_step: Annotated[int, Field(ge=0)] = 1000,
        exclusion: Literal["id", "slot"] = "id",
        fill: Literal["gradual", "sampled"] = "gradual",
        unit: bool = True,
        dtype: Literal["float32", "bfloat16"] = "float32",
    ) -> None:
        super().__init__()
        _require(capacity >= 1 and embed_dim >= 1, f"capacity {capacity} and embed_dim {embed_dim} must be 1 or more")
        _require(start_step >= 0, f"start_step must be 0 or more, got {start_step}")
        for name, weight in (("batch_weight", batch_weight), ("memory_weight", memory_weight)):
            _require(math.isfinite(weight) and weight >= 0, f"{name} must be finite and 0 or more, got {weight}")
        _require(exclusion in ("id", "slot"), f'exclusion must be "id" or "slot", got {exclusion!r}')
        _require(fill in ("gradual", "sampled"), f'fill must be "gradual" or "sampled", got {fill!r}')
        _require(dtype in ("float32", "bfloat16"), f'dtype must be "float32" or "bfloat16", got {dtype!r}')
        self.capacity, self.embed_dim, self.start_step = capacity, embed_dim, start_step
        self.batch_weight, self.memory_weight = batch_weight, memory_weight
        self.exclusion, self.fill, self.unit, self.dtype = exclusion, fill, unit, dtype
        self.register_buffer("emb", torch.zeros(capacity, embed_dim, dtype=getattr(torch, dtype)))
        for name in ("label", "sample_id", "step_inserted"):
            self.register_buffer(name, torch.zeros(capacity, dtype=torch.int64))
        for name in _COUNTERS:
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))

    def __len__(self) -> int:
        return int(self.count)

    @torch.no_grad()
    def align(self, batch: Embedded) -> None:
        """Count one optimiser step; call it once a step, before the loss. The rows are left as they are."""
        if not int(self.step):
            self._storable(batch)
        self.step += 1

    def wanted(self) -> int:
        """How many rows of random training images to embed and push now, before the loss of this step; nearly always 0.

        With fill="sampled" it is M once the warm-up is over, until anything is pushed. Push them in pieces of any size;
        a smaller training set pushes what it has.
        """
        return self.capacity if self.fill == "sampled" and self._started() and not len(self) else 0

    def read(self) -> Embedded:
        """Filled slots in slot order: vectors (n, D) as stored, labels (n,), ids (n,) with n <= M; no gradient."""
        n = len(self)
        ids = self.sample_id[:n] if self.exclusion == "id" else self._slot_ids(n)
        return Embedded(self.emb[:n], self.label[:n], ids, unit=self.unit)

    def ages(self) -> Tensor:
        """Optimiser steps since each filled slot was written: (n,) int64, in the order of read()."""
        return int(self.step) - self.step_inserted[: len(self)]

    @torch.no_grad()
    def push(self, batch: Embedded) -> None:
        """Remember the batch's rows (B, D), B <= M, without their graph, in place of the oldest; ignored in warm-up."""
        if not self._started():
            _require(int(self.step) > 0, "push() before the first align(): align counts the warm-up", RuntimeError)
            return
        rows, n, start = self._storable(batch), len(batch), int(self.write_pos)
        head = min(n, self.capacity - start)
        for stored, new in ((self.emb, rows), (self.label, batch.labels), (self.sample_id, batch.ids)):
            stored[start : start + head].copy_(new[:head])
            stored[: n - head].copy_(new[head:])
        self.step_inserted[start : start + head] = int(self.step)
        self.step_inserted[: n - head] = int(self.step)
        self.write_pos.fill_((start + n) % self.capacity)
        self.count.fill_(min(len(self) + n, self.capacity))
        self.latest.fill_(n)

    @torch.no_grad()
    def reset(self) -> None:
        """Forget everything, the warm-up too: as newly made."""
        for buffer in self.buffers():
            buffer.zero_()

    def extra_repr(self) -> str:
        """Shown by print()."""
        return f"{len(self)} of {self.capacity} x {self.embed_dim} {self.dtype}, step {int(self.step)}"

    def _started(self) -> bool:
        return not self.start_step or int(self.step) > self.start_step

    def _slot_ids(self, n: int) -> Tensor:
        """True ids for the latest push, -1 - slot (equal to nothing) for the rest."""
        slots = torch.arange(n, device=self.sample_id.device)
        fresh = (int(self.write_pos) - 1 - slots) % self.capacity < int(self.latest)
        return torch.where(fresh, self.sample_id[:n], -1 - slots)

    def _storable(self, batch: Embedded) -> Tensor:
        """The batch's vectors as they will be stored, or ValueError when they must not be."""
        n, width = batch.vectors.shape
        _require(width == self.embed_dim, f"rows have {width} dimensions, the memory embed_dim={self.embed_dim}")
        _require(
            n <= self.capacity,
            f"a batch of {n} rows does not fit into a memory of capacity {self.capacity}: "
            f"set capacity to {n} or more, or lower batch_size",
        )
        given = batch.vectors.detach()
        rows = given.to(self.emb.device, self.emb.dtype)
        good = finite = torch.isfinite(rows).all(dim=1)
        if self.unit:
            length = torch.linalg.vector_norm(given.float(), dim=1).to(rows.device)
            good = finite & ((length - 1).abs() < max(1e-3, 4 * torch.finfo(given.dtype).eps))
        if not bool(good.all()):
            row = int(torch.nonzero(~good)[0])
            _require(bool(finite[row]), f"row {row} (id {int(batch.ids[row])}) of the batch is not finite: not stored")
            raise ValueError(
                f"row {row} (id {int(batch.ids[row])}) of the batch has length {float(length[row]):.4g}, not 1: "
                "normalise the embedding, or make the memory with unit=False"
            )
        return rows

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> XBMMemory:
        """Follow a move to another device, but keep the rows' dtype, and the counters where no step waits for them."""
        rows, counters = self.emb, {name: getattr(self, name) for name in _COUNTERS}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.emb = rows.to(self.emb.device)
        for name, counter in counters.items():
            setattr(self, name, counter)
        return self

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        """Refuse another memory's state before anything is copied."""
        rows, count = state_dict.get(f"{prefix}emb"), state_dict.get(f"{prefix}count")
        if rows is not None and rows.shape != self.emb.shape:
            raise ModelError(
                f"the saved memory has (capacity, embed_dim) {tuple(rows.shape)} and this one {tuple(self.emb.shape)}: "
                "make it with the saved numbers, or go on with an empty one"
            )
        if count is not None and not 0 <= int(count) <= self.capacity:
            raise ModelError(f"the saved memory is damaged: {int(count)} filled slots of {self.capacity}")
        super()._load_from_state_dict(state_dict, prefix, *args)


def _require(condition: bool, message: str, error: type[Exception] = ValueError) -> None:
    if not condition:
        raise error(message)
