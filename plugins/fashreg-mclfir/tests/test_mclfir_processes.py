"""Two processes: one teacher, one Fisher matrix, and where they end is where one process ends."""

from __future__ import annotations

from pathlib import Path

import torch
from mclfir_ranks import CHOSEN, OWN_STATISTICS, train
from safetensors.torch import load_file

from fashreg.testing.ranks import in_two_processes


def test_two_processes_keep_the_same_and_end_where_one_does(tmp_path: Path) -> None:
    """To the bit on both; to rounding against one, but where batch norms follow each process's own half."""
    in_two_processes(Path(__file__).with_name("mclfir_ranks.py"), tmp_path)
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in range(2))
    alone = train()
    assert set(alone) == set(first) == set(second)
    for learner in CHOSEN:
        assert any(name.startswith(f"{learner}: kept") for name in alone) or learner == "joint"
    for name, value in alone.items():
        assert torch.equal(first[name], second[name]), name
        if name.split(":")[0] not in OWN_STATISTICS:
            assert torch.allclose(first[name].double(), value.double(), rtol=1e-3, atol=1e-5), name
