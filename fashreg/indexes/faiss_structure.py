"""A FAISS structure that keeps up with the rows of an index: it trains itself, follows every change, and filters."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from fashreg.indexes.faiss_arrays_only import for_arrays
from fashreg.indexes.faiss_making import (
    Kind,
    default_refine,
    factory_of,
    faiss_threads,
    inner,
    least_points,
    library,
    made,
    spare_training,
    train_points,
)
from fashreg.indexes.rows import Rows
from fashreg.indexes.slots import Slots

_GROWTH = 4  # a structure chosen by kind is chosen anew when there are so many times the rows it was made for
_TRAIN_ROWS = 1 << 20  # rows that training sees at most, spread evenly


class Structure:
    """Proposes candidates for rows (N, D) that it holds as codes, in lists or in a graph.

    kind: how it is made, by the number of rows; or factory: how exactly. breadth: lists visited, or the beam in a
    graph. Until `needed` rows are there it is not `ready` and proposes nothing.
    """

    def __init__(
        self,
        embed_dim: int,
        factory: str,
        kind: Kind | None,
        breadth: int | None,
        train_min: int | None,
        threads: int | None,
    ) -> None:
        self.factory, self.embed_dim, self.kind = factory, embed_dim, kind
        self.breadth, self.threads = breadth, threads
        self.train_min = train_min
        self._make(0)

    def _make(self, count: int) -> None:
        """An empty structure for about `count` rows."""
        if self.kind:
            self.factory = factory_of(self.kind, self.embed_dim, count)
        self.faiss = made(self.factory, self.embed_dim)
        spare_training(self.faiss)
        self.slots, self.made_for = Slots(), count
        self.filters = True  # until FAISS says that this structure cannot
        self.needed = self.train_min or train_points(self.faiss, self.factory)
        if self.train_min is not None and self.train_min < (least := least_points(self.faiss)):
            raise ValueError(f"train_min: {self.factory!r} cannot be trained on fewer than {least} vectors")
        self.set_breadth(self.breadth)

    def set_breadth(self, breadth: int | None) -> None:
        """Visit so many lists, or search the graph with so wide a beam; None: the default."""
        self.breadth, found = breadth, inner(self.faiss)
        if self.lists:
            found.nprobe = self.chosen_breadth
        elif self.is_graph:
            found.hnsw.efSearch = self.chosen_breadth

    @property
    def ready(self) -> bool:
        """Whether it is trained and holds the rows."""
        return bool(self.faiss.is_trained)

    @property
    def lists(self) -> int:
        """Number of inverted lists, 0 where there are none."""
        return int(getattr(inner(self.faiss), "nlist", 0))

    @property
    def is_graph(self) -> bool:
        """Whether it searches a graph."""
        return hasattr(inner(self.faiss), "hnsw")

    @property
    def refine(self) -> int:
        """Candidates that should be fetched for each neighbour wanted."""
        return default_refine(self.faiss)

    @property
    def chosen_breadth(self) -> int:
        """Lists visited or beam in the graph, by default or as told; 0 where neither applies."""
        if self.lists:
            return min(self.lists, self.breadth or max(8, self.lists // 16))
        return (self.breadth or 64) if self.is_graph else 0

    def put(self, every: Rows, rows: Tensor) -> None:
        """These rows (n,) of all are new or changed. Trains or renews the structure when it is time."""
        count = len(every)
        if not self.ready and count < self.needed:
            return
        outgrown = self.kind is not None and self.lists > 0 and count >= _GROWTH * max(1, self.made_for)
        anew = not self.ready or outgrown or self.slots.sparse
        if anew:
            if not self.ready or outgrown:
                self._make(count)
            self.slots, rows = Slots(), torch.arange(count)
            self.faiss.reset()
        with faiss_threads(self.threads):
            if not self.ready:
                for_arrays(self.faiss, "train")(every.vectors[:: -(-count // _TRAIN_ROWS)].contiguous().numpy())
            if len(rows):
                for_arrays(self.faiss, "add")((every.vectors if anew else every.some(rows)).contiguous().numpy())
        self.slots.take(rows)

    def renew(self, count: int) -> None:
        """Empty again, and untrained, for about `count` rows."""
        self._make(count)

    def widen(self) -> bool:
        """Search twice as broadly; False where that is not possible or no use."""
        most = self.lists or (len(self.slots) if self.is_graph else 0)
        if self.chosen_breadth >= most:
            return False
        self.set_breadth(min(most, 2 * self.chosen_breadth))
        return True

    def search(self, queries: Tensor, fetch: int, rows: Tensor | None = None, share: float = 1.0) -> Tensor:
        """Candidates (Q, fetch) as rows, -1 for none. rows: mask (N,) of those allowed, share: how many of all.

        A narrow filter is searched more broadly, so that as many allowed rows are seen as without one.
        """
        selector = self._selector(rows) if self.filters else None
        if selector is None:
            fetch = min(len(self.slots), round((fetch + self.slots.empty) / share))
        with faiss_threads(self.threads):
            try:
                ask = for_arrays(self.faiss, "search")
                _, found = ask(queries.numpy(), fetch, params=self._parameters(selector, share))
            except RuntimeError:
                if selector is None:
                    raise
                self.filters = False
                return self.search(queries, fetch, rows, share)
        places = self.slots.rows_of(torch.from_numpy(found))
        return places if rows is None or selector is not None else places.where(_chosen(rows, places), -1)

    def _selector(self, rows: Tensor | None) -> Any:
        """FAISS's filter: slots that hold an allowed row. None when every slot may answer."""
        faiss = library()

        if rows is None and not self.slots.empty:
            return None
        taken = self.slots.taken if rows is None else _chosen(rows, self.slots.rows)
        return faiss.IDSelectorBitmap(np.packbits(taken.numpy(), bitorder="little"))

    def _parameters(self, selector: Any, share: float) -> Any:
        faiss = library()

        if selector is None:
            return None
        broad = round(self.chosen_breadth / share)
        if self.lists:
            found = faiss.SearchParametersIVF(sel=selector, nprobe=min(self.lists, broad))
        elif self.is_graph:
            found = faiss.SearchParametersHNSW(sel=selector, efSearch=broad)
        else:
            found = faiss.SearchParameters(sel=selector)
        if isinstance(faiss.downcast_index(self.faiss), faiss.IndexPreTransform):
            return faiss.SearchParametersPreTransform(index_params=found)
        return found


def _chosen(rows: Tensor, places: Tensor) -> Tensor:
    """Whether each place holds an allowed row; place -1 does not."""
    return rows[places.clamp(min=0)] & (places >= 0)
