"""What a factory string may ask of FAISS, decided before FAISS reads it.

FAISS's own reader follows any string: it allocates what the numbers say, and brackets within brackets without end take
the process down. A string may come from a stranger's index folder, so its form and its cost are looked at first.
"""

from __future__ import annotations

import re

_FORM = re.compile(r"[A-Za-z0-9_,()+\[\]]{1,200}")
_MOST_PARTS, _MOST_BRACKETS = 8, 4
_MOST_LISTS, _MOST_LINKS, _MOST_BITS, _MOST_SQUARE_BITS = 1 << 20, 512, 12, 10
_MOST_BYTES = 1 << 30  # of code books, or of one rotation
_MOST_WIDE = 1 << 20  # numbers a vector
_ROTATIONS = re.compile(r"OPQ|PCA|ITQ|RR\d|LSH")


def check_factory(factory: str, embed_dim: int) -> None:
    """ValueError unless FAISS can be given this string for vectors of that width without harm."""
    if not isinstance(factory, str) or not _FORM.fullmatch(factory):
        raise ValueError(f"factory {str(factory)[:40]!r} is not one of FAISS: letters, digits, _ , + and brackets")
    if not 1 <= embed_dim <= _MOST_WIDE:
        raise ValueError(f"embed_dim is 1 to {_MOST_WIDE:,}, got {embed_dim!r:.20}")
    if factory.count("(") > _MOST_BRACKETS or factory.count(",") >= _MOST_PARTS:
        raise ValueError(f"factory {factory[:40]!r} has more parts than any structure")
    if "IDMap" in factory:
        raise ValueError(f"factory {factory!r}: leave out IDMap, ids are kept beside the structure")
    if reason := _too_large(factory, embed_dim):
        raise ValueError(f"factory {factory!r}: {reason}")


def _too_large(factory: str, embed_dim: int) -> str:
    """Why making this structure would take more memory or time than any gallery is worth; "" when it would not."""
    numbers = [int(n) for n in re.findall(r"\d{1,200}", factory)]
    if max(numbers, default=0) > _MOST_LISTS:
        return f"{max(numbers):.3g} is more than any gallery needs"
    links = [int(n) for n in re.findall(r"(?:HNSW|NSG|NNDescent)(\d+)", factory)]
    if max(links, default=0) > _MOST_LINKS:
        return f"{max(links):,} links a vector are more than any graph needs"
    if max((int(n) for n in re.findall(r"IMI\d+x(\d+)", factory)), default=0) > _MOST_SQUARE_BITS:
        return f"an inverted multi-index of more than {_MOST_SQUARE_BITS} bits a half is larger than any gallery"
    for books, bits in re.findall(r"(\d+)(?:\+\d+)?x(\d+)", factory):
        if int(bits) > _MOST_BITS:
            return f"codes of more than {_MOST_BITS} bits cannot be trained"
        whole = 1 if re.search(rf"PQ{books}(?:\+\d+)?x{bits}", factory) else int(books)  # a part of the width, or all
        if (size := 4 * whole * embed_dim << int(bits)) > _MOST_BYTES:
            return f"code books of {size:,} bytes for vectors of width {embed_dim:,}"
    if _ROTATIONS.search(factory) and 4 * embed_dim**2 > _MOST_BYTES:
        return f"a rotation of {4 * embed_dim**2:,} bytes for vectors of width {embed_dim:,}"
    return ""
