"""What the pictures of a table are like: files whole, classes large enough. One report, counts and examples."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from fashreg.data.columns import Problems, examples
from fashreg.data.picture_check import fault_of

if TYPE_CHECKING:
    from fashreg.data.table import Table


@dataclass(frozen=True, slots=True)
class Report:
    """What `check_table` saw. warnings: sentences for a person; bad: (N,) True for rows with a missing or bad file."""

    pictures: int
    classes: int
    single_image_classes: int
    largest_class: int
    bad: np.ndarray[tuple[int], np.dtype[np.bool_]]
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        sizes = f"{self.classes:,} classes, the largest of {self.largest_class:,}" if self.classes else "no labels"
        return "\n".join([f"{self.pictures:,} pictures, {sizes}", *(f"warning: {text}" for text in self.warnings)])


def check_table(table: Table, pictures: bool = True, *, on_bad_image: str = "error", classes: int = 1) -> Report:
    """Looks at every file of the table and counts its classes; raises one DataError for all that is wrong.

    pictures: open each file far enough to know that it is a whole picture (headers and ends; only suspicious ones are
    decoded). False: only look whether the files exist. on_bad_image: "skip" makes missing and bad files a warning and
    marks them in `bad`, so that `table.take(~report.bad)` leaves them out. classes: fewest classes that the table
    must have; training needs 2; 0: labels do not matter.
    """
    problems, warnings = Problems(table.source), []
    faults = _faults(table, pictures)
    bad = np.array([fault is not None for fault in faults], dtype=np.bool_)
    for kind, rows in _by_kind(faults).items():
        message = f"{kind}: {examples(table.rows[rows], [table.images[i] for i in rows])}"
        if on_bad_image == "skip" and not bad.all():
            warnings.append(f"left out, {message}")
        else:
            problems.add(f"{message}. Mend the files, or leave them out: data.on_bad_image=skip", table.rows[rows])
    labels = table.labels[~bad & (table.labels >= 0)] if on_bad_image == "skip" else table.labels[table.labels >= 0]
    counts = np.unique(labels, return_counts=True)[1]
    if len(counts) < classes:
        names = ", ".join(f'"{name}"' for name in islice(table.label_names, 3))
        problems.add(f"{classes} or more classes are needed, and there is {len(counts)} ({names or 'none'})")
    singles = int((counts == 1).sum())
    if singles and classes:
        warnings.append(
            f"{singles:,} of {len(counts):,} classes have a single picture, which never makes a positive pair"
        )
    problems.raise_if_any()
    return Report(len(table), len(counts), singles, int(counts.max(initial=0)), bad, tuple(warnings))


def _faults(table: Table, pictures: bool) -> list[str | None]:
    """Per row None, or the kind of fault; each file is looked at once, by a few threads."""
    distinct = list(dict.fromkeys(table.paths))
    with ThreadPoolExecutor(4) as pool:
        found = dict(
            zip(distinct, pool.map(lambda path: fault_of(path, pictures), distinct, chunksize=64), strict=True)
        )
    return [found[path] for path in table.paths]


def _by_kind(faults: list[str | None]) -> dict[str, list[int]]:
    kinds: dict[str, list[int]] = {}
    for row, fault in enumerate(faults):
        if fault is not None:
            kinds.setdefault(fault, []).append(row)
    return kinds
