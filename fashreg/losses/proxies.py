"""What losses with one learnt vector a class share: the proxies, and which of them are a row's own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fashreg.values import Embedded


def new_proxies(num_classes: int, embed_dim: int) -> nn.Parameter:
    """Proxies (C, D), Kaiming-normal by fan-out; only their directions matter, they are made unit at every use."""
    if num_classes < 1 or embed_dim < 1:
        raise ValueError(f"num_classes and embed_dim must be positive, got {num_classes} and {embed_dim}")
    proxies = nn.Parameter(torch.empty(num_classes, embed_dim))
    nn.init.kaiming_normal_(proxies, mode="fan_out")
    return proxies


def check_batch(name: str, batch: Embedded, proxies: Tensor, relevance: Tensor | None) -> None:
    """Refuse rows of another width, labels that are no class, and a relevance matrix that is not (B, C)."""
    classes, width = proxies.shape
    if batch.vectors.shape[1] != width:
        raise ValueError(f"{name} was built with embed_dim={width}; the batch has {batch.vectors.shape[1]} dimensions")
    if relevance is not None:
        if relevance.shape != (len(batch), classes):
            raise ValueError(
                f"{name} compares rows with classes, so relevance must be ({len(batch)}, {classes}): one row an image, "
                f"one column a class; got {tuple(relevance.shape)}"
            )
    elif len(batch):
        low, high = (int(end) for end in batch.labels.aminmax())
        if low < 0 or high >= classes:
            raise ValueError(
                f"{name} was built with num_classes={classes}, so labels must lie in 0..{classes - 1}; "
                f"got {low if low < 0 else high}"
            )


def class_masks(batch: Embedded, classes: int, relevance: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Own and other classes of each row, (B, C) each, 0.0 or 1.0; from the labels, or from relevance: > 0 and 0."""
    own = torch.zeros(len(batch), classes, dtype=dtype, device=batch.vectors.device)
    if relevance is None:
        own.scatter_(1, batch.labels.long()[:, None], 1.0)
        return own, 1.0 - own
    relevance = relevance.to(own.device)
    return torch.gt(relevance, 0, out=own), torch.eq(relevance, 0, out=torch.empty_like(own))
