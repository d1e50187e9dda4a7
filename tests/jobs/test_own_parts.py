"""Classes and objects of one's own in place of registered parts, as one tries an idea in a notebook."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import fashreg
from fashreg.errors import ComponentError, OptionError
from fashreg.testing.tiny_run import tiny_encoder
from fashreg.values import Embedded

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")
BACKBONE = {"name": "timm", "model": "test_efficientnet", "weights": None, "image_size": 32}


class BareLoss(nn.Module):
    """All that a first idea has."""

    def __init__(self, margin: float = 0.3) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, batch: Embedded) -> Tensor:
        scores = batch.vectors @ batch.vectors.T
        same = batch.labels[:, None] == batch.labels[None, :]
        return ((1 - scores) * same).mean() + (torch.relu(scores - self.margin) * ~same).mean()


@pytest.fixture(scope="module")
def frame(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("pictures")
    rows = []
    for i in range(24):
        Image.new("RGB", (32, 32), (10 * i, 90, 255 - 10 * i)).save(folder / f"{i}.png")
        rows.append(
            {"image": str(folder / f"{i}.png"), "style": f"s{i % 6}", "split": "test" if i % 6 > 3 else "train"}
        )
    return pd.DataFrame(rows)


def train(frame: pd.DataFrame, **parts: Any) -> Any:
    given = {"backbone": BACKBONE, "sampler": {"name": "class-balanced", "images_per_class": 2}, **parts}
    trainer = {"epochs": 1, "batch_size": 8}
    return fashreg.train(**given, table=frame, label="style", trainer=trainer, data={"holdout": 0.0}, quiet=True)


@pytest.mark.parametrize("loss", [BareLoss, BareLoss(0.2)], ids=["class", "object"])
def test_a_loss_may_leave_out_what_it_would_say_of_itself(frame: pd.DataFrame, tmp_path: Path, loss: Any) -> None:
    run = train(frame, loss=loss, out=tmp_path / "run")
    assert run.report.steps == 2
    assert len(fashreg.load(tmp_path / "run/model").embed(frame.head(2))) == 2


def test_something_that_is_no_loss_is_told(frame: pd.DataFrame) -> None:
    with pytest.raises(OptionError, match=r"a loss is a torch\.nn\.Module .*function is none"):
        train(frame, loss=lambda batch: batch.vectors.sum())


def test_a_memory_beside_a_loss_that_knows_no_references_is_refused(frame: pd.DataFrame) -> None:
    with pytest.raises(fashreg.FashregError, match="cannot use a memory"):
        train(frame, loss=BareLoss, memory={"name": "xbm", "capacity": 16, "start_step": 0})


def test_a_part_that_no_folder_could_name_is_refused_before_training(
    frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fashreg.jobs import training

    monkeypatch.setattr(training, "run_training", lambda *_, **__: pytest.fail("it was trained"))
    backbone = tiny_encoder().backbone
    backbone.__class__ = type("OwnBackbone", (type(backbone),), {})
    with pytest.raises(ComponentError, match="OwnBackbone is not offered by any installed plugin"):
        train(frame, backbone=backbone, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_a_notebook_prints_is_short(frame: pd.DataFrame) -> None:
    run = train(frame, loss="contrastive")
    gallery = fashreg.build_index(run.encoder, frame, options=["label=style"], progress=False)
    assert repr(gallery) == "Gallery(24 pictures, ExactIndex)"
    assert "map@r" in repr(run.after)
    assert len(repr(run.after)) < 400
    assert repr(run).startswith("TrainedRun(folder=None):\n2 steps")
    assert "before   after" in repr(run)
