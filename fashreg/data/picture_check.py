"""Is this file a whole picture? Answered from its header and its end; only a suspicious file is decoded."""

from __future__ import annotations

import os

from PIL import Image

from fashreg.data.pictures import max_pixels, open_picture
from fashreg.errors import DataError

_TAIL = 4096  # bytes at the end of a file in which its end marker is looked for
_END = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}


def fault_of(path: str, contents: bool = True) -> str | None:
    """None for a whole picture, else what is wrong, in a few words that are equal for equal faults.

    contents: False looks only whether the file exists.
    """
    if not os.path.isfile(path):
        return "a folder, not a picture" if os.path.isdir(path) else "missing files"
    if not contents:
        return None
    try:
        with open(path, "rb") as file, Image.open(file) as picture:
            pixels, end = picture.width * picture.height, _END.get(str(picture.format))
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            whole = end is not None and end in file.read()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return "pictures too large to decode"
    except Exception:  # whatever a decoder says of the header, the file is not a picture
        return "files that are not pictures" if os.path.getsize(path) else "empty files"
    if pixels > max_pixels():
        return f"pictures of more than {max_pixels():,} pixels (FASHREG_MAX_PIXELS)"
    return None if whole else _decodes(path)


def _decodes(path: str) -> str | None:
    try:
        open_picture(path)
    except DataError:
        return "damaged or truncated pictures"
    return None
