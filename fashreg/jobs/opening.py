"""What every job opens first: a model (folder or object) and a table (path, DataFrame or Table)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fashreg.config import Recipe, read_data
from fashreg.config_data import DataConfig
from fashreg.config_tasks import TaskConfig
from fashreg.data.table import Table, read_table
from fashreg.encoder import Encoder
from fashreg.errors import ModelError
from fashreg.hub.address import hub_hint, is_address
from fashreg.storage import read_provenance
from fashreg.storage.loading import load_with_folder

Model = str | Path | Encoder


@dataclass(frozen=True)
class Trained:
    """How a model was trained, as far as its folder says: how its table was read, what re-ranked and what judged it.

    tasks: its parts of the recipe, by name, where it learned several.
    """

    data: DataConfig | None = None
    evaluators: tuple[Any, ...] = ("retrieval",)
    rerankers: tuple[Any, ...] = ()
    tasks: Mapping[str, TaskConfig] = field(default_factory=dict)


def open_model(model: Model) -> tuple[Encoder, Trained]:
    """The encoder, and how it was trained. What a folder says of that is provenance: unreadable, it is left out."""
    if isinstance(model, Encoder):
        return model, Trained()
    if not is_address(model):
        _check_folder(Path(model))
    encoder, folder = load_with_folder(model)
    try:
        recipe = Recipe.model_validate(read_provenance(folder).get("recipe"))
    except ValueError:
        return encoder, Trained()
    return encoder, Trained(recipe.data, tuple(recipe.evaluators), tuple(recipe.rerankers), recipe.tasks or {})


def _check_folder(folder: Path) -> None:
    """A model folder by its looks; ModelError says where it may be instead."""
    if not folder.is_dir():
        inner = " (did you mean its folder `model`?)" if (folder.parent / "model").is_dir() else ""
        raise ModelError(
            f"no model folder {folder}{inner}; `fashreg train RECIPE --out RUN` writes RUN/model{hub_hint(folder)}"
        )
    if not (folder / "config.json").is_file() and (folder / "model" / "config.json").is_file():
        raise ModelError(f"{folder} is a run folder; its model is {folder / 'model'}")


def open_table(
    table: Any,
    trained_with: DataConfig | None = None,
    *,
    split: str | None = None,
    options: Sequence[str] = (),
    need_label: bool = True,
) -> tuple[Table, DataConfig]:
    """The rows asked for. What the options leave open is read as the model's training table was."""
    if isinstance(table, Table):
        return (table if split is None else table.take(split)), trained_with or DataConfig()
    path = str(table) if isinstance(table, str | Path) else None
    config = read_data(path, options, like=trained_with)
    return read_table(path if path is not None else table, config, split=split, need_label=need_label), config
