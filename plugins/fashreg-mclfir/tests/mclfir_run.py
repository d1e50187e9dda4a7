"""Streams of tiny experiences for the tests of learners: two tasks and more over the same drawn pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from fashreg_mclfir.ewc import EWCLearner
from fashreg_mclfir.fine_tune import FineTuneLearner
from fashreg_mclfir.joint import JointLearner
from fashreg_mclfir.lwf import LwFLearner
from fashreg_mclfir.mcl_fir import MCLFIRLearner
from fashreg_mclfir.own_network import OwnNetworkHead
from fashreg_mclfir.replay import ReplayLearner
from fashreg_mclfir.retrain import RetrainLearner
from torch import Tensor

from fashreg.backbones.timm import TimmBackbone
from fashreg.backbones.truncated import TruncatedBackbone
from fashreg.encoder import Encoder
from fashreg.heads.multi_task import MultiTaskHead
from fashreg.heads.projection import ProjectionHead
from fashreg.losses.infonce import InfoNCELoss
from fashreg.samplers.pairs import PairsSampler
from fashreg.testing.tiny_run import BATCH, DIM, SIDE, DyingSource, TinyPictures, run_folder, tiny_session, weights_of
from fashreg.training.freezing import Frozen
from fashreg.training.interleaved import InterleavedSource
from fashreg.training.processes import Processes
from fashreg.training.session import Session
from fashreg.values import Experience, TrainingBatch

NAMES = ("colour", "sleeve", "season")
#: Every learner in the ways that differ in what they keep.
LEARNERS: dict[str, Callable[[], Any]] = {
    "fine-tune": FineTuneLearner,
    "fine-tune-first": lambda: FineTuneLearner("first"),
    "mcl-fir": lambda: MCLFIRLearner(weight=0.1, decay=0.8),
    "mcl-fir-embeddings": lambda: MCLFIRLearner(teacher="restarted", target="embeddings", weight=0.5, decay=0.8),
    "mcl-fir-old-heads": lambda: MCLFIRLearner(teacher="frozen", target="old-heads", weight=1.0),
    "mcl-fir-rolling-old-heads": lambda: MCLFIRLearner(target="old-heads", weight=1.0, decay=0.8),
    "mcl-fir-second-view": lambda: MCLFIRLearner(weight=0.1, decay=0.8, teacher_view="second", batch_norm="trained"),
    "lwf": LwFLearner,
    "lwf-similarity": lambda: LwFLearner(target="similarity"),
    "ewc": lambda: EWCLearner(weight=1.0, tuples=12),
    "ewc-batch": lambda: EWCLearner(weight=1.0, tuples=12, per="batch"),
    "replay": ReplayLearner,
    "replay-distil": lambda: ReplayLearner(distil=True, old_heads="trained", selection="random"),
    "joint": JointLearner,
    "retrain": RetrainLearner,
}


class TaskPictures(TinyPictures):
    """The tiny pictures, labelled for one task. views: 2 for batches with a second view."""

    def __init__(self, sampler: Any, labels: Tensor, views: int = 1, **options: Any) -> None:
        super().__init__(sampler, **options)
        self.labels, self.views = labels, views

    def batches(self, epoch: int) -> Iterator[TrainingBatch]:
        for batch in super().batches(epoch):
            batch.second_view = batch.images.flip(3) if self.views == 2 else None
            yield batch

    def _batch(self, positions: Sequence[int], epoch: int | None) -> TrainingBatch:
        batch = super()._batch(positions, epoch)
        batch.labels = self.labels[batch.positions]
        return batch


def labels_of(task: str | None) -> Tensor:
    """Other values for other tasks: groups of 6, 9 or 12 of the 36 pictures."""
    each = {None: 6, "colour": 6, "sleeve": 9, "season": 12}.get(task, 6)
    return torch.arange(36) // each


def views_of(name: str) -> int:
    """How many views the batches of this one of LEARNERS need."""
    return 2 if "second-view" in name else 1


def stream_source(fails_at: tuple[str, int] | None = None, views: int = 1) -> Any:
    """How a session gets its batches. fails_at: die before that batch of that experience."""

    def make(experience: Experience, frozen: Frozen, processes: Processes) -> Any:
        if experience.parts:
            whole = InterleavedSource([make(part, frozen, processes) for part in experience.parts], 0)
            return DyingSource(whole, fails_at[1]) if fails_at and fails_at[0] == experience.name else whole
        labels = labels_of(experience.task)
        sampler = PairsSampler(
            labels,
            batch_size=BATCH,
            anchors="balanced",
            pairs=18,
            seed=3,
            rank=processes.rank,
            world_size=processes.size,
        )
        dies = fails_at[1] if fails_at and fails_at[0] == experience.name and "whole" not in experience.extra else None
        return TaskPictures(sampler, labels, views, task=experience.task, fails_at=dies)

    return make


def network(seed: int = 0) -> TimmBackbone:
    return TimmBackbone("test_efficientnet", weights=None, image_size=SIDE, seed=seed)


def shared(*tasks: str, seed: int = 0) -> Encoder:
    """One trunk with batch norm, a head a task."""
    backbone = network(seed)
    return Encoder(backbone, MultiTaskHead(tasks, out_dim=DIM, in_dim=backbone.out_dim, seed=seed))


def networks(*tasks: str, start: int = 0) -> Encoder:
    """A network for each task, over what the first `start` stages share."""
    trunk = TruncatedBackbone(network(), keep=start)
    head = ProjectionHead(DIM, in_dim=network().out_dim)
    own = OwnNetworkHead(network(), head, start, in_dim=trunk.map_dim)
    return Encoder(trunk, MultiTaskHead(tasks, own))


def stream_session(folder: Path | None = None, *, fails_at: Any = None, views: int = 1, **parts: Any) -> Session:
    """A session whose loss is MCL-FIR's, with room for tasks and no memory."""
    chosen = {
        "encoder": shared(),
        "memory": None,
        "loss": InfoNCELoss("pairs", 0.3, negatives="both", mask_same_value=True),
        "source": stream_source(fails_at, views),
        **parts,
    }
    return tiny_session(None if folder is None else run_folder(folder), **chosen)


def experience(name: str, task: str | None = "") -> Experience:
    return Experience(name, train=None, task=name if task == "" else task)


def learn(learner: Any, session: Session, *names: str) -> list[Any]:
    """Bind, and learn these experiences (all as one where the learner wants that)."""
    learner.bind(session)
    steps = [experience(name) for name in names or NAMES[:2]]
    if learner.whole_stream:
        steps = [Experience("all", None, parts=tuple(steps))]
    return [learner.learn(step) for step in steps]


def end_of(session: Session) -> dict[str, Tensor]:
    """Everything that training moved."""
    return weights_of(session)


def head_weights(session: Session, task: str) -> dict[str, Tensor]:
    """Parameters and buffers of one head, copied."""
    return {name: value.clone() for name, value in session.encoder.head.head_of(task).state_dict().items()}


def answers(session: Session, task: str) -> Tensor:
    """Embeddings of the tiny pictures by one head."""
    return session.encoder.embed(TaskPictures(None, labels_of(task)).images, task=task)
