"""The head of the specification, written place by place and channel by channel."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


@torch.no_grad()
def plain_head(head: Any, picture: Tensor, led: Tensor) -> Tensor:
    """The unit vector (E,) of one map (C, h, w), in fp64, with the statistics that the batch norm keeps."""
    weight, bias = head.reduce.weight.double()[:, :, 0, 0], head.reduce.bias.double()
    places = [picture.double()[:, y, x] for y in range(picture.shape[1]) for x in range(picture.shape[2])]
    reduced = [weight @ place + bias for place in places]
    norm = head.norm
    scores = []
    for place in reduced:
        normed = (place - norm.running_mean) / (norm.running_var.double() + norm.eps).sqrt() * norm.weight + norm.bias
        scores.append(sum(led[c].double() * math.tanh(normed[c]) for c in range(len(led))) / math.sqrt(len(led)))
    most = max(float(score) for score in scores)
    shares = [math.exp(float(score) - most) for score in scores]
    pooled = sum(share / sum(shares) * place for share, place in zip(shares, reduced, strict=True))
    first, second = head.gate[0], head.gate[2]
    hidden = (first.weight.double() @ torch.cat([pooled, led.double()]) + first.bias.double()).clamp(min=0)
    gate = 1 / (1 + (-(second.weight.double() @ hidden + second.bias.double())).exp())
    vector = pooled * gate
    return vector / vector.norm()
