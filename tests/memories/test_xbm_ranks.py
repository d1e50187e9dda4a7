"""Golden check M11: two processes that gather what they push hold the memory and get the loss of one process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from fashreg.memories.xbm import XBMMemory
from fashreg.values import Embedded

STEPS, BATCH = 5, 6


def gathered(rows: Tensor) -> Tensor:
    """The rows of all ranks, in rank order, without gradient."""
    if not dist.is_initialized():
        return rows.detach()
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows.detach().contiguous())
    return torch.cat(parts)


def train(rank: int, world: int) -> dict[str, Any]:
    """Five steps of this rank's share: each step's memory loss, the last gradients, and the memory at the end."""
    pictures = torch.randn(15, 5, generator=torch.Generator().manual_seed(0))
    layer, memory = nn.Linear(5, 4, bias=False), XBMMemory(13, embed_dim=4, start_step=1)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(4, 5, generator=torch.Generator().manual_seed(1)))
    losses = []
    for step in range(STEPS):
        everyone = (torch.arange(BATCH) + BATCH * step) % 15
        ids = everyone.chunk(world)[rank]
        vectors = nn.functional.normalize(layer(pictures[ids]), dim=1)
        batch = Embedded(vectors, ids % 3, ids)
        whole = Embedded(gathered(vectors), gathered(batch.labels), gathered(ids))
        memory.align(whole)
        loss = memory_loss(batch, memory.read())
        layer.weight.grad = None
        (loss + vectors.sum() * 0).backward()
        assert layer.weight.grad is not None
        if world > 1:
            dist.all_reduce(layer.weight.grad)
            layer.weight.grad /= world
        with torch.no_grad():
            layer.weight -= 0.1 * layer.weight.grad
        memory.push(whole)
        losses.append(loss.item())
    state = {name: tensor.tolist() for name, tensor in memory.state_dict().items()}
    return {"losses": losses, "gradient": layer.weight.grad.tolist(), "memory": state}


def memory_loss(batch: Embedded, memory: Embedded) -> Tensor:
    """Contrastive, mean over the rank's own anchors."""
    s = batch.vectors @ memory.vectors.T
    same, itself = batch.labels[:, None] == memory.labels, batch.ids[:, None] == memory.ids
    return ((1 - s) * (same & ~itself) + s * (~same & (s > 0.5))).sum() / len(batch)


def test_two_ranks_equal_one_process(tmp_path: Path) -> None:
    ranks = [
        subprocess.Popen([sys.executable, __file__, str(rank), "2", str(tmp_path)], stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    for process in ranks:
        _, errors = process.communicate(timeout=1200)
        assert process.returncode == 0, errors
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    alone = train(0, 1)
    assert first["memory"] == second["memory"]
    assert first["gradient"] == second["gradient"]
    mean = [(a + b) / 2 for a, b in zip(first["losses"], second["losses"], strict=True)]
    assert mean == pytest.approx(alone["losses"], abs=1e-6)
    assert sum(alone["losses"]) > 0.1
    assert torch.allclose(torch.tensor(first["gradient"]), torch.tensor(alone["gradient"]), atol=1e-6)
    assert first["memory"]["sample_id"] == alone["memory"]["sample_id"]
    assert torch.allclose(torch.tensor(first["memory"]["emb"]), torch.tensor(alone["memory"]["emb"]), atol=1e-6)


if __name__ == "__main__":
    rank, world, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    (folder / f"{rank}.json").write_text(json.dumps(train(rank, world)))
    dist.destroy_process_group()
