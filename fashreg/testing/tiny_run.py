"""A whole training run that takes a fraction of a second: for the contract of learners and for tests of the loop.

Every part is a registered one, so that the run can be saved: a toy network of timm on 32 x 32 pictures drawn from
noise, a projection, InfoNCE with a learnt temperature, a small memory, P x K batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fashreg.backbones.timm import TimmBackbone
from fashreg.config_trainer import TrainerConfig
from fashreg.encoder import Encoder
from fashreg.heads.multi_task import MultiTaskHead
from fashreg.heads.projection import ProjectionHead
from fashreg.losses.infonce import InfoNCELoss
from fashreg.memories.xbm import XBMMemory
from fashreg.samplers.class_balanced import ClassBalancedSampler
from fashreg.training.freezing import Frozen
from fashreg.training.interleaved import InterleavedSource
from fashreg.training.processes import Processes
from fashreg.training.run_folder import RunFolder
from fashreg.training.session import MakeSource, Session, Source
from fashreg.values import Experience, TrainingBatch

CLASSES, EACH, SIDE, BATCH, DIM = 6, 6, 32, 12, 8


class TinyPictures:
    """36 pictures of 6 classes: a class's own noise plus some of each picture's own. Batches need no file.

    fails_at: raise `CrashError` before giving this batch (counted over all epochs), as a machine that goes down.
    """

    def __init__(self, sampler: Any, *, task: str | None = None, fails_at: int | None = None) -> None:
        random = torch.Generator().manual_seed(5)
        self.labels = torch.arange(CLASSES).repeat_interleave(EACH)
        kinds = torch.randn(CLASSES, 3, SIDE, SIDE, generator=random)
        self.images = kinds[self.labels] + 0.7 * torch.randn(len(self.labels), 3, SIDE, SIDE, generator=random)
        self.sampler, self.task, self.fails_at = sampler, task, fails_at

    def __len__(self) -> int:
        return len(self.sampler)

    def batches(self, epoch: int) -> Iterator[TrainingBatch]:
        """The epoch's batches from where the sampler stands, varied by epoch and position."""
        number = epoch * len(self) + self.sampler.state_dict()["batch"]
        for positions in self.sampler:
            if number == self.fails_at:
                raise CrashError
            number += 1
            yield self._batch(positions, epoch)

    def sample(self, count: int) -> Iterator[TrainingBatch]:
        """`count` different random pictures, as they are."""
        chosen = torch.randperm(len(self.labels), generator=torch.Generator().manual_seed(0))[:count].tolist()
        for start in range(0, len(chosen), 7):
            yield self._batch(chosen[start : start + 7], None)

    def _batch(self, positions: Sequence[int], epoch: int | None) -> TrainingBatch:
        where = torch.tensor(positions)
        images = self.images[where]
        if epoch is not None:
            shifts = [(7 * epoch + 3 * position) % SIDE for position in positions]
            images = torch.stack([image.roll(shift, 2) for image, shift in zip(images, shifts, strict=True)])
        return TrainingBatch(images, self.labels[where], where + 100, where, task=self.task)


class CrashError(Exception):
    """The machine went down."""


class DyingSource:
    """A source that raises `CrashError` before batch `at`, counted over all epochs; until then it is `whole`."""

    def __init__(self, whole: Source, at: int) -> None:
        self.whole, self.at, self.sampler = whole, at, whole.sampler

    def __len__(self) -> int:
        return len(self.whole)

    def batches(self, epoch: int) -> Iterator[TrainingBatch]:
        """Those of the whole, from where its sampler stands."""
        number = epoch * len(self) + self.sampler.state_dict()["batch"]
        for batch in self.whole.batches(epoch):
            if number == self.at:
                raise CrashError
            number += 1
            yield batch

    def sample(self, count: int) -> Iterator[TrainingBatch]:
        """As the whole."""
        return self.whole.sample(count)


def tiny_encoder(model: str = "test_efficientnet", seed: int = 0) -> Encoder:
    """A toy network with batch norm (test_efficientnet) or without (test_convnext), D = 8."""
    backbone = TimmBackbone(model, weights=None, image_size=SIDE, seed=seed)
    return Encoder(backbone, ProjectionHead(DIM, in_dim=backbone.out_dim, seed=seed))


def tiny_encoder_of_tasks(*tasks: str, model: str = "test_efficientnet", seed: int = 0) -> Encoder:
    """The same with a head for each task."""
    backbone = TimmBackbone(model, weights=None, image_size=SIDE, seed=seed)
    return Encoder(backbone, MultiTaskHead(tasks, out_dim=DIM, in_dim=backbone.out_dim, seed=seed))


def tiny_trainer(**changes: Any) -> TrainerConfig:
    """Two epochs of three steps at a rate that moves the weights."""
    chosen = {"epochs": 2, "batch_size": BATCH, "lr": 0.01, "checkpoint_every": 0, "log_every": 1, **changes}
    return TrainerConfig.model_validate(chosen)


def tiny_source(fails_at: int | None = None) -> MakeSource:
    """How a session gets its batches."""

    def make(experience: Experience, frozen: Frozen, processes: Processes) -> Source:
        if experience.parts:
            return InterleavedSource([make(part, frozen, processes) for part in experience.parts])
        labels = torch.arange(CLASSES).repeat_interleave(EACH)
        sampler = ClassBalancedSampler(
            labels, batch_size=BATCH, images_per_class=2, seed=3, rank=processes.rank, world_size=processes.size
        )
        return TinyPictures(sampler, task=experience.task, fails_at=fails_at)

    return make


def tiny_session(folder: RunFolder | None = None, *, fails_at: int | None = None, **parts: Any) -> Session:
    """A session of tiny parts; `parts` replace some, `trainer` may be a dict of changes to `tiny_trainer`."""
    trainer = parts.pop("trainer", {})
    chosen: dict[str, Any] = {
        "encoder": tiny_encoder(),
        "loss": InfoNCELoss(learnable=True),
        "memory": XBMMemory(20, embed_dim=DIM, start_step=1),
        "source": tiny_source(fails_at),
        "trainer": trainer if isinstance(trainer, TrainerConfig) else tiny_trainer(**trainer),
        "folder": folder,
        "quiet": True,
        **parts,
    }
    return Session(**chosen)


def tiny_experience(name: str = "all", task: str | None = None) -> Experience:
    """An experience for `tiny_source`, which needs no table."""
    return Experience(name, train=None, task=task)


def weights_of(session: Session) -> dict[str, Tensor]:
    """A copy of everything that training moves: encoder, loss and memory."""
    parts = {"encoder": session.encoder, "loss": session.loss, "memory": session.memory}
    return {
        f"{part}.{name}": tensor.detach().clone()
        for part, module in parts.items()
        if module is not None
        for name, tensor in module.state_dict().items()
    }


def difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    """Names of what is not equal bit for bit."""
    return [name for name in one if name not in other or not torch.equal(one[name], other[name])]


def run_folder(path: Path) -> RunFolder:
    """A run folder without its lock, for tests that pretend that a process died."""
    path.mkdir(parents=True, exist_ok=True)
    return RunFolder(path)
