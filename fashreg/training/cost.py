"""What learning costs: tuples, image passes, seconds, and what must be kept. Counted where the work is done."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one experience, or of several (they add up). Measuring is no part of it.

    tuples: training tuples: anchor and partner for a loss over pairs, else every picture of a batch. image_passes:
    pictures through the encoder, 1 for a forward and 2 for a backward pass; a picture counts as one whatever stage its
    kept features start from, and frozen or not. seconds: of the work that was counted, in all. parameters: numbers
    that must be kept from now on, and were not before. exemplar_bytes: the same for stored pictures or their features.
    """

    tuples: int = 0
    image_passes: int = 0
    seconds: float = 0.0
    parameters: int = 0
    exemplar_bytes: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(getattr(self, part.name) + getattr(other, part.name) for part in fields(self)))

    def __sub__(self, other: Cost) -> Cost:
        return Cost(*(getattr(self, part.name) - getattr(other, part.name) for part in fields(self)))

    def as_dict(self) -> dict[str, float]:
        """Plain JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, spent: Mapping[str, float]) -> Cost:
        """What `as_dict` gave; what is left out is 0."""
        counts = [int(spent.get(name, 0)) for name in ("tuples", "image_passes", "parameters", "exemplar_bytes")]
        return cls(counts[0], counts[1], float(spent.get("seconds", 0.0)), counts[2], counts[3])


class CostCounter:
    """Counts what is spent, apart for each experience. One belongs to a session; the learner's parts report to it.

    `fashreg.training.objective.embed_batch` counts its own passes, `Run` tuples and seconds of the steps. Whoever calls
    the encoder by another way (a teacher, exemplars, a Fisher matrix) says so by `forward`, `backward` and `timed`.

        counter = CostCounter()
        counter.begin("colour")
        counter.forward(32), counter.backward(32), counter.tuples(16)
        counter.of("colour").image_passes          # 96

    copies: processes that share the work; each counts its own share, and that stands for as much in the others.
    """

    def __init__(self, copies: int = 1) -> None:
        self.copies = copies
        self._spent: dict[str, dict[str, float]] = {}
        self._kept: dict[str, list[int]] = {}
        self._now = ""
        self._started: float | None = None

    def begin(self, experience: str) -> None:
        """From now on everything counts for this experience; called again for the same one, it changes nothing."""
        self._now = experience

    def forward(self, images: int) -> None:
        """So many pictures passed through the encoder: 1 unit each."""
        self._add("image_passes", images * self.copies)

    def backward(self, images: int) -> None:
        """Gradients of so many pictures were taken: 2 units each."""
        self._add("image_passes", 2 * images * self.copies)

    def tuples(self, number: int) -> None:
        """So many training tuples were used."""
        self._add("tuples", number * self.copies)

    def seconds(self, number: float) -> None:
        """So much time was spent."""
        self._add("seconds", number)

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """The time within the block counts. For work outside of the steps; a block within a block counts once."""
        if self._started is not None:
            yield
            return
        self._started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds(time.perf_counter() - self._started)
            self._started = None

    def keeps(self, what: str, *, parameters: int = 0, exemplar_bytes: int = 0) -> None:
        """How large a part of what must be kept is now, e.g. "encoder", "fisher", "exemplars"; the growth counts."""
        before = self._kept.get(what, [0, 0])
        self._add("parameters", parameters - before[0])
        self._add("exemplar_bytes", exemplar_bytes - before[1])
        self._kept[what] = [int(parameters), int(exemplar_bytes)]

    def of(self, experience: str) -> Cost:
        """What one experience has cost so far."""
        return Cost.from_dict(self._spent.get(experience, {}))

    def snapshot(self) -> Cost:
        """What everything has cost so far."""
        return sum((self.of(name) for name in self._spent), Cost())

    def state_dict(self) -> dict[str, Any]:
        """Plain data, for a checkpoint."""
        return {
            "now": self._now,
            "spent": {name: dict(spent) for name, spent in self._spent.items()},
            "kept": {what: list(sizes) for what, sizes in self._kept.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`; what was counted since is forgotten."""
        self._now = str(state["now"])
        self._spent = {name: dict(spent) for name, spent in state["spent"].items()}
        self._kept = {what: [int(size) for size in sizes] for what, sizes in state["kept"].items()}

    def _add(self, name: str, number: float) -> None:
        spent = self._spent.setdefault(self._now, {})
        spent[name] = spent.get(name, 0) + number
