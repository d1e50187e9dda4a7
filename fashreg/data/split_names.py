"""What the name of a split stands for among those that a table has."""

from __future__ import annotations

from collections.abc import Collection

from fashreg.config_data import DataConfig


def synonyms(split: str, config: DataConfig) -> set[str]:
    """`validation` goes by several names; other splits by their own only."""
    return {"val", "valid", "dev"} if split == config.validation_split == "validation" else {split}


def meant(split: str, there: Collection[str], config: DataConfig) -> set[str]:
    """The names that are asked for; one that ends in * stands for all that begin so."""
    if split in there:
        return {split}
    if split.endswith("*"):
        return {name for name in there if name.startswith(split[:-1])}
    return synonyms(split, config)
