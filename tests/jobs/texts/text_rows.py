"""Products with texts, and orders worked out by hand."""

from __future__ import annotations

from typing import Any

import torch

from fashreg.testing.tiny_texts import CLASSES

N = 30
PRODUCTS = [f"p{i // 3}" for i in range(N)]  # three views of each
KINDS = [CLASSES[(i // 3) % 3] for i in range(N)]
TEXTS = [f"a {KINDS[i]} number {i // 3 if i % 9 else 'nine'}" for i in range(N)]  # now and then a second text


def order(scores: torch.Tensor, ids: list[int]) -> list[int]:
    """Places by falling score, rounded to fp32 as everywhere, then by id."""
    rounded = scores.float().tolist()
    return sorted(range(len(ids)), key=lambda place: (-rounded[place], ids[place]))


def mean(values: Any) -> float:
    values = list(values)
    return sum(values) / len(values)


def edits(make, **more: Any) -> Any:
    """Edits between pictures of a small shop: 12 queries whose targets repeat, and two rows that only add pictures."""
    pictures = [f"{i}.png" for i in range(10)]
    source = [pictures[i % 6] for i in range(12)] + ["8.png", "9.png"]
    wanted = [pictures[(i * 5 + 3) % 8] for i in range(12)] + ["", ""]
    texts = [f"but number {i}" for i in range(12)] + ["", ""]
    columns = {"image": source, "wanted": wanted, "text": texts, "kind": [str(i % 2) for i in range(14)]}
    columns["label"] = [product_of(w or s) for w, s in zip(wanted, source, strict=True)]
    return make(columns, text="text", target="wanted", **more)


def product_of(name: str) -> str:
    return f"product {int(name.split('.')[0]) // 2}"
