"""The pieces of tests of reports: a drawn shop with known faults, and evaluations written by hand."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw

from fashreg.jobs.evaluation_result import Evaluation, Item, Neighbours, PerQuery, StoredVectors
from fashreg.protocol import Protocol

CLASSES = ("cape", "coat", "dress", "<b>skirt</b>", "shirt")
EACH = 6
TWICE, WRONG = (0, 6), 12  # rows 0 and 6 are one file with two labels; row 12 carries the label of another class


def hand_made(
    values: dict[str, Sequence[float]],
    labels: Sequence[str | None],
    neighbours: Sequence[Sequence[int]],
    *,
    scores: Sequence[Sequence[float]] | None = None,
    attributes: Sequence[dict[str, str | None]] | None = None,
    vectors: torch.Tensor | None = None,
    attribute: str | None = None,
) -> Evaluation:
    """An evaluation whose queries are pictures 0..Q-1 of `labels`, with values and neighbours as given."""
    ids = torch.arange(len(neighbours))
    items: list[Item] = [
        {"id": i, "image": f"{i}.png", "label": label, "attributes": attributes[i] if attributes else {}}
        for i, label in enumerate(labels)
    ]
    found = torch.tensor(neighbours)
    given = torch.linspace(0.9, 0.1, found.shape[1]).repeat(len(ids), 1) if scores is None else torch.tensor(scores)
    columns = {name: torch.tensor(column, dtype=torch.float64) for name, column in values.items()}
    return Evaluation(
        metrics={name: float(column.nanmean()) for name, column in columns.items()},
        primary=next(iter(values)),
        protocol=Protocol(data="d", rule="leave-one-out", label="style"),
        counts={"queries": len(ids), "gallery": len(labels), "queries_without_relevant": 0},
        per_query=PerQuery(ids, columns),
        neighbours=Neighbours(ids, found, given, attribute),
        items=items,
        vectors=None if vectors is None else StoredVectors(torch.arange(len(vectors)), vectors),
    )


def by_id(evaluation: Evaluation) -> dict[int, Item]:
    return {item["id"]: item for item in evaluation.items or ()}


def drawn(kind: int, view: int) -> Image.Image:
    """A plain shape a class, moved and shaded by view, on a light ground."""
    picture = Image.new("RGB", (64, 64), (245, 243, 240))
    draw = ImageDraw.Draw(picture)
    colour = ((190, 40, 60), (40, 110, 150), (200, 140, 30), (70, 130, 80), (130, 90, 170))[kind]
    shade = tuple(min(255, c + 9 * view) for c in colour)
    left, top = 6 + 3 * view, 8 + kind
    box = (left, top, left + 24 + 2 * kind, top + 38 - 3 * kind)
    (draw.ellipse, draw.rectangle)[kind % 2](box, fill=shade, outline=(60, 50, 50), width=1 + view % 3)
    return picture
