"""Small pictures inside the page: JPEG as data: URIs. A picture that is not there leaves a gap, and is counted."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from fashreg.data.pictures import open_picture
from fashreg.errors import DataError

SIDE, QUALITY = 128, 78


class Thumbnails:
    """Makes and keeps small versions. roots: folders that relative paths may start from; the first that has the file.

    missing: pictures that could not be read so far.
    """

    def __init__(self, *roots: Path) -> None:
        self.roots = roots
        self.missing: set[str] = set()
        self._small: dict[str, Image.Image | None] = {}
        self._text: dict[tuple[str, int], str] = {}

    def uri(self, item: Mapping[str, Any], side: int = SIDE) -> str:
        """The picture within side x side pixels as a data: URI; "" where it cannot be read."""
        key = (str(item.get("image", "")), side)
        if key not in self._text:
            picture = self._picture(item)
            self._text[key] = "" if picture is None else _data_uri(picture, side)
        return self._text[key]

    def pixels_alike(self, one: Mapping[str, Any], other: Mapping[str, Any]) -> float | None:
        """Correlation of the two pictures at 24 x 24 pixels, -1..1; None where one cannot be read or is plain."""
        first, second = self._picture(one), self._picture(other)
        if first is None or second is None:
            return None
        a, b = (_grey(picture) for picture in (first, second))
        length = float(np.linalg.norm(a) * np.linalg.norm(b))
        return float(np.dot(a, b)) / length if length > 0.0 else None

    def same_file(self, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        """Whether two different paths hold the same bytes."""
        first, second = self.path(one), self.path(other)
        if not (first.is_file() and second.is_file()) or first.stat().st_size != second.stat().st_size:
            return False
        return first.read_bytes() == second.read_bytes()

    def path(self, item: Mapping[str, Any]) -> Path:
        """Where the picture is, or should be."""
        given = Path(str(item.get("image", "")))
        found = (root / given for root in self.roots if (root / given).is_file())
        return given if given.is_absolute() or given.is_file() else next(found, given)

    def _picture(self, item: Mapping[str, Any]) -> Image.Image | None:
        name = str(item.get("image", ""))
        if name not in self._small:
            self._small[name] = _small(self.path(item))
            if self._small[name] is None:
                self.missing.add(name)
        return self._small[name]


def _small(path: Path) -> Image.Image | None:
    """A picture within SIDE x SIDE; None for what is no ordinary file, or none that can be read."""
    if not path.is_file():
        return None
    try:
        return ImageOps.contain(open_picture(path, at_least=SIDE), (SIDE, SIDE))
    except DataError:
        return None


def _grey(picture: Image.Image) -> Any:
    pixels = np.asarray(picture.convert("L").resize((24, 24), Image.Resampling.BOX), dtype=np.float64).ravel()
    return pixels - pixels.mean()


def _data_uri(picture: Image.Image, side: int) -> str:
    small = picture if side >= SIDE else ImageOps.contain(picture, (side, side))
    out = io.BytesIO()
    small.save(out, format="JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")
