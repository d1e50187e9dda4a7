"""A head for each task or attribute; tasks may be added at any time and leave the others as they are."""

from __future__ import annotations

import copy
import hashlib
import inspect
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fashreg.functional.names import listed
from fashreg.heads.projection import ProjectionHead
from fashreg.interfaces import Head


class MultiTaskHead(nn.Module):
    """One head per task or attribute over shared features; tasks can be added later.

    head(features, task) runs that task's head only, so training or adding one task leaves parameters, batch-norm
    statistics and outputs of the others bit-identical. A task's first weights depend on `seed` and its name alone,
    never on the order of adding. With a single task `task` may be left out; with several, `joined` gives one vector for
    all: the tasks' vectors side by side, scaled so that the inner product is the mean over the tasks.

    Source: Xiao, Yamasaki, "A Multihead Continual Learning Framework for Fine-Grained Fashion Image Retrieval with
        Contrastive Learning and Exponential Moving Average Distillation", 2026, https://arxiv.org/abs/2603.20648
        (the layout: shared encoder, a head per attribute).
    See also: projection, one head for everything.

    Args:
        tasks: names of the tasks, in the order of adding; () to start with none. Names in later `add_task` join it.
        head: the pattern of every task's head, e.g. {name: projection, batch_norm: true}; it is never used itself, each
            task gets a fresh one with the same options, told its task if it has an option `task`; a backbone in it is
            copied, with the weights it came with. None is a projection.
        out_dim: width D of each task's vector where `head` is left out; None is the pattern's, or 128.
        in_dim: width F of the features for the default head; a given `head` brings its own.
        seed: of the first weights of every task, together with the task's name.
    """

    takes: Literal["pooled", "map"] = "pooled"
    _place: Tensor

    def __init__(
        self,
        tasks: tuple[str, ...] = ("default",),
        head: Head | None = None,
        *,
        out_dim: Annotated[int, Field(gt=0)] | None = None,
        in_dim: Annotated[int, Field(gt=0)] | None = None,
        seed: Annotated[int, Field(ge=0, lt=2**63)] = 0,
    ) -> None:
        named = listed(tasks)
        if head is None and in_dim is None:
            raise ValueError("say in_dim, the width of the features, or give a head as the pattern")
        if head is not None and out_dim not in (None, head.out_dim):
            raise ValueError(f"out_dim={out_dim} contradicts the given head, whose out_dim is {head.out_dim}")
        super().__init__()
        pattern: Any = ProjectionHead(out_dim or 128, in_dim=in_dim) if head is None and in_dim is not None else head
        self.__dict__.update(head=head, _pattern=pattern)  # outside the module tree: neither trained nor saved
        self.in_dim, self.out_dim = int(pattern.in_dim), int(pattern.out_dim)
        self.takes, self.unit = pattern.takes, bool(pattern.unit)
        self.seed = seed
        self.tasks: tuple[str, ...] = ()
        self.heads = nn.ModuleDict()
        if (start := getattr(pattern, "start_of_tasks", None)) is not None:
            self.start_of_tasks = start.requires_grad_(
                False
            )  # saved: a task that is added after loading begins there, too
        self.register_buffer("_place", torch.empty(0), persistent=False)  # device and dtype, also before the first task
        for task in named:
            self.add_task(task)

    def add_task(self, task: str) -> None:
        """Add a head for a new task, in the mode and on the device of the others. A known name raises ValueError."""
        if not task or task in self.tasks:
            raise ValueError(f"a task needs a new name, not {task!r}; there are {', '.join(self.tasks) or 'none yet'}")
        head = fresh_head(self._pattern, task=task, seed=_seed_of(self.seed, task))
        self.heads[_key(task)] = head.to(self._place).train(self.training)
        self.tasks = (*self.tasks, task)

    def forward(self, features: Tensor, task: str | None = None) -> Tensor:
        """(B, F), or (B, C, h, w) for heads on maps, -> (B, D) of that task. Raises ValueError for an unknown task."""
        if task is None and len(self.tasks) == 1:
            task = self.tasks[0]
        vectors: Tensor = self.head_of(task)(features)
        return vectors

    def head_of(self, task: str | None) -> nn.Module:
        """The module that alone makes this task's vectors. Raises ValueError for an unknown task."""
        if task not in self.tasks:
            raise ValueError(self._no_such(task))
        found: nn.Module = self.heads[_key(task)]
        return found

    def joined(self, features: Tensor) -> Tensor:
        """One vector for all tasks, (B, T * D): the inner product of two is the mean of the tasks' inner products."""
        if not self.tasks:
            raise ValueError(self._no_such(None))
        return torch.cat([self.forward(features, task) for task in self.tasks], dim=1) / math.sqrt(len(self.tasks))

    def _no_such(self, task: str | None) -> str:
        if not self.tasks:
            return 'this head has no task yet: call add_task("name")'
        known = ", ".join(self.tasks)
        if task is None:
            return (
                f"this head serves several tasks; say which: task=one of {known} (joined(features) gives all at once)"
            )
        near = get_close_matches(task, self.tasks, n=1)
        return f"no task {task!r}; " + (f"did you mean {near[0]!r}?" if near else f"the tasks are {known}")


def _key(task: str) -> str:
    """A name that a ModuleDict takes, whatever the task is called ("type", "collar.design"); one for each task."""
    return "task_" + task.replace("%", "%25").replace(".", "%2E")


def _seed_of(seed: int, task: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{task}".encode()).digest()[:7], "big")


def fresh_head(head: Any, *, seed: int, **changes: Any) -> Any:
    """A new head with the options of `head`, read off its attributes, and first weights from `seed`.

    changes: options that are to be otherwise (those that its class does not have are left out). Heads among its options
    are made anew in the same way; other modules among them, a trained backbone, are copied as they are, to be trained.
    """
    names, changes = inspect.signature(type(head)).parameters, {**changes, "seed": seed}
    with _seeded(seed):
        options = {n: changes[n] if n in changes else _own(getattr(head, n), changes) for n in names}
        return type(head)(**options)


def _own(value: Any, changes: Mapping[str, Any]) -> Any:
    if not isinstance(value, nn.Module):
        return copy.deepcopy(value)
    if not hasattr(value, "takes"):
        return copy.deepcopy(value).requires_grad_(True)
    return fresh_head(value, **{name: changes[name] for name in ("seed", "task") if name in changes})


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random numbers from `seed` for heads without a seed of their own; the global state is put back."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
