"""What each of two processes runs for `test_stream_processes.py`; the test itself runs `train` as the one process."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from stream_shop import stream_recipe
from torch import Tensor

import fashreg
from fashreg.training.processes import Processes

#: Batch norms rest: each process would see its own half of a batch.
TRAINER = {
    "epochs": 2, "batch_size": 8, "optimizer": "sgd", "momentum": 0.0, "lr": 0.01, "schedule": "constant",
    "freeze_batch_norm": True, "checkpoint_steps": 2,
}  # fmt: skip


def train(shop: Path, out: Path) -> dict[str, Tensor]:
    """A stream of two attributes into a run folder; the weights at its end, and what its rows say."""
    run = fashreg.train(stream_recipe(trainer=TRAINER), table=shop, out=out, quiet=True)
    assert run.stream is not None
    record = run.stream.record
    rows = {"map": record.map, "recall": record.recall}
    said = {
        name: torch.tensor([[v if v is not None else -1.0 for v in row] for row in of]) for name, of in rows.items()
    }
    spent = [[one["tuples"], one["image_passes"], one["parameters"]] for one in record.cost if one is not None]
    weights = {f"weight {name}": value.contiguous() for name, value in run.encoder.state_dict().items()}
    return {**weights, **said, "cost": torch.tensor(spent)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    shop, folder = Path(sys.argv[1]), Path(sys.argv[2])
    save_file(train(shop, folder / "run"), folder / f"{Processes().rank}.safetensors")
    dist.destroy_process_group()
