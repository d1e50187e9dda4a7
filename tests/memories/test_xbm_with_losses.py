"""The cross-batch memory under the losses of this package, and beside pytorch-metric-learning's memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from plain_losses import contrastive, multi_similarity
from torch import nn

from fashreg.functional.pairs import exclude_similar
from fashreg.losses.contrastive import ContrastiveLoss
from fashreg.losses.infonce import InfoNCELoss
from fashreg.losses.multi_similarity import MultiSimilarityLoss
from fashreg.losses.triplet import TripletLoss
from fashreg.memories.xbm import XBMMemory
from fashreg.testing.rows import joined, numbered
from fashreg.values import Embedded

LOSSES = [ContrastiveLoss(), MultiSimilarityLoss(), MultiSimilarityLoss(epsilon=0.1), TripletLoss(), InfoNCELoss()]
EVERY_LOSS = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)


def few_classes(n: int, first: int = 0) -> Embedded:
    batch = numbered(n, first)
    return Embedded(batch.vectors, batch.ids % 3, batch.ids, unit=True)


def remembered(*batches: Embedded, **options: Any) -> XBMMemory:
    memory = XBMMemory(sum(map(len, batches)), embed_dim=4, start_step=0, **options)
    for batch in batches:
        memory.push(batch)
    return memory


@pytest.mark.parametrize(("loss", "plain"), [(LOSSES[0], contrastive), (LOSSES[1], multi_similarity)])
def test_the_losses_read_the_memory_as_the_definitions_say(loss: nn.Module, plain: Any) -> None:
    read = remembered(few_classes(6), few_classes(6, 6), exclusion="slot").read()
    batch = few_classes(6, 6)
    assert float(loss(batch, read)) == pytest.approx(float(plain(batch, read)), abs=1e-5)


@EVERY_LOSS
def test_a_memory_that_is_the_batch_gives_the_plain_loss(loss: nn.Module) -> None:
    batch = few_classes(9)
    assert float(loss(batch, remembered(batch).read())) == pytest.approx(float(loss(batch)), abs=1e-6)


@EVERY_LOSS
def test_the_order_of_remembered_rows_does_not_matter(loss: nn.Module) -> None:
    read, batch = remembered(few_classes(9)).read(), few_classes(6, 6)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    turned = Embedded(read.vectors[order], read.labels[order], read.ids[order], unit=True)
    assert float(loss(batch, turned)) == pytest.approx(float(loss(batch, read)), abs=1e-6)


@EVERY_LOSS
def test_a_stale_copy_of_the_anchor_is_no_pair_by_id_and_a_positive_by_slot(loss: nn.Module) -> None:
    anchor, others = few_classes(1), few_classes(9, 6)
    stale = Embedded(-anchor.vectors, anchor.labels, anchor.ids, unit=True)  # the same image under another model
    alone = float(loss(anchor, remembered(others).read()))
    assert float(loss(anchor, remembered(stale, others).read())) == pytest.approx(alone, abs=1e-6)
    by_slot = float(loss(anchor, remembered(stale, others, exclusion="slot").read()))
    assert by_slot != pytest.approx(alone, abs=1e-3)


@EVERY_LOSS
def test_an_empty_memory_and_a_memory_of_strangers_give_a_finite_loss(loss: nn.Module) -> None:
    anchors = numbered(3).vectors.requires_grad_()
    batch = Embedded(anchors, torch.arange(3), torch.arange(3))
    for memory in (XBMMemory(5, embed_dim=4, start_step=0), remembered(numbered(3, first=50))):
        value = loss(batch, memory.read())
        value.backward()
        assert bool(torch.isfinite(value))
    assert anchors.grad is not None
    assert bool(torch.isfinite(anchors.grad).all())


@EVERY_LOSS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
def test_half_precision_costs_rounding_only(loss: nn.Module, dtype: torch.dtype, stored: str) -> None:  # M9
    batch = few_classes(9)
    half = Embedded(nn.functional.normalize(batch.vectors.to(dtype), dim=1), batch.labels, batch.ids)
    near = float(loss(half, remembered(half, dtype=stored).read()))
    assert near == pytest.approx(float(loss(batch)), rel=0.03, abs=0.02)


def test_the_test_by_similarity_is_there_for_those_who_want_it() -> None:
    batch = few_classes(6)
    strangers = Embedded(batch.vectors, batch.labels, batch.ids + 100, unit=True)
    read = remembered(strangers).read()
    relevance = exclude_similar(batch, read)
    assert relevance.diagonal().tolist() == [-1.0] * 6
    assert float(LOSSES[0](batch, read, relevance)) == pytest.approx(float(LOSSES[0](batch)), abs=1e-6)


@pytest.mark.parametrize("miner", [False, True])
def test_pushing_first_equals_pytorch_metric_learnings_memory(miner: bool) -> None:
    from pytorch_metric_learning import distances, losses, miners

    if miner:
        peer_loss = losses.MultiSimilarityLoss(alpha=2, beta=50, base=0.5)
        peer = losses.CrossBatchMemory(peer_loss, 4, memory_size=10, miner=miners.MultiSimilarityMiner(epsilon=0.1))
        loss: nn.Module = MultiSimilarityLoss(epsilon=0.1)
    else:
        cosine = distances.CosineSimilarity()
        peer_loss = losses.ContrastiveLoss(pos_margin=1, neg_margin=0.5, distance=cosine)
        peer = losses.CrossBatchMemory(peer_loss, 4, memory_size=10)
        loss = ContrastiveLoss(form="hinge", normaliser="pairs")
    memory = XBMMemory(10, embed_dim=4, start_step=0, exclusion="slot")
    for turn in range(7):  # 4 rows a turn into 10 slots: two wraps, and images that come back
        first = 4 * (turn % 3)
        rows = numbered(4, first=40 + turn * 5).vectors  # the same images under another model
        batch = Embedded(rows, (torch.arange(4) + first) % 3, torch.arange(4) + first)
        memory.push(batch)
        assert float(loss(batch, memory.read())) == pytest.approx(float(peer(rows, batch.labels)), abs=1e-5)


def test_the_whole_history_is_the_reference_while_the_memory_is_not_full() -> None:
    batches = [few_classes(4, first) for first in range(0, 40, 4)]
    everything = joined(batches)
    for loss in LOSSES[:2]:
        read = remembered(*batches).read()
        assert float(loss(batches[3], read)) == pytest.approx(float(loss(batches[3], everything)), rel=1e-6)
