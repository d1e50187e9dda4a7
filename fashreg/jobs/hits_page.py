"""Queries and hits as one HTML page that needs no other file: pictures are small and inside, and nothing is fetched."""

from __future__ import annotations

import base64
import html
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import ImageOps

from fashreg.data.columns import counted
from fashreg.data.pictures import open_picture
from fashreg.errors import DataError

_SIDE, _QUALITY = 176, 80
_STYLE = """
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --faint: #6a6a6a; --same: #1e7a46; --other: #c4c4c4; }
@media (prefers-color-scheme: dark) { :root { --ink: #eee; --paper: #191919; --faint: #a5a5a5; --other: #555; } }
body { font: 14px/1.4 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 1.5rem; }
h1 { font-size: 1.2rem; margin: 0 0 .2rem; } p.about { color: var(--faint); margin: 0 0 1.2rem; }
section { display: flex; gap: 14px; padding: 14px 0; border-top: 1px solid var(--other); }
ol { display: flex; flex-wrap: wrap; gap: 14px; margin: 0; padding: 0; list-style: none; }
figure { margin: 0; width: 184px; } figcaption { overflow-wrap: anywhere; font-size: 12px; }
figcaption small { display: block; color: var(--faint); }
.frame { width: 176px; height: 176px; display: grid; place-items: center; border: 4px solid var(--other); }
.same .frame { border-color: var(--same); } .query .frame { border-color: transparent; }
.frame img { max-width: 176px; max-height: 176px; } .gap { color: var(--faint); text-align: center; }
p.said { font-size: 15px; font-style: italic; margin: 0; padding: 4px; overflow-wrap: anywhere; }
.frame p.said { max-height: 168px; overflow: auto; }
""".strip()


def write_hits_page(
    path: str | Path,
    names: Sequence[str],
    pictures: Sequence[Path | None],
    answers: Sequence[Sequence[Mapping[str, Any]]],
    *,
    labels: Sequence[str | None] | None = None,
    texts: Sequence[str | None] | None = None,
    title: str = "",
    where: Any = None,
) -> Path:
    """Write the page; it appears whole or not at all.

    names, pictures: of each query (None for a bare vector, and for a text alone). answers: hits of `Gallery.search`.
    labels: the query's label where known; hits of the same label get a green frame. texts: what was asked in words. A
    picture that cannot be read leaves a gap.
    """
    thumbnails: dict[str, str] = {}
    none = [None] * len(names)
    rows = [
        _section(name, picture, label, text, hits, thumbnails)
        for name, picture, label, text, hits in zip(
            names, pictures, labels or none, texts or none, answers, strict=True
        )
    ]
    queries = "1 query" if len(names) == 1 else f"{len(names):,} queries"
    about = f"{queries}, {counted(sum(map(len, answers)), 'hit')}; nearest first"
    if where:
        about += f"; only where {'; '.join([where] if isinstance(where, str) else map(str, where))}"
    text = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; style-src '
        "'unsafe-inline'\">\n"
        f"<title>fashreg search: {html.escape(title)}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n"
        f'<h1>{html.escape(title)}</h1>\n<p class="about">{html.escape(about)}</p>\n'
        f"{''.join(rows)}</body>\n</html>\n"
    )
    out = Path(path)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8", newline="\n")
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)
    return out


def _section(
    name: str,
    picture: Path | None,
    label: str | None,
    text: str | None,
    hits: Sequence[Mapping[str, Any]],
    thumbnails: dict[str, str],
) -> str:
    same = label if text is None else None  # words ask for another picture than this one
    shown = [_hit(rank, hit, same, thumbnails) for rank, hit in enumerate(hits, start=1)]
    said = f'<p class="said">{html.escape(text)}</p>' if text else ""
    caption = "query"
    if picture or not said:
        caption += f"<small>{html.escape(picture.name if picture else name)}</small>"
    if label:
        caption += f"<small>{html.escape(label)}</small>"
    if picture or not said:
        caption, frame = caption + said, _frame(picture, str(picture or name), thumbnails)
    else:
        frame = f'<div class="frame">{said}</div>'
    asked = f'<figure class="query">{frame}<figcaption>{caption}</figcaption></figure>'
    return f"<section>\n{asked}\n<ol>\n{''.join(shown) or '<li>no hits</li>'}</ol>\n</section>\n"


def _hit(rank: int, hit: Mapping[str, Any], label: str | None, thumbnails: dict[str, str]) -> str:
    kind = "same" if label is not None and str(hit.get("label", "")) == label else "other"
    lines = [str(hit["label"])] if hit.get("label") not in (None, "") else []
    lines += [
        f"{key}: {value}"
        for key, value in hit.items()
        if key not in ("id", "score", "image", "label") and value is not None
    ]
    lines.append(f"id {hit['id']}")
    caption = f"{rank}. {hit['score']:.4f}" + "".join(f"<small>{html.escape(line)}</small>" for line in lines)
    image = str(hit.get("image", ""))
    picture = _frame(Path(image) if image else None, image, thumbnails)
    return (
        f'<li><figure class="{kind}" title="{html.escape(image)}">{picture}'
        f"<figcaption>{caption}</figcaption></figure></li>\n"
    )


def _frame(picture: Path | None, name: str, thumbnails: dict[str, str]) -> str:
    key = str(picture or "")
    if key not in thumbnails:
        thumbnails[key] = _data_uri(picture)
    if not thumbnails[key]:
        what = "a vector" if picture is None else "picture cannot be read"
        return f'<div class="frame gap">{what}</div>'
    return f'<div class="frame"><img src="{thumbnails[key]}" alt="{html.escape(Path(name).name)}"></div>'


def _data_uri(picture: Path | None) -> str:
    """The picture made small, as a data: URI; "" where it is not there or cannot be read."""
    if picture is None:
        return ""
    try:
        small = ImageOps.contain(open_picture(picture, at_least=_SIDE), (_SIDE, _SIDE))
    except DataError:
        return ""
    out = io.BytesIO()
    small.save(out, format="JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")
