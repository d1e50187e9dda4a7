"""A stream that two processes learn together is the stream that one learns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from stream_ranks import train
from stream_shop import stream_shop

from fashreg.testing.ranks import in_two_processes

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def test_two_processes_learn_the_stream_that_one_learns(tmp_path: Path) -> None:
    """Weights to 1e-6 of one process's and to the bit of one another's; the same matrix, costs and run folder."""
    (tmp_path / "pictures").mkdir()
    shop = tmp_path / "shop.csv"
    stream_shop(tmp_path / "pictures").to_csv(shop, index=False)
    in_two_processes(Path(__file__).with_name("stream_ranks.py"), shop, tmp_path)
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in range(2))
    alone = train(shop, tmp_path / "alone")
    assert alone.keys() == first.keys() == second.keys()
    for name, value in alone.items():
        assert torch.equal(first[name], second[name]), name
        assert torch.allclose(first[name].double(), value.double(), rtol=0, atol=1e-6), name
    assert torch.equal(first["cost"], alone["cost"])
    assert bool((first["cost"][:, :2] > 0).all())
    ours, theirs = (json.loads((tmp_path / run / "stream.json").read_text()) for run in ("run", "alone"))
    for field in ("experiences", "queries", "data"):
        assert ours[field] == theirs[field]
    assert len(ours["map"]) == 2
