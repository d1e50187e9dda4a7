"""The cells of mclfir_real.py: what is chosen for each method by trials, and its trainings with that."""

from __future__ import annotations

import argparse
from typing import Any

from mclfir_cell import Cell, Method, Settings, shortened, timed
from mclfir_data import ATTRIBUTES, Products
from mclfir_judge import Numbers
from mclfir_methods import EQUAL, GRIDS, NEAREST, WHOLE_TRIED, Variant
from mclfir_tables import final
from mclfir_whole import key_of, whole
from study import Cells

WHOLE_SIZE, WHOLE_RATES = 64, (3e-4, 1e-3)
RATES = (3e-4, 1e-3, 3e-3)
WIDE = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
ORDERS = {
    "given": ATTRIBUTES,
    "reverse": ATTRIBUTES[::-1],
    "random": ("base_colour", "usage", "gender", "season", "article_type"),
}


class Study:
    """The data, and what was found so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.products, self.known_alone = Products(options.data, options.features), options.known
        told = "{:.4f}, {} s".format
        self.cells = Cells(options.json, lambda found: told(final(found), found["wall"]), options.minutes)

    def cell(self, cell: Cell, size: int = 0) -> Numbers:
        """The numbers of one training, run unless they are known. size: end to end, from pictures of so many pixels."""
        if size:
            return self.cells.get(key_of(cell, size), lambda: whole(self.products, cell, size))
        return self.cells.get(cell.key, lambda: timed(self.products, cell))

    def trial(self, method: Method, **chosen: Any) -> float:
        """Mean validation MAP after the first two increments."""
        return final(self.cell(shortened(Cell(method, tuple(chosen.items())))))

    def chosen(self, method: Method) -> Settings:
        """The learning rate and own number of a method, by five trainings."""
        if method.learner == "none":
            return ()
        if method.name not in GRIDS:
            like = EQUAL if method.learner in ("joint", "retrain") and not method.loss else method
            rates = {lr: self.trial(like, lr=lr) for lr in WIDE}
            return (("lr", best(rates)),)
        name, (middle, *others) = GRIDS[method.name]
        lr = best({lr: self.trial(method, lr=lr, **{name: middle}) for lr in RATES})
        return (("lr", lr), (name, best({w: self.trial(method, lr=lr, **{name: w}) for w in (middle, *others)})))

    def all_of(self, *cells: Cell) -> list[Numbers]:
        """The numbers of these cells; with --known, of those that are known."""
        return [self.cell(cell) for cell in cells if not self.known_alone or cell.key in self.cells]

    def variant(self, variant: Variant, seed: int) -> list[Numbers]:
        """A test cell of a variant."""
        if seed not in variant.seeds:
            return []
        chosen = dict(self.chosen(variant.like)) | dict(variant.changed)
        return self.all_of(Cell(variant.method, tuple(chosen.items()), seed=seed))

    def runs(
        self, method: Method, orders: tuple[str, ...] = ("given",), seeds: tuple[int, ...] = (0,)
    ) -> list[Numbers]:
        """The test cells of a method that are known or can be run."""
        chosen = self.chosen(method)
        return self.all_of(*(Cell(method, chosen, ORDERS[order], seed) for order in orders for seed in seeds))

    def chosen_whole(self, method: Method) -> Settings:
        """The learning rate of a method end to end, beside its own number as it is."""
        near = method is NEAREST.method
        own = dict(self.chosen(NEAREST.like if near else method)) | dict(NEAREST.changed if near else ())
        if method in WHOLE_TRIED:
            rates = {}
            for lr in WHOLE_RATES:
                trial = shortened(Cell(method, tuple((own | {"lr": lr}).items())))
                rates[lr] = final(self.cell(trial, WHOLE_SIZE))
            own |= {"lr": best(rates)}
        return tuple(own.items())

    def end_to_end(self, method: Method, seed: int) -> list[Numbers]:
        """A test cell of part "whole"; with --known, if it is known."""
        cell = Cell(method, self.chosen_whole(method), seed=seed)
        known = key_of(cell, WHOLE_SIZE) in self.cells
        return [self.cell(cell, WHOLE_SIZE)] if known or not self.known_alone else []


def best(found: dict[float, float]) -> float:
    return max(found, key=lambda value: found[value])
