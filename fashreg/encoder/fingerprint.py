"""What makes two encoders the same: architecture, preprocessing and weights, and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from fashreg.assembly import spec_of
from fashreg.component import options_of
from fashreg.errors import ComponentError
from fashreg.values import InputSpec


def steps_fingerprint(backbone: Any, takes: str, cut: int) -> str:
    """sha256 over what decides the output of the first `cut` steps before a head that takes "pooled" or "map"."""
    digest = hashlib.sha256(b"fashreg steps 1")
    digest.update(json.dumps([_architecture(backbone), takes, cut], sort_keys=True).encode())
    for index in range(min(cut, len(backbone.stages))):
        for number, module in enumerate(backbone.stage_modules(index)):
            _feed(digest, f"{index}.{number}", module)
    return digest.hexdigest()


def fingerprint(backbone: nn.Module, head: nn.Module, input_spec: InputSpec) -> str:
    """sha256 over component names, options that differ from their defaults, the input spec, and every tensor.

    Independent of files, devices and versions, and of `weights` and `seed`, which say only where training began.
    """
    digest = hashlib.sha256(b"fashreg encoder 1")
    said = [_architecture(backbone), _architecture(head), asdict(input_spec)]
    digest.update(json.dumps(said, sort_keys=True).encode())
    for part, module in (("backbone", backbone), ("head", head)):
        _feed(digest, part, module)
    return digest.hexdigest()


def task_fingerprint(backbone: Any, head: Any, input_spec: InputSpec, task: str) -> str:
    """sha256 over what makes one task's vectors: the backbone, the module `head.head_of(task)`, the input spec.

    Other tasks do not count, nor does the task's name (unless its head is told it): of a backbone that depends on the
    task, what only others use is left out. A head without `head_of` counts whole, and with the task's name. ValueError
    for a task that the head does not serve.
    """
    if task not in head.tasks:
        raise ValueError(f"no task {task!r}; the tasks are {', '.join(head.tasks)}")
    if not hasattr(head, "head_of"):
        return hashlib.sha256(f"fashreg task 1 {fingerprint(backbone, head, input_spec)} {task}".encode()).hexdigest()
    alone = head.head_of(task)
    digest = hashlib.sha256(b"fashreg task 1")
    said = [_of_task(backbone, task), _architecture(head)["name"], _of_part(alone), asdict(input_spec)]
    digest.update(json.dumps(said, sort_keys=True).encode())
    if getattr(backbone, "tasks", ()):
        _feed_task(digest, backbone, task)
    else:
        _feed(digest, "backbone", backbone)
    _feed(digest, "head", alone)
    return digest.hexdigest()


def _feed_task(digest: Any, backbone: Any, task: str) -> None:
    """What every task of a backbone uses, under its names, and what this task uses, under numbers."""
    own = backbone.modules_of(task)
    chosen = {id(t) for other in backbone.tasks for module in backbone.modules_of(other) for t in _tensors(module)}
    _feed(digest, "backbone", backbone, without=chosen)
    for number, module in enumerate(own):
        _feed(digest, f"own.{number}", module)


def _feed(digest: Any, part: str, module: nn.Module, without: AbstractSet[int] = frozenset()) -> None:
    for name, tensor in sorted(module.state_dict(keep_vars=True).items()):
        if id(tensor) in without:
            continue
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{part}.{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().data)


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _of_task(backbone: Any, task: str) -> dict[str, Any]:
    """The architecture as far as one task goes: of the kinds of tasks only its own."""
    said = _architecture(backbone)
    if said["config"].pop("kinds", None) is not None:
        said["config"]["kind"] = backbone.kinds[task]
    return said


def _of_part(module: nn.Module) -> dict[str, Any]:
    """A module that need not be a component."""
    try:
        return _architecture(module)
    except ComponentError:
        return {"name": f"module:{type(module).__qualname__}", "config": {}}


def _architecture(component: nn.Module) -> dict[str, Any]:
    cls: Any = type(component)
    spec = spec_of(component, registered=False, reaching=False)
    defaults = {option.name: _plain(option.default) for option in options_of(cls)}
    config = {
        name: _without_versions(value)
        for name, value in spec["config"].items()
        if name not in ("weights", "seed") and not (name in defaults and value == defaults[name])
    }
    return {"name": spec["name"], "config": config}


def _without_versions(value: Any) -> Any:
    """Specs of components within components, without plugin and version."""
    if isinstance(value, list):
        return [_without_versions(item) for item in value]
    if isinstance(value, dict):
        is_spec = set(value) == {"name", "plugin", "version", "config"}
        return {k: _without_versions(v) for k, v in value.items() if not (is_spec and k in ("plugin", "version"))}
    return value


def _plain(default: Any) -> Any:
    return list(default) if isinstance(default, tuple) else default
