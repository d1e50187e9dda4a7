"""One CLIP for many tasks: adapters of each task in both towers, and the way across that all tasks share."""

from __future__ import annotations

import copy
from typing import Any, Literal

from torch import Tensor

from fashreg_famevil.adapter import added
from fashreg_famevil.additions import SIDES, Additions
from fashreg_famevil.cross_attention import Context
from fashreg_famevil.towers import ImageTower, TextTower, valid_tokens
from fashreg_famevil.written import Written


class AdaptedCLIP(Additions):
    """A CLIP of open_clip with task-specific adapters (TSA) and cross-attention adapters (XAA) attached from outside.

    The CLIP is given with its weights and stays as it is: the adapters are modules of this class, so that its
    parameters, its state and its own calls do not change. With z' the stream after attention, block l gives

        z_l = z' + MLP(LN z') + TSA_task(z') + e XAA(z' | y)

    image(), text(): each tower alone, e = 0. fused(): both towers in step, e = 1, y the other's z' of the same layer.
    memory() and hidden(): a decoder, where the text tower asks the image tower's z_l, layer by layer. Fresh adapters
    add 0: image() and text() are the CLIP's own features to the bit, and so is fused().

    Source: Han, Zhu, Yu, Zhang, Song, Xiang, "FAME-ViL: Multi-Tasking Vision-Language Model for Heterogeneous Fashion
        Tasks", CVPR 2023, https://arxiv.org/abs/2303.02483

    Differs: towers of unequal depth are refused, where the method is not defined.

    Args:
        clip: a model of open_clip with ViT towers of equal depth.
        tasks: names; add_task adds more at any time, and leaves the others as they are. Without any, task is None.
        bottleneck: of the task-specific adapters.
        cross_bottleneck: of those in the cross-attention.
        adapters: "own" for each task, "one" set for all tasks, "none".
        cross: towers that ask the other one; add_cross adds the other later.
    """

    def __init__(
        self,
        clip: Any,
        tasks: tuple[str, ...] = (),
        bottleneck: int = 64,
        cross_bottleneck: int = 64,
        *,
        adapters: Literal["own", "one", "none"] = "own",
        cross: tuple[str, ...] = SIDES,
    ) -> None:
        towers = ImageTower(clip), TextTower(clip)
        if len(towers[0]) != len(towers[1]):
            raise ValueError(
                f"the image tower has {len(towers[0])} blocks and the text tower {len(towers[1])}; the way across "
                "pairs blocks one to one: choose a CLIP of equal depth, e.g. ViT-B-16-quickgelu"
            )
        super().__init__(clip, towers, bottleneck, cross_bottleneck, adapters)
        for side in cross:
            self.add_cross(side)
        for task in tasks:
            self.add_task(task)

    # ---- one tower alone ----

    def image(self, images: Tensor, task: str | None = None) -> Tensor:
        """(B, 3, H, W) -> (B, E), not normalised."""
        return self.image_pool(self.image_blocks(self.image_stem(images), task))

    def image_stem(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> tokens (B, N, d)."""
        return self._image.stem(images)

    def image_pool(self, x: Tensor) -> Tensor:
        """Tokens of the last block -> (B, E)."""
        return self._image.pool(x)

    def image_blocks(self, x: Tensor, task: str | None = None, start: int = 0, stop: int | None = None) -> Tensor:
        """Blocks start..stop-1 of the image tower: (B, N, d) -> (B, N, d)."""
        for layer in range(len(self._image))[start:stop]:
            x = self._fed("image", layer, self._image.attend(layer, x), task)
        return x

    def memory(self, images: Tensor, task: str | None = None) -> list[Tensor]:
        """The image tower's z_l, (B, N, d) of every layer: what a caption is written from."""
        x, kept = self._image.stem(images), []
        for layer in range(len(self._image)):
            x = self.image_blocks(x, task, layer, layer + 1)
            kept.append(x)
        return kept

    def text(self, tokens: Tensor, task: str | None = None) -> Tensor:
        """(B, N) int64 -> (B, E), not normalised."""
        x = self._text.stem(tokens)
        for layer in range(len(self._text)):
            x = self._fed("text", layer, self._text.attend(layer, x, self._text.mask), task)
        return self._text.pool(x, tokens)

    # ---- both in step ----

    def fused(
        self, images: Tensor, tokens: Tensor, task: str | None = None, *, across: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Embeddings (B, E) of pictures and texts that see one another, not normalised; the two are added by whoever
        wants one vector. across = False: each tower alone, the way across is not walked.
        """
        pictures, words, valid = self._image, self._text, valid_tokens(tokens)
        x, y = pictures.stem(images), words.stem(tokens)
        for layer in range(len(pictures)):
            x, y = pictures.attend(layer, x), words.attend(layer, y, words.mask)
            after_x, after_y = self._fed("image", layer, x, task), self._fed("text", layer, y, task)
            if across and "image" in self.cross:
                asks = self._across("image", layer)
                after_x = after_x + asks(x, asks.context_of(y, valid))
            if across and "text" in self.cross:
                asks = self._across("text", layer)
                after_y = after_y + asks(y, asks.context_of(x))
            x, y = after_x, after_y
        return pictures.pool(x), words.pool(y, tokens)

    # ---- a caption ----

    def contexts(self, memory: list[Tensor]) -> list[Context]:
        """What each layer of the text tower asks of a picture: made once, whatever the length of the caption."""
        if "text" not in self.cross:
            raise ValueError("words have no way to ask a picture: this model was made without it (cross)")
        return [self._across("text", layer).context_of(z) for layer, z in enumerate(memory)]

    def hidden(self, tokens: Tensor, contexts: list[Context], task: str | None = None) -> Tensor:
        """(B, N) int64 -> (B, N, d) after the last norm; position n knows the tokens up to n and the picture."""
        x = self._text.stem(tokens)
        mask = self._text.mask[: tokens.shape[1], : tokens.shape[1]]
        for layer, context in enumerate(contexts):
            x = self._text.attend(layer, x, mask)
            x = self._fed("text", layer, x, task) + self._across("text", layer)(x, context)
        return self._text.hidden(x)

    def said(self, hidden: Tensor, task: str | None = None) -> Tensor:
        """What words are read from: hidden states (..., d) as they are, or a writer's scores of all tokens (..., V)."""
        writer = self.writer_of(task)
        return hidden if writer is None else writer(hidden, self._text.table)

    def written(self, places: int, beams: int = 1) -> Written:
        """Room for texts of that many tokens, with their start, and nothing written yet."""
        return Written(len(self._text), places, beams)

    def next_hidden(self, tokens: Tensor, contexts: list[Context], written: Written, task: str | None = None) -> Tensor:
        """As `hidden` for one more token of every text, (G, S) of S texts for each of G pictures: (G, S, d).

        What came before is in `written`, which then holds these too; `written.go_on()` goes to the next place.
        """
        written.opened(tokens)
        x = self._text.stem_next(tokens, written.place)
        for layer, context in enumerate(contexts):
            x = self._text.attend_next(layer, x, written)
            x = self._fed("text", layer, x, task) + self._across("text", layer)(x, context)
        return self._text.hidden(x)

    # ---- parts ----

    @property
    def text_width(self) -> int:
        """d of the text tower, what `hidden` gives."""
        return self._text.width

    @property
    def context_length(self) -> int:
        """Tokens of the longest text, with start and end."""
        return self._text.context_length

    def _fed(self, side: str, layer: int, x: Tensor, task: str | None) -> Tensor:
        """z' + MLP(LN z') + TSA(z')."""
        after, adapters = self._tower(side).feed(layer, x), self.adapters_of(task)
        return after if adapters is None else added(after, adapters[side][layer](x))

    def __deepcopy__(self, memo: dict[int, Any]) -> AdaptedCLIP:
        """The views of a copy look at the copy's own CLIP."""
        other = self.__class__.__new__(self.__class__)
        memo[id(self)] = other
        for name, value in self.__dict__.items():
            if name not in ("_image", "_text"):
                other.__dict__[name] = copy.deepcopy(value, memo)
        other.__dict__.update(_image=self._image.over(other.clip), _text=self._text.over(other.clip))
        return other
