"""Opening any picture as upright 8-bit RGB, or saying in one sentence why it cannot be."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from fashreg.errors import DataError

Picture = str | Path | bytes | Image.Image

#: most pixels that are decoded unless FASHREG_MAX_PIXELS or an argument says otherwise; Pillow itself refuses twice
#: `PIL.Image.MAX_IMAGE_PIXELS`, 179 million unless the program changes it
MAX_PIXELS = 80_000_000

_ORIENTATION = 0x0112  # EXIF tag; value -> what makes the picture upright
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def max_pixels() -> int:
    """The limit in force: FASHREG_MAX_PIXELS (a whole number > 0), else 80 million."""
    text = os.environ.get("FASHREG_MAX_PIXELS", "")
    if not text:
        return MAX_PIXELS
    if not text.isdigit() or int(text) < 1:
        raise DataError(f'FASHREG_MAX_PIXELS must be a whole number of pixels > 0, got "{text}"')
    return int(text)


def open_picture(
    source: Picture, *, limit: int | None = None, name: str = "", at_least: int | None = None
) -> Image.Image:
    """The picture as PIL RGB, upright (EXIF orientation applied), fully loaded, its file closed.

    source: path, the bytes of a file, or a PIL image. Transparent parts become white; 16-bit and float greys are
    scaled to 8 bits; of an animation the first frame counts. limit: most pixels that are decoded (see `max_pixels`);
    larger pictures are refused before decoding. name: what errors call the picture; by default its path.
    at_least: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as both sides stay at least this long;
    None decodes every pixel.
    """
    if not isinstance(source, str | os.PathLike | bytes | Image.Image):
        kind = type(source).__name__
        raise DataError(
            f"a picture is a path, the bytes of a file or a PIL image, not {kind}; "
            "of an array of RGB: PIL.Image.fromarray(array)"
        )
    called = name or _called(source)
    most = max_pixels() if limit is None else limit
    try:
        if isinstance(source, Image.Image):
            return _upright_rgb(source, called, most)
        opened = io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")  # noqa: SIM115
        with opened as file, Image.open(file) as picture:
            return _upright_rgb(picture, called, most, at_least)
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{called} does not exist") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{called} is larger than Pillow decodes ({error}); make it smaller") from error
    except UnidentifiedImageError as error:
        raise DataError(f"{called} is not a picture in a format that can be read") from error
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, OverflowError, struct.error) as error:
        raise DataError(f"{called} is damaged or cut short: {error}") from error


def _called(source: Picture) -> str:
    if isinstance(source, str | Path):
        return f"the picture {source}"
    return "the picture given as bytes" if isinstance(source, bytes) else "the picture given as a PIL image"


def _upright_rgb(picture: Image.Image, called: str, most: int, at_least: int | None = None) -> Image.Image:
    if picture.width * picture.height > most:
        raise DataError(
            f"{called} has {picture.width} x {picture.height} pixels, more than the limit of {most:,}; make it "
            "smaller, or raise the limit: FASHREG_MAX_PIXELS=NUMBER"
        )
    if at_least is not None and picture.format == "JPEG":
        picture.draft(None, (at_least, at_least))  # libjpeg scales while it decodes
    picture.load()
    turn = _UPRIGHT.get(_orientation(picture))
    rgb = _rgb(picture if turn is None else picture.transpose(turn))
    return rgb.copy() if rgb is picture else rgb


def _orientation(picture: Image.Image) -> int:
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # a damaged EXIF block does not make the picture unusable
        return 1


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return _grey_to_8_bits(picture).convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        coloured = picture.convert("RGBA")
        white = Image.new("RGBA", coloured.size, "white")
        return Image.alpha_composite(white, coloured).convert("RGB")
    return picture.convert("RGB")


def _grey_to_8_bits(picture: Image.Image) -> Image.Image:
    """Greys of 16 bits are divided by 257; greys that reach no further than 255 are taken as they are."""
    values = np.asarray(picture, dtype=np.float64)
    values = np.nan_to_num(values)
    top = float(values.max(initial=0.0))
    if top <= 1.0 and picture.mode == "F":
        values = values * 255.0
    elif top > 255.0:
        values = values / 257.0
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8), "L")
