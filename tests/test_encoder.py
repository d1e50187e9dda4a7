from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from fashreg.backbones.timm import TimmBackbone
from fashreg.data.table import read_table
from fashreg.data.transforms import evaluation_transform
from fashreg.encoder import Encoder
from fashreg.errors import DataError
from fashreg.heads.projection import ProjectionHead
from fashreg.testing.tiny_run import DIM, SIDE, tiny_encoder
from fashreg.values import InputSpec


class MapHead(nn.Module):
    """A head on maps: a 1 x 1 convolution, then the mean."""

    takes, unit, tasks = "map", False, ()

    def __init__(self, in_dim: int, out_dim: int = 4) -> None:
        super().__init__()
        self.in_dim, self.out_dim = in_dim, out_dim
        self.conv = nn.Conv2d(in_dim, out_dim, 1)

    def forward(self, features: Tensor, task: str | None = None) -> Tensor:
        vectors: Tensor = self.conv(features).mean((2, 3))
        return vectors


def map_encoder() -> Encoder:
    backbone = TimmBackbone("test_convnext", weights=None, image_size=SIDE)
    return Encoder(backbone, MapHead(backbone.map_dim)).eval()


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    random = np.random.default_rng(0)
    paths = []
    for number in range(5):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(random.integers(0, 255, (40 + number, 50, 3), dtype=np.uint8)).save(paths[-1])
    return paths


def images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


# ---- forward, in one piece and cut ----


@pytest.mark.parametrize("make", [lambda: tiny_encoder().eval(), map_encoder], ids=["pooled", "map"])
def test_every_cut_gives_the_whole(make) -> None:  # type: ignore[no-untyped-def]
    encoder = make()
    whole = encoder(images())
    assert whole.shape == (3, encoder.embed_dim)
    for stage in range(encoder.cuts + 1):
        half_way = encoder.until(images(), stage)
        assert torch.equal(encoder.from_stage(half_way, stage), whole), stage
        assert torch.equal(encoder.embed(half_way, stage=stage), encoder.embed(images())), stage


def test_cuts_that_are_not_there_are_refused() -> None:
    encoder = tiny_encoder()
    for start, stop in ((0, 99), (3, 2), (-1, 2)):
        with pytest.raises(ValueError, match=f"steps {start} to {stop}"):
            encoder.steps(images(), start, stop)


def test_a_head_of_another_width_is_refused_with_the_right_one() -> None:
    backbone = tiny_encoder().backbone
    with pytest.raises(ValueError, match=f"in_dim={backbone.out_dim}"):
        Encoder(backbone, ProjectionHead(4, in_dim=7))


# ---- embed ----


def test_paths_pictures_bytes_frames_tables_and_tensors_give_the_same(pictures: list[Path], tmp_path: Path) -> None:
    encoder = tiny_encoder()
    wanted = encoder.embed(pictures)
    assert wanted.shape == (5, DIM)
    assert wanted.dtype == torch.float32
    opened = [Image.open(path) for path in pictures]
    frame = pd.DataFrame({"path": [str(p) for p in pictures], "photo": [str(p) for p in pictures]})
    csv = tmp_path / "table.csv"
    csv.write_text("image,label\n" + "\n".join(f"{p.name},{i % 2}" for i, p in enumerate(pictures)))
    transform = evaluation_transform(encoder.input_spec)
    prepared = torch.stack([transform(picture) for picture in opened])
    for items in (
        [str(p) for p in pictures],
        opened,
        [pictures[0], opened[1], pictures[2].read_bytes(), str(pictures[3]), pictures[4]],
        frame,
        read_table(csv),
        prepared,
    ):
        assert torch.equal(encoder.embed(items), wanted), type(items)
    assert torch.equal(encoder.embed(frame, column="photo"), wanted)
    assert torch.allclose(encoder.embed(pictures[2]), wanted[2:3], atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 64])
def test_batches_change_nothing_but_rounding(pictures: list[Path], batch_size: int) -> None:
    encoder = tiny_encoder()
    assert torch.allclose(encoder.embed(pictures, batch_size=batch_size, workers=0), encoder.embed(pictures), atol=1e-6)


def test_nothing_gives_nothing() -> None:
    encoder = tiny_encoder()
    for items in ([], images(0), pd.DataFrame({"image": []})):
        assert encoder.embed(items).shape == (0, DIM)


def test_embedding_changes_neither_modes_nor_statistics_nor_gradients(pictures: list[Path]) -> None:
    encoder = tiny_encoder()
    encoder.train()
    encoder.backbone.stage_modules(0)[0].eval()
    modes = [module.training for module in encoder.modules()]
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    first = encoder.embed(pictures)
    assert [module.training for module in encoder.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert not first.requires_grad
    assert torch.equal(encoder.eval().embed(pictures), first)


def test_modes_come_back_after_an_error(tmp_path: Path) -> None:
    encoder = tiny_encoder()
    encoder.train()
    with pytest.raises(DataError, match="does not exist"):
        encoder.embed([tmp_path / "nothing.jpg"])
    assert encoder.training


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"items": pd.DataFrame({"file": ["a.jpg"]})}, "no column 'image'.*column=NAME, one of: file"),
        ({"items": pd.DataFrame({"file": ["a.jpg"]}), "column": "photo"}, "no column 'photo'"),
        ({"items": ["a.jpg"], "column": "photo"}, "column names a column"),
        ({"items": ["a.jpg"], "stage": 1}, "pictures are stage 0"),
        ({"items": ["a.jpg"], "batch_size": 0}, "at least 1"),
        ({"items": torch.zeros(1, 3, 8, 8, dtype=torch.uint8)}, "is float"),
    ],
)
def test_what_cannot_be_embedded_is_said(given: dict[str, object], said: str) -> None:
    with pytest.raises((ValueError, DataError), match=said):
        tiny_encoder().embed(**given)  # type: ignore[arg-type]


# ---- fingerprint ----


def test_the_fingerprint_is_that_of_function_not_of_object_or_origin() -> None:
    encoder, same = tiny_encoder(), tiny_encoder()
    assert encoder.fingerprint() == same.fingerprint()
    other = tiny_encoder(seed=1)
    assert other.fingerprint() != encoder.fingerprint()
    other.load_state_dict(encoder.state_dict())
    assert other.fingerprint() == encoder.fingerprint()
    other.backbone.weights = "hub"
    assert other.train().fingerprint() == encoder.fingerprint()


def test_the_fingerprint_changes_with_a_bit_of_weight_an_option_or_the_preprocessing() -> None:
    encoder = tiny_encoder()
    prints = {encoder.fingerprint()}
    backbone = encoder.backbone
    prints.add(Encoder(backbone, encoder.head, input_spec=InputSpec(size=(SIDE, SIDE), crop=1.0)).fingerprint())
    raw = ProjectionHead(DIM, in_dim=backbone.out_dim, unit=False)
    raw.load_state_dict(encoder.head.state_dict())
    prints.add(Encoder(backbone, raw).fingerprint())
    with torch.no_grad():
        encoder.head.linear.weight[0, 0] = torch.nextafter(encoder.head.linear.weight[0, 0], torch.tensor(9.0))
    prints.add(encoder.fingerprint())
    for name, buffer in encoder.named_buffers():
        if name.endswith("num_batches_tracked"):
            buffer += 1
            break
    prints.add(encoder.fingerprint())
    assert len(prints) == 5
