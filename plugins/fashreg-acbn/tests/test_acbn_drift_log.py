"""Drift in the log of a run, looked at on pictures that come again, and the section of the report made of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from fashreg_acbn.drift import drift_of
from fashreg_acbn.drift_log import drift_sections, spread_over
from fashreg_acbn.hooks import fashreg_report_sections
from fashreg_acbn.memory import ACBNMemory
from torch import Tensor

import fashreg
from fashreg.report.writing import write_report
from fashreg.values import Embedded

D, B = 6, 20


def unit(n: int, seed: int) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(n, D, generator=torch.Generator().manual_seed(seed)) + 1)


def run_over(memory: ACBNMemory, epochs: int = 3, pictures: int = 80) -> list[dict[str, Tensor]]:
    """Epochs in which the same pictures come again, each time a little elsewhere; the parts of every step."""
    told = []
    for epoch in range(epochs):
        for first in range(0, pictures, B):
            ids = torch.arange(first, first + B)
            batch = Embedded(unit(pictures, epoch)[ids], ids, ids, unit=True)
            memory.align(batch)
            told.append(dict(memory.parts))
            memory.push(batch)
    return told


def test_pictures_that_come_again_tell_the_drift_by_age() -> None:
    memory = ACBNMemory(80, embed_dim=D, start_step=0, drift_every=1)
    told = run_over(memory)
    for parts in told[3:4]:  # the first epoch: nothing comes again, but there is something to move
        assert set(parts) == {"drift[mean gap]", "drift[std gap]", "drift[dimensions]"}
    assert set(told[-1]) == {
        "drift[mean gap]", "drift[std gap]", "drift[dimensions]", "drift[angle]", "drift[age 10]", "drift[correctable]",
    }  # fmt: skip
    assert all(bool(torch.isfinite(value)) and value.ndim == 0 for parts in told for value in parts.values())
    assert float(told[-1]["drift[age 10]"]) == pytest.approx(float(told[-1]["drift[angle]"]))


def test_the_numbers_are_those_of_the_meter_on_the_rows_that_the_loss_reads() -> None:
    memory = ACBNMemory(80, embed_dim=D, start_step=0, drift_every=1)
    run_over(memory)
    ids = torch.arange(7, 7 + B)
    batch = Embedded(unit(80, 9)[ids], ids, ids, unit=True)
    before = torch.stack(memory.moments())
    memory.align(batch)
    by_id = {int(i): row for i, row in zip(memory.read().ids, memory.read().vectors, strict=True)}
    wanted = drift_of(torch.stack([by_id[int(i)] for i in ids]), batch.vectors)
    assert float(memory.parts["drift[angle]"]) == pytest.approx(wanted.angle, rel=1e-5)
    assert float(memory.parts["drift[correctable]"]) == pytest.approx(float(wanted.correctable or 0), abs=1e-5)
    gap = (memory.filter.level - before).norm(dim=1).tolist()
    assert [float(memory.parts[f"drift[{name} gap]"]) for name in ("mean", "std")] == pytest.approx(gap)


@pytest.mark.parametrize(
    ("stds", "wanted"), [([2.0] * 6, 6.0), ([1.0, 1e-6, 0, 0, 0, 0], 1.0), ([1, 1, 1, 0, 0, 0], 3.0), ([0.0] * 6, 0.0)]
)
def test_dimensions_that_collapse_are_counted_out(stds: list[float], wanted: float) -> None:
    assert float(spread_over(torch.tensor(stds).double())) == pytest.approx(wanted)


def test_the_log_shows_a_memory_whose_dimensions_collapse_with_the_batches() -> None:
    memory, told = ACBNMemory(80, embed_dim=D, start_step=0, kind="xbn", drift_every=1, placement="raw"), []
    for step in range(20):
        rows = torch.randn(B, D, generator=torch.Generator().manual_seed(step))
        rows[:, 1:] *= 0.5 ** (step / 4)
        batch = Embedded(rows, torch.arange(B), B * step + torch.arange(B))
        memory.align(batch)
        told += [float(memory.parts["drift[dimensions]"])] if memory.parts else []
        memory.push(batch)
    assert told[0] > 4.0
    assert told[-1] < 1.2
    assert float(spread_over(memory.moments()[1])) < 1.5


@pytest.mark.parametrize(("every", "steps"), [(0, []), (5, [4, 9])])
def test_drift_is_looked_at_as_often_as_asked(every: int, steps: list[int]) -> None:
    told = run_over(ACBNMemory(80, embed_dim=D, start_step=0, drift_every=every))
    assert [step for step, parts in enumerate(told) if parts] == steps


def test_looking_at_the_drift_changes_nothing() -> None:
    memories = [ACBNMemory(80, embed_dim=D, start_step=0, drift_every=every) for every in (0, 1)]
    for memory in memories:
        run_over(memory)
    one, other = (memory.state_dict() for memory in memories)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_section_shows_the_curve_by_age_of_the_second_half() -> None:
    log = [
        {"step": float(s), "loss": 1.0, "drift[mean gap]": 0.1 / s, "drift[std gap]": 0.05, "drift[age 10]": 1.0 * s,
         "drift[age 100]": 2.0 * s, "drift[angle]": 1.5 * s}
        for s in range(1, 5)
    ]  # fmt: skip
    (section,) = drift_sections(log)
    by_age, angle, gaps = section.charts  # nothing is correctable here, so no chart tells of it
    assert by_age.series == {"by age": ([5.0, 65.0], [3.5, 7.0])}
    assert angle.series == {"angle": ([1.0, 2.0, 3.0, 4.0], [1.5, 3.0, 4.5, 6.0])}
    assert set(gaps.series) == {"mean gap", "std gap"}
    assert drift_sections([{"step": 1.0, "loss": 2.0}]) == drift_sections([]) == []
    assert fashreg_report_sections(log) == [section]


def test_a_run_with_the_memory_has_the_section_in_its_report(tmp_path: Path) -> None:
    generated = fashreg.train(
        "acbn-quick",
        memory={"name": "acbn", "capacity": 64, "start_step": 0, "drift_every": 1},
        trainer={"max_steps": 6, "log_every": 1},
        out=str(tmp_path / "run"),
    )
    assert generated.after is not None
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert any("drift[mean gap]" in line for line in lines)
    page = write_report(tmp_path / "run", tmp_path / "report.html").read_text()
    assert "Drift of the memory" in page
    assert '<section id="fashreg-acbn-0">' in page
    assert "What a step closes" in page
    assert "its section failed" not in page
