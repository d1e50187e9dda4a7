"""What is frozen runs once: the output of the encoder's frozen steps for every picture of a table, kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from fashreg.config_trainer import TrainerConfig
from fashreg.data.feature_cache import CachedFeatures, FeatureCache, Kept
from fashreg.data.loader import TableDataset, training_batches
from fashreg.data.table import Table
from fashreg.data.transforms import evaluation_transform
from fashreg.encoder import Encoder
from fashreg.encoder.fingerprint import steps_fingerprint
from fashreg.errors import RecipeError
from fashreg.training.freezing import cut_of

Announce = Callable[[str], None]
_KEPT: dict[str, Kept] = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
_BATCH = 64  # pictures that pass through the frozen steps together
_PART = 1024  # kept pictures that are read at once


def frozen_features(
    encoder: Encoder,
    dataset: TableDataset,
    cut: int,
    trainer: TrainerConfig,
    *,
    views: int,
    preparation: dict[str, Any],
    workers: int | None = None,
    announce: Announce | None = None,
) -> CachedFeatures:
    """The output of the first `cut` steps for every picture of a dataset, from the cache or computed now.

    views: how many variations of each picture are kept; view v is what epoch v of the dataset shows. preparation:
    what the pictures' preparation depends on beside the input spec, as plain data. Kept under the fingerprints of
    frozen weights, preparation and pictures; labels do not count. RecipeError where they depend on the task.
    """
    if getattr(encoder.backbone, "tasks", ()):
        raise RecipeError(
            "trainer.cache: features keeps what is frozen once for all, and the work of this backbone "
            f"({type(encoder.backbone).__name__}) depends on the task: --set trainer.cache=none",
            field="trainer.cache",
        )
    spec = encoder.input_spec
    key = {
        "steps": steps_fingerprint(encoder.backbone, encoder.head.takes, cut),
        "input": [*spec.size, *spec.mean, *spec.std, spec.interpolation, spec.crop],
        "preparation": preparation,
        "pictures": dataset.table.pictures_fingerprint,
    }

    def compute(view: int) -> Iterator[Tensor]:
        positions = [range(i, min(i + _BATCH, len(dataset))) for i in range(0, len(dataset), _BATCH)]
        with encoder.evaluating(), torch.no_grad():
            for batch in training_batches(dataset, positions, epoch=view, workers=workers):
                yield encoder.until(batch.images.to(encoder.device), cut)

    return FeatureCache().get_or_compute(
        key, len(dataset), compute, views=views, dtype=_KEPT[trainer.cache_dtype], announce=announce
    )


def embed_table(
    encoder: Encoder,
    table: Table,
    trainer: TrainerConfig,
    *,
    task: str | None = None,
    batch_size: int = 64,
    workers: int | None = None,
    announce: Announce | None = None,
) -> Tensor:
    """Embeddings (N, D) of a table for evaluation during training: as `Encoder.embed`, with `cache: features` from
    the kept output of what is frozen. Weights of the frozen part that changed are noticed and run again.
    """
    kept = _kept_features(encoder, table, trainer, workers, announce)
    if kept is None:
        return encoder.embed(table, batch_size=batch_size, task=task, workers=workers)
    cut, parts = kept
    return torch.cat([encoder.embed(part, stage=cut, task=task, batch_size=256) for part in parts])


def embed_table_tasks(
    encoder: Encoder,
    table: Table,
    trainer: TrainerConfig,
    tasks: Sequence[str],
    *,
    batch_size: int = 64,
    workers: int | None = None,
    announce: Announce | None = None,
) -> dict[str, Tensor]:
    """The same for several tasks in one pass, as `Encoder.embed_tasks`."""
    kept = _kept_features(encoder, table, trainer, workers, announce)
    if kept is None:
        return encoder.embed_tasks(table, tasks, batch_size=batch_size, workers=workers)
    cut, parts = kept
    made = [encoder.embed_tasks(part, tasks, stage=cut, batch_size=256) for part in parts]
    return {task: torch.cat([part[task] for part in made]) for task in tasks}


def _kept_features(
    encoder: Encoder, table: Table, trainer: TrainerConfig, workers: int | None, announce: Announce | None
) -> tuple[int, Iterator[Tensor]] | None:
    """The cut, and what the frozen steps give for the table, by parts; None where nothing frozen is kept."""
    cut = cut_of(encoder, trainer.freeze) if trainer.cache == "features" else 0
    if cut == 0:
        return None
    plain = TableDataset(table, evaluation_transform(encoder.input_spec))
    features = frozen_features(
        encoder, plain, cut, trainer, views=1, preparation={"as": "evaluation"}, workers=workers, announce=announce
    )
    starts = range(0, len(table), _PART)
    return cut, (features.read(range(i, min(i + _PART, len(table)))).float() for i in starts)
