"""Must the gallery be embedded again? Numbers against plain loops, and the advice that follows from them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import fashreg
from fashreg.encoder import Encoder
from fashreg.errors import DataError, ModelError
from fashreg.functional.uncertainty import PairedTest
from fashreg.heads.projection import ProjectionHead
from fashreg.jobs.compatibility import compatibility
from fashreg.jobs.compatibility_result import Compatibility, Crossed, TaskCompatibility
from fashreg.storage import save_encoder
from fashreg.testing.tiny_run import DIM, tiny_encoder, tiny_encoder_of_tasks

N = 24
COLOURS = ["r", "g", "b", ""] * 6
SEASONS = ["s", "w"] * 12


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of noise over a colour, two views of each product."""
    folder = tmp_path_factory.mktemp("gallery")
    shades = {"r": (1, 0, 0), "g": (0, 1, 0), "b": (0, 0, 1), "": (1, 1, 1)}
    for i, colour in enumerate(COLOURS):
        noise = np.random.default_rng(i).integers(0, 180, (32, 32, 3))
        pixels = (noise + 60 * np.array(shades[colour])).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    rows = {"image": [f"{i}.png" for i in range(N)], "colour": COLOURS, "season": SEASONS}
    rows |= {"product": [i // 2 for i in range(N)], "label": list("ab") * 12, "alone": list(range(N))}
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


def moved(module: nn.Module, by: float = 0.05) -> None:
    random = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(by * torch.randn(parameter.shape, generator=random))


def two() -> tuple[Encoder, Encoder]:
    """A model, and what became of it: season as it was, colour learnt on, length came."""
    old, new = tiny_encoder_of_tasks("colour", "season"), tiny_encoder_of_tasks("colour", "season")
    new.head.add_task("length")
    moved(new.head.head_of("colour"))
    return old, new


def found(*models: Any, table: Any, **options: Any) -> Compatibility:
    return compatibility(*models, table, progress=False, **options)


def plain(queries: Tensor, gallery: Tensor, labels: list[str]) -> dict[str, list[float]]:
    """recall@1 and average precision of each picture that has another of its label, leave-one-out, by loops."""
    made: dict[str, list[float]] = {"recall@1": [], "map": []}
    known = [i for i, label in enumerate(labels) if label]
    for q in known:
        rest = sorted(
            (g for g in known if g != q), key=lambda g: (-float(queries[q].double() @ gallery[g].double()), g)
        )
        hits = [labels[g] == labels[q] for g in rest]
        precisions = [sum(hits[: i + 1]) / (i + 1) for i, hit in enumerate(hits) if hit]
        made["recall@1"].append(float(hits[0]))
        made["map"].append(sum(precisions) / len(precisions))
    return made


def test_the_three_numbers_are_those_of_a_loop_over_all_pairs(table: Path) -> None:
    old, new = two()
    task = found(old, new, table=table)["colour"]
    pictures = [table.parent / f"{i}.png" for i in range(N)]
    a, b = (encoder.embed(pictures, task="colour") for encoder in (old, new))
    three = plain(a, a, COLOURS), plain(b, a, COLOURS), plain(b, b, COLOURS)
    assert (task.queries, task.gallery) == (18, 18)
    for name, crossed in task.metrics.items():
        means = [float(np.mean(of[name])) for of in three]
        assert [crossed.old_old, crossed.new_old, crossed.new_new] == pytest.approx(means)
        assert crossed.crossed.difference == pytest.approx(means[1] - means[0])
        assert crossed.gain.difference == pytest.approx(means[2] - means[0])
        assert crossed.left.difference == pytest.approx(means[2] - means[1])
        better = sum(y > x for x, y in zip(three[0][name], three[1][name], strict=True))
        assert crossed.crossed.better == better
        assert crossed.crossed.low <= crossed.crossed.difference <= crossed.crossed.high


def test_a_task_that_is_as_it_was_is_embedded_once_and_said_to_be(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = two()
    passed: list[Any] = []
    steps = Encoder.steps
    monkeypatch.setattr(Encoder, "steps", lambda self, x, *cut: passed.append(self) or steps(self, x, *cut))
    made = found(old, new, table=table)
    assert passed.count(new) == passed.count(old) == 1
    season = made["season"]
    assert (season.same, season.advice) == (True, "keep")
    assert "to the bit" in season.sentence
    for crossed in season.metrics.values():
        assert crossed.old_old == crossed.new_old == crossed.new_new
        for test in (crossed.gain, crossed.left, crossed.crossed):
            assert (test.low, test.difference, test.high) == (0, 0, 0)  # whoever asks
        assert crossed.share is None
    assert made.fresh == ("length",)
    assert "length is new and has no gallery yet" in made.sentence
    passed.clear()
    assert found(old, old, table=table).sentence == "no gallery must be embedded again"
    assert len(passed) == 1


def test_models_without_tasks_are_judged_by_labels(table: Path) -> None:
    old, new = tiny_encoder(seed=0), tiny_encoder(seed=1)
    made = found(old, new, table=table)
    assert [of.task for of in made.tasks] == [None]
    assert made.tasks[0].queries == N
    assert found(old, new, table=table, label="colour").tasks[0].queries == 18
    assert made.rate is not None
    assert made.rate > 0
    assert made.rule == "leave-one-out"


def test_a_model_with_tasks_may_follow_one_without(table: Path) -> None:
    new = tiny_encoder_of_tasks("colour", "season")
    assert [of.task for of in found(tiny_encoder(), new, table=table).tasks] == ["colour", "season"]
    assert [of.task for of in found(new, tiny_encoder(), table=table, task="season").tasks] == ["season"]


def test_other_widths_cannot_be_compared_and_the_gallery_must_be_embedded_again(table: Path) -> None:
    backbone = tiny_encoder().backbone
    wide = Encoder(backbone, ProjectionHead(2 * DIM, in_dim=backbone.out_dim))
    task = found(tiny_encoder(), wide, table=table).tasks[0]
    assert (task.metrics, task.advice) == ({}, "embed")
    assert f"{DIM} wide and the new model's {2 * DIM}" in task.sentence


def test_flags_sources_and_groups_are_respected(table: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(table, dtype=str, keep_default_na=False)
    frame["image"] = [str(table.parent / name) for name in frame["image"]]
    frame["is_query"], frame["is_gallery"] = [i < 8 for i in range(N)], [i >= 8 for i in range(N)]
    frame["shop"] = ["x" if i % 4 < 2 else "y" for i in range(N)]
    models = tiny_encoder(seed=0), tiny_encoder(seed=1)
    flagged = found(*models, table=frame)
    assert (flagged.rule, flagged.tasks[0].queries, flagged.tasks[0].gallery) == ("queries against gallery", 8, 16)
    apart = found(*models, table=frame, source="shop").tasks[0].metrics["map"]
    assert apart.old_old != flagged.tasks[0].metrics["map"].old_old
    plain_ = found(*models, table=table).tasks[0].metrics["map"]
    grouped = found(*models, table=table, resample="product")
    assert grouped.resampled == "product"
    assert grouped.tasks[0].metrics["map"].crossed.difference == plain_.crossed.difference
    assert grouped.tasks[0].metrics["map"].crossed.low != plain_.crossed.low


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"task": "length"}, ModelError, "the old model cannot be asked: this model has no task 'length'"),
        ({"task": ["season", "sleeve"]}, ModelError, "no task 'sleeve'"),
        ({"label": "colr"}, DataError, 'did you mean "colour"'),
        ({"label": "alone"}, DataError, 'no two pictures have the same "alone"'),
        ({"source": "camera"}, DataError, 'no column "camera" for --source'),
        ({"resample": "camera"}, DataError, 'no column "camera" for --resample'),
    ],
)
def test_what_cannot_be_measured_is_named(table: Path, options: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        found(*two(), table=table, **options)


def test_models_without_a_common_task_say_so(table: Path) -> None:
    with pytest.raises(ModelError, match="no task in common: colour and sleeve"):
        found(tiny_encoder_of_tasks("colour"), tiny_encoder_of_tasks("sleeve"), table=table)


# ---- what to do ----


def sure(difference: float, width: float = 0.01) -> PairedTest:
    return PairedTest(difference, difference - width, difference + width, 0.01, 100, 60, 40)


@pytest.mark.parametrize(
    ("crossed", "gain", "advice", "words"),
    [
        (0.00, 0.00, "leave", "leave everything as it is: these queries show no difference"),
        (0.00, 0.05, "embed", "embed the gallery again, map .0.0500 .*; until then ask with either model"),
        (-0.03, 0.05, "embed", "until then ask with the old model, because with the new one map -0.0300"),
        (-0.03, 0.00, "stay", "the new one finds less in it, map -0.0300 .*embedding it again shows no gain"),
        (0.03, 0.03, "ask", "ask the old gallery with the new model .--across-models."),
        (0.03, 0.08, "ask-then-embed", "embedding it again would add more, map .0.0500"),
        (0.03, 0.00, "ask", "across-models"),
        (0.00, -0.05, "stay", "finds less even in a gallery embedded again, map -0.0500"),
        (-0.09, -0.05, "stay", "keep the old model and its gallery"),
    ],
)
def test_the_advice_follows_from_the_intervals(crossed: float, gain: float, advice: str, words: str) -> None:
    tests = sure(crossed), sure(gain), sure(gain - crossed)
    task = TaskCompatibility(
        "colour", False, (8, 8), 100, 400, {"map": Crossed(0.5, 0.5 + crossed, 0.5 + gain, *tests, None)}, "map"
    )
    assert task.advice == advice
    assert re.search(words, task.sentence)
    assert task.sentence in "\n".join(task.lines())


def test_the_sentence_of_all_tasks_says_which_galleries_must_be_embedded_again() -> None:
    def of(task: str, crossed: float, gain: float) -> TaskCompatibility:
        numbers = Crossed(0.5, 0.5, 0.5, sure(crossed), sure(gain), sure(gain - crossed), None)
        return TaskCompatibility(task, False, (8, 8), 100, 400, {"map": numbers}, "map")

    tasks = of("colour", -0.1, 0.1), of("season", 0.05, 0.1), of("length", 0, 0)
    made = Compatibility("a", "b", "t.csv", "leave-one-out", None, tasks, ("sleeve",), 40.0)
    assert made.sentence == ("embed again for colour; it would help for season; sleeve is new and has no gallery yet")
    told = made.summary()
    assert "6.9 hours for a million" in told
    assert told.index("colour:") < told.index("season:") < told.index("sleeve:")
    with pytest.raises(KeyError):
        made["none"]


class Means(nn.Module):
    """The mean colours of a picture, with noise of the picture's own, as a backbone of one stage."""

    modalities, stages, map_dim, out_dim = frozenset({"image"}), ("pictures",), 3, 3

    def __init__(self, noise: float = 0.0) -> None:
        super().__init__()
        self.noise, self.input_spec = noise, tiny_encoder().input_spec

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3)) + self.noise * images[:, :, 7, 5]


def test_a_gain_that_is_there_without_a_new_gallery_is_given_as_a_share(table: Path) -> None:
    """The new model sees colours where the old one sees noise, too: one side of each comparison is better at once."""
    old, new = (Encoder(Means(noise), ProjectionHead(DIM, in_dim=3)) for noise in (3.0, 0.6))
    task = found(old, new, table=table, label="colour").tasks[0]
    crossed = task.metrics["map"]
    assert crossed.gain.low > 0
    assert crossed.share is not None
    assert crossed.share.value == pytest.approx(crossed.crossed.difference / crossed.gain.difference)
    assert 0 < crossed.share.low < crossed.share.value < crossed.share.high < 1
    assert "is there without embedding again" in "\n".join(task.lines())
    worse = found(new, old, table=table, label="colour").tasks[0]
    assert worse.advice == "stay"
    assert worse.metrics["map"].share is None


# ---- as typed ----


def test_the_command_prints_the_table_and_the_json(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from fashreg.cli import run

    old, new = two()
    save_encoder(old, tmp_path / "old")
    save_encoder(new, tmp_path / "new")
    ours = ["compatible", str(tmp_path / "old"), str(tmp_path / "new"), "--table", str(table)]
    assert run(ours) == 0
    told = capsys.readouterr().out
    for words in ("OLD: ", "colour: 18 queries", "old/old", "season: 24", "to the bit", "length: only the new model"):
        assert words in told
    assert run([*ours, "--task", "season", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [of["task"] for of in said["tasks"]] == ["season"]
    assert said["tasks"][0]["metrics"]["map"]["share"] is None
    assert said["sentence"] == "no gallery must be embedded again"
    assert run([*ours, "--task", "sleeve"]) == 1
    assert "no task 'sleeve'" in capsys.readouterr().err


def test_the_public_name_is_the_job() -> None:
    assert fashreg.compatibility is compatibility
