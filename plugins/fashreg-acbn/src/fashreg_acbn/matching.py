"""The affine map, dimension by dimension, that gives a set of rows the wanted mean and standard deviation.

    r' = (r - mean) g + wanted mean,    g = wanted std / std

and its guards. Only the diagonal of the second moments is matched; a rotation of the embedding is not undone.
"""

from __future__ import annotations

import torch
from torch import Tensor

DEAD = 1e-6  # a dimension whose std is below this share of the median over the dimensions is only shifted
DEAD_ABSOLUTE = 1e-8  # ... or below this
MOST = 4.0  # g stays within 1/MOST and MOST in one step


def matching_factor(std: Tensor, wanted: Tensor) -> Tensor:
    """g (D,) for rows of the given std; 1 in dead dimensions, where dividing by the std would only blow up rounding."""
    least = std.median().mul_(DEAD).clamp_(min=DEAD_ABSOLUTE)
    factor = (wanted / std).clamp_(1.0 / MOST, MOST)
    return factor.masked_fill_(std < least, 1.0)


def matched(scale: Tensor, factor: Tensor, kept_mean: Tensor, wanted_mean: Tensor) -> tuple[Tensor, Tensor]:
    """Rows scale * u + shift after the map, where the kept rows u have mean `kept_mean`: the new scale and shift.

    The old shift plays no part: whatever it was, the rows end at the wanted mean.
    """
    scale = scale * factor
    return scale, torch.addcmul(wanted_mean, scale, kept_mean, value=-1.0)
