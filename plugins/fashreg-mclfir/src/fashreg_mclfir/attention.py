"""Where and what to look at for one attribute: spatial and channel attention over a map, led by a vector."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fashreg.functional.similarity import unit_rows, widen
from fashreg_mclfir.text import text_vector


class AttributeAttentionHead(nn.Module):
    """Attention over places and channels of the map, led by a vector for the attribute; a unit vector out.

    Features F (B, C, h, w) of any size, p (E,) for the attribute, P = h w places, G = conv1x1(F) (B, E, h, w):

        places    s_j = sum_c p_c tanh(BN(G))_cj / sqrt(E),  alpha = softmax over the P places
        pooling   g = sum_j alpha_j G_:j                      (of G itself, before BN and tanh)
        channels  m = sigmoid(W3 relu(W2 [g ; p] + b2) + b3)  (divided by its largest, which changes no direction)
        output    z = (g * m) / |g * m|                       (a zero row stays zero)

    vector "learnt": p is E free numbers, 180,992 parameters with C = 1024 and E = 128. "text": p = W1 t + b1 with t the
    frozen sum of the CLIP text features of the attribute's words, 246,528 parameters. t is constant within a head, so
    both can express the same; text only starts elsewhere.

    Source: Xiao, Yamasaki, "A Multihead Continual Learning Framework for Fine-Grained Fashion Image Retrieval with
        Contrastive Learning and Exponential Moving Average Distillation", 2026, https://arxiv.org/abs/2603.20648
        (as in its released code); after Ma et al., ASEN, AAAI 2020, https://arxiv.org/abs/2002.02814
    Differs: the released head also carries a second text projection that nothing uses; names of attributes are split
        into words wherever there is no letter or digit (there, names with spaces were split into characters); the
        length is computed in fp32 and a zero row gives no NaN.
    See also: multi-task, a head per attribute; own-network.

    Args:
        out_dim: width E of map, pooled vector and embedding, which must be one, as the gate multiplies the vector.
        vector: "learnt", or "text" from CLIP.
        text_dim: width of the text vector; 512 for ViT-B models.
        text_model: open_clip's name of the model whose text tower is asked; extra fashreg-mclfir[text].
        text_weights: open_clip's tag (it fetches them, e.g. "openai") or a .safetensors file of the whole model. None
            computes nothing: the text vector comes with a saved state, or from `tell`.
        task: name of the attribute, for its text; multi-task tells it.
        in_dim: channels C of the map.
        seed: of the first weights; the global random state is left alone.
    """

    takes: Literal["pooled", "map"] = "map"
    tasks: tuple[str, ...] = ()
    unit = True
    reaches: ClassVar[Mapping[str, Any]] = MappingProxyType({"text_weights": None})
    text: Tensor

    def __init__(
        self,
        out_dim: Annotated[int, Field(gt=0)] = 128,
        *,
        vector: Literal["learnt", "text"] = "learnt",
        text_dim: Annotated[int, Field(gt=0)] = 512,
        text_model: str = "ViT-B-16",
        text_weights: str | Path | None = None,
        task: str | None = None,
        in_dim: Annotated[int, Field(gt=0)],
        seed: Annotated[int, Field(ge=0, lt=2**63)] = 0,
    ) -> None:
        if min(out_dim, text_dim, in_dim) < 1:
            raise ValueError(f"out_dim, text_dim and in_dim are 1 or more, not {out_dim}, {text_dim}, {in_dim}")
        if vector not in ("learnt", "text"):
            raise ValueError(f'vector is "learnt" or "text", not {vector!r}')
        super().__init__()
        self.out_dim, self.vector, self.text_dim, self.text_model = out_dim, vector, text_dim, text_model
        self.text_weights, self.task, self.in_dim, self.seed = text_weights, task, in_dim, seed
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.reduce = nn.Conv2d(in_dim, out_dim, 1)
            self.norm = nn.BatchNorm2d(out_dim)
            self.gate = nn.Sequential(nn.Linear(2 * out_dim, out_dim), nn.ReLU(), nn.Linear(out_dim, out_dim))
            self.told = vector == "learnt"  # whether the attribute's vector is known
            if vector == "learnt":
                self.attribute = nn.Parameter(torch.randn(out_dim))
            else:
                self.project = nn.Linear(text_dim, out_dim)
                self.register_buffer("text", torch.zeros(text_dim))
        if vector == "text" and task is not None and text_weights is not None:
            self.tell(text_vector(task, text_model, str(text_weights)))

    def tell(self, vector: Tensor) -> None:
        """Take this (text_dim,) as the attribute's text vector."""
        if self.vector != "text" or vector.shape != (self.text_dim,):
            raise ValueError(
                f"a text vector of {tuple(vector.shape)} for a head with vector={self.vector!r} and text_dim="
                f"{self.text_dim}: set text_dim to the model's width"
            )
        self.text.copy_(vector)
        self.told = True

    def forward(self, features: Tensor, task: str | None = None) -> Tensor:
        """(B, C, h, w) -> (B, E)."""
        reduced, led = self.reduce(features), self._led_by()
        places = self._places(reduced, led)
        pooled = torch.bmm(reduced.flatten(2), places.to(reduced.dtype)[:, :, None])[:, :, 0]
        gate = self.gate(torch.cat([pooled, led.to(pooled.dtype).expand(len(pooled), -1)], dim=1))
        weights = nn.functional.logsigmoid(widen(gate))
        weights = (weights - weights.amax(dim=1, keepdim=True)).exp()  # m over its largest: same direction, never all 0
        return unit_rows(widen(pooled) * weights)

    def attention(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> alpha (B, h, w): how much each place counts; sums to 1 over the places of a picture."""
        return self._places(self.reduce(features), self._led_by()).view(len(features), *features.shape[2:])

    def _led_by(self) -> Tensor:
        """p (E,)."""
        if not self.told:
            raise ValueError(
                f"the text vector of {self.task or 'this attribute'!r} is not known here: make the head with task= and "
                'text_weights= ("openai", or a .safetensors file), or give the vector to tell(). For tasks that are '
                "added to a loaded model: model.head.head.text_weights = ... before"
            )
        led: Tensor = self.attribute if self.vector == "learnt" else self.project(self.text)
        return led

    def _places(self, reduced: Tensor, led: Tensor) -> Tensor:
        """alpha (B, P)."""
        scores = torch.matmul(led, torch.tanh(self.norm(reduced)).flatten(2)) / math.sqrt(self.out_dim)
        return widen(scores).softmax(dim=1)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *rest)
        if (stored := state_dict.get(f"{prefix}text")) is not None:
            self.told = bool(stored.any())
