"""Saved, pushed, pulled and loaded: the same bits in a process that knows nothing of the first."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fashreg.encoder import Encoder
from fashreg.hub.push import push
from fashreg.storage import load_encoder, save_encoder
from fashreg.storage.loading import pull_folder
from fashreg.testing.local_hub import LocalHub
from fashreg.testing.tiny_run import SIDE, tiny_encoder

HEAD = """
from fashreg.heads.projection import ProjectionHead

class Own(ProjectionHead):
    '''A head that only this plugin has.'''
"""
LOSS = """
class Own:
    '''A loss that only training needs.'''
    def __init__(self, margin: float = 0.5):
        self.margin = margin
"""
EMBEDS = f"""
import sys, torch, fashreg
torch.set_num_threads(1)
images = torch.randn(3, 3, {SIDE}, {SIDE}, generator=torch.Generator().manual_seed(1))
for where in sys.argv[1:]:
    print(fashreg.load(where).embed(images).numpy().tobytes().hex())
"""


def embedded(*places: str | Path, path: Path | None = None) -> list[str]:
    """What a new process makes of three pictures, or its last words; path: a folder of installed plugins it sees."""
    environment = {**os.environ, **({} if path is None else {"PYTHONPATH": str(path)})}
    command = [sys.executable, "-c", EMBEDS, *map(str, places)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    return done.stdout.split() if done.returncode == 0 else done.stderr.strip().splitlines()[-1:]


def moved(encoder: Encoder) -> Encoder:
    with torch.no_grad():
        for value in encoder.state_dict().values():
            value += value.new_tensor(0.25) if value.is_floating_point() else 1
    return encoder


def bits(encoder: Encoder) -> str:
    images = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    return str(encoder.embed(images).numpy().tobytes().hex())


@pytest.mark.parametrize("plugin", ["installed", "not installed"])
def test_plugins_of_training_alone_are_not_needed(
    hub: LocalHub, token: str, tmp_path: Path, site: Path, fake_plugin: Callable[..., str], plugin: str
) -> None:
    fake_plugin("fashreg-own", {"fashreg.loss": {"own": "fashreg_own:Own"}}, LOSS)
    encoder = moved(tiny_encoder(seed=3))
    recipe = {"loss": {"name": "fashreg-own:own", "margin": 0.25}, "memory": "fashreg-own:kept"}
    push(save_encoder(encoder, tmp_path / "model", recipe=recipe), "ann/bags", token=token)
    out = pull_folder("ann/bags", tmp_path / "pulled")
    seen = site if plugin == "installed" else None
    assert embedded("ann/bags", out, path=seen) == [bits(encoder)] * 2


def test_a_plugin_of_the_encoder_is_needed_and_named(
    hub: LocalHub,
    token: str,
    tmp_path: Path,
    site: Path,
    fake_plugin: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_plugin("fashreg-own", {"fashreg.head": {"own": "fashreg_own:Own"}}, HEAD, version="1.4.2")
    from fashreg.registry import find_class

    encoder = tiny_encoder(seed=3)
    encoder.head = find_class("head", "own")(8, in_dim=encoder.backbone.out_dim, seed=3)
    moved(encoder)
    push(save_encoder(encoder, tmp_path / "model"), "ann/bags", token=token)
    assert embedded("ann/bags", path=site) == [bits(encoder)]
    before = len(hub.asked("model.safetensors", "GET"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))
    (said,) = embedded("ann/bags")
    assert "fashreg-own 1.4.2, which is not installed: pip install --upgrade 'fashreg-own>=1.4'" in said
    assert len(hub.asked("model.safetensors", "GET")) == before  # not one byte of the weights
    assert not list((tmp_path / "empty").rglob("*.safetensors"))


def test_a_head_alone_goes_the_whole_way_with_its_base(hub: LocalHub, token: str, tmp_path: Path) -> None:
    push(save_encoder(moved(tiny_encoder(seed=3)), tmp_path / "base"), "ann/base", token=token)
    encoder = load_encoder(tmp_path / "base")
    with torch.no_grad():
        encoder.head.linear.weight.mul_(-0.5)
    pushed = push(save_encoder(encoder, tmp_path / "part", base="ann/base"), "ann/part", token=token)
    push(save_encoder(tiny_encoder(seed=4), tmp_path / "base"), "ann/base", token=token)  # the base goes on
    out = pull_folder("ann/part", tmp_path / "pulled")
    assert embedded(f"ann/part@{pushed.commit}", out) == [bits(encoder)] * 2
    assert (out / "model.safetensors").stat().st_size < (tmp_path / "base" / "model.safetensors").stat().st_size / 10
