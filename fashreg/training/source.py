"""Training batches of a table: sampler, loader with augmentation, or what is frozen run once and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fashreg.config_data import DataConfig
from fashreg.config_trainer import TrainerConfig
from fashreg.data.decoded import decoded_pictures, short_side_for
from fashreg.data.feature_cache import CachedFeatures
from fashreg.data.loader import TableDataset, training_batches
from fashreg.data.transforms import evaluation_transform, training_transform
from fashreg.encoder import Encoder
from fashreg.errors import RecipeError
from fashreg.interfaces import Sampler
from fashreg.training.features import Announce, frozen_features
from fashreg.training.freezing import Frozen
from fashreg.training.interleaved import InterleavedSource, Turns
from fashreg.training.processes import Processes
from fashreg.training.session import MakeSource, Source
from fashreg.values import Experience, TrainingBatch

#: The sampler of an experience, for this process among those that train together.
MakeSampler = Callable[[Experience, Processes], Sampler]
_SAMPLE = 64  # pictures in one batch of `sample`


def table_source(
    sampler: MakeSampler,
    data: DataConfig,
    encoder: Encoder,
    trainer: TrainerConfig,
    *,
    seed: int = 0,
    views: int = 1,
    targets: bool = False,
    tasks: Mapping[str, DataConfig] | None = None,
    turns: Turns | None = None,
    announce: Announce | None = None,
) -> MakeSource:
    """How a session gets the batches of experiences whose `train` is a Table, or that have parts of this kind.

    data: augmentation, threads, decoded pictures. trainer: for its cache. seed: of the augmentation. views: 2 for a
    second view per picture. targets: whether batches hold target pictures; those of kind "composed" always do.
    tasks: data sections of tasks that have their own. turns: how a learner orders the parts. announce: told before
    something large is written to the cache.
    """

    def make(experience: Experience, frozen: Frozen, processes: Processes) -> Source:
        if experience.parts:
            parts = [make(part, frozen, processes) for part in experience.parts]
            return InterleavedSource(parts, seed, [part.name for part in experience.parts], turns)
        own = (tasks or {}).get(experience.task or "", data)
        asked = experience.extra.get("kind", "composed" if targets else "") == "composed"
        if not processes.first:
            processes.wait()  # the first process fills the caches
        dataset = _dataset(experience, own, encoder, seed, views, announce, varied=_varied(trainer), targets=asked)
        chosen = sampler(experience, processes)
        source: Source
        if trainer.cache == "features":
            source = CachedSource(
                dataset,
                _features(dataset, own, encoder, frozen.cut, trainer, announce),
                chosen,
                frozen.cut,
                experience.task,
            )
        else:
            source = TableSource(dataset, chosen, workers=own.workers, task=experience.task)
        if processes.first:
            processes.wait()
        return source

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
        spec = self.dataset.transform.spec
        plain = TableDataset(self.dataset.table, evaluation_transform(spec), targets=self.dataset.targets)
        yield from self._batches(plain, _random_batches(self.dataset, count), 0)

    def _batches(
        self, dataset: TableDataset, positions: Iterable[Sequence[int]], epoch: int
    ) -> Iterator[TrainingBatch]:
        for batch in training_batches(dataset, positions, epoch=epoch, workers=self.workers):
            batch.task = self.task
            yield batch


class CachedSource:
    """Batches that begin at stage `cut`: kept features in the sampler's order; epoch e reads view e % V."""

    def __init__(
        self, dataset: TableDataset, features: CachedFeatures, sampler: Sampler, cut: int, task: str | None = None
    ) -> None:
        if dataset.views == 2 and features.views < 2:
            raise RecipeError(
                "the loss needs a second view of each picture, and the cache keeps one: --set trainer.cache_views=4",
                field="trainer.cache_views",
            )
        self.dataset, self.features, self.sampler, self.cut, self.task = dataset, features, sampler, cut, task

    def __len__(self) -> int:
        return len(self.sampler)

    def batches(self, epoch: int) -> Iterator[TrainingBatch]:
        """The epoch's batches from where the sampler stands."""
        for positions in self.sampler:
            yield self._batch(positions, epoch, self.dataset.views == 2)

    def sample(self, count: int) -> Iterator[TrainingBatch]:
        """`count` different random pictures in their first view; fewer if the table has fewer."""
        for positions in _random_batches(self.dataset, count):
            yield self._batch(positions, 0, False)

    def _batch(self, positions: Sequence[int], epoch: int, twice: bool) -> TrainingBatch:
        first = self.features.read(positions, 2 * epoch if twice else epoch).float()
        second = self.features.read(positions, 2 * epoch + 1).float() if twice else None
        batch = self.dataset.batch(positions, first, second, stage=self.cut)
        batch.task = self.task
        return batch


def _varied(config: TrainerConfig) -> bool:
    """Whether pictures are augmented: always, unless a cache keeps a single view of each."""
    return config.cache == "none" or config.cache_views > 1


def _dataset(
    experience: Experience,
    data: DataConfig,
    encoder: Encoder,
    seed: int,
    views: int,
    announce: Announce | None,
    *,
    varied: bool,
    targets: bool = False,
) -> TableDataset:
    spec, table = encoder.input_spec, experience.train
    transform: Any = training_transform(spec, data.augment) if varied else evaluation_transform(spec)
    kept: dict[str, Any] = {}
    if data.decoded:
        side = short_side_for(spec, data.augment)
        store = decoded_pictures(table, side, targets=targets, workers=data.workers, announce=announce)
        kept = {"decoded": store, "decoded_targets": store.targets}
    return TableDataset(table, transform, seed=seed, views=views, targets=targets, **kept)


def _features(
    dataset: TableDataset,
    data: DataConfig,
    encoder: Encoder,
    cut: int,
    config: TrainerConfig,
    announce: Announce | None,
) -> CachedFeatures:
    preparation: dict[str, Any] = {"as": "evaluation"}
    if _varied(config):
        preparation = {"as": "training", "augment": data.augment.model_dump(mode="json"), "seed": dataset.seed}
    if data.decoded:
        preparation["decoded"] = short_side_for(encoder.input_spec, data.augment)
    once = TableDataset(dataset.table, dataset.transform, seed=dataset.seed, decoded=dataset.decoded)
    return frozen_features(
        encoder,
        once,
        cut,
        config,
        views=config.cache_views,
        preparation=preparation,
        workers=data.workers,
        announce=announce,
    )


def _random_batches(dataset: TableDataset, count: int) -> list[list[int]]:
    """`count` positions without repetition in lists of at most `_SAMPLE`, from the dataset's seed alone."""
    chosen = np.random.default_rng([dataset.seed, len(dataset)]).permutation(len(dataset))[:count].tolist()
    return [chosen[i : i + _SAMPLE] for i in range(0, len(chosen), _SAMPLE)]
