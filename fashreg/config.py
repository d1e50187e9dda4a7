"""The recipe: one strict document that says everything a run needs. Equal from a file, from a dict and in Python."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fashreg.config_component import ComponentConfig
from fashreg.config_data import DataConfig
from fashreg.config_errors import recipe_error
from fashreg.config_stream import StreamConfig
from fashreg.config_tasks import TaskConfig, check_tasks
from fashreg.config_trainer import TrainerConfig
from fashreg.errors import RecipeError
from fashreg.licences import checked_licence
from fashreg.strict_yaml import read_yaml

__all__ = ["ComponentConfig", "Recipe", "apply_override", "parse_recipe", "read_data", "read_recipe"]


class Recipe(BaseModel):
    """Everything a run needs. Unknown fields are errors; `fashreg schema` prints this as JSON Schema."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    description: str = Field("", description="what the recipe is for, one or two sentences; `fashreg recipes` shows it")
    licence: Annotated[str, AfterValidator(checked_licence)] | None = Field(
        None, description="of the model that is trained, for its card: an SPDX identifier (CC-BY-NC-4.0) or the Hub's"
    )
    data: DataConfig = Field(description="the table and how to read it")
    backbone: ComponentConfig = Field(description="pictures to features")
    head: ComponentConfig = Field(ComponentConfig(name="projection"), description="features to embeddings")
    loss: ComponentConfig | None = Field(
        ComponentConfig(name="multi-similarity"),
        description="embeddings to a scalar; null (or left out) where the learner has a loss of its own",
    )
    memory: ComponentConfig | None = Field(None, description="embeddings of earlier batches, or null")
    sampler: ComponentConfig = Field(
        ComponentConfig(name="class-balanced"), description="who meets in a batch; left out beside tasks: random"
    )
    learner: ComponentConfig = Field(ComponentConfig(name="standard"), description="the way to learn")
    stream: StreamConfig | None = Field(None, description="learn in increments: one experience after another")
    tasks: dict[str, TaskConfig] | None = Field(
        None,
        description="learn several tasks together, each with its own data: a name and what differs for it; a task "
        "that is null is left out",
    )
    evaluators: Annotated[list[ComponentConfig], Field(min_length=1)] = Field(
        default_factory=lambda: [ComponentConfig(name="retrieval")],
        description="what is measured; the first one's primary metric chooses the best checkpoint",
    )
    rerankers: list[ComponentConfig] = Field(
        default_factory=list,
        description="what re-orders rankings before the model is judged, in this order; [] = nothing. The validation "
        "that chooses a checkpoint is without",
    )
    index: ComponentConfig = Field(ComponentConfig(name="exact"), description="the searchable gallery")
    trainer: TrainerConfig = Field(default_factory=TrainerConfig, description="optimisation, precision, schedule")
    plugins: list[str] | None = Field(None, description="narrow what is seen to these distributions; null = all")
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(0, description="fixes everything random on CPU")

    @field_validator("tasks", mode="before")
    @classmethod
    def _named(cls, tasks: Any) -> Any:
        if not isinstance(tasks, Mapping):
            return tasks
        return {name: task for name, task in tasks.items() if task is not None}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.tasks is not None:
            if self.stream is not None:
                raise ValueError("tasks are learned together and a stream in turn: leave out stream, or tasks")
            check_tasks(self.tasks, self.data)
        return self

    def to_yaml(self) -> str:
        """The whole recipe as YAML, defaults included; reading it back gives an equal recipe."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def read_recipe(
    source: str | Path | Mapping[str, Any] | Recipe, overrides: Sequence[str] = (), *, base: Path | None = None
) -> Recipe:
    """A recipe from a file, the name of a shipped recipe, a mapping, or a recipe, with `a.b=c` overrides applied.

    Paths in a recipe file (`data.table`, `data.root`) that are relative and exist beside the file are taken from there;
    otherwise they are relative to the working folder. base: that folder when `source` is a mapping.
    Raises RecipeError naming the field and the nearest one that exists.
    """
    if isinstance(source, Recipe):
        document: dict[str, Any] = source.model_dump(mode="python", exclude_unset=True)  # open stays open
        label = "recipe"
    elif isinstance(source, Mapping):
        document, label = copy.deepcopy(dict(source)), "recipe"
    else:
        path = _recipe_file(str(source))
        document, label = parse_recipe(path.read_text(encoding="utf-8"), name=str(path)), str(path)
        base = path.parent
    if base is not None:
        _anchor_paths(document, base)
    _write_default_components(document, overrides)
    for text in overrides:
        apply_override(document, text)
    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        raise recipe_error(error, label, Recipe) from None


def read_data(table: str | None, overrides: Sequence[str] = (), *, like: DataConfig | None = None) -> DataConfig:
    """How to read a table: `like` (or the defaults) with another table and overrides `field=value` (or `data.field=`).

    With another table, the root folder of `like` no longer applies. Raises RecipeError naming the nearest field.
    """
    document: dict[str, Any] = like.model_dump(mode="python", exclude_unset=True) if like is not None else {}
    if table is not None:
        document.pop("root", None)
        document["table"] = table
    for text in overrides:
        apply_override(document, text.removeprefix("data."))
    try:
        return DataConfig.model_validate(document)
    except ValidationError as error:
        raise recipe_error(error, "data", DataConfig) from None


def parse_recipe(text: str, *, name: str) -> dict[str, Any]:
    """YAML or JSON text to a mapping. Refuses duplicate keys, other documents than a mapping, and YAML tags."""
    try:
        document = read_yaml(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"{name} is not valid YAML or JSON: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        kind = type(document).__name__
        raise RecipeError(f"{name} must hold a mapping with data, backbone, loss, ...; it holds a {kind}")
    return document


def apply_override(document: dict[str, Any], text: str) -> None:
    """Set `a.b.c=value` in place; the value is read as YAML. `loss=NAME` replaces the component and its options."""
    key, equals, value_text = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise RecipeError(f"override {text!r} is not of the form field.name=value, e.g. --set trainer.lr=3e-4")
    value: Any
    try:
        value = read_yaml(value_text)
    except yaml.YAMLError:
        value = value_text
    here: Any = document
    for depth, part in enumerate(parts[:-1]):
        here = _child(here, part, ".".join(parts[: depth + 1]))
    last = parts[-1]
    if isinstance(here, list):
        here[_position(here, last, key)] = value
    else:
        here[last] = value


def _child(here: Any, part: str, dotted: str) -> Any:
    """The container at `part`, made a mapping where it is a component written as a bare name, or absent."""
    if isinstance(here, list):
        slot: Any = _position(here, part, dotted)
        inside = here[slot]
    else:
        slot, inside = part, here.get(part)
    if isinstance(inside, str):
        inside = {"name": inside}
    elif isinstance(inside, BaseModel):
        inside = inside.model_dump(mode="python")
    elif inside is None:
        inside = {}
    elif not isinstance(inside, dict | list):
        raise RecipeError(f"override: {dotted} holds {inside!r}, which has no fields", field=dotted)
    here[slot] = inside
    return inside


def _position(here: list[Any], part: str, dotted: str) -> int:
    if not part.isdigit() or int(part) >= len(here):
        raise RecipeError(f"override: {dotted}: {part!r} is not a position in a list of {len(here)}", field=dotted)
    return int(part)


def _recipe_file(source: str) -> Path:
    path = Path(source).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        raise RecipeError(f"{source} is a folder; a recipe is a YAML or JSON file, or a name (`fashreg recipes`)")
    if path.suffix.lower() in {".yaml", ".yml", ".json"} or "/" in source:
        raise RecipeError(f"no recipe file {source}")
    from fashreg.plugins import find_recipe

    return find_recipe(source).path


def _anchor_paths(document: dict[str, Any], base: Path) -> None:
    tasks = document.get("tasks")
    own = [task.get("data") for task in tasks.values() if isinstance(task, dict)] if isinstance(tasks, dict) else []
    for data in [section for section in (document.get("data"), *own) if isinstance(section, dict)]:
        for field in ("table", "root"):
            value = data.get(field)
            if isinstance(value, str) and not Path(value).expanduser().is_absolute() and (base / value).exists():
                data[field] = str((base / value).resolve())


def _write_default_components(document: dict[str, Any], overrides: Sequence[str]) -> None:
    """Write overridden default components into the document, so that `--set loss.alpha=3` changes the default."""
    named = {text.partition("=")[0].strip().partition(".")[0] for text in overrides}
    for field, info in Recipe.model_fields.items():
        default = info.get_default(call_default_factory=True, validated_data={})
        if field in document or field not in named:
            continue
        if isinstance(default, ComponentConfig):
            document[field] = default.model_dump()
        elif field == "evaluators":
            document[field] = [item.model_dump() for item in default]
