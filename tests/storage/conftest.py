"""A model's folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fashreg.storage import save_encoder
from fashreg.testing.tiny_run import tiny_encoder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    encoder = tiny_encoder(seed=3)
    with torch.no_grad():
        for value in encoder.state_dict().values():
            value += value.new_tensor(0.25) if value.is_floating_point() else 1
    return save_encoder(
        encoder,
        tmp_path / "model",
        recipe={"description": "small things", "seed": 3},
        metrics={"recall@1": 0.61234},
        provenance={"data": {"fingerprint": "abc", "images": 36}},
    )
