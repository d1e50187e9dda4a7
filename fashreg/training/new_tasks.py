"""Tasks that an experience teaches and the encoder does not know yet."""

from __future__ import annotations

import torch

from fashreg.encoder import Encoder
from fashreg.values import Experience


def add_heads(encoder: Encoder, experience: Experience) -> None:
    """A head for every task of the experience that has none yet. A head without `add_task` serves every task."""
    head = encoder.head
    for part in experience.parts or (experience,):
        if part.task is not None and hasattr(head, "add_task") and part.task not in head.tasks:
            head.add_task(part.task)
            encoder.to(memory_format=torch.channels_last)
