"""What does not go with a stream is said before the first step."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from stream_shop import stream_recipe
from stream_training import AllAtOnceLearner, divided

from fashreg.errors import DataError, FashregError, RecipeError
from fashreg.jobs.training import check

SIZES = {**stream_recipe()["data"], "attributes": ["colour", "size"]}
pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


# ---- what is refused before the first step ----


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"head": "projection"}, RecipeError, "multi-task, tasks: .*stream.heads=one"),
        ({"head": "multi-task"}, RecipeError, r"starts with default.*head.tasks=\[\]"),
        ({"stream": {"heads": "one"}}, RecipeError, "has a head for each task"),
        ({"stream": {"order": ["color"]}}, RecipeError, "did you mean 'colour'"),
        ({"loss": "proxy-anchor"}, RecipeError, "proxies of one table's classes"),
        ({"trainer": {"batch_size": 20}, "data": SIZES}, RecipeError, "experience 'size'.*the set of 16 images"),
        ({"learner": AllAtOnceLearner, "memory": "xbm", "loss": "contrastive"}, RecipeError, "--set memory=null"),
    ],
)
def test_what_does_not_go_with_a_stream_is_said_before_the_first_step(
    shop: pd.DataFrame, changes: dict[str, Any], error: type[FashregError], said: str
) -> None:
    written, given = divided(changes)
    with pytest.raises(error, match=said):
        check(stream_recipe(**written), table=shop, **given)


def test_an_attribute_with_one_value_cannot_be_learned(shop: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="'colour' has 1 value"):
        check(stream_recipe(), table=shop.assign(colour="red"))


def test_what_could_not_be_measured_is_said_before_it_is_learned(shop: pd.DataFrame) -> None:
    lone = shop.copy()
    lone.loc[lone.split == "test", "stripes"] = ""
    with pytest.raises(DataError, match="no query of 'stripes'"):
        check(stream_recipe(), table=lone)
    with pytest.raises(RecipeError, match=r"data.holdout=0.2"):
        check(stream_recipe(), table=shop[shop.split == "train"].reset_index(drop=True))


def test_a_ready_sampler_belongs_to_one_table(shop: pd.DataFrame) -> None:
    from fashreg.samplers.pairs import PairsSampler

    with pytest.raises(RecipeError, match="a ready sampler"):
        check(stream_recipe(), table=shop, sampler=PairsSampler([0, 0, 1, 1] * 6, batch_size=8))


def test_a_dry_run_tells_the_experiences(shop: pd.DataFrame) -> None:
    text = check(stream_recipe(), table=shop).describe()
    assert "experience colour: 24 pictures, 4 values, 6 batches" in text
    assert "experience stripes: 24 pictures, 3 values, 6 batches" in text
