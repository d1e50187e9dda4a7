"""What mclfir_real.py learns and is judged on: fashion-products by attribute, its cached features, and the judge.

Split: own, by picture, 70 / 10 / 20 into train, validation and test, the same for all attributes. Near-duplicates lie
in one split: products of equal title, or of equal style and equal title stem (its words without numbers). Values with
fewer than LEAST training pictures are dropped. Within validation and test every attribute has its own division into
queries and candidates, 1 : 4, stratified by value, at most 500 queries.

Features: what the frozen stages (up to blocks.5) of EfficientNet-Lite0 at 128 px make of three views of each picture:
as at evaluation, and two varied as in training (crops and flips; colours are kept, one attribute is the colour).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from products import CUT, VIEWS, once, prefix, table_of
from torch import Tensor

import fashreg
from fashreg.data.loader import TableDataset
from fashreg.data.table import Table
from fashreg.functional import metrics
from fashreg.functional.neighbours import WHOLE_RANKING, nearest
from fashreg.functional.relevance import relevance_from_labels

ATTRIBUTES = ("gender", "article_type", "base_colour", "season", "usage")
LEAST, QUERIES = 60, 500
SPLITS = {"train": 0.7, "validation": 0.1, "test": 0.2}
Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Asked:
    """The question about one attribute of one split: positions in the table, codes of the attribute beside them."""

    queries: Array
    candidates: Array
    query_codes: Array
    candidate_codes: Array


@dataclass(frozen=True, eq=False)
class Answer:
    """One attribute, judged. precision: (Q,) average precision by query; chance: its expectation for a random order."""

    precision: Array
    chance: Array
    hits: dict[int, Array]  # recall@k by query


class Products:
    """The table with its splits, questions and features."""

    def __init__(self, data: Path, kept: Path | None) -> None:
        self.table: Table = fashreg.read_table(table_of(data), {"attributes": list(ATTRIBUTES)}, need_label=False)
        self.kept = kept
        self.groups = near_duplicates(self.table)
        self.split = split_of(self.groups)
        self.codes: dict[str, Array] = {}
        self.values: dict[str, list[str]] = {}
        for name in ATTRIBUTES:
            codes, names = self.table.attributes[name]
            seen = np.bincount(codes[(self.split == "train") & (codes >= 0)], minlength=len(names))
            new = np.full(len(names) + 1, -1, dtype=np.int64)
            new[np.flatnonzero(seen >= LEAST)] = np.arange((seen >= LEAST).sum())
            self.codes[name] = new[codes]
            self.values[name] = [value for value, count in zip(names, seen, strict=True) if count >= LEAST]

    def rows(self, name: str, split: str, values: Sequence[int] | None = None) -> Array:
        """Positions of the pictures of a split whose value of an attribute is known (and among `values`)."""
        codes = self.codes[name]
        known = codes >= 0 if values is None else np.isin(codes, values)
        return np.flatnonzero((self.split == split) & known)

    def training(self, name: str, values: Sequence[int] | None = None) -> Table:
        """The training pictures of an attribute, labelled by its values."""
        rows = self.rows(name, "train", values)
        part = self.table.take(rows, dense=False)
        named = type(part)(**{**vars(part), "labels": self.codes[name][rows], "label_names": self.values[name]})
        return named.take(np.arange(len(rows)))

    def asked(self, name: str, split: str, values: Sequence[int] | None = None) -> Asked:
        """Queries and candidates of an attribute; with `values`, those of these values only."""
        codes = self.codes[name]
        random = np.random.default_rng([ATTRIBUTES.index(name), list(SPLITS).index(split)])
        chosen: list[Array] = []
        for value in range(len(self.values[name])):
            rows = random.permutation(self.rows(name, split, [value]))
            chosen.append(rows[: max(1, round(len(rows) / 5))])
        queries = random.permutation(np.concatenate(chosen))[:QUERIES]
        candidates = np.setdiff1d(self.rows(name, split), queries)
        if values is not None:
            queries, candidates = (rows[np.isin(codes[rows], values)] for rows in (queries, candidates))
        return Asked(queries, candidates, codes[queries], codes[candidates])

    @cached_property
    def features(self) -> Tensor:
        """(N, VIEWS, C, h, w) by position; pictures that are only judged have one view, the others zeros there."""
        return once(self.kept, self._made)["features"]

    def _made(self) -> dict[str, Tensor]:
        backbone = fashreg.build("backbone", "lite0", image_size=128)
        encoder = fashreg.Encoder(backbone, fashreg.build("head", "projection", in_dim=backbone.out_dim)).eval()
        made = torch.zeros(len(self.table), VIEWS, *prefix(encoder, self.table.take([0]), 0).shape[1:])
        made[:, 0] = prefix(encoder, self.table, 0)
        train = np.flatnonzero(self.split == "train")
        for view in range(1, VIEWS):
            made[torch.from_numpy(train), view] = prefix(encoder, self.table.take(train), view)
        return {"features": made}

    def said(self) -> str:
        """The counts, for the head of the table."""
        lines = [f"pictures by split: { {name: int((self.split == name).sum()) for name in SPLITS} }"]
        for name in ATTRIBUTES:
            every = self.table.attributes[name].names
            lost = int(((self.codes[name] < 0) & (self.table.attributes[name].codes >= 0)).sum())
            asked, train = self.asked(name, "test"), len(self.rows(name, "train"))
            lines.append(
                f"{name:<13}{len(self.values[name]):>3} of {len(every):>2} values kept ({lost} pictures dropped); "
                f"train {train}, test {len(asked.queries)} queries, {len(asked.candidates)} candidates"
            )
        return "\n".join(lines)


def near_duplicates(table: Table) -> Array:
    """(N,) the group of each picture: equal titles, or equal style and equal words of the title without numbers."""
    parent = list(range(len(table)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = row = parent[parent[row]]
        return row

    titles = [str(title).lower() for title in table.frame["title"]]
    stems = [" ".join(word for word in re.findall(r"[a-z]+", title) if len(word) > 1) for title in titles]
    for keys in (titles, list(zip(table.frame["style"], stems, strict=True))):
        first: dict[Any, int] = {}
        for row, key in enumerate(keys):
            parent[root(row)] = root(first.setdefault(key, row))
    return np.array([root(row) for row in range(len(table))])


def split_of(groups: Array, seed: int = 0) -> Array:
    """(N,) the split of each picture: groups in shuffled order, each whole."""
    names, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    before = np.empty(len(names))
    before[order] = np.cumsum(sizes[order]) - sizes[order]
    edges = np.cumsum(list(SPLITS.values())) * len(groups)
    return np.array(list(SPLITS))[np.searchsorted(edges[:-1], before, side="right")][inverse]


@dataclass(eq=False)
class FeatureSource:
    """fashreg.training.session.Source over cached features: a random view of each picture, another as second view."""

    products: Products
    table: Table
    sampler: Any
    task: str | None
    seed: int
    twice: bool
    dataset: TableDataset = field(init=False)

    def __post_init__(self) -> None:
        where = {path: row for row, path in enumerate(self.products.table.paths)}
        self.places = torch.tensor([where[path] for path in self.table.paths])
        self.dataset = TableDataset(self.table, None)  # type: ignore[arg-type]  # nothing is opened

    def __len__(self) -> int:
        return len(self.sampler)

    def batches(self, epoch: int) -> Iterator[Any]:
        """The epoch's batches from where the sampler stands."""
        random = np.random.default_rng([self.seed, epoch])
        for positions in self.sampler:
            yield self._batch(positions, torch.from_numpy(random.integers(VIEWS, size=len(positions))))

    def sample(self, count: int) -> Iterator[Any]:
        """`count` different random pictures in their first view."""
        chosen = np.random.default_rng([self.seed, len(self.table)]).permutation(len(self.table))[:count]
        for start in range(0, len(chosen), 64):
            part = chosen[start : start + 64].tolist()
            yield self._batch(part, torch.zeros(len(part), dtype=torch.long), single=True)

    def _batch(self, positions: Sequence[int], view: Tensor, *, single: bool = False) -> Any:
        rows, stored = self.places[torch.as_tensor(list(positions))], self.products.features
        other = stored[rows, (view + 1) % VIEWS] if self.twice and not single else None
        batch = self.dataset.batch(list(positions), stored[rows, view], other, stage=CUT)
        batch.task = self.task
        return batch


def judged(queries: Tensor, candidates: Tensor, asked: Asked) -> Answer:
    """The rule of evaluator attribute-retrieval, query by query: average precision over the whole ranking."""
    query_ids, ids = torch.from_numpy(asked.queries), torch.from_numpy(asked.candidates)
    ranked = nearest(queries, candidates, ids, WHOLE_RANKING, query_ids)
    codes, others = torch.from_numpy(asked.query_codes), torch.from_numpy(asked.candidate_codes)
    relevance = relevance_from_labels(codes, query_ids, others, ids)
    found = metrics.judge(ranked, relevance)
    return Answer(
        metrics.average_precision(found).numpy(),
        metrics.random_average_precision(found.items, found.counts).numpy(),
        {k: metrics.recall_at_k(found, k).numpy() for k in (1, 10)},
    )
