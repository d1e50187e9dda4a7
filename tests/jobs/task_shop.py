"""A shop of small plain pictures with texts, wishes and classes, and a recipe that learns four kinds of task on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from fashreg.testing.tiny_tasks import ENTRY_POINTS as ENTRY_POINTS

COLOURS = {"red": (200, 30, 30), "green": (30, 180, 40), "blue": (40, 40, 210), "white": (240, 240, 240)}
SPLITS = ("train", "train", "train", "validation", "test")


def task_shop(folder: Path) -> Path:
    """table.csv: 20 products of four colours, two pictures each; wishes.csv: another colour of the same product."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, wishes = [], []
    for model, split in enumerate(SPLITS):
        for place, (colour, tone) in enumerate(COLOURS.items()):
            for view in range(2):
                name = f"{model}-{colour}-{view}.png"
                picture = Image.new("RGB", (16, 16), "grey")
                picture.paste(tone, (2, 2, 14 - view, 6 + 2 * model))
                picture.save(folder / name)
                rows.append((name, f"p{model}-{colour}", split, f"{colour} shirt number {model}", colour))
            wanted = [*COLOURS][(place + 1) % 4]
            wish = (f"{model}-{colour}-0.png", f"in {wanted}", f"{model}-{wanted}-1.png", f"p{model}-{wanted}", split)
            wishes.append(wish)
    pd.DataFrame(rows, columns=["image", "label", "split", "caption", "colour"]).to_csv(
        folder / "table.csv", index=False
    )
    columns = ["image", "wish", "wanted", "label", "split"]
    pd.DataFrame(wishes, columns=columns).to_csv(folder / "wishes.csv", index=False)
    return folder / "table.csv"


def task_recipe(table: Path, **changes: Any) -> dict[str, Any]:
    """Four tasks over the shop, two epochs. Entries of `tasks` that are None leave that task out."""
    tasks: dict[str, Any] = {
        "cross-modal": {},
        "find": {"kind": "composed", "data": {"table": "wishes.csv", "text": "wish", "target": "wanted"}},
        "classification": {"data": {"label": "colour"}},
        "captioning": {},
    }
    tasks |= changes.pop("tasks", {})
    return {
        "data": {"table": str(table), "text": "caption", "workers": 0},
        "backbone": "tiny-text",
        "head": "tiny-text",
        "learner": "tiny-tasks",
        "tasks": {name: task for name, task in tasks.items() if task is not None},
        "trainer": {"epochs": 2, "batch_size": 4, "lr": 0.01},
        **changes,
    }
