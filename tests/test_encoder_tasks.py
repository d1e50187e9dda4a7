"""One trunk, several heads: all vectors from one pass, and a fingerprint for each task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from fashreg.encoder import Encoder
from fashreg.heads.multi_task import MultiTaskHead
from fashreg.heads.projection import ProjectionHead
from fashreg.storage import load_encoder, save_encoder
from fashreg.testing.tiny_run import DIM, SIDE, tiny_encoder, tiny_encoder_of_tasks
from fashreg.values import InputSpec


def images(count: int = 5) -> Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def moved(module: nn.Module) -> None:
    """The smallest change of one number."""
    with torch.no_grad():
        parameter = next(module.parameters())
        first = (0,) * parameter.ndim
        parameter[first] = torch.nextafter(parameter[first], torch.tensor(9.0))


class WholeHead(MultiTaskHead):
    """Several tasks, and does not say which module answers for one."""

    head_of = property()  # type: ignore[assignment]


# ---- one pass for all heads ----


@pytest.mark.parametrize("model", ["test_efficientnet", "test_convnext"])
@pytest.mark.parametrize("batch_size", [2, 64])
def test_one_pass_gives_every_tasks_vectors_to_the_bit(model: str, batch_size: int) -> None:
    encoder = tiny_encoder_of_tasks("colour", "season", "length", model=model)
    found = encoder.embed_tasks(images(), batch_size=batch_size)
    assert list(found) == ["colour", "season", "length"]
    for task, vectors in found.items():
        assert (vectors.shape, vectors.dtype) == ((5, DIM), torch.float32)
        assert torch.equal(vectors, encoder.embed(images(), task=task, batch_size=batch_size))
    assert not torch.equal(found["colour"], found["season"])


def test_the_trunk_runs_once_whatever_the_number_of_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, passed = tiny_encoder_of_tasks("a", "b", "c", "d"), []
    steps = encoder.steps
    monkeypatch.setattr(encoder, "steps", lambda x, *cut: passed.append(len(x)) or steps(x, *cut))
    encoder.embed_tasks(images(), batch_size=2)
    assert passed == [2, 2, 1]


def test_some_tasks_from_pictures_and_from_what_is_kept_of_them(tmp_path: Path) -> None:
    encoder = tiny_encoder_of_tasks("colour", "season", "length")
    noise = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "p.png")
    found = encoder.embed_tasks([tmp_path / "p.png"], ["season", "colour", "season"])
    assert list(found) == ["season", "colour"]
    assert torch.equal(found["season"], encoder.embed(tmp_path / "p.png", task="season"))
    half_way = encoder.eval().until(images(), 2)
    kept = encoder.embed_tasks(half_way, ["length"], stage=2)
    assert torch.equal(kept["length"], encoder.embed(half_way, stage=2, task="length"))
    assert encoder.embed_tasks([])["colour"].shape == (0, DIM)


def test_modes_and_statistics_stay_after_all_tasks_and_after_an_error() -> None:
    encoder = tiny_encoder_of_tasks("colour", "season")
    encoder.train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    encoder.embed_tasks(images())
    with pytest.raises(RuntimeError, match="channels"):
        encoder.embed_tasks(images()[:, :1].expand(-1, 2, -1, -1))
    assert encoder.training
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_tasks_that_are_not_there_are_refused_before_a_picture_is_opened() -> None:
    encoder = tiny_encoder_of_tasks("colour", "season")
    with pytest.raises(ValueError, match="no task 'sleeve'; the tasks are colour, season"):
        encoder.embed_tasks(["nowhere.png"], ["colour", "sleeve"])
    with pytest.raises(ValueError, match=r"write \['colour'\]"):
        encoder.embed_tasks(["nowhere.png"], "colour")
    with pytest.raises(ValueError, match=r"use embed\(items\)"):
        tiny_encoder().embed_tasks(["nowhere.png"])


# ---- a fingerprint for each task ----


def test_a_tasks_fingerprint_stays_when_others_come_and_learn(tmp_path: Path) -> None:
    encoder = tiny_encoder_of_tasks("colour")
    whole, colour = encoder.fingerprint(), encoder.fingerprint("colour")
    vectors = encoder.embed(images(), task="colour")
    encoder.head.add_task("season")
    season = encoder.fingerprint("season")
    assert encoder.fingerprint() != whole
    assert encoder.fingerprint("colour") == colour != season
    moved(encoder.head.head_of("season"))
    assert (encoder.fingerprint("colour"), encoder.fingerprint("season") == season) == (colour, False)
    save_encoder(encoder, tmp_path / "model")
    again = load_encoder(tmp_path / "model")
    assert again.fingerprint("colour") == colour
    assert torch.equal(again.embed(images(), task="colour"), vectors)


@pytest.mark.parametrize("part", ["trunk", "head", "statistics", "pictures"])
def test_everything_that_makes_the_vectors_is_in_the_tasks_fingerprint(part: str) -> None:
    encoder = tiny_encoder_of_tasks("colour", "season")
    before = encoder.fingerprint("colour")
    if part == "trunk":
        moved(encoder.backbone)
    elif part == "head":
        moved(encoder.head.head_of("colour"))
    elif part == "statistics":
        next(b for n, b in encoder.backbone.named_buffers() if n.endswith("running_mean")).add_(1e-3)
    else:
        encoder = Encoder(encoder.backbone, encoder.head, input_spec=InputSpec(size=(SIDE, SIDE), crop=1.0))
    assert encoder.fingerprint("colour") != before


def test_options_of_a_tasks_head_are_in_its_fingerprint() -> None:
    def made(**options: Any) -> str:
        backbone = tiny_encoder().backbone
        pattern = ProjectionHead(DIM, in_dim=backbone.out_dim, **options)
        return Encoder(backbone, MultiTaskHead(("colour",), pattern)).fingerprint("colour")

    assert made() != made(unit=False)
    assert made() == made(seed=5)  # first weights come from the seed of the tasks


def test_a_head_that_cannot_say_which_module_answers_counts_whole() -> None:
    backbone = tiny_encoder().backbone
    encoder = Encoder(backbone, WholeHead(("colour", "season"), in_dim=backbone.out_dim))
    assert not hasattr(encoder.head, "head_of")
    before = encoder.fingerprint("colour")
    assert before != encoder.fingerprint("season")
    moved(encoder.head.heads["task_season"])
    assert encoder.fingerprint("colour") != before


def test_without_tasks_there_is_one_fingerprint_and_unknown_tasks_are_refused() -> None:
    encoder = tiny_encoder()
    assert encoder.fingerprint("anything") == encoder.fingerprint()
    with pytest.raises(ValueError, match="no task 'sleeve'; the tasks are colour"):
        tiny_encoder_of_tasks("colour").fingerprint("sleeve")
