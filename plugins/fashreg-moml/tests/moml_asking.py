"""A small loss, and batches that ask for a gradient."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from fashreg_moml.loss import MultiObjectiveLoss

from fashreg.testing.tiny_run import DIM
from fashreg.values import Embedded


def made(**options: Any) -> MultiObjectiveLoss:
    torch.manual_seed(0)
    return MultiObjectiveLoss(num_classes=6, embed_dim=DIM, **options)


def asking(batch: Embedded, dtype: torch.dtype = torch.float32) -> Embedded:
    return replace(batch, vectors=batch.vectors.to(dtype).clone().requires_grad_())
