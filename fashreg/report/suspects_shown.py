"""Which suspects are shown, after a look at their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fashreg.jobs.evaluation_result import Item
from fashreg.report.suspects import ALIKE, Doubt, Pair, Suspects
from fashreg.report.thumbnails import Thumbnails

COMPARED, SHOWN, PIXELS_ALIKE = 200, 8, 0.95


@dataclass(frozen=True, slots=True)
class ShownPair:
    """Two pictures with the evidence. pixels: correlation, None where a picture cannot be read."""

    one: Item
    other: Item
    cosine: float
    pixels: float | None
    same_file: bool


@dataclass(frozen=True, slots=True)
class ShownSuspects:
    """What the page says. close: pairs of cosine >= alike; compared: how many of those were compared in pixels.

    likely_different: pairs with different labels whose pixels agree too. files_twice: pairs of equal files.
    """

    different: tuple[ShownPair, ...]
    same: tuple[ShownPair, ...]
    likely_different: int
    files_twice: int
    close: int
    compared: int
    doubts: tuple[Doubt, ...]
    doubt_count: int
    looked_at: int
    of: int
    alike: float = ALIKE


def show_suspects(found: Suspects, thumbnails: Thumbnails) -> ShownSuspects:
    """Compare the nearest pairs of either kind in pixels; show those that agree best, and the surest doubts."""
    different = [pair for pair in found.pairs if pair.same_label is False][:COMPARED]
    same = [pair for pair in found.pairs if pair.same_label is not False][:COMPARED]
    likely_different, likely_same = _likely(different, thumbnails), _likely(same, thumbnails)
    return ShownSuspects(
        different=likely_different[:SHOWN],
        same=likely_same[:SHOWN],
        likely_different=len(likely_different),
        files_twice=sum(pair.same_file for pair in (*likely_different, *likely_same)),
        close=len(found.pairs),
        compared=len(different) + len(same),
        doubts=found.doubts[:SHOWN],
        doubt_count=len(found.doubts),
        looked_at=found.looked_at,
        of=found.of,
    )


def _likely(pairs: Sequence[Pair], thumbnails: Thumbnails) -> tuple[ShownPair, ...]:
    seen = [
        ShownPair(
            pair.one,
            pair.other,
            pair.cosine,
            thumbnails.pixels_alike(pair.one, pair.other),
            thumbnails.same_file(pair.one, pair.other),
        )
        for pair in pairs
    ]
    likely = [pair for pair in seen if pair.same_file or (pair.pixels is not None and pair.pixels >= PIXELS_ALIKE)]
    likely.sort(key=lambda pair: (not pair.same_file, -(pair.pixels or 0.0), -pair.cosine))
    return tuple(likely)
