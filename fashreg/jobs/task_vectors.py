"""Vectors of several tasks of one table, from as few passes of the trunk as memory allows."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fashreg.config_trainer import TrainerConfig
from fashreg.data.table import Table
from fashreg.encoder import Encoder
from fashreg.training.features import embed_table, embed_table_tasks

_KEPT_BYTES = 1 << 30  # vectors of several tasks up to this size are made and held together


class TaskVectors:
    """Call with a task for its vectors (N, D). Those that will be asked for next come from the same pass.

    asked: the tasks in the order in which they will be asked for; None, or a name that the head does not serve, is a
    pass of its own. kept_bytes: tasks whose vectors fit in it together share a pass; one at a time always fits.
    trainer: during training, for its cache of what is frozen.
    """

    def __init__(
        self,
        encoder: Encoder,
        table: Table,
        asked: Sequence[str | None],
        *,
        trainer: TrainerConfig | None = None,
        batch_size: int = 64,
        progress: bool = False,
        kept_bytes: int = _KEPT_BYTES,
    ) -> None:
        self.encoder, self.table, self.trainer = encoder, table, trainer
        self.batch_size, self.progress = batch_size, progress
        self._order = [task for task in dict.fromkeys(asked) if task is not None and task in encoder.head.tasks]
        self._room = max(1, kept_bytes // max(1, 4 * len(table) * encoder.embed_dim))
        self._kept: dict[str | None, Tensor] = {}

    def __call__(self, task: str | None) -> Tensor:
        """Vectors (N, D) of a task."""
        if task not in self._kept:
            self._kept = {}  # before the next are made
            group = self._group(task)
            self._kept = {task: self._one(task)} if len(group) < 2 else self._several(group)
        return self._kept[task]

    def _group(self, task: str | None) -> list[str]:
        """All tasks; where there is no room for them, the task and those asked for after it, as many as there is."""
        if self._room >= len(self._order) and task in self._order:
            return self._order
        start = self._order.index(task) if task in self._order else len(self._order)
        return self._order[start : start + self._room]

    def _one(self, task: str | None) -> Tensor:
        if self.trainer is not None:
            return embed_table(self.encoder, self.table, self.trainer, batch_size=self.batch_size, task=task)
        return self.encoder.embed(self.table, batch_size=self.batch_size, task=task, progress=self.progress)

    def _several(self, tasks: list[str]) -> dict[str | None, Tensor]:
        if self.trainer is None:
            made = self.encoder.embed_tasks(self.table, tasks, batch_size=self.batch_size, progress=self.progress)
        else:
            made = embed_table_tasks(self.encoder, self.table, self.trainer, tasks, batch_size=self.batch_size)
        return dict(made.items())
