"""From values to HTML: the templates of this package with the words and pictures that they need."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fashreg import __version__
from fashreg.errors import FashregError
from fashreg.jobs.evaluation_result import Item
from fashreg.report.answers import told
from fashreg.report.thumbnails import Thumbnails


def render(template: str, thumbnails: Thumbnails, attribute: str | None = None, **content: Any) -> str:
    """The page. Every text is escaped; a name that the template expects and nobody gave is an error."""
    environment = Environment(
        loader=PackageLoader("fashreg.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(_words(thumbnails, attribute))
    text = environment.get_template(template).render(version=__version__, missing=_Missing(thumbnails), **content)
    return "\n".join(line for line in text.splitlines() if line.strip()) + "\n"


def write_page(text: str, out: str | Path) -> Path:
    """Write the file whole or not at all; its folder is made."""
    path = Path(out)
    if path.is_dir():
        raise FashregError(f"{path} is a folder; give the name of a file, e.g. --out {path / 'report.html'}")
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_text(text, encoding="utf-8", newline="\n")
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    return path


def breakable(text: object) -> Markup:
    """Text that may break after a slash, a hyphen or an underscore."""
    parts = re.split(r"(?<=[/_-])", str(text))
    return Markup("<wbr>").join(parts)


class _Missing:
    """The number of pictures that could not be read, counted when it is printed: at the end of the page."""

    def __init__(self, thumbnails: Thumbnails) -> None:
        self._thumbnails = thumbnails

    def __bool__(self) -> bool:
        return bool(self._thumbnails.missing)

    def __str__(self) -> str:
        return str(len(self._thumbnails.missing))


def _words(thumbnails: Thumbnails, attribute: str | None) -> Mapping[str, Callable[..., Any]]:
    def caption(item: Item) -> str:
        return ", ".join(str(part) for part in (item.get("label"), _file(item)) if part)

    def target_of(item: Item) -> Item:
        return {**item, "image": item["target"]} if item.get("target") else item

    return {
        "thumbnail": lambda item: Markup(thumbnails.uri(item)),  # letters, digits and /+=:;, only
        "caption": caption,
        "target_of": target_of,
        "label_of": lambda item: "no label" if item.get("label") is None else item["label"],
        "told_of": lambda item: _named(told(item, attribute)),
        "breakable": breakable,
        "percent": lambda share: f"{100 * min(1.0, max(0.0, share)):.2f}%",
    }


def _named(value: Any) -> str:
    return "" if value is None else str(value)


def _file(item: Item) -> str:
    return str(item.get("image", "")).replace("\\", "/").rsplit("/", 1)[-1]
