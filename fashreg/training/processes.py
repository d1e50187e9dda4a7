"""The processes that train together, and what passes between them. accelerate finds device, rank and backend.

The arithmetic is that of one process: vectors are gathered with their gradient, each process computes the loss of the
whole batch, and averaging the parameters' gradients then gives exactly the gradient that one process would have:
d(gathered)/d(own rows) sums over the W processes, the average divides by W.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from fashreg.errors import RecipeError
from fashreg.values import Embedded

_PRECISION = {"bf16": torch.bfloat16, "fp16": torch.float16}
_BUCKET = 8_000_000  # numbers that travel in one message


class Processes:
    """This process among those that train together.

    device: where this process computes. rank: its number. size: how many there are. precision: of `autocast`.
    trackers: accelerate's names; they write below `folder`.
    """

    def __init__(self, precision: str = "fp32", trackers: Iterable[str] = (), folder: Path | None = None) -> None:
        names = list(trackers)
        several = int(os.environ.get("WORLD_SIZE", "1")) > 1
        on_cpu = several and not (torch.cuda.is_available() or torch.xpu.is_available())  # gloo must be asked for
        try:
            self._accelerator = Accelerator(
                cpu=on_cpu, mixed_precision="no", log_with=names or None, project_dir=folder
            )
        except ValueError as error:
            raise RecipeError(f"trainer.trackers: {error}", field="trainer.trackers") from error
        missing = len(names) - len(self._accelerator.log_with)
        if missing > 0:
            raise RecipeError(
                f"trainer.trackers: of {', '.join(names)}, {missing} cannot be used: install or remove them",
                field="trainer.trackers",
            )
        self._tracking = bool(names)
        found: torch.device = self._accelerator.device
        self.device = torch.device("cpu") if found.type == "cpu" else found
        self.rank: int = self._accelerator.process_index
        self.size: int = self._accelerator.num_processes
        self.precision = precision

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The precision of the network's arithmetic."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=_PRECISION[self.precision])

    def gather(self, own: Embedded) -> Embedded:
        """The rows of all processes, in the order of ranks, with gradient. Processes may hold unequal numbers."""
        if self.size == 1:
            return own
        counts = self._counts(len(own))
        vectors: Tensor = _Gather.apply(own.vectors, counts)
        labels, ids = (_gathered(values, counts) for values in (own.labels, own.ids))
        return replace(own, vectors=vectors, labels=labels, ids=ids)

    def own_rows(self, count: int) -> slice:
        """Where this process's `count` rows lie in what `gather` returns."""
        if self.size == 1:
            return slice(0, count)
        start = sum(self._counts(count)[: self.rank])
        return slice(start, start + count)

    @torch.no_grad()
    def average_gradients(self, parameters: list[nn.Parameter]) -> None:
        """Replace every gradient by its mean over the processes. One that no process has stays absent."""
        if self.size == 1:
            return
        has = torch.tensor([p.grad is not None for p in parameters], dtype=torch.int32, device=self.device)
        dist.all_reduce(has, op=dist.ReduceOp.MAX)
        there = [p for p, flag in zip(parameters, has.tolist(), strict=True) if flag]
        for parameter in there:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for bucket in _buckets([p.grad for p in there if p.grad is not None]):
            self._average(bucket)

    @torch.no_grad()
    def average_buffers(self, module: nn.Module) -> None:
        """Make running statistics equal on all processes by their mean (before evaluation and checkpoints).

        What is in evaluation mode has not followed its own batches and is left alone, to the bit.
        """
        if self.size > 1:
            moving = [part for part in module.modules() if part.training]
            buffers = [b for part in moving for b in part.buffers(recurse=False) if b.is_floating_point()]
            for bucket in _buckets(buffers):
                self._average(bucket)

    def any(self, flag: bool) -> bool:
        """Whether any process says so."""
        if self.size == 1:
            return flag
        value = torch.tensor([int(flag)], device=self.device)
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return bool(value.item())

    def from_first(self, value: Any) -> Any:
        """What the first process holds, on every process."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def collect(self, value: Any) -> list[Any]:
        """What every process holds, in the order of ranks."""
        return list(gather_object([value])) if self.size > 1 else [value]

    def wait(self) -> None:
        """Until every process has come here."""
        self._accelerator.wait_for_everyone()

    def start_trackers(self, project: str, config: Mapping[str, Any]) -> None:
        """Open the trackers; they show `config`, nested plain values, by dotted names."""
        if self._tracking:
            self._accelerator.init_trackers(project, config=_flat(config))

    def track(self, values: dict[str, float], step: int) -> None:
        """Send named numbers to the trackers."""
        if self._tracking:
            self._accelerator.log(values, step=step)

    def end_trackers(self) -> None:
        """Close the trackers."""
        if self._tracking:
            self._accelerator.end_training()

    def _counts(self, own: int) -> list[int]:
        counts = [torch.zeros(1, dtype=torch.int64, device=self.device) for _ in range(self.size)]
        dist.all_gather(counts, torch.tensor([own], device=self.device))
        return [int(count) for count in counts]

    def _average(self, tensors: list[Tensor]) -> None:
        flat = torch.cat([t.reshape(-1) for t in tensors])
        dist.all_reduce(flat)
        flat /= self.size
        start = 0
        for tensor in tensors:
            tensor.copy_(flat[start : start + tensor.numel()].view_as(tensor))
            start += tensor.numel()


class _Gather(torch.autograd.Function):
    """Rows of all processes; the gradient of a row is the sum of what all processes found for it."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        return _gathered(own, counts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        total = grad.contiguous().clone()
        dist.all_reduce(total)
        start = sum(ctx.counts[: dist.get_rank()])
        return total[start : start + ctx.counts[dist.get_rank()]], None


def _flat(tree: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Dotted names; what is neither a number nor true or false becomes text, as every tracker takes it."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{place}.{key}" if place else str(key)
        if isinstance(value, Mapping):
            flat |= _flat(value, name)
        elif value is not None:
            flat[name] = value if isinstance(value, int | float) else str(value)
    return flat


def _gathered(own: Tensor, counts: list[int]) -> Tensor:
    padded = own.new_zeros((max(counts), *own.shape[1:]))
    padded[: len(own)] = own
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def _buckets(tensors: list[Tensor]) -> list[list[Tensor]]:
    """Tensors of one dtype grouped so that each group travels in one message."""
    groups: list[list[Tensor]] = []
    size = 0
    for tensor in sorted(tensors, key=lambda t: str(t.dtype)):  # stable: the order is the same on all processes
        if not groups or size + tensor.numel() > _BUCKET or groups[-1][0].dtype != tensor.dtype:
            groups.append([])
            size = 0
        groups[-1].append(tensor)
        size += tensor.numel()
    return groups
