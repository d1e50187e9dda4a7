"""The usual embedding head: one linear layer, batch norm if wanted, unit length."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fashreg.functional.similarity import unit_rows


class ProjectionHead(nn.Module):
    """A linear projection to D dimensions, with optional batch norm, of unit length.

    x (B, F) -> z = W x + b, or BN(W x) with batch_norm (its shift makes b needless) -> z / |z|, in fp32 under autocast.
    W starts with orthonormal rows, so the first embedding is a plain random projection of the features (equal inner
    products on average). A zero row stays zero. It gives every task the same vector, so `task` changes nothing.

    Source: Musgrave, Belongie, Lim, "A Metric Learning Reality Check", ECCV 2020, https://arxiv.org/abs/2003.08505
        (the common form of this head).
    See also: multi-task, one head per task or attribute.

    Args:
        out_dim: width D of the embedding.
        batch_norm: normalise each dimension over the batch before the length; a training batch then needs 2 images.
        unit: divide each row by its length; losses and search that use cosine want it.
        in_dim: width F of the features.
        seed: of the first weights; the global random state is left alone.
    """

    takes: Literal["pooled", "map"] = "pooled"
    tasks: tuple[str, ...] = ()

    def __init__(
        self,
        out_dim: Annotated[int, Field(gt=0)] = 128,
        *,
        batch_norm: bool = False,
        unit: bool = True,
        in_dim: Annotated[int, Field(gt=0)],
        seed: Annotated[int, Field(ge=0, lt=2**63)] = 0,
    ) -> None:
        if out_dim < 1 or in_dim < 1:
            raise ValueError(f"out_dim and in_dim must be at least 1, not {out_dim} and {in_dim}")
        super().__init__()
        self.out_dim, self.batch_norm, self.unit, self.in_dim, self.seed = out_dim, batch_norm, unit, in_dim, seed
        self.linear = nn.Linear(in_dim, out_dim, bias=not batch_norm, device="meta").to_empty(device="cpu")
        nn.init.orthogonal_(self.linear.weight, generator=torch.Generator().manual_seed(seed))
        if self.linear.bias is not None:
            nn.init.zeros_(self.linear.bias)
        self.norm = nn.BatchNorm1d(out_dim) if batch_norm else nn.Identity()

    def forward(self, features: Tensor, task: str | None = None) -> Tensor:
        """(B, F) -> (B, D)."""
        vectors: Tensor = self.norm(self.linear(features))
        return unit_rows(vectors) if self.unit else vectors
