"""A picture of answers: each row a query and its nearest pictures."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageOps

from fashreg.data.pictures import open_picture

CELL, GAP, CAPTION = 144, 8, 28
GROUND, INK, SAME, OTHER = "white", "#333333", "#2e8b57", "#b0b0b0"


def write_sheet(
    path: str | Path,
    queries: Sequence[Any],
    answers: Sequence[Sequence[dict[str, Any]]],
    *,
    labels: Sequence[str | None] | None = None,
    texts: Sequence[str | None] | None = None,
) -> Path:
    """Draw queries with their hits, as `draw_sheet` does, and save a PNG."""
    sheet = draw_sheet(queries, answers, labels=labels, texts=texts)
    out = Path(path)
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out, format="PNG")
    return out


def draw_sheet(
    queries: Sequence[Any],
    answers: Sequence[Sequence[dict[str, Any]]],
    *,
    labels: Sequence[str | None] | None = None,
    texts: Sequence[str | None] | None = None,
) -> Image.Image:
    """Queries (left) and their hits (right, best first).

    queries: pictures (path or PIL image; None leaves the place to the text). answers: hits of `Gallery.search`. labels:
    the query's label where known: hits of the same label get a green frame, others a grey one. texts: what was asked in
    words; with a picture they stand under it, and no hit is green, for another picture than this one was wanted.
    """
    columns = 1 + max((len(hits) for hits in answers), default=0)
    width, height = columns * (CELL + GAP) + 2 * GAP, len(queries) * (CELL + CAPTION + GAP) + GAP
    sheet = Image.new("RGB", (width, height), GROUND)
    draw = ImageDraw.Draw(sheet)
    for row, (query, hits) in enumerate(zip(queries, answers, strict=True)):
        top = GAP + row * (CELL + CAPTION + GAP)
        text = texts[row] if texts is not None else None
        known = labels[row] if labels is not None and text is None else None
        if query is not None:
            _paste(sheet, open_picture(query), GAP, top)
        elif text is not None:
            draw.multiline_text((GAP, top + GAP), _wrapped(text), fill=INK)
        told = f"\n{_short(text)}" if text is not None and query is not None else ""
        draw.text((GAP, top + CELL + 2), _short(f"query {known or ''}") + told, fill=INK)
        for rank, hit in enumerate(hits, start=1):
            left = 2 * GAP + rank * (CELL + GAP)
            _paste(sheet, open_picture(hit["image"]), left, top)
            same = known is not None and hit.get("label") == known
            draw.rectangle(
                (left - 2, top - 2, left + CELL + 1, top + CELL + 1), outline=SAME if same else OTHER, width=3
            )
            draw.text((left, top + CELL + 2), f"{hit['score']:.3f}\n{_short(str(hit.get('label', '')))}", fill=INK)
    return sheet


def _paste(sheet: Image.Image, picture: Image.Image, left: int, top: int) -> None:
    fitted = ImageOps.contain(picture, (CELL, CELL))
    sheet.paste(fitted, (left + (CELL - fitted.width) // 2, top + (CELL - fitted.height) // 2))


def _wrapped(text: str) -> str:
    """A text as it fits into the place of a picture."""
    lines = textwrap.wrap(text, 23)
    return "\n".join(lines if len(lines) <= 9 else [*lines[:8], "…"])


def _short(text: str) -> str:
    return text if len(text) <= 23 else text[:22] + "…"
