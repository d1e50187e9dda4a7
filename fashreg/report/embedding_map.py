"""The embedding space on a plane: PCA always, t-SNE or UMAP where their libraries are installed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from fashreg.errors import FashregError
from fashreg.functional.similarity import unit_rows
from fashreg.jobs.evaluation_result import Item, StoredVectors
from fashreg.report.svg import Frame, joined, tag
from fashreg.report.thumbnails import Thumbnails

Method = Literal["pca", "tsne", "umap"]
METHODS: tuple[Method, ...] = ("pca", "tsne", "umap")
MOST_POINTS, COLOURS, COLUMNS = 2000, 8, 11
SIDE = 64  # of a picture on the map, in pixels

Plane = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Map:
    """The two drawings. legend: names of the coloured groups. said: how the plane was made. coloured_by: whose groups.

    others: whether some pictures are in none of the groups. shown, of: how many pictures are drawn, and how many there
    are.
    """

    points: Markup
    pictures: Markup
    legend: tuple[str, ...]
    said: str
    coloured_by: str
    others: bool
    shown: int
    of: int


def draw_map(
    stored: StoredVectors, items: Mapping[int, Item], thumbnails: Thumbnails, method: Method = "pca"
) -> Map | None:
    """Draw an even sample of at most MOST_POINTS pictures; None when there are fewer than three."""
    rows = [i for i, item_id in enumerate(stored.ids.tolist()) if item_id in items]
    if len(rows) < 3:
        return None
    places = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_POINTS)).round().astype(int))
    chosen = [rows[p] for p in places.tolist()]
    here = [items[int(stored.ids[i])] for i in chosen]
    vectors = unit_rows(stored.vectors[chosen]).double().numpy()
    plane, said = project(vectors, method)
    coloured_by, codes, names = colouring(here)
    frame = _frame(plane)
    return Map(
        points=_points(frame, plane, codes, names, here),
        pictures=_pictures(frame, plane, here, thumbnails),
        legend=tuple(names),
        said=said,
        coloured_by=coloured_by,
        others=-1 in codes,
        shown=len(here),
        of=len(rows),
    )


def project(vectors: NDArray[np.float64], method: Method = "pca") -> tuple[Plane, str]:
    """Points (N, 2) of vectors (N, D), and a sentence on how. The same for the same vectors and libraries.

    FashregError when the library that a method needs is not installed.
    """
    plane, share = _principal(vectors)
    if method == "pca":
        return plane, f"PCA: the two directions of largest variance, {share:.0%} of it"
    if method == "umap":
        return _umap(vectors), "UMAP (15 neighbours, cosine): near is alike, far distances say little"
    return _tsne(vectors, plane), "t-SNE (cosine): near is alike, far distances and sizes of clusters say little"


def colouring(items: Sequence[Item]) -> tuple[str, list[int], list[str]]:
    """What to colour by: (its name, the group of each item or -1, names of the groups).

    The label or attribute with the most values, as long as there are 2 to 8 of them; else the commonest labels.
    """
    columns: dict[str, list[Any]] = {"label": [item.get("label") for item in items]}
    for name in dict.fromkeys(n for item in items for n in item.get("attributes") or {}):
        columns[name] = [(item.get("attributes") or {}).get(name) for item in items]
    counted = {name: Counter(v for v in column if v is not None and v != "") for name, column in columns.items()}
    few = [name for name, values in counted.items() if 2 <= len(values) <= COLOURS]
    best = max(few, key=lambda name: len(counted[name])) if few else "label"
    values = sorted(counted[best].items(), key=lambda pair: (-pair[1], str(pair[0])))[:COLOURS]
    groups = {value: i for i, (value, _) in enumerate(values)}
    said = best if few else f"the {len(groups)} commonest labels"
    return said, [groups.get(value, -1) for value in columns[best]], [str(value) for value in groups]


def _principal(vectors: NDArray[np.float64]) -> tuple[Plane, float]:
    """The first two principal components, each turned so that its largest entry is positive; share of variance."""
    centred = vectors - vectors.mean(0)
    _, values, directions = np.linalg.svd(centred, full_matrices=False)
    directions = np.pad(directions, ((0, max(0, 2 - len(directions))), (0, 0)))[:2]
    largest = np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], 1)
    plane = centred @ (directions * np.where(largest < 0.0, -1.0, 1.0)).T
    total = float((values**2).sum())
    return plane, float((values[:2] ** 2).sum()) / total if total > 0.0 else 0.0


def _tsne(vectors: NDArray[np.float64], start: Plane) -> Plane:
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise FashregError(f"a t-SNE map needs scikit-learn: pip install 'fashreg[report]' ({error})") from error
    spread = float(start.std(0).max()) or 1.0
    perplexity = max(2.0, min(30.0, (len(vectors) - 1) / 4))
    made = TSNE(init=start / spread * 1e-4, perplexity=perplexity, metric="cosine", random_state=0, max_iter=600)
    return np.asarray(made.fit_transform(vectors), dtype=np.float64)


def _umap(vectors: NDArray[np.float64]) -> Plane:
    try:
        from umap import UMAP
    except ImportError as error:
        raise FashregError(f"a UMAP map needs umap-learn: pip install umap-learn ({error})") from error
    made = UMAP(n_neighbors=min(15, len(vectors) - 1), metric="cosine", random_state=0, n_jobs=1)
    return np.asarray(made.fit_transform(vectors), dtype=np.float64)


def _frame(plane: Plane) -> Frame:
    (left, low), (right, high) = plane.min(0), plane.max(0)
    span = {"left": 26.0, "right": 26.0, "top": 26.0, "bottom": 26.0}
    return Frame((float(left), float(right)), (float(low), float(high)), width=760.0, height=560.0, **span)


def _points(frame: Frame, plane: Plane, codes: Sequence[int], names: Sequence[str], items: Sequence[Item]) -> Markup:
    dots = []
    for place in sorted(range(len(items)), key=lambda i: codes[i]):  # the grey ones first, under the others
        code, (x, y) = codes[place], plane[place].tolist()
        label = items[place].get("label")
        said = ", ".join(dict.fromkeys(str(n) for n in (label, names[code] if code >= 0 else None) if n is not None))
        kind = f"dot s{code}" if code >= 0 else "dot other"
        title = tag("title", said) if said else ""
        dots.append(tag("circle", title, cx=frame.across(x), cy=frame.up(y), r=3.2, class_=kind))
    return frame.drawing(dots, f"Map of {len(items)} pictures, one dot each")


def _pictures(frame: Frame, plane: Plane, items: Sequence[Item], thumbnails: Thumbnails) -> Markup:
    """In each cell of a grid the picture nearest to its middle, so that none covers another."""
    size = frame.width / COLUMNS
    best: dict[tuple[int, int], tuple[float, int]] = {}
    for place, (px, py) in enumerate(plane.tolist()):
        x, y = frame.across(px), frame.up(py)
        cell = int(x // size), int(y // size)
        off = (x - (cell[0] + 0.5) * size) ** 2 + (y - (cell[1] + 0.5) * size) ** 2
        best[cell] = min(best.get(cell, (off, place)), (off, place))
    drawn = []
    for (column, row), (_, place) in sorted(best.items()):
        uri = thumbnails.uri(items[place], SIDE)
        if uri:
            title = tag("title", str(items[place].get("label") or ""))
            where = {"x": column * size + 3, "y": row * size + 3, "width": size - 6, "height": size - 6}
            drawn.append(tag("image", title, href=uri, **where))
    return frame.drawing(drawn, f"Map of {len(drawn)} of {len(items)} pictures") if drawn else joined([])
