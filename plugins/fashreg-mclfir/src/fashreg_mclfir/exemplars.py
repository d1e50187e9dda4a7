"""Pictures of earlier experiences that are kept, and their batches in turn."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from fashreg.data.table import Table, read_table
from fashreg.errors import ModelError
from fashreg.training.freezing import Frozen
from fashreg.training.session import Session, Source
from fashreg.values import Experience, TrainingBatch


def kept_part(experience: Experience, rows: list[int]) -> Experience:
    """The experience with these rows of its table alone. One without a table (its source needs none) stays whole."""
    table = experience.train
    kept = None if table is None else table.take(np.array(rows, dtype=np.int64))
    return Experience(experience.name, kept, task=experience.task, extra=experience.extra)


def size_of(experience: Experience) -> int:
    """Bytes of the picture files of an experience."""
    paths = [] if experience.train is None else experience.train.paths
    return sum(os.path.getsize(path) for path in paths if os.path.exists(path))


def written(experience: Experience) -> dict[str, Any]:
    """A kept experience as plain data: where the pictures are, and their values."""
    table: Table = experience.train
    return {
        "task": experience.task,
        "images": list(table.paths),
        "labels": [table.label_names[code] for code in table.labels],
        "boxes": None if table.boxes is None else table.boxes,
    }


def read(name: str, said: Mapping[str, Any]) -> Experience:
    """What `written` wrote; ModelError when pictures are gone."""
    gone = [path for path in said["images"] if not os.path.exists(path)]
    if gone:
        raise ModelError(
            f"learner replay kept {len(said['images'])} pictures of {name!r}, and {len(gone)} of them are gone, the "
            f"first {gone[0]}: put them back, or take another learner: --set learner=lwf"
        )
    frame = pd.DataFrame({"image": said["images"], "label": said["labels"]})
    config: dict[str, Any] = {"image": "image", "label": "label"}
    if said["boxes"] is not None:
        config["boxes"] = ("left", "top", "right", "bottom")
        frame[list(config["boxes"])] = np.asarray(said["boxes"])
    return Experience(name, read_table(frame, config), task=said["task"])


class Turns:
    """Batches of several kept experiences, one of each in shuffled rounds; batch k depends on (seed, k) alone.

    done: batches given so far; set it before the first to go on from there.
    """

    def __init__(self, session: Session, frozen: Frozen, kept: list[Experience], seed: int) -> None:
        self.session, self.seed = session, seed
        self.sources: list[Source] = [session.source(one, frozen, session.processes) for one in kept]
        self.done = 0
        self._open: dict[int, Iterator[TrainingBatch]] = {}

    def next(self) -> TrainingBatch:
        """The next batch, on this process's device."""
        given, turn = divmod(self.done, len(self.sources))
        place = int(np.random.default_rng([self.seed, given]).permutation(len(self.sources))[turn])
        self.done += 1
        source = self.sources[place]
        epoch, batch = divmod(given, len(source))
        if place not in self._open or batch == 0:
            self.close(place)
            source.sampler.set_epoch(epoch)
            source.sampler.advance_to(batch)
            self._open[place] = iter(source.batches(epoch))
        return next(self._open[place]).to(self.session.processes.device)

    def close(self, *places: int) -> None:
        """Stop what prepares batches ahead: of these, or of all."""
        for place in places or tuple(self._open):
            opened: Any = self._open.pop(place, None)
            if opened is not None and hasattr(opened, "close"):
                opened.close()
