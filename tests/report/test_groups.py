"""Tables by class, attribute and slice."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from drawn_shop import by_id, hand_made

from fashreg.report.groups import attribute_tables, class_table, slice_tables, whole_attributes

NEAR = [[1], [0], [1], [0]]


def test_classes_come_worst_first_with_support_and_plain_means() -> None:
    evaluation = hand_made(
        {"map@r": [0.2, 0.4, 1.0, math.nan], "recall@1": [0.0, 1.0, 1.0, 0.0]}, ["b", "b", "a", "a"], NEAR
    )
    table = class_table(evaluation, by_id(evaluation))
    assert table is not None
    assert table.metrics == ("map@r", "recall@1")
    assert [(row.name, row.support) for row in table.rows] == [("b", 2), ("a", 1)]  # a NaN does not count
    assert table.rows[0].values == pytest.approx((0.3, 0.5))
    assert table.rows[1].values == pytest.approx((1.0, 0.5))


def test_a_metric_outside_0_to_1_is_no_mean_of_a_group() -> None:
    evaluation = hand_made({"map": [2.0, 0.0, 0.0, 0.0], "map@r": [0.1, 0.2, 0.3, 0.4]}, list("aabb"), NEAR)
    table = class_table(evaluation, by_id(evaluation))
    assert table is not None
    assert table.metrics == ("map@r",)


def test_values_of_an_attribute_take_the_attributes_own_metric_where_there_is_one() -> None:
    attributes = [{"colour": "red"}, {"colour": "red"}, {"colour": "blue"}, {"colour": None}]
    values = {"map@r": [0.1, 0.2, 0.3, 0.4], "map[colour]": [1.0, 0.0, 0.25, math.nan]}
    evaluation = hand_made(values, list("aabb"), NEAR, attributes=attributes)
    (table,) = attribute_tables(evaluation, by_id(evaluation))
    assert (table.title, table.metrics) == ("colour", ("map",))
    assert [(row.name, row.values) for row in table.rows] == [("blue", (0.25,)), ("red", (0.5,))]


def test_attributes_as_a_whole_and_slices_keep_their_numbers() -> None:
    whole = whole_attributes({"map": 0.5, "map[colour]": 0.7, "map[fit]": 0.3, "random[fit]": 0.1})
    assert whole is not None
    assert [(row.name, row.values) for row in whole.rows] == [("fit", (0.3, 0.1)), ("colour", (0.7, None))]
    evaluation = hand_made({"map@r": [0.1] * 4}, list("aabb"), NEAR)
    sliced = replace(evaluation, slices={"shop": {"x": {"map@r": 0.4, "support": 3.0}}, "known": {}})
    (table,) = slice_tables(sliced, ["known"])
    assert (table.title, table.rows[0].name, table.rows[0].support, table.rows[0].values) == ("shop", "x", 3, (0.4,))


def test_a_very_long_table_says_what_it_leaves_out() -> None:
    labels = [f"c{i:03d}" for i in (*range(250), 249)]
    evaluation = hand_made({"map@r": [i / 250 for i in (*range(250), 249)]}, labels, [[0]] * 251)
    table = class_table(evaluation, by_id(evaluation))
    assert table is not None
    assert (len(table.first), len(table.first) + len(table.rest), table.left_out) == (12, 200, 50)
    assert table.rows[0].name == "c000"


def test_labels_that_are_ids_give_no_table_of_classes() -> None:
    evaluation = hand_made({"map@r": [0.1] * 4}, list("abcd"), NEAR)
    assert class_table(evaluation, by_id(evaluation)) is None
    single = hand_made({"map@r": [0.1] * 4}, list("aaaa"), NEAR)
    assert class_table(single, by_id(single)) is not None


def test_what_rounding_leaves_of_zero_is_zero() -> None:
    evaluation = hand_made({"map@r": [-1e-17, -1e-17, 0.5, 0.5]}, list("aabb"), NEAR)
    table = class_table(evaluation, by_id(evaluation))
    assert table is not None
    assert [f"{row.values[0]:.3f}" for row in table.rows] == ["0.000", "0.500"]


def test_without_labels_there_is_no_table_of_classes() -> None:
    evaluation = hand_made({"map@r": [0.1] * 4}, [None] * 4, NEAR)
    assert class_table(evaluation, by_id(evaluation)) is None
