"""What each of two processes runs for `test_moml_training.py`; the test itself runs `train` as the one process."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from fashreg_moml.loss import MultiObjectiveLoss
from fashreg_moml.sampler import TwoRelationSampler

from fashreg.learners.standard import StandardLearner
from fashreg.testing.tiny_run import (
    BATCH,
    CLASSES,
    DIM,
    EACH,
    TinyPictures,
    tiny_encoder,
    tiny_experience,
    tiny_session,
)
from fashreg.training.processes import Processes
from fashreg.training.session import Session
from fashreg.values import TrainingBatch


def session(folder: Any = None, fails_at: int | None = None, **parts: Any) -> Session:
    """A tiny run with the plugin's loss and its sampler, which looks after the first epoch and every second step."""
    torch.manual_seed(0)

    def source(experience: Any, frozen: Any, processes: Processes) -> TinyPictures:
        labels = torch.arange(CLASSES).repeat_interleave(EACH)
        ranks = {"rank": processes.rank, "world_size": processes.size}
        sampler = TwoRelationSampler(
            labels, batch_size=BATCH, images_per_class=3, refresh=2, ahead=1, nearest=3, temperature=0.5, **ranks
        )
        return TinyPictures(sampler, fails_at=fails_at)

    parts.setdefault("loss", MultiObjectiveLoss(num_classes=CLASSES, embed_dim=DIM, num_images=36, batch_size=BATCH))
    parts.setdefault("trainer", {"epochs": 4, "checkpoint_steps": 1})
    return tiny_session(folder, memory=None, source=source, **parts)


class Noting(StandardLearner):
    """Remembers which pictures every step saw, over all processes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[list[int]] = []

    def objective(self, batch: TrainingBatch) -> Any:
        made = super().objective(batch)
        self.seen.append(made.rows.ids.tolist())
        return made


def train() -> list[list[int]]:
    """The pictures of every step of a run in double precision, so that the order of sums hides nothing."""
    trainer = {"epochs": 4, "optimizer": "sgd", "momentum": 0.0, "lr": 0.001, "schedule": "constant"}
    made = session(encoder=tiny_encoder("test_convnext"), trainer=trainer)
    for module in (made.encoder, made.loss):
        module.double()
    made.encoder.register_forward_pre_hook(lambda module, given: (given[0].double(), *given[1:]))
    learner = Noting()
    learner.bind(made).learn(tiny_experience())
    return learner.seen


if __name__ == "__main__":
    torch.set_num_threads(1)
    (Path(sys.argv[1]) / f"{Processes().rank}.json").write_text(json.dumps(train()))
    dist.destroy_process_group()
