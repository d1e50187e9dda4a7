"""The recipe of a run that learns on: everything as it was, but the table, the attributes, and what may change."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fashreg.component import nearest, options_of
from fashreg.config import Recipe, read_recipe
from fashreg.config_data import DataConfig
from fashreg.data.opening import open_source
from fashreg.errors import FashregError, RecipeError
from fashreg.jobs.continuing_source import Beginning
from fashreg.registry import find_class

_OURS = {
    "backbone": "the encoder is the one that is learned on from",
    "head": "the head is the one that is learned on from, with another task",
    "data.table": "the table is given by --table",
    "stream.by": "an attribute is added",
    "stream.order": "the attributes are given by --add-attribute",
    "stream.heads": "an attribute is added with a head of its own",
}


def checked_names(begun: Beginning, add: str | Sequence[str]) -> list[str]:
    """The names of new attributes; RecipeError for none, for one named twice, and for one that the model knows."""
    names = [add] if isinstance(add, str) else list(add)
    if not names or not all(names):
        raise RecipeError("name the attribute to add, a column of the table: --add-attribute NAME")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RecipeError(f"{', '.join(twice)} is named twice; every attribute is added once")
    known = [name for name in names if name in begun.tasks]
    if known:
        raise RecipeError(
            f"{begun.name} knows {known[0]!r} already (it knows {', '.join(begun.tasks)}), and keeps what it knows. To "
            f"measure it: fashreg evaluate MODEL --task {known[0]}; to learn it anew beside the old, give the column "
            "another name in the table"
        )
    return names


def continued_recipe(
    begun: Beginning,
    names: Sequence[str],
    table: Any,
    *,
    train_encoder: bool = False,
    recipe: Any = None,
    overrides: Sequence[str] = (),
) -> Recipe:
    """The recipe of the new run.

    As it was, but: data.table is `table`; data.attributes are the new names, then those that the model knows and the
    table has; stream.order is the new names; trainer.freeze is backbone, unless train_encoder; data.label is left out
    where the table has no such column. Then `overrides`. recipe: instead of the one that is kept with the model.
    """
    document = kept_recipe(begun, recipe)
    check_overrides(overrides)
    data = dict(document.get("data") or {})
    data.pop("root", None)
    data["table"] = str(table) if isinstance(table, str | Path) else "DataFrame"
    columns = columns_of(table, [*overrides], data)
    for name in names:
        if name not in columns:
            near = nearest(name, columns)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(columns)}"
            raise RecipeError(f"--add-attribute {name}: the table has no such column; {hint}", field="data.attributes")
    data["attributes"] = [*names, *(task for task in begun.tasks if task in columns)]
    if data.get("label", "label") not in columns:
        data["label"] = None
    document["data"] = data
    least = (document.get("stream") or {}).get("least")
    document["stream"] = {"by": "attribute", "order": list(names), **({} if least is None else {"least": least})}
    if begun.foreign and recipe is None:
        document["trainer"] = {**(document.get("trainer") or {}), "trackers": []}  # a stranger chooses none
    if train_encoder:
        _release(document, begun)
    else:
        document["trainer"] = {**(document.get("trainer") or {}), "freeze": "backbone"}
    return read_recipe(document, overrides)


def freeze_before(begun: Beginning, recipe: Any, now: Recipe) -> dict[str, Any]:
    """What was frozen while the encoder was last learned, where that is not what is frozen now: for _release."""
    earlier = read_recipe(kept_recipe(begun, recipe)).trainer.freeze
    found = _said_before(begun) or earlier if earlier == "backbone" else earlier
    return {} if found == now.trainer.freeze else {"freeze": found}


def _said_before(begun: Beginning) -> Any:
    said = begun.provenance.get("continued_from")
    return said.get("freeze") if isinstance(said, dict) else None


def kept_recipe(begun: Beginning, recipe: Any) -> dict[str, Any]:
    """The recipe to begin with, as plain data without what nobody set."""
    if recipe is None and begun.recipe is None:
        raise RecipeError(
            f"{begun.name} keeps no recipe, so nobody knows how it was trained: say how the new attribute is learned: "
            "--recipe FILE, or --recipe NAME of a shipped one (`fashreg recipes`); its backbone, head and table do not "
            "count here"
        )
    if recipe is not None:
        return read_recipe(recipe).model_dump(mode="python", exclude_unset=True)
    try:
        return read_recipe(copy.deepcopy(dict(begun.recipe or {}))).model_dump(mode="python", exclude_unset=True)
    except RecipeError as error:
        raise RecipeError(
            f"the recipe that {begun.name} keeps cannot be used ({error}): give another by --recipe FILE"
        ) from None


def columns_of(table: Any, overrides: Sequence[str], data: Mapping[str, Any]) -> list[str]:
    """The columns of the table."""
    root = {"root": data["root"]} if "root" in data else {}
    for text in overrides:
        key, _, value = text.partition("=")
        if key.strip() == "data.root":
            root = {"root": value}
    source = open_source(table, DataConfig.model_validate({"table": data["table"], **root}))
    return [str(name) for name in source.frame.columns]


def check_overrides(overrides: Sequence[str]) -> None:
    """RecipeError for an override of what the command itself decides."""
    for text in overrides:
        key = text.partition("=")[0].strip()
        for place in _prefixes(key):
            if place in _OURS:
                raise RecipeError(f"--set {key}: {_OURS[place]}; leave it out", field=place)


def _prefixes(key: str) -> Iterator[str]:
    parts = key.split(".")
    return (".".join(parts[: n + 1]) for n in range(len(parts)))


def _release(document: dict[str, Any], begun: Beginning) -> None:
    """Let the encoder learn: what the first run froze stays frozen, what an earlier addition froze does not."""
    trainer = dict(document.get("trainer") or {})
    if trainer.get("freeze") == "backbone":
        trainer["freeze"] = _said_before(begun) or "none"
    if trainer.get("freeze", "none") in ("none", 0):
        for idle in ("cache", "cache_views", "cache_dtype"):
            trainer.pop(idle, None)
    document["trainer"] = trainer
    learner = document.get("learner") or {"name": "standard"}
    name, options = (learner, {}) if isinstance(learner, str) else (learner["name"], dict(learner))
    options.pop("name", None)
    try:
        known = {option.name for option in options_of(find_class("learner", name))}
    except FashregError:
        return  # it is told where the recipe is checked
    if "encoder" in known:
        document["learner"] = {"name": name, **options, "encoder": "trained"}
