"""Training batches of a table: sampler, loader with augmentation, and what is frozen run once and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fashreg.config_data import DataConfig
from fashreg.data.loader import TableDataset, training_batches
from fashreg.data.transforms import evaluation_transform, training_transform
from fashreg.encoder import Encoder
from fashreg.interfaces import Sampler
from fashreg.training.freezing import Frozen
from fashreg.training.processes import Processes
from fashreg.training.session import MakeSource
from fashreg.values import Experience, TrainingBatch

#: The sampler of an experience, for this process among those that train together.
MakeSampler = Callable[[Experience, Processes], Sampler]
_SAMPLE = 64  # pictures in one batch of `sample`


def table_source(
    sampler: MakeSampler, data: DataConfig, encoder: Encoder, *, seed: int = 0, views: int = 1
) -> MakeSource:
    """How a session gets the batches of experiences whose `train` is a Table.

    data: augmentation, threads, decoded pictures. seed: of the augmentation. views: 2 for a second view per picture.
    """

    def make(experience: Experience, frozen: Frozen, processes: Processes) -> TableSource:
        chosen = training_transform(encoder.input_spec, data.augment)
        dataset = TableDataset(experience.train, chosen, seed=seed, views=views)
        return TableSource(dataset, sampler(experience, processes), workers=data.workers, task=experience.task)

    return make


class TableSource:
    """Batches of a dataset in the sampler's order. See `fashreg.training.session.Source`."""

    def __init__(
        self, dataset: TableDataset, sampler: Sampler, *, workers: int | None = None, task: str | None = None
    ) -> None:
        self.dataset, self.sampler, self.workers, self.task = dataset, sampler, workers, task

    def __len__(self) -> int:
        return len(self.sampler)

    def batches(self, epoch: int) -> Iterator[TrainingBatch]:
        """The epoch's batches from where the sampler stands."""
        yield from self._batches(self.dataset, self.sampler, epoch)

    def sample(self, count: int) -> Iterator[TrainingBatch]:
        """`count` different random pictures, as at evaluation; fewer if the table has fewer. Equal on all processes."""
        plain = TableDataset(self.dataset.table, evaluation_transform(self.dataset.transform.spec))
        chance = np.random.default_rng([self.dataset.seed, len(plain)])
        chosen = chance.permutation(len(plain))[:count].tolist()
        yield from self._batches(plain, [chosen[i : i + _SAMPLE] for i in range(0, len(chosen), _SAMPLE)], 0)

    def _batches(self, dataset: TableDataset, positions: Any, epoch: int) -> Iterator[TrainingBatch]:
        for batch in training_batches(dataset, positions, epoch=epoch, workers=self.workers):
            batch.task = self.task
            yield batch
