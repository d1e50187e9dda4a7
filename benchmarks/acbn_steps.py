"""The arms of acbn_speed.py: a step of each, on a full memory whose embedding drifts."""

from __future__ import annotations

import itertools
from typing import Any

import dense_losses
import torch
from fashreg_acbn.memory import ACBNMemory
from fashreg_acbn.moments import batch_moments
from pytorch_metric_learning import distances
from pytorch_metric_learning import losses as peer
from torch import Tensor
from torch.nn.functional import normalize

from fashreg.losses.contrastive import ContrastiveLoss
from fashreg.losses.infonce import InfoNCELoss
from fashreg.losses.multi_similarity import MultiSimilarityLoss
from fashreg.memories.xbm import XBMMemory
from fashreg.values import Embedded

B, CLASSES, DRAWN = 64, 1000, 64
LOSSES = {
    "contrastive": lambda: ContrastiveLoss(form="hinge", normaliser="pairs"),  # the peer's definition
    "contrastive, per anchor": lambda: ContrastiveLoss(),
    "multi-similarity": lambda: MultiSimilarityLoss(),
    "infonce": lambda: InfoNCELoss(),
}
ARMS = ("xbm", "acbn", "in place", "dense", "peer", "peer, as it comes", "floor")


class InPlaceMemory(ACBNMemory):
    """The update of acbn as it is usually written: all rows are read for their moments and rewritten, every step."""

    @torch.no_grad()
    def align(self, batch: Embedded) -> None:
        XBMMemory.align(self, batch)
        self.filter.observe(batch_moments(batch.vectors, batch.labels))
        if len(self):
            mean, std = self.filter.level.float()
            rows = self.emb[: len(self)]
            factor = (std / rows.std(0, correction=0)).clamp(0.25, 4.0)
            self.emb[: len(self)] = (rows - rows.mean(0)) * factor + mean

    def read(self) -> Embedded:
        kept = XBMMemory.read(self)
        return Embedded(normalize(kept.vectors), kept.labels, kept.ids, unit=True)

    def push(self, batch: Embedded) -> None:
        XBMMemory.push(self, batch)

    def _storable(self, batch: Embedded) -> Tensor:
        return XBMMemory._storable(self, batch)


class Steps:
    """One step of every arm that is asked for, each on a memory of its own; the same batches for all."""

    def __init__(self, loss: str, m: int, d: int, arms: tuple[str, ...]) -> None:
        g = torch.Generator().manual_seed(0)
        self.loss, self.m, self.d, self.make = loss, m, d, LOSSES[loss]()
        wander = torch.cumsum(0.02 * torch.randn(DRAWN, d, generator=g), 0) / d**0.5
        rows = normalize(torch.randn(DRAWN, B, d, generator=g) / d**0.5 + wander[:, None], dim=2)
        labels = [torch.randperm(CLASSES, generator=g)[: B // 4].repeat_interleave(4) for _ in range(DRAWN)]
        self.batches = {arm: itertools.cycle(zip(rows, labels, strict=True)) for arm in arms}
        self.ids = dict.fromkeys(arms, 10**6)
        kinds = {"xbm": XBMMemory, "dense": XBMMemory, "acbn": ACBNMemory, "in place": InPlaceMemory}
        self.memories: dict[str, Any] = {arm: kinds[arm](m, embed_dim=d, start_step=0) for arm in arms if arm in kinds}
        self.peers = {arm: self._peer(arm) for arm in arms if arm.startswith("peer")}
        self.tiles = normalize(torch.randn(m, d, generator=g)) if "floor" in arms else None
        for arm in arms:
            self._fill(arm)

    def _peer(self, arm: str) -> Any:
        if self.loss.endswith("per anchor"):
            return None
        known = arm == "peer"
        distance = distances.DotProductSimilarity(normalize_embeddings=False) if known else distances.CosineSimilarity()
        inner: Any = {
            "contrastive": lambda: peer.ContrastiveLoss(1, 0.5, distance=distance),
            "multi-similarity": lambda: peer.MultiSimilarityLoss(distance=distance),
            "infonce": lambda: peer.SupConLoss(0.1, distance=distance),
        }[self.loss]()
        return peer.CrossBatchMemory(inner, self.d, memory_size=self.m)

    def _fill(self, arm: str) -> None:
        rows, labels = (torch.cat(parts) for parts in zip(*(next(self.batches[arm]) for _ in range(8)), strict=True))
        for start in range(0, self.m, len(rows)):
            part = slice(0, min(len(rows), self.m - start))
            if arm in self.memories:
                self.memories[arm].push(Embedded(rows[part], labels[part], torch.arange(start, start + self.m)[part]))
            elif self.peers.get(arm) is not None:
                self.peers[arm].embedding_memory[start : start + len(rows)] = rows[part]
                self.peers[arm].label_memory[start : start + len(rows)] = labels[part]
                self.peers[arm].has_been_filled = True

    def has(self, arm: str) -> bool:
        return not arm.startswith("peer") or self.peers[arm] is not None

    def step(self, arm: str) -> Tensor:
        rows, labels = next(self.batches[arm])
        leaf = rows.clone().requires_grad_()
        self.ids[arm] += B
        batch = Embedded(leaf, labels, torch.arange(self.ids[arm], self.ids[arm] + B), unit=True)
        if arm == "floor":
            return self._floor(leaf)
        if arm.startswith("peer"):
            value = self.peers[arm](leaf, labels)
        else:
            memory = self.memories[arm]
            memory.align(batch.detach())
            read = memory.read()
            value = self._dense(batch, read) if arm == "dense" else self.make(batch, read)
        value.backward()
        if arm in self.memories:
            self.memories[arm].push(batch.detach())
        assert leaf.grad is not None
        return value.detach()

    def _floor(self, leaf: Tensor) -> Tensor:
        assert self.tiles is not None
        with torch.no_grad():
            total, out = torch.zeros_like(leaf), leaf.new_empty(B, 2048)
            for start in range(0, self.m, 2048):
                tile = self.tiles[start : start + 2048]
                total.addmm_(torch.mm(leaf, tile.T, out=out), tile)
        return total.sum()

    def _dense(self, batch: Embedded, memory: Embedded) -> Tensor:
        s = batch.vectors @ memory.vectors.T
        same, own = batch.labels[:, None] == memory.labels[None], batch.ids[:, None] == memory.ids[None]
        p, n = same & ~own, ~(same | own)
        if self.loss == "infonce":
            return dense_losses.infonce(s, p, own)
        if self.loss == "multi-similarity":
            return dense_losses.multi_similarity(s, p, n)
        return (dense_losses.contrastive_hinge if self.loss == "contrastive" else dense_losses.contrastive)(s, p, n)
