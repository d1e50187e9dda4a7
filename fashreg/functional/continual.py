"""What an accuracy matrix says about learning in increments: averages, forgetting, transfer.

m: (T, A) numbers, NaN where nothing was measured; row t after increment t, column a for one task. learnt: (A,) the row
after which each task counts as learnt; None: task a after row a. Entries above that row were measured before the task
was learnt, and count for forward transfer alone. Every function gives NaN where the matrix holds nothing to average.

Sources: average incremental accuracy: Rebuffi, Kolesnikov, Sperl, Lampert, "iCaRL", CVPR 2017,
https://arxiv.org/abs/1611.07725; backward and forward transfer: Lopez-Paz, Ranzato, "Gradient Episodic Memory for
Continual Learning", NeurIPS 2017, https://arxiv.org/abs/1706.08840; forgetting as the fall from the best: Chaudhry,
Dokania, Ajanthan, Torr, "Riemannian Walk for Incremental Learning", ECCV 2018, https://arxiv.org/abs/1801.10112.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def average_incremental(m: Any, *, learnt: Sequence[int] | None = None) -> float:
    """(1/T) sum_t mean over the tasks learnt by then of m[t, a]."""
    matrix, own = _matrix(m, learnt)
    rows = [_mean(matrix[t, own <= t]) for t in range(len(matrix))]
    return _mean(np.array(rows))


def final(m: Any, weights: Sequence[float] | None = None, *, learnt: Sequence[int] | None = None) -> float:
    """Mean over the tasks of the last row. weights: (A,), e.g. the numbers of queries; None: each task alike."""
    matrix, own = _matrix(m, learnt)
    given = np.ones(matrix.shape[1]) if weights is None else np.asarray(weights, dtype=np.float64)
    if given.shape != own.shape or not (np.isfinite(given) & (given >= 0)).all():
        raise ValueError(f"weights are {matrix.shape[1]} numbers >= 0, one for each task; got {weights!r}")
    last = matrix[-1]
    counts = ~np.isnan(last) & (own < len(matrix))
    total = given[counts].sum()
    return float((given[counts] * last[counts]).sum() / total) if total > 0 else float("nan")


def forgetting(m: Any, form: Literal["max", "last"] = "max", *, learnt: Sequence[int] | None = None) -> float:
    """Mean over the tasks learnt before the last row of what was lost since.

    "max": (best since it was learnt) - (last row), never negative. "last": (right after it was learnt) - (last row),
    which is minus the backward transfer.
    """
    if form not in ("max", "last"):
        raise ValueError(f'form must be "max" or "last", got {form!r}')
    matrix, own = _matrix(m, learnt)
    lost = []
    for a in _before_last(matrix, own):
        since = matrix[own[a] :, a]
        known = since[~np.isnan(since)]
        first = known.max(initial=-np.inf) if form == "max" and len(known) else since[0]
        lost.append(first - since[-1])
    return _mean(np.array(lost))


def backward_transfer(m: Any, *, learnt: Sequence[int] | None = None) -> float:
    """Mean over the tasks learnt before the last row of (last row) - (right after it was learnt)."""
    return 0.0 - forgetting(m, "last", learnt=learnt)  # 0.0 and not -0.0 where nothing moved


def forward_transfer(m: Any, chance: Sequence[float], *, learnt: Sequence[int] | None = None) -> float:
    """Mean over the tasks of (the row before it was learnt) - chance. chance: (A,) what knowing nothing scores."""
    matrix, own = _matrix(m, learnt)
    base = np.asarray(chance, dtype=np.float64)
    if base.shape != own.shape:
        raise ValueError(f"chance holds {matrix.shape[1]} numbers, one for each task; got {chance!r}")
    return _mean(np.array([matrix[own[a] - 1, a] - base[a] for a in range(len(own)) if 0 < own[a] <= len(matrix)]))


def _matrix(m: Any, learnt: Sequence[int] | None) -> tuple[Matrix, NDArray[np.int64]]:
    matrix = np.array(m, dtype=np.float64, ndmin=2)  # None becomes NaN
    if matrix.ndim != 2 or not matrix.size:
        raise ValueError(f"the matrix is (T, A), T >= 1 rows of A >= 1 numbers; got shape {matrix.shape}")
    own = np.arange(matrix.shape[1]) if learnt is None else np.asarray(learnt, dtype=np.int64)
    if own.shape != matrix.shape[1:] or (own < 0).any():
        raise ValueError(f"learnt holds {matrix.shape[1]} rows >= 0, one for each task; got {learnt!r}")
    return matrix, own


def _before_last(matrix: Matrix, own: NDArray[np.int64]) -> list[int]:
    return [a for a in range(len(own)) if own[a] < len(matrix) - 1]


def _mean(values: Matrix) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
