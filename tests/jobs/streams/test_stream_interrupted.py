"""A stream that was interrupted goes on to the same weights and the same file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from stream_training import train, weights

from fashreg.errors import ModelError
from fashreg.jobs.stream_judging import Judge
from fashreg.jobs.stream_record import read_record
from fashreg.jobs.training import TrainedRun
from fashreg.testing.tiny_run import CrashError
from fashreg.training.run import Run

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def told(out: Path) -> dict[str, Any]:
    """stream.json without what a clock decides."""
    content: dict[str, Any] = json.loads((out / "stream.json").read_text())
    for cost in content["cost"]:
        cost.pop("seconds")
    return content


# ---- interruption ----


def dies(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int) -> None:
    """The machine goes down at the `call`-th call (from 1) of a method."""
    own: Callable[..., Any] = getattr(owner, name)
    count = 0

    def fails(*given: Any, **more: Any) -> Any:
        nonlocal count
        count += 1
        if count == call:
            raise CrashError
        return own(*given, **more)

    monkeypatch.setattr(owner, name, fails)


@pytest.mark.parametrize(
    ("owner", "name", "call", "learned_again"),
    [
        (Run, "step", 17, {"stripes"}),  # in the middle of the second experience
        (Run, "step", 5, {"colour", "stripes"}),  # in the middle of the first
        (Judge, "row", 1, {"stripes"}),  # learned, and not yet measured
        (Judge, "row", 2, set()),
    ],
)
def test_a_stream_that_died_goes_on_to_the_same_weights_and_the_same_file(
    shop: pd.DataFrame,
    whole: TrainedRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    call: int,
    learned_again: set[str],
) -> None:
    with monkeypatch.context() as patch:
        dies(patch, owner, name, call)
        with pytest.raises(CrashError):
            train(shop, tmp_path)
    taught: set[str] = set()
    own = Run.step
    monkeypatch.setattr(Run, "step", lambda self, group: (taught.add(self.experience.name), own(self, group))[1])
    again = train(shop, tmp_path, resume=True)
    assert taught == learned_again
    assert same(weights(again), weights(whole))
    assert whole.folder is not None
    assert told(tmp_path) == told(whole.folder)


def die_in_the_second(shop: pd.DataFrame, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that goes down in the middle of its second experience."""
    with monkeypatch.context() as patch:
        dies(patch, Run, "step", 17)
        with pytest.raises(CrashError):
            train(shop, out)


def test_a_resumed_stream_measures_no_row_twice(
    shop: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    die_in_the_second(shop, tmp_path, monkeypatch)
    assert len(read_record(tmp_path / "stream.json").map) == 1
    rows: list[int] = []
    own = Judge.row
    monkeypatch.setattr(Judge, "row", lambda self, *given: (rows.append(1), own(self, *given))[1])
    train(shop, tmp_path, resume=True)
    assert len(rows) == 1


def test_a_row_that_is_gone_and_cannot_be_measured_any_more_is_missed(
    shop: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    die_in_the_second(shop, tmp_path, monkeypatch)
    kept = (tmp_path / "stream.json").read_text()
    (tmp_path / "stream.json").unlink()
    with pytest.raises(ModelError, match="lacks the row of 'colour'"):
        train(shop, tmp_path, resume=True)
    (tmp_path / "stream.json").write_text(kept.replace('"colour": 12', '"colour": 13'))
    with pytest.raises(ModelError, match=r"another stream .different: queries"):
        train(shop, tmp_path, resume=True)
