"""The ways in which a backbone can be asked: pictures by each task, texts, pictures with texts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

TEXTS = ("a red dress", "blue trousers, wide", "a red dress with a belt")
Way = Callable[[], Tensor]


def pictures(backbone: Any, count: int = 2, seed: int = 0) -> Tensor:
    """Random pictures (count, 3, H, W) of the size that the backbone says, normalised as it says."""
    spec = backbone.input_spec
    noise = torch.rand(count, 3, *spec.size, generator=torch.Generator().manual_seed(seed))
    return (noise - torch.tensor(spec.mean)[:, None, None]) / torch.tensor(spec.std)[:, None, None]


def tasks_of(backbone: Any, *kinds: str) -> list[str | None]:
    """The tasks of these kinds, all where none is named; [None] for a backbone without tasks."""
    tasks = tuple(getattr(backbone, "tasks", ()))
    if not tasks:
        return [None]
    return [task for task in tasks if not kinds or backbone.kinds[task] in kinds]


def told(backbone: Any, task: str | None = None) -> dict[str, Any]:
    """What a backbone whose work depends on the task is told: the task, or its first one."""
    tasks = tuple(getattr(backbone, "tasks", ()))
    return {"task": tasks[0] if task is None else task} if tasks else {}


def forward(backbone: Any, images: Tensor, task: str | None = None) -> Tensor:
    """(B, 3, H, W) -> (B, F), by the first task where there are several and none is named."""
    features: Tensor = backbone(images, **told(backbone, task))
    return features


def stages(backbone: Any, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
    """Some stages, by the first task where there are tasks."""
    features: Tensor = backbone.run_stages(x, start, stop, **told(backbone))
    return features


def ways(backbone: Any, images: Tensor, *, tasks: tuple[str | None, ...] | None = None) -> dict[str, Way]:
    """Name -> a function that asks and gives (B, F): of all tasks, or of some. Texts are as many as pictures."""
    said = [TEXTS[i % len(TEXTS)] for i in range(len(images))]
    found: dict[str, Way] = {}

    def add(what: str, task: str | None, way: Way) -> None:
        if tasks is None or task in tasks:
            found[f"{what} of {task}"] = way

    for task in tasks_of(backbone):
        add("pictures", task, partial(forward, backbone, images, task))
    if hasattr(backbone, "encode_text"):
        for task in tasks_of(backbone, "cross-modal"):
            add("texts", task, partial(backbone.encode_text, said, **told(backbone, task)))
    if hasattr(backbone, "compose"):
        for task in tasks_of(backbone, "composed", "classification"):
            add("pictures with texts", task, partial(backbone.compose, images, said, **told(backbone, task)))
    return found


def only_for_captions(backbone: Any) -> set[int]:
    """ids of the parameters that no task but those that write captions uses: no gradient is to be had for them here."""
    tasks = [task for task in tasks_of(backbone) if task is not None]
    writing = [task for task in tasks if backbone.kinds[task] == "captioning"]
    others = {id(p) for t in tasks if t not in writing for m in backbone.modules_of(t) for p in m.parameters()}
    return {id(p) for t in writing for m in backbone.modules_of(t) for p in m.parameters()} - others
