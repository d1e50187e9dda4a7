"""What the cards of these tests tell of."""

from __future__ import annotations

import re
from typing import Any

import yaml

from fashreg.protocol import Protocol

PROTOCOL = Protocol(data="d" * 64, rule="leave-one-out", source='/home/ann/shop/t.csv, split "test"', label="style")
RECIPE = {
    "description": "finds the same dress",
    "licence": "CC-BY-NC-4.0",
    "data": {"table": "/home/ann/shop/t.csv"},
    "sampler": {"name": "class-balanced", "images_per_class": 2},
    "trainer": {"epochs": 3, "lr": 0.001, "workers": 7},
}


def front_of(card: str) -> dict[str, Any]:
    return dict(yaml.safe_load(re.match(r"---\n(.*?)\n---\n", card, re.S).group(1)))  # type: ignore[union-attr]
