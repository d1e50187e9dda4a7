"""The heads of an encoder by task: which an experience teaches, which are older and rest."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fashreg.encoder import Encoder
from fashreg.errors import ModelError
from fashreg.values import Experience
from fashreg_mclfir.own_network import OwnNetworkHead


def tasks_of(encoder: Encoder, experience: Experience) -> tuple[str | None, ...]:
    """The tasks that an experience teaches, each once; (None,) where one head serves all."""
    parts = experience.parts or (experience,)
    return tuple(dict.fromkeys(resolved(encoder, part.task) for part in parts))


def resolved(encoder: Encoder, task: str | None) -> str | None:
    """The task by its name where there is only one to mean; None where one head serves all."""
    tasks: tuple[str, ...] = encoder.head.tasks
    if not tasks:
        return None
    return tasks[0] if task is None and len(tasks) == 1 else task


def head_of(encoder: Encoder, task: str | None) -> Any:
    """The module that alone makes this task's vectors: its own head, or the one head of all."""
    head = encoder.head
    return head.head_of(resolved(encoder, task)) if head.tasks else head


def before_head(encoder: Encoder, features: Tensor, task: str | None) -> tuple[Tensor, Any]:
    """(what a task's head proper takes, the head proper): a head that is a whole network has its own trunk in between.

    features: (B, F) or (B, C, h, w), what the encoder's trunk gives.
    """
    head = head_of(encoder, task)
    return (head.features(features), head.head) if isinstance(head, OwnNetworkHead) else (features, head)


def check_networks(encoder: Encoder) -> None:
    """Refuse heads that are no networks of their own."""
    head = encoder.head
    if head.tasks and all(isinstance(head.head_of(task), OwnNetworkHead) for task in head.tasks):
        return
    raise ModelError(
        "learner mcl-fir with mode: independent trains a network for each attribute, and the heads here share the "
        "encoder; write in the recipe\n"
        "  backbone: {name: truncated, keep: 0, backbone: {name: timm, model: resnet50, weights: hub}}\n"
        "  head: {name: multi-task, tasks: [], head: {name: own-network, backbone: {...}, head: {...}}}\n"
        "(`fashreg recipes` has mclfir-independent), or --set learner.mode=shared"
    )
