"""Tasks that an experience teaches and the encoder does not know yet."""

from __future__ import annotations

import inspect

import torch

from fashreg.encoder import Encoder
from fashreg.values import Experience


def add_heads(encoder: Encoder, experience: Experience) -> None:
    """What the backbone and the head need for every task of the experience that they do not know yet.

    Those without `add_task` serve every task. It is called with the name, and with what it takes of `kind`, the kind of
    a recipe's task, and `classes`, the names of the classes of one that classifies. A backbone learns of recipe's tasks
    only.
    """
    for part in experience.parts or (experience,):
        kind = part.extra.get("kind")
        for module in (encoder.backbone, encoder.head) if kind is not None else (encoder.head,):
            if part.task is None or not hasattr(module, "add_task") or part.task in module.tasks:
                continue
            told = {"kind": kind, **({"classes": part.train.label_names} if kind == "classification" else {})}
            takes = inspect.signature(module.add_task).parameters
            module.add_task(part.task, **{name: value for name, value in told.items() if name in takes})
            encoder.to(memory_format=torch.channels_last)
