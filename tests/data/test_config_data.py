from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from fashreg.config_data import AUGMENTATIONS, AugmentConfig, DataConfig


def test_reading_a_recipe_needs_neither_torch_nor_pandas() -> None:
    code = "import sys, fashreg.config_data; print({'torch', 'pandas', 'numpy', 'PIL'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_a_name_sets_all_fields_and_a_field_overrides_one() -> None:
    street = AugmentConfig.model_validate({"name": "street", "flip": 0.1})
    assert street.flip == 0.1
    assert street.scale == AUGMENTATIONS["street"]["scale"]
    assert AugmentConfig() == DataConfig().augment


@pytest.mark.parametrize("name", list(AUGMENTATIONS))
def test_a_resolved_recipe_reads_back_equal(name: str) -> None:
    config = DataConfig.model_validate({"table": "a.csv", "augment": {"name": name}, "attributes": ["colour"]})
    assert DataConfig.model_validate(config.model_dump()) == config
    assert DataConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    "wrong",
    [
        {"scale": (0.9, 0.2)},
        {"scale": (0.5, 1.5)},
        {"scale": (0.0, 1.0)},
        {"flip": 1.2},
        {"name": "none", "flip": 0.5},
        {"name": "nothing"},
        {"flipp": 0.5},
    ],
)
def test_impossible_augmentations_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AugmentConfig.model_validate(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"holdout": 1.0},
        {"train_split": "test"},
        {"attributes": ["colour", "colour"]},
        {"on_bad_image": "ignore"},
        {"workers": -1},
        {"tabel": "a.csv"},
    ],
)
def test_impossible_data_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DataConfig.model_validate(wrong)


def test_every_field_says_what_it_is_for() -> None:
    for model in (DataConfig, AugmentConfig):
        for name, field in model.model_fields.items():
            assert field.description, name
