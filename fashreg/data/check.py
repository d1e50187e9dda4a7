"""What the pictures of a table are like: files whole, classes large enough. One report, counts and examples."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from fashreg.data.columns import Problems, counted, examples
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
        return "\n".join(
            [f"{counted(self.pictures, 'picture')}, {sizes}", *(f"warning: {text}" for text in self.warnings)]
        )


def check_table(
    table: Table,
    pictures: bool = True,
    *,
    on_bad_image: str = "error",
    classes: int = 1,
    pairs: bool = True,
    looked: dict[str, str | None] | None = None,
) -> Report:
    """Looks at every file of the table (target pictures too) and counts its classes; raises one DataError for all that
    is wrong.

    pictures: open each file far enough to know that it is a whole picture (headers and ends; only suspicious ones are
    decoded). False: only look whether the files exist. on_bad_image: "skip" makes missing and bad files a warning and
    marks them in `bad`, so that `table.take(~report.bad)` leaves them out. classes: fewest classes that the table
    must have; training needs 2; 0: labels do not matter. pairs: False says nothing of classes with a single picture.
    looked: path -> fault of files that were looked at before in the same way; those of this table are added.
    """
    problems, warnings = Problems(table.source), []
    faults = _faults(table, pictures, {} if looked is None else looked)
    bad = np.array([fault is not None for fault in faults], dtype=np.bool_)
    for kind, found in _by_kind(faults).items():
        rows = [row for row, _ in found]
        message = f"{kind}: {examples(table.rows[rows], [image for _, image in found])}"
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
    if singles and classes and pairs:
        warnings.append(
            f"{singles:,} of {len(counts):,} classes have a single picture, which never makes a positive pair"
        )
    problems.raise_if_any()
    return Report(len(table), len(counts), singles, int(counts.max(initial=0)), bad, tuple(warnings))


def _faults(table: Table, pictures: bool, looked: dict[str, str | None]) -> list[tuple[str, str] | None]:
    """Per row None, or the kind of fault and the file as written; each file is looked at once, by a few threads."""
    wanted = dict.fromkeys([*table.paths, *filter(None, table.targets or ())])
    distinct = [path for path in wanted if path not in looked]
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda path: fault_of(path, pictures), distinct, chunksize=64)
        looked.update(zip(distinct, found, strict=True))

    def of(row: int) -> tuple[str, str] | None:
        if (fault := looked[table.paths[row]]) is not None:
            return fault, table.images[row]
        target = table.targets[row] if table.targets is not None else ""
        fault = looked[target] if target else None
        return None if fault is None else (fault, (table.target_images or [])[row])

    return [of(row) for row in range(len(table))]


def _by_kind(faults: list[tuple[str, str] | None]) -> dict[str, list[tuple[int, str]]]:
    kinds: dict[str, list[tuple[int, str]]] = {}
    for row, fault in enumerate(faults):
        if fault is not None:
            kinds.setdefault(fault[0], []).append((row, fault[1]))
    return kinds
