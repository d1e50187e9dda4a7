"""Both towers of an open_clip CLIP, a block at a time. The model is only read; nothing of it is replaced."""

from __future__ import annotations

import copy
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from fashreg_famevil.few_rows import linear_of_few
from fashreg_famevil.written import Written


class Tower:
    """What both towers share: their blocks. attend and feed give the residual stream after attention, after the MLP."""

    def __init__(self, transformer: Any) -> None:
        self.blocks = transformer.resblocks
        block = self.blocks[0]
        if (
            not hasattr(block, "ls_1")
            or not hasattr(block, "attention")
            or type(block.attn) is not torch.nn.MultiheadAttention
        ):
            raise ValueError(
                f"blocks of {type(block).__name__} have no plain attention; choose a CLIP with plain ViT blocks, e.g. "
                "ViT-B-16-quickgelu"
            )
        self.width = int(block.attn.embed_dim)
        self.heads = int(block.attn.num_heads)
        self.batch_first = bool(transformer.batch_first)

    def __len__(self) -> int:
        return len(self.blocks)

    def attend(self, layer: int, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """z' = x + attention(LN1 x) of one block: (B, N, d) -> (B, N, d)."""
        block = self.blocks[layer]
        turned = x if self.batch_first else x.transpose(0, 1)
        seen = block.attention(q_x=block.ln_1(turned), attn_mask=mask)
        after: Tensor = turned + block.ls_1(seen)
        return after if self.batch_first else after.transpose(0, 1)

    def feed(self, layer: int, x: Tensor) -> Tensor:
        """z' + MLP(LN2 z') of one block."""
        block = self.blocks[layer]
        hidden = block.ln_2(x)
        for part in block.mlp:
            hidden = linear_of_few(hidden, part.weight, part.bias) if _is_wider(part) else part(hidden)
        after: Tensor = x + block.ls_2(hidden)
        return after


class ImageTower(Tower):
    """Pictures to tokens, and tokens to an embedding."""

    def __init__(self, clip: Any) -> None:
        visual = clip.visual
        if not hasattr(visual, "transformer") or not hasattr(visual, "_embeds"):
            raise ValueError(f"the image tower is a {type(visual).__name__}; adapters need a ViT of open_clip")
        super().__init__(visual.transformer)
        self._visual = visual

    def over(self, clip: Any) -> Self:
        """The same view of a copy of the CLIP, of which blocks may have been taken out."""
        other = copy.copy(self)
        other._visual, other.blocks = clip.visual, _blocks(clip.visual)
        return other

    def stem(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, N, d)."""
        tokens: Tensor = self._visual._embeds(images)
        return tokens

    def pool(self, x: Tensor) -> Tensor:
        """Last tokens (B, N, d) -> embedding (B, E), not normalised."""
        pooled: Tensor = self._visual._pool(x)[0]
        return pooled if self._visual.proj is None else pooled @ self._visual.proj


class TextTower(Tower):
    """Tokens to hidden states, to an embedding, and one more token at a time."""

    def __init__(self, clip: Any) -> None:
        if not hasattr(clip, "transformer") or not hasattr(clip.transformer, "resblocks"):
            raise ValueError(f"the text tower of {type(clip).__name__} is not a transformer of open_clip's own CLIP")
        super().__init__(clip.transformer)
        if clip.text_pool_type != "argmax" or clip.attn_mask is None:
            raise ValueError("the text tower must be causal and read its embedding at the end-of-text token")
        self._clip = clip
        self.context_length, self.vocabulary = int(clip.context_length), int(clip.vocab_size)

    def over(self, clip: Any) -> Self:
        """The same view of a copy of the CLIP, of which blocks may have been taken out."""
        other = copy.copy(self)
        other._clip, other.blocks = clip, _blocks(clip)
        return other

    @property
    def mask(self) -> Tensor:
        """(N, N) causal, additive."""
        mask: Tensor = self._clip.attn_mask
        return mask

    @property
    def table(self) -> Tensor:
        """(V, d), a row for each token."""
        table: Tensor = self._clip.token_embedding.weight
        return table

    def stem(self, tokens: Tensor) -> Tensor:
        """(B, N) int64 -> (B, N, d)."""
        places = self._clip.positional_embedding[: tokens.shape[1]]
        dtype = self._clip.transformer.get_cast_dtype()
        embedded: Tensor = self._clip.token_embedding(tokens).to(dtype) + places.to(dtype)
        return embedded

    def hidden(self, x: Tensor) -> Tensor:
        """The last norm."""
        normed: Tensor = self._clip.ln_final(x)
        return normed

    def pool(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Last tokens (B, N, d) -> embedding (B, E) at the first end-of-text token, not normalised."""
        pooled = self.hidden(x)[torch.arange(len(x), device=x.device), tokens.argmax(dim=-1)]
        projection = self._clip.text_projection
        if projection is None:
            return pooled
        projected: Tensor = projection(pooled) if isinstance(projection, torch.nn.Linear) else pooled @ projection
        return projected

    def stem_next(self, tokens: Tensor, place: int) -> Tensor:
        """(G, S) int64, all at one place -> (G, S, d)."""
        dtype, at = self._clip.transformer.get_cast_dtype(), self._clip.positional_embedding[place]
        embedded: Tensor = self._clip.token_embedding(tokens).to(dtype) + at.to(dtype)
        return embedded

    def attend_next(self, layer: int, x: Tensor, written: Written) -> Tensor:
        """As `attend` for one more token of each text, x (G, S, d), after what is written, which then holds it too."""
        block = self.blocks[layer]
        attention = block.attn
        projected = linear_of_few(block.ln_1(x), attention.in_proj_weight, attention.in_proj_bias).contiguous()
        q, k, v = (split_heads(part, self.heads) for part in projected.chunk(3, dim=2))
        keys, values = written.put(layer, k, v)
        seen = F.scaled_dot_product_attention(q, keys, values, attn_mask=written.mask).transpose(1, 2).flatten(2)
        after: Tensor = x + block.ls_1(attention.out_proj(seen))
        return after


def _is_wider(part: Any) -> bool:
    """Whether it is a plain product to a larger width, that nobody has hooked something to."""
    plain = type(part) is torch.nn.Linear and not part._forward_hooks and not part._forward_pre_hooks
    return plain and part.out_features > part.in_features and part.bias is not None


def _blocks(tower: Any) -> Any:
    """The blocks that are left of a tower."""
    return getattr(tower.transformer, "resblocks", ())


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, N, d) -> (B, h, N, d / h)."""
    return x.view(*x.shape[:2], heads, -1).transpose(1, 2)


def valid_tokens(tokens: Tensor) -> Tensor:
    """(B, N) bool: up to and with the first end-of-text token, whose number is the largest of the vocabulary."""
    places = torch.arange(tokens.shape[1], device=tokens.device)
    return places <= tokens.argmax(dim=-1, keepdim=True)
