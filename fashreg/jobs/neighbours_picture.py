"""The picture in a model card: queries and their nearest pictures, from the worst answered to the best."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fashreg.errors import DataError, ModelError
from fashreg.jobs.evaluation_result import Evaluation, Item, Neighbours
from fashreg.jobs.sheet import draw_sheet

QUERIES, SHOWN = 6, 6


def draw_neighbours(evaluation: Evaluation, path: str | Path) -> Path:
    """Draw some queries of an evaluation with their first answers, and save a JPEG.

    The queries are spread evenly over all of them in the order of the primary metric, so nobody chose them. Raises
    ModelError where the evaluation keeps no neighbours, or its pictures are not on this machine.
    """
    near = evaluation.neighbours
    if near is None or evaluation.items is None or not len(near):
        raise ModelError("this evaluation keeps no neighbours, so there is nothing to draw: measure the model again")
    items = {int(item["id"]): item for item in evaluation.items}
    rows = _spread(evaluation, near)
    answers = [_hits(near, row, items) for row in rows]
    asked = [items.get(int(near.query_ids[row]), {}) for row in rows]
    labels = [_label(item, near.attribute) for item in asked]
    pictures = [None if near.asks == "text" else item.get("image") for item in asked]
    texts = [str(item.get("text", "")) if near.asks in ("text", "image+text") else None for item in asked]
    try:
        sheet = draw_sheet(pictures, answers, labels=labels, texts=texts)
    except DataError as error:
        raise ModelError(f"the pictures of this evaluation cannot be drawn: {error}") from error
    sheet.save(path, format="JPEG", quality=88, optimize=True)
    return Path(path)


def _spread(evaluation: Evaluation, near: Neighbours) -> list[int]:
    """Rows of queries, from the worst answered to the best; in the order of ids where that is not known."""
    order = torch.arange(len(near))
    per_query = evaluation.per_query
    if per_query is not None and evaluation.primary in per_query.values:
        values = _values_of(near.query_ids, per_query.ids, per_query.values[evaluation.primary])
        order = values.argsort(stable=True)
        order = order[~values[order].isnan()]
    places = torch.linspace(0, len(order) - 1, min(QUERIES, len(order)), dtype=torch.float64).round().long()
    return [int(row) for row in order[places]]


def _values_of(wanted: Tensor, ids: Tensor, values: Tensor) -> Tensor:
    """The value of each wanted id, NaN for one that is not among `ids` (ascending)."""
    at = torch.searchsorted(ids, wanted).clamp(max=max(0, len(ids) - 1))
    return torch.where(ids[at] == wanted, values[at], torch.nan)


def _hits(near: Neighbours, row: int, items: dict[int, Item]) -> list[dict[str, Any]]:
    """What the sheet shows of a query's answers."""
    found = zip(near.ids[row, :SHOWN].tolist(), near.scores[row, :SHOWN].tolist(), strict=True)
    known = [(items[number], score) for number, score in found if number in items]
    return [{"image": _shown(i, near), "score": score, "label": _label(i, near.attribute) or ""} for i, score in known]


def _shown(item: Item, near: Neighbours) -> Any:
    """The picture of an answer: what its row asks for, where that is what is found."""
    return item.get("target") or item.get("image") if near.finds == "target" else item.get("image")


def _label(item: Item, attribute: str | None) -> str | None:
    value = item.get("label") if attribute is None else (item.get("attributes") or {}).get(attribute)
    return None if value is None else str(value)
