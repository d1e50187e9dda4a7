"""Training the stream shop's attributes, and what a run leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from stream_shop import stream_recipe

import fashreg
from fashreg.data.table import Table
from fashreg.evaluators.attribute_retrieval import AttributeRetrievalEvaluator
from fashreg.jobs.evaluation import evaluate_table
from fashreg.jobs.training import TrainedRun
from fashreg.learners.standard import StandardLearner


def train(shop: pd.DataFrame, out: Path | None = None, *, resume: bool = False, **changes: Any) -> TrainedRun:
    written, given = divided(changes)
    return fashreg.train(stream_recipe(**written), table=shop, out=out, resume=resume, quiet=True, **given)


def divided(changes: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a recipe can hold, and classes."""
    given = {name: value for name, value in changes.items() if isinstance(value, type)}
    return {name: value for name, value in changes.items() if name not in given}, given


def measured(run: TrainedRun, table: Table) -> dict[str, float]:
    return evaluate_table(run.encoder, table, [AttributeRetrievalEvaluator()]).metrics


def weights(run: TrainedRun) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.encoder.state_dict().items()}


class AllAtOnceLearner(StandardLearner):
    """Takes a stream as one experience."""

    whole_stream = True
