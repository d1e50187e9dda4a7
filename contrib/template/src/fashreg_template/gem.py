"""Generalised-mean pooling and a projection: a head on spatial maps."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn


class GemHead(nn.Module):
    """Generalised-mean pooling of the spatial map, then a linear projection of unit length.

    x (B, C, h, w) -> g_c = (mean over h, w of max(x_c, eps)^p)^(1/p) (Eq. 3) -> W g / |W g|, in fp32 under autocast.
    p = 1 is average pooling, p -> infinity maximum pooling; p is learnt, one number for all channels.

    Source: Radenovic, Tolias, Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2019,
        https://arxiv.org/abs/1711.02512
    Differs from the paper: a trainable projection instead of learnt whitening afterwards; each channel is divided by
    its largest value before the power, which changes nothing but keeps large p from overflowing.
    See also: projection, the same on the backbone's own pooling.

    Args:
        out_dim: width D of the embedding.
        p: exponent to start from; the paper's 3.
        eps: floor of the map, so that the power of zero has a gradient.
        in_dim: channels C of the map.
        seed: of the first weights.
    """

    takes: Literal["pooled", "map"] = "map"
    unit: bool = True
    tasks: tuple[str, ...] = ()

    def __init__(
        self,
        out_dim: Annotated[int, Field(gt=0)] = 128,
        *,
        p: Annotated[float, Field(gt=0)] = 3.0,
        eps: Annotated[float, Field(gt=0)] = 1e-6,
        in_dim: Annotated[int, Field(gt=0)],
        seed: int = 0,
    ) -> None:
        if min(out_dim, in_dim, p, eps) <= 0:
            raise ValueError(f"out_dim, in_dim, p and eps must be positive, not {out_dim}, {in_dim}, {p}, {eps}")
        super().__init__()
        self.out_dim, self.p, self.eps, self.in_dim, self.seed = out_dim, p, eps, in_dim, seed
        self.power = nn.Parameter(torch.tensor(float(p)))
        self.weight = nn.Parameter(torch.empty(out_dim, in_dim))
        nn.init.orthogonal_(self.weight, generator=torch.Generator().manual_seed(seed))

    def pool(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C)."""
        x = maps.float().clamp_min(self.eps)
        largest = x.amax((2, 3), keepdim=True)
        return largest[:, :, 0, 0] * (x / largest).pow(self.power).mean((2, 3)).pow(1 / self.power)

    def forward(self, features: Tensor, task: str | None = None) -> Tensor:
        """(B, C, h, w) -> (B, D)."""
        vectors = nn.functional.linear(self.pool(features), self.weight)
        return nn.functional.normalize(vectors.float(), dim=1)
