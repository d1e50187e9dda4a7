"""How far the rows in a memory lie from where the present weights would put the same pictures.

A row r_j was made some steps ago; z_j is what the present weights make of the same picture. Reported are

    distance     mean |r_j - z_j|                  angle     mean 1 - cos(r_j, z_j)
    mean gap     |mean(R) - mean(Z)|               std gap   |std(R) - std(Z)|, per dimension, population form
    correctable  1 - sum |T(r_j) - z_j|^2 / sum |r_j - z_j|^2

and distance and angle by age. T moves R to the moments of Z: the best that matching moments could do, so `correctable`
bounds what any such method gains; what is left is drift of another kind (rotations, each picture's own). It is below 0
where matching does harm; T fits 2 numbers a dimension, so of n rows about 2 / n of it may be that fit alone.

`drift_of` compares two sets of rows. `DriftMeter` keeps a sample of the rows as they were pushed, beside the memory
that moves its own, and compares both with the present. `revisited` finds pictures of a batch that are still remembered:
a look at the drift without a forward pass; its zero is what two augmentations of one picture differ by.

Use one mode of the network for all rows: embeddings made in training mode against others made in evaluation mode show
the switch of BatchNorm and of dropout beside the drift.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from fashreg.memories.xbm import XBMMemory
from fashreg.values import Embedded

EDGES = (10, 100, 1000)


@dataclass(frozen=True, slots=True)
class AgeBin:
    """Rows whose age in steps lies above `above` and not above `upto` (None: any); age: their mean."""

    above: int
    upto: int | None
    rows: int
    age: float
    distance: float
    angle: float


@dataclass(frozen=True, slots=True)
class Drift:
    """The measures above. correctable: None where nothing has drifted. by_age: the bins that hold a row, by age."""

    rows: int
    distance: float
    angle: float
    mean_gap: float
    std_gap: float
    correctable: float | None
    by_age: tuple[AgeBin, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)


@torch.no_grad()
def drift_of(rows: Tensor, present: Tensor, ages: Tensor | None = None, edges: Sequence[int] = EDGES) -> Drift:
    """Drift of remembered rows (n, D) beside the same pictures' present embeddings (n, D), in fp64.

    ages: (n,) steps since the rows were made. edges: the last age of each bin, ascending. Give both sets in one form:
    unit rows with unit rows, raw with raw. No rows, shapes that differ, and rows that are no numbers raise ValueError.
    """
    if rows.shape != present.shape or rows.ndim != 2 or not len(rows):
        raise ValueError(
            f"rows and present must both be (n, D), n >= 1; got {tuple(rows.shape)}, {tuple(present.shape)}"
        )
    if ages is not None and ages.shape != (len(rows),):
        raise ValueError(f"one age for each of the {len(rows)} rows is needed, got {tuple(ages.shape)}")
    if list(edges) != sorted(set(edges)):
        raise ValueError(f"edges must ascend, got {tuple(edges)}")
    r, z = rows.detach().double().cpu(), present.detach().double().cpu()
    if not bool(torch.isfinite(r).all() & torch.isfinite(z).all()):
        raise ValueError("rows and present must be finite")
    distance = (r - z).norm(dim=1)
    angle = 1.0 - torch.nn.functional.cosine_similarity(r, z, dim=1, eps=1e-12)
    mean, std = r.mean(0), r.std(0, correction=0)
    wanted, spread = z.mean(0), z.std(0, correction=0)
    moved = (r - mean) * torch.where(std > 0, spread / std.clamp_min(1e-300), 1.0) + wanted
    whole, left = distance.square().sum(), (moved - z).square().sum()
    return Drift(
        rows=len(r),
        distance=float(distance.mean()),
        angle=float(angle.mean()),
        mean_gap=float((mean - wanted).norm()),
        std_gap=float((std - spread).norm()),
        correctable=float(1.0 - left / whole) if whole > 0 else None,
        by_age=() if ages is None else _by_age(ages.cpu(), distance, angle, edges),
    )


def _by_age(ages: Tensor, distance: Tensor, angle: Tensor, edges: Sequence[int]) -> tuple[AgeBin, ...]:
    found = []
    for above, upto in zip((-1, *edges), (*edges, None), strict=True):
        inside = (ages > above) if upto is None else (ages > above) & (ages <= upto)
        if n := int(inside.sum()):
            means = (float(x[inside].double().mean()) for x in (ages, distance, angle))
            found.append(AgeBin(above, upto, n, *means))
    return tuple(found)


def revisited(memory: XBMMemory, batch: Embedded) -> tuple[Tensor, Tensor]:
    """Pictures of the batch that the memory still holds: slots (n,), in order, and the batch's places (n,) of the same.

    A picture that is remembered several times is there several times; rows without an id never are.
    """
    known = memory.sample_id[: len(memory)]
    ids, order = batch.ids.to(known.device).sort()
    if not len(ids) or not len(known):
        return known.new_empty(0), known.new_empty(0)
    place = torch.bucketize(known, ids).clamp_max_(len(ids) - 1)
    slots = ((ids[place] == known) & (known >= 0)).nonzero().flatten()
    return slots, order[place[slots]]


class DriftMeter:
    """Keeps a sample of the rows as they were pushed, to tell what moving them is worth.

    Push through the meter: `meter.push(batch)` pushes to the memory, too. `measure(embed)` then embeds the sampled
    pictures anew. The sample is every k-th slot, so it spreads evenly over the ages. Nothing is changed in the memory.

    Args:
        memory: an `acbn` or `xbm` memory.
        rows: at most so many rows are kept and measured; a memory of fewer is measured whole.
    """

    def __init__(self, memory: XBMMemory, rows: int = 2000) -> None:
        if rows < 1:
            raise ValueError(f"rows must be 1 or more, got {rows}")
        self.memory, self.rows = memory, rows
        self._step = -(-memory.capacity // rows)
        self._pushed = torch.zeros(-(-memory.capacity // self._step), memory.embed_dim, device=memory.emb.device)

    @torch.no_grad()
    def push(self, batch: Embedded) -> None:
        """Push the batch to the memory and keep the sampled rows as they are."""
        first = int(self.memory.write_pos)
        self.memory.push(batch)
        if len(self.memory):  # else it is still warming up and stored nothing
            slots = (first + torch.arange(len(batch))) % self.memory.capacity
            chosen = (slots % self._step == 0).nonzero().flatten().to(batch.vectors.device)
            places = (slots[slots % self._step == 0] // self._step).to(self._pushed.device)
            self._pushed[places] = batch.vectors.detach()[chosen].to(self._pushed)

    @torch.no_grad()
    def measure(self, embed: Callable[[Tensor], Tensor], edges: Sequence[int] = EDGES) -> dict[str, Drift]:
        """Drift of the sampled rows "as pushed", and "as read": what a loss gets from the memory.

        embed: ids (n,) -> embeddings (n, D) by the present weights. An empty memory raises ValueError.
        """
        slots = torch.arange(0, len(self.memory), self._step, device=self.memory.emb.device)
        if not len(slots):
            raise ValueError("the memory holds no row yet: nothing can have drifted")
        present, ages = embed(self.memory.sample_id[slots]), self.memory.ages()[slots]
        sides = {
            "as pushed": self._pushed[: len(slots)],
            "as read": self.memory.read().take(slots).vectors,
        }
        return {name: drift_of(rows.to(present.device), present, ages, edges) for name, rows in sides.items()}
