from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fashreg.config_stream import StreamConfig
from fashreg.data.stream import experiences
from fashreg.data.table import Table, read_table
from fashreg.errors import DataError, RecipeError

COLOURS = ["red", "blue", "red", "", "blue", "green", "red", "blue"]
SLEEVES = ["long", "long", "short", "short", "", "", "long", "short"]
TYPES = list("aabbccddee")


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return made(tmp_path, {"colour": COLOURS, "sleeve": SLEEVES})


def made(folder: Path, columns: dict[str, list[str]], **more: Any) -> Table:
    names = [f"{row}.jpg" for row in range(len(next(iter(columns.values()))))]
    for name in names:
        (folder / name).write_text(name)
    frame = pd.DataFrame({"image": names, "label": [name[0] for name in names], **columns, **more})
    return read_table(frame, {"root": str(folder), "attributes": list(columns)})


def stream(**fields: Any) -> StreamConfig:
    return StreamConfig.model_validate(fields)


# ---- labelled by an attribute ----


def test_a_relabelled_table_holds_the_rows_where_the_attribute_is_known(table: Table) -> None:
    found = table.labelled_by("sleeve")
    assert found.ids.tolist() == [0, 1, 2, 3, 6, 7]
    assert [found.label_names[code] for code in found.labels] == [value for value in SLEEVES if value]
    assert list(found.attributes) == ["sleeve"]
    assert np.array_equal(found.attributes["sleeve"].codes, found.labels)
    assert found.has_labels


def test_it_can_be_narrowed_to_some_values_which_are_numbered_anew(table: Table) -> None:
    found = table.labelled_by("colour", ["red", "green"])
    assert found.ids.tolist() == [0, 2, 5, 6]
    assert found.label_names == ["green", "red"]
    assert found.labels.tolist() == [1, 1, 0, 1]
    with pytest.raises(DataError, match="no row has a value of attribute 'colour'"):
        table.labelled_by("colour", ["yellow"])


def test_the_pictures_have_one_fingerprint_under_any_labels_and_another_in_another_order(table: Table) -> None:
    rows = [0, 1, 2, 7]
    part = table.take(rows)
    by_colour, by_sleeve = part.labelled_by("colour"), part.labelled_by("sleeve")
    assert by_colour.fingerprint != by_sleeve.fingerprint
    assert part.pictures_fingerprint == by_colour.pictures_fingerprint == by_sleeve.pictures_fingerprint
    others = [table.take([1, 0, 2, 7]), table.take([0, 1, 2]), table]
    assert part.pictures_fingerprint not in {other.pictures_fingerprint for other in others}


# ---- by attribute ----


def test_every_attribute_becomes_an_experience_and_a_task_of_its_name(table: Table) -> None:
    found = experiences(stream(), table, table)
    assert [(one.name, one.task) for one in found] == [("colour", "colour"), ("sleeve", "sleeve")]
    assert found[0].train.label_names == ["blue", "red"]  # green has a single picture
    assert found[0].train.ids.tolist() == [0, 1, 2, 4, 6, 7]
    assert found[0].validation is not None
    assert found[0].validation.ids.tolist() == found[0].train.ids.tolist()


def test_the_order_is_the_recipes_and_what_it_leaves_out_is_not_learned(table: Table) -> None:
    assert [one.name for one in experiences(stream(order=["sleeve", "colour"]), table)] == ["sleeve", "colour"]
    assert [one.name for one in experiences(stream(order=["sleeve"]), table)] == ["sleeve"]


def test_with_one_head_for_all_there_are_no_tasks(table: Table) -> None:
    assert [one.task for one in experiences(stream(heads="one"), table)] == [None, None]


def test_a_validation_that_could_find_nothing_is_none(table: Table) -> None:
    assert experiences(stream(order=["sleeve"]), table, table.take([0, 2, 5]))[0].validation is None


def test_a_validation_whose_queries_have_nothing_in_the_gallery_is_none(table: Table) -> None:
    from dataclasses import replace

    def flagged(query: list[int], gallery: list[int]) -> Table | None:
        masks = {name: np.isin(table.ids, rows) for name, rows in (("query", query), ("gallery", gallery))}
        found: Table | None = experiences(stream(order=["sleeve"]), table, replace(table, **masks))[0].validation
        return found

    assert flagged([0], [1]) is not None
    assert flagged([0], [2, 3]) is None
    assert flagged([0], [0]) is None


@pytest.mark.parametrize(
    ("fields", "error", "said"),
    [
        ({"order": ["color"]}, RecipeError, "'color'; did you mean 'colour'"),
        ({"order": ["fabric"]}, RecipeError, "data.attributes has colour, sleeve: --set stream.order="),
        ({"least": 4, "order": ["colour"]}, DataError, "'colour' has 0 value"),
        ({"by": "value", "attribute": "colours"}, RecipeError, "did you mean 'colour'"),
        ({"by": "value", "attribute": "colour", "order": ["rot"]}, RecipeError, "the values of colour are"),
        ({"by": "value", "attribute": "sleeve", "stages": 2}, RecipeError, "2 stages need 4 values"),
    ],
)
def test_what_the_table_lacks_is_said_with_what_is_near(
    table: Table, fields: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        experiences(stream(**fields), table)


def test_a_table_without_attributes_has_no_stream(table: Table) -> None:
    from dataclasses import replace

    with pytest.raises(RecipeError, match=r"data.attributes=\[COLUMN"):
        experiences(stream(), replace(table, attributes={}))


# ---- by value ----


@pytest.fixture
def types(tmp_path: Path) -> Table:
    return made(tmp_path, {"type": TYPES})


def test_values_come_in_stages_as_equal_as_can_be(types: Table) -> None:
    found = experiences(stream(by="value", attribute="type", stages=2), types, types)
    assert [(one.name, one.task, one.train.label_names) for one in found] == [
        ("stage-1", "stage-1", ["a", "b", "c"]),
        ("stage-2", "stage-2", ["d", "e"]),
    ]
    assert found[1].train.labels.tolist() == [0, 0, 1, 1]
    assert found[1].validation is not None
    assert found[1].validation.label_names == ["d", "e"]


def test_values_come_in_the_order_that_is_given(types: Table) -> None:
    order = ["e", "a", "d", "b"]
    found = experiences(stream(by="value", attribute="type", stages=2, order=order), types)
    assert [set(one.train.label_names) for one in found] == [{"e", "a"}, {"d", "b"}]
