"""Must a gallery that is asked with words be embedded again? Numbers against plain loops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor

from fashreg.cli import run
from fashreg.encoder import Encoder
from fashreg.errors import DataError, ModelError
from fashreg.jobs.compatibility import compatibility
from fashreg.jobs.compatibility_result import Compatibility
from fashreg.storage import save_encoder
from fashreg.testing.tiny_texts import ENTRY_POINTS, tiny_text_encoder

N = 12


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """t.csv: pictures, each with a caption; wishes.csv: a picture and a text ask for the next picture."""
    for i in range(N):
        noise = np.random.default_rng(i).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{i}.png")
    names = [f"{i}.png" for i in range(N)]
    rows = {"image": names, "caption": [f"dress {i}" for i in range(N)], "label": [i // 2 for i in range(N)]}
    pd.DataFrame({**rows, "maker": list("abc") * 4}).to_csv(tmp_path / "t.csv", index=False)
    wishes = {"image": names, "wish": [f"wider {i}" for i in range(N)], "wanted": names[1:] + names[:1]}
    pd.DataFrame(wishes).to_csv(tmp_path / "wishes.csv", index=False)
    return tmp_path


def two() -> tuple[Encoder, Encoder]:
    """A model, and what became of it when it learnt on."""
    old, new = tiny_text_encoder(), tiny_text_encoder()
    random = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in new.backbone.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))
    return old, new


def found(*models: Any, table: Path, **how: Any) -> Compatibility:
    return compatibility(*models, table, progress=False, **how)


def plain(queries: Tensor, gallery: Tensor, right: list[list[int]], own: list[int]) -> tuple[float, float]:
    """recall@1 and mean average precision by loops. own: what a query leaves out, -1 for nothing."""
    first, precisions = [], []
    for q, wanted in enumerate(right):
        left = [g for g in range(len(gallery)) if g != own[q]]
        order = sorted(left, key=lambda g: (-float(queries[q].double() @ gallery[g].double()), g))
        ranks = [rank for rank, g in enumerate(order, start=1) if g in wanted]
        first.append(float(ranks[0] == 1))
        precisions.append(sum((i + 1) / rank for i, rank in enumerate(ranks)) / len(ranks))
    return float(np.mean(first)), float(np.mean(precisions))


def three(task: Any) -> list[tuple[float, float]]:
    crossed = task.metrics["recall@1"], task.metrics["map"]
    return [tuple(getattr(one, way) for one in crossed) for way in ("old_old", "new_old", "new_new")]


def test_texts_ask_the_pictures_of_the_old_gallery_and_of_the_new_one(shop: Path) -> None:
    models = two()
    said = found(*models, table=shop / "t.csv", task="cross-modal", options=["text=caption"])
    words = [model.embed(texts=[f"dress {i}" for i in range(N)]) for model in models]
    pictures = [model.embed([shop / f"{i}.png" for i in range(N)], task="cross-modal") for model in models]
    right = [[i - i % 2, i - i % 2 + 1] for i in range(N)]  # both pictures of the product
    ways = [(words[0], pictures[0]), (words[1], pictures[0]), (words[1], pictures[1])]
    task = said["cross-modal"]
    for made, (queries, gallery) in zip(three(task), ways, strict=True):
        assert made == pytest.approx(plain(queries, gallery, right, [-1] * N))
    assert (task.queries, task.gallery, said.rate) == (N, N, None)
    assert said.rule == "pictures and texts find each other"


def test_pictures_with_texts_ask_for_the_targets(shop: Path) -> None:
    models = two()
    how = {"task": "composed", "options": ["text=wish", "target=wanted", "label=null"]}
    said = found(*models, table=shop / "wishes.csv", **how)
    files = [shop / f"{i}.png" for i in range(N)]
    asked = [model.embed(files, texts=[f"wider {i}" for i in range(N)]) for model in models]
    targets = [model.embed([*files[1:], files[0]], task="composed") for model in models]
    ways = [(asked[0], targets[0]), (asked[1], targets[0]), (asked[1], targets[1])]
    for made, (queries, gallery) in zip(three(said["composed"]), ways, strict=True):
        assert made == pytest.approx(plain(queries, gallery, [[i] for i in range(N)], [-1] * N))


def test_vectors_that_are_the_same_keep_the_gallery_and_are_asked_once(shop: Path) -> None:
    old, _ = two()
    task = found(old, old, table=shop / "t.csv", task="cross-modal", options=["text=caption"])["cross-modal"]
    assert (task.same, task.advice) == (True, "keep")
    assert task.metrics["map"].old_old == task.metrics["map"].new_old


def test_intervals_over_groups_and_another_label(shop: Path) -> None:
    how = {"task": "cross-modal", "options": ["text=caption"]}
    single, grouped, other = (
        found(*two(), table=shop / "t.csv", **how, **more)["cross-modal"].metrics["map"]
        for more in ({}, {"resample": "maker"}, {"label": "maker"})
    )
    assert grouped.crossed.difference == single.crossed.difference
    assert grouped.crossed.low != single.crossed.low
    assert other.old_old != single.old_old


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({}, r"say which, --task NAME, one of: cross-modal \(asked with a text\), composed \(asked with a picture and"),
        ({"task": "cross-modal"}, "no texts; name their column, e.g. --set text=caption"),
        ({"task": "composed", "options": ["text=caption"]}, "nothing says which pictures can be found"),
        ({"task": "cross-modal", "source": "maker"}, "--source is for pictures that ask for pictures"),
        ({"task": "classification"}, r"'classification' .* does not find pictures, so it has no gallery.*--pictures"),
    ],
)
def test_what_cannot_be_asked_says_what_to_type(shop: Path, how: dict[str, Any], says: str) -> None:
    with pytest.raises((DataError, ModelError), match=says):
        found(*two(), table=shop / "t.csv", **how)


def test_a_task_of_another_kind_in_each_model_is_not_compared(shop: Path) -> None:
    one, other = tiny_text_encoder({"a": "cross-modal"}), tiny_text_encoder({"a": "composed"})
    with pytest.raises(ModelError, match=r"'a' is of another kind in each model \(cross-modal and composed\)"):
        found(one, other, table=shop / "t.csv")


def test_as_typed_with_texts_and_with_pictures(
    shop: Path, fake_plugin: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_plugin("fashreg-tiny-text", ENTRY_POINTS)
    for name, model in zip(("old", "new"), two(), strict=True):
        save_encoder(model, shop / name)
    ours = ["compatible", str(shop / "old"), str(shop / "new"), "--table", str(shop / "t.csv"), "--json"]
    assert run([*ours, "--task", "cross-modal", "--set", "text=caption"]) == 0
    by_words = json.loads(capsys.readouterr().out)
    assert run([*ours, "--pictures"]) == 0
    by_pictures = json.loads(capsys.readouterr().out)
    assert [task["task"] for task in by_words["tasks"]] == ["cross-modal"]
    assert [task["task"] for task in by_pictures["tasks"]] == ["cross-modal", "composed"]
    assert by_words["rule"] != by_pictures["rule"] == "leave-one-out"
