"""The same classes under the same codes in several tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fashreg.data.table import Table


def in_classes(table: Table, names: Sequence[str]) -> tuple[Table, list[str]]:
    """The rows whose label is one of `names`, with its place there as the code; and the labels that were left out.

    All names stay classes of the table, whether or not a row has them. Rows without a label are left out, too.
    """
    places = {name: place for place, name in enumerate(names)}
    codes = np.array([*(places.get(name, -1) for name in table.label_names), -1], dtype=np.int64)[table.labels]
    known = codes >= 0
    strange = sorted({table.label_names[code] for code in set(table.labels[~known].tolist()) if code >= 0})
    return replace(table.take(known, dense=False), labels=codes[known], label_names=list(names)), strange
