"""What a recipe says about learning several tasks at once. Only pydantic: it imports neither torch nor pandas."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_serializer

from fashreg.config_component import ComponentConfig
from fashreg.config_data import DataConfig

Kind = Literal["cross-modal", "composed", "classification", "captioning"]

#: The kinds of task, and what each is.
KINDS_OF_TASK: dict[str, str] = dict(
    zip(
        get_args(Kind),
        (
            "pictures and texts find each other",
            "a picture and a text find a picture",
            "a picture, with its text if there is one, is named by a class",
            "a text is written for a picture",
        ),
        strict=True,
    )
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class TaskConfig(BaseModel):
    """One of several tasks that are learned together: its data, and what differs from the rest of the recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind | None = Field(
        None,
        description="cross-modal: pictures and texts find each other; composed: a picture and a text find a picture; "
        "classification: a picture is named by a class; captioning: a text is written for a picture. Unset: the task's "
        "own name, which must then be one of these.",
    )
    data: DataConfig = Field(
        DataConfig(),
        description="Fields of the data section that differ for this task, e.g. {table: edits.csv, target: wanted}.",
    )
    sampler: ComponentConfig | None = Field(None, description="who meets in this task's batches; null: the recipe's")
    evaluator: ComponentConfig | None = Field(
        None, description="what measures this task; null: the one that is named like its kind"
    )
    batch_size: Annotated[int, Field(gt=0)] | None = Field(
        None, description="rows in one of this task's batches, over all processes; null: trainer.batch_size"
    )

    @field_serializer("data")
    def _only_what_differs(self, data: DataConfig) -> dict[str, Any]:
        return data.model_dump(mode="json", exclude_unset=True)


def kind_of(name: str, task: TaskConfig) -> str:
    """The kind of a task. Raises ValueError where neither it nor its name says one."""
    kind = task.kind or name
    if kind not in KINDS_OF_TASK:
        raise ValueError(
            f"task {name!r} has no kind, and its name is none: give one of {', '.join(KINDS_OF_TASK)}, e.g. --set "
            f"tasks.{name}.kind=cross-modal"
        )
    return kind


def kinds_of(tasks: Mapping[str, TaskConfig] | None) -> dict[str, str]:
    """Task -> kind of a recipe's tasks, in their order; {} where it has none."""
    return {name: kind_of(name, task) for name, task in (tasks or {}).items()}


def data_of(data: DataConfig, task: TaskConfig) -> DataConfig:
    """The data section of one task: the recipe's, with the task's own fields laid over it.

    With a table of its own, the recipe's root folder no longer applies.
    """
    own = task.data.model_dump(mode="python", exclude_unset=True)
    document = data.model_dump(mode="python", exclude_unset=True)
    if "table" in own:
        document.pop("root", None)
    return DataConfig.model_validate({**document, **own})


def check_tasks(tasks: Mapping[str, TaskConfig], data: DataConfig) -> None:
    """ValueError for no task at all, names that files and metrics cannot carry, unknown kinds, fields that clash."""
    if not tasks:
        raise ValueError("tasks names none: leave it out, or give at least one, e.g. tasks: {cross-modal: {}}")
    for name, task in tasks.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"the name of task {name!r} may hold letters, digits, - and _ only")
        kind_of(name, task)
        try:
            data_of(data, task)
        except ValidationError as error:
            first = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
            raise ValueError(f"tasks.{name}.data: {first}") from None
