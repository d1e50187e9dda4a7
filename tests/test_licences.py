from __future__ import annotations

import pytest

from fashreg.config import read_recipe
from fashreg.errors import RecipeError
from fashreg.licences import HUB_LICENCES, checked_licence, hub_licence


@pytest.mark.parametrize(
    ("written", "hub", "name"),
    [
        ("Apache-2.0", "apache-2.0", None),
        ("mit", "mit", None),
        ("CC-BY-NC-SA-4.0", "cc-by-nc-sa-4.0", None),
        ("CC0-1.0", "cc0-1.0", None),
        ("GPL-3.0-or-later", "gpl-3.0", None),
        ("LGPL-2.1-only", "lgpl-2.1", None),
        ("GPL-2.0+", "gpl-2.0", None),
        ("openrail++", "openrail++", None),
        ("ODbL-1.0", "odbl", None),
        ("EUPL-1.2", "other", "eupl-1.2"),
        ("LicenseRef-Shop-2026", "other", "licenseref-shop-2026"),
        ("MIT OR Apache-2.0", "other", "mit-or-apache-2.0"),
        ("(MIT AND CC-BY-4.0)", "other", "mit-and-cc-by-4.0"),
    ],
)
def test_a_licence_is_told_by_the_hubs_name_or_as_other_with_its_own(written: str, hub: str, name: str | None) -> None:
    assert hub_licence(checked_licence(written)) == (hub, name)


def test_every_name_of_the_hub_stands_for_itself() -> None:
    assert {hub_licence(checked_licence(name)) for name in HUB_LICENCES} == {(name, None) for name in HUB_LICENCES}


@pytest.mark.parametrize("text", ["", " MIT", "MIT\n", "mit: yes", "<b>", "the whole text, of a licence", "x" * 101])
def test_what_cannot_be_a_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="SPDX identifier"):
        checked_licence(text)


def test_a_recipe_may_name_the_licence_of_its_model() -> None:
    recipe = {"data": {"table": "t.csv"}, "backbone": "timm"}
    assert read_recipe(recipe).licence is None
    assert read_recipe(recipe, ["licence=CC-BY-NC-4.0"]).licence == "CC-BY-NC-4.0"
    with pytest.raises(RecipeError, match="licence: 'a: b' is no name of a licence") as caught:
        read_recipe({**recipe, "licence": "a: b"})
    assert caught.value.field == "licence"
