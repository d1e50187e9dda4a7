"""A training run on four tasks that takes a fraction of a second: synthetic pictures, texts, edits and classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from fashreg_famevil.backbone import FameViLBackbone
from fashreg_famevil.head import FameViLHead
from fashreg_famevil.multi_task import MultiTaskLearner

from fashreg.encoder import Encoder
from fashreg.samplers.random import RandomSampler
from fashreg.testing.tiny_run import DyingSource, run_folder, tiny_trainer
from fashreg.training.freezing import Frozen
from fashreg.training.interleaved import InterleavedSource
from fashreg.training.own_loss import OwnLoss
from fashreg.training.processes import Processes
from fashreg.training.session import Session
from fashreg.values import Experience, TrainingBatch

KINDS = {"match": "cross-modal", "edit": "composed", "name": "classification", "say": "captioning"}
COLOURS, THINGS = ("red", "blue", "green", "grey"), ("dress", "shirt", "skirt", "coat")
NUMBER, SIDE, BATCH = 16, 16, 8


def small_encoder(kinds: dict[str, str] = KINDS, seed: int = 0, **options: Any) -> Encoder:
    """Two blocks on 16 x 16 pictures, 600 tokens."""
    chosen = {"vocabulary": 600, "image_size": SIDE, "context_length": 16, "bottleneck": 8, "cross_bottleneck": 8}
    backbone = FameViLBackbone("tiny", None, kinds=kinds, seed=seed, **{**chosen, **options})
    head = FameViLHead(
        kinds=kinds,
        classes={task: list(THINGS) for task, kind in kinds.items() if kind == "classification"},
        in_dim=backbone.out_dim,
        text_dim=backbone.text_dim,
        vocabulary=backbone.vocabulary,
        seed=seed,
    )
    return Encoder(backbone, head)


class Wardrobe:
    """16 pictures, one of each colour and thing: batches of one task. Row n: colour n // 4, thing n % 4."""

    def __init__(self, sampler: Any, task: str, kind: str) -> None:
        random = torch.Generator().manual_seed(5)
        grain = torch.randn(NUMBER, 3, SIDE, SIDE, generator=random)
        colours, things = (torch.randn(4, 3, SIDE, SIDE, generator=random) for _ in range(2))
        rows = torch.arange(NUMBER)
        self.images = colours[rows // 4] + things[rows % 4] + 0.3 * grain
        self.sampler, self.task, self.kind = sampler, task, kind

    def __len__(self) -> int:
        return len(self.sampler)

    def batches(self, epoch: int) -> Iterator[TrainingBatch]:
        for positions in self.sampler:
            yield self.batch(positions)

    def sample(self, count: int) -> Iterator[TrainingBatch]:
        yield self.batch(range(min(count, NUMBER)))

    def batch(self, positions: Sequence[int]) -> TrainingBatch:
        """Edits ask for the thing of that row in the next colour."""
        where = torch.tensor(list(positions))
        wanted = (where + 4) % NUMBER
        edits = self.kind == "composed"
        texts = [f"but in {COLOURS[n // 4]}" if edits else words_of(n) for n in (wanted if edits else where).tolist()]
        labels = wanted if edits else where % 4 if self.kind == "classification" else where
        targets = self.images[wanted] if edits else None
        return TrainingBatch(
            self.images[where], labels, where + 100, where, texts=texts, task=self.task, targets=targets
        )


def words_of(row: int) -> str:
    return f"a {COLOURS[row // 4]} {THINGS[row % 4]}"


def batch_of(task: str, rows: int = BATCH, kinds: dict[str, str] = KINDS) -> TrainingBatch:
    return Wardrobe(None, task, kinds[task]).batch(range(rows))


def source(fails_at: int | None = None, kinds: dict[str, str] = KINDS, turns: Any = None) -> Any:
    """How a session gets its batches. fails_at: die before this batch. turns: whose turn it is, as a learner says."""

    def make(experience: Experience, frozen: Frozen, processes: Processes) -> Any:
        if experience.parts:
            parts = [make(part, frozen, processes) for part in experience.parts]
            whole = InterleavedSource(parts, 0, [part.name for part in experience.parts], turns)
            return DyingSource(whole, fails_at) if fails_at is not None else whole
        sampler = RandomSampler(
            torch.arange(NUMBER), batch_size=BATCH, seed=3, rank=processes.rank, world_size=processes.size
        )
        assert experience.task is not None
        return Wardrobe(sampler, experience.task, kinds[experience.task])

    return make


def small_session(
    folder: Path | None = None,
    *,
    kinds: dict[str, str] = KINDS,
    fails_at: int | None = None,
    trainer: dict[str, Any] | None = None,
    turns: Any = None,
    **parts: Any,
) -> Session:
    """A session without loss and memory. Two epochs of two batches a task."""
    chosen: dict[str, Any] = {
        "encoder": small_encoder(kinds),
        "loss": OwnLoss(),
        "source": source(fails_at, kinds, turns),
        "trainer": tiny_trainer(**{"batch_size": BATCH, "epochs": 1, **(trainer or {})}),
        "folder": None if folder is None else run_folder(folder),
        "quiet": True,
        **parts,
    }
    return Session(**chosen)


def all_tasks(name: str = "all", kinds: dict[str, str] = KINDS) -> Experience:
    parts = tuple(Experience(task, None, task=task, extra={"kind": kind}) for task, kind in kinds.items())
    return Experience(name, None, parts=parts)


def learnt(session: Session, learner: Any | None = None, kinds: dict[str, str] = KINDS) -> Any:
    """The report of a learner that learnt everything."""
    return (learner or MultiTaskLearner()).bind(session).learn(all_tasks(kinds=kinds))
