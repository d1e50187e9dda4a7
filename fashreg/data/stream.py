"""A stream of experiences out of one table: attribute after attribute, or the values of one attribute in stages."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from fashreg.config_stream import StreamConfig
from fashreg.data.table import Attribute, Table
from fashreg.errors import DataError, RecipeError
from fashreg.values import Experience


def experiences(stream: StreamConfig, train: Table, validation: Table | None = None) -> list[Experience]:
    """The experiences that a recipe's `stream` describes, in their order.

    by attribute: one for each attribute, named like it and like its task; its tables hold the rows where the attribute
    is known, with its values as labels, and no other attribute. by value: `stage-1`, `stage-2`, ...; a stage's tables
    hold the rows of its values. With `heads: one` there are no tasks. Values with fewer than `least` training pictures
    are left out, of validation tables too; a validation table in which then no query has anything to find is None.
    Raises RecipeError for names that the table lacks, DataError where there is too little to learn.
    """
    if stream.by == "value":
        stages = stages_of(stream, train)
        name = str(stream.attribute)
        made = [_experience(f"stage-{i}", name, values, train, validation) for i, values in enumerate(stages, 1)]
    else:
        values_of = {name: _values(train, name, stream.least) for name in attributes_of(stream, train)}
        made = [_experience(name, name, values, train, validation) for name, values in values_of.items()]
    return made if stream.heads == "own" else [replace(experience, task=None) for experience in made]


def attributes_of(stream: StreamConfig, train: Table) -> list[str]:
    """by attribute: the attributes in the order they come."""
    if not train.attributes:
        raise RecipeError(
            "a stream by attribute needs attribute columns: --set data.attributes=[COLUMN, ...]",
            field="data.attributes",
        )
    for name in stream.order:
        _check_known(name, train.attributes, "stream.order", "data.attributes has", ": --set stream.order=[] takes all")
    return list(stream.order) or list(train.attributes)


def stages_of(stream: StreamConfig, train: Table) -> list[list[str]]:
    """by value: the values of each stage; the first stages hold one more where they do not come out even."""
    name = str(stream.attribute)
    _check_known(name, train.attributes, "stream.attribute", "data.attributes has")
    names = train.attributes[name].names
    for value in stream.order:
        _check_known(value, names, "stream.order", f"the values of {name} are")
    left = set(_values(train, name, stream.least))
    values = [value for value in stream.order or names if value in left]
    if len(values) < 2 * stream.stages:
        most = len(values) // 2
        mend = f"--set stream.stages={most}" if most > 1 else "choose another attribute, or lower stream.least"
        raise RecipeError(
            f"{stream.stages} stages need {2 * stream.stages} values, two each, and {name} has {len(values)} with "
            f"{stream.least} training pictures or more: {mend}",
            field="stream.stages",
        )
    return [list(part) for part in np.array_split(np.array(values, dtype=object), stream.stages)]


def _experience(name: str, attribute: str, values: Sequence[str], train: Table, validation: Table | None) -> Experience:
    if len(values) < 2:
        raise DataError(
            f"{train.source}: attribute {attribute!r} has {len(values)} value with enough training pictures, and "
            "learning needs two: leave it out (stream.order), or lower stream.least",
            column=attribute,
        )
    judged = None
    if validation is not None and set(values) & set(_values(validation, attribute, 1)):
        judged = validation.labelled_by(attribute, values)
    able = judged is not None and _can_find(judged)
    return Experience(name, train.labelled_by(attribute, values), judged if able else None, task=name)


def _can_find(table: Table) -> bool:
    """Whether any query has another picture of its label to find."""
    everyone = np.ones(len(table), dtype=np.bool_)
    flagged = table.query is not None and table.gallery is not None
    query, gallery = (table.query, table.gallery) if flagged else (everyone, everyone)
    found = np.bincount(table.labels[gallery], minlength=table.num_classes)[table.labels] - np.asarray(gallery)
    return bool((found[query] > 0).any())


def _values(table: Table, attribute: str, least: int) -> list[str]:
    """Values with `least` pictures or more, in the order of their codes."""
    codes, names = table.attributes[attribute]
    counts = np.bincount(codes[codes >= 0], minlength=len(names))
    return [name for name, count in zip(names, counts, strict=True) if count >= least]


def _check_known(
    name: str, known: Sequence[str] | Mapping[str, Attribute], field: str, has: str, mend: str = ""
) -> None:
    if name in known:
        return
    near = difflib.get_close_matches(name, list(known), n=1)
    listed = ", ".join(list(known)[:20]) or "nothing"
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise RecipeError(f"{field} names {name!r}; {hint}{has} {listed}{mend}", field=field)
