"""What is wrong with a recipe, in sentences that name the field and the nearest one that exists."""

from __future__ import annotations

import json
import typing
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from fashreg.component import nearest
from fashreg.errors import RecipeError


def recipe_error(error: ValidationError, label: str, model: type[BaseModel]) -> RecipeError:
    """One RecipeError for all that is wrong with a document. label: what it is called. model: what it should fit."""
    lines, first = [], ""
    for item in error.errors():
        loc = [str(part) for part in item["loc"]]
        dotted = ".".join(loc)
        first = first or dotted
        if item["type"] == "extra_forbidden":
            known = _fields_at(loc[:-1], model)
            near, fields = nearest(loc[-1], known), ", ".join(known)
            lines.append(
                f"{dotted}: no such field; " + (f"did you mean {near[0]!r}?" if near else f"there are {fields}")
            )
        elif item["type"] == "missing":
            lines.append(f"{dotted}: is required")
        else:
            message = item["msg"].removeprefix("Value error, ")
            got = f" (got {json.dumps(item['input'], default=str)[:80]})"
            lines.append(f"{dotted}: {message}{got}" if dotted else message)
    return RecipeError(f"{label}: " + "; ".join(lines), field=first)


def _fields_at(location: Sequence[str], model: Any) -> list[str]:
    """Names of the fields at a dotted location below a model; within a mapping by name (tasks) the name is passed."""
    inside = False
    for part in location:
        if inside:
            inside = False
            continue
        field = model.model_fields.get(part) if isinstance(model, type) and issubclass(model, BaseModel) else None
        if field is None:
            return []
        inside = any(typing.get_origin(a) is dict for a in (field.annotation, *typing.get_args(field.annotation)))
        model = _model_in(field.annotation)
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for a in typing.get_args(annotation) if (m := _model_in(a)) is not None), None)
