"""Two processes learn what one learns: negatives of the whole batch, one gradient, whatever the kind of task."""

from __future__ import annotations

from pathlib import Path

import torch
from famevil_ranks import WAYS, train, value_of_halves
from safetensors.torch import load_file

from fashreg.testing.ranks import in_two_processes


def test_two_processes_end_where_one_does(tmp_path: Path) -> None:
    """To the bit on both; to rounding against one. Defect 17 of the published code: negatives of one process only."""
    in_two_processes(Path(__file__).with_name("famevil_ranks.py"), tmp_path)
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in range(2))
    halves = first.pop("halves"), second.pop("halves")
    assert all(torch.allclose(half, value_of_halves(0, 1), atol=1e-5) for half in halves)
    assert not torch.allclose(value_of_halves(0, 1), value_of_halves(0, 2), atol=0.1)  # eight are harder than four
    alone = train()
    assert set(alone) == set(first) == set(second)
    assert {name.split(":")[0] for name in alone} == set(WAYS)
    for name, value in alone.items():
        assert torch.equal(first[name], second[name]), name
        assert torch.allclose(first[name], value, rtol=1e-3, atol=1e-5), name
