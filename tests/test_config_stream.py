from __future__ import annotations

from typing import Any

import pytest

from fashreg.config import read_recipe
from fashreg.config_stream import StreamConfig
from fashreg.errors import RecipeError

RECIPE = {"data": {"table": "t.csv"}, "backbone": "timm"}


def test_a_recipe_without_a_stream_learns_once() -> None:
    assert read_recipe(RECIPE).stream is None


def test_an_empty_stream_takes_every_attribute_in_turn_and_overrides_reach_it() -> None:
    assert read_recipe({**RECIPE, "stream": {}}).stream == StreamConfig()
    found = read_recipe(RECIPE, ["stream.order=[colour, sleeve]", "stream.least=5"]).stream
    assert found == StreamConfig(order=["colour", "sleeve"], least=5)


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        ({"order": ["colour", "sleeve", "colour"]}, "order names colour more than once"),
        ({"by": "value"}, "--set stream.attribute=NAME"),
        ({"attribute": "colour"}, r"--set stream.order=\[colour\]"),
        ({"stages": 1}, "greater than or equal to 2"),
        ({"least": 1}, "greater than or equal to 2"),
        ({"ordre": []}, "did you mean 'order'"),
        ({"by": "class"}, "'attribute' or 'value'"),
    ],
)
def test_what_a_stream_cannot_mean_is_said(stream: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        read_recipe({**RECIPE, "stream": stream})
