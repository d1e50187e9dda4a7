"""The trunk: pictures, texts and both together to features, a set of adapters for each task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fashreg.values import InputSpec
from fashreg_famevil.beams import beam
from fashreg_famevil.decoding import Ends, greedy
from fashreg_famevil.kinds import ACROSS, able, checked_new, known
from fashreg_famevil.model import AdaptedCLIP
from fashreg_famevil.models import plain_clip, seeded
from fashreg_famevil.stages import stage_modules
from fashreg_famevil.tokens import tokens_of
from fashreg_famevil.weights import load_weights, tag_of

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class FameViLBackbone(nn.Module):
    """FAME-ViL's trunk: a CLIP of open_clip with adapters for each task and a way across between its towers.

    With z' the stream after attention, block l of either tower gives

        z_l = z' + MLP(LN z') + TSA_task(z') + e XAA(z' | y)
        TSA(x) = s (W_up ReLU(W_down LN(x) + c_down) + c_up)

    Pictures alone and texts alone walk their own tower (e = 0). A picture with a text walks both in step (e = 1, y the
    other's z' of the same layer), and its feature is f_v + f_t, added before any normalisation. A caption is written by
    the text tower, whose layer l asks the picture tower's z_l. Fresh adapters add 0 to the bit, so that a new model
    gives the CLIP's own features. The way across is made for the kinds of task that walk it, and shared by them.

    Source: Han, Zhu, Yu, Zhang, Song, Xiang, "FAME-ViL: Multi-Tasking Vision-Language Model for Heterogeneous Fashion
        Tasks", CVPR 2023, https://arxiv.org/abs/2303.02483

    Differs: captions end at the end of the text or at a fixed length, where the published code takes the longest
        reference of the batch. The width of the adapters in the way across is an option, there it is always 64. Before
        the centre crop pictures keep their shape, there they are made square. CLIPs whose towers differ in depth are
        refused, because the method pairs blocks one to one.
    See also: fame-vil (head), multi-task (learner).

    Args:
        model: open_clip's name of a ViT CLIP, or "tiny" (2 blocks, 32 px) and "small" (4 blocks, 64 px) for CPUs.
        weights: a tag that open_clip knows ("openai"), "hf-hub:user/name[@REVISION]", a .safetensors file (of
            open_clip or of transformers), or None for random weights. They are loaded before adapters are attached.
        kinds: task -> its kind: cross-modal, composed, classification or captioning. A recipe's `tasks` give it.
        bottleneck: width of the adapters of the tasks; the paper has 64 and up to 512.
        cross_bottleneck: width of the adapters in the way across.
        task_adapters: "own" for each task, "one" set for all tasks, "none": the paper's ablation.
        cross_attention: False leaves the way across out; then a caption cannot see its picture and is refused.
        writer: "own": a head's own matrix names the next token, as published. "tied": the CLIP's table of tokens does,
            after a (d, d) matrix and a scale of the task's own; far smaller to store. The table is the CLIP's.
        context_length: tokens of a text, with start and end; None is the model's (77 for CLIP).
        vocabulary: tokens, of which CLIP's first merges are kept; 514 (bytes alone) to 49408. None is the model's.
        image_size: height and width of pictures in pixels; None is the model's. Positions are interpolated.
        crop: share of the shorter side that the centre crop keeps; the paper cuts 224 out of 256.
        seed: of random weights, and with the task's name of its adapters.
    """

    modalities: frozenset[str] = frozenset({"image", "text"})

    def __init__(
        self,
        model: str = "ViT-B-16-quickgelu",
        weights: str | Path | None = "openai",
        *,
        kinds: dict[str, str] | None = None,
        bottleneck: Annotated[int, Field(gt=0)] = 64,
        cross_bottleneck: Annotated[int, Field(gt=0)] = 64,
        task_adapters: Literal["own", "one", "none"] = "own",
        cross_attention: bool = True,
        writer: Literal["own", "tied"] = "own",
        context_length: Annotated[int, Field(ge=3, le=4096)] | None = None,
        vocabulary: Annotated[int, Field(ge=514, le=49408)] | None = None,
        image_size: Annotated[int, Field(gt=0, le=4096)] | None = None,
        crop: Annotated[float, Field(gt=0, le=1)] = 0.875,
        seed: Annotated[int, Field(ge=0, lt=2**63)] = 0,
    ) -> None:
        super().__init__()
        self.model, self.weights, self.seed, self.crop = model, weights, seed, crop
        self.bottleneck, self.cross_bottleneck = bottleneck, cross_bottleneck
        self.task_adapters, self.cross_attention, self.writer = task_adapters, cross_attention, writer
        tag = tag_of(model, weights)
        with seeded(seed):
            clip = plain_clip(model, image_size=image_size, context_length=context_length, vocabulary=vocabulary)
        if weights is not None:
            load_weights(clip, model, weights)
        clip.logit_scale.requires_grad_(False)  # nothing here asks it: the tasks' heads have scales of their own
        self.context_length, self.vocabulary = int(clip.context_length), int(clip.vocab_size)
        self.image_size = int(clip.visual.image_size[0])
        self.trunk = AdaptedCLIP(clip, (), bottleneck, cross_bottleneck, adapters=task_adapters, cross=())
        self.input_spec = InputSpec(
            size=(self.image_size, self.image_size),
            mean=tuple(tag.get("mean", MEAN)),
            std=tuple(tag.get("std", STD)),
            interpolation=tag.get("interpolation", "bicubic"),
            crop=crop,
        )
        self.out_dim, self.map_dim = int(clip.visual.output_dim), int(clip.visual.conv1.out_channels)
        if self.vocabulary == self.trunk.text_width:
            raise ValueError(f"vocabulary must be another number than {self.vocabulary}, the width of the text tower")
        self.text_dim = self.vocabulary if writer == "tied" else self.trunk.text_width
        self.stages = ("stem", *(f"block-{n + 1}" for n in range(len(clip.visual.transformer.resblocks))))
        self.kinds: dict[str, str] = {}
        for task, kind in (kinds or {}).items():
            self.add_task(task, kind)

    # ---- tasks ----

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, in the order of adding."""
        return tuple(self.kinds)

    def add_task(self, name: str, kind: str) -> None:
        """Fresh adapters for a new task, and the way across that its kind walks; the others stay as they are."""
        checked_new(name, kind, self.kinds)
        if kind == "captioning" and not self.cross_attention:
            raise ValueError(f"task {name!r} writes captions, which needs cross_attention: true: words ask the picture")
        with seeded(self.seed, "all tasks" if self.task_adapters == "one" else name):
            self.trunk.add_task(name)
        for side in ACROSS[kind] if self.cross_attention else ():
            with seeded(self.seed, "across", side):
                self.trunk.add_cross(side)
        if kind == "captioning" and self.writer == "tied":
            with seeded(self.seed, name):
                self.trunk.add_writer(name)
        self.kinds = {**self.kinds, name: kind}

    def modules_of(self, task: str) -> list[nn.Module]:
        """What this task uses and not every task must: its adapters, and the ways across that its kind walks."""
        own = self.trunk.own_of(known(task, self.kinds))
        across = [self.trunk.cross[side] for side in ACROSS[self.kinds[task]] if side in self.trunk.cross]
        return [*own, *across]

    # ---- pictures ----

    def forward(self, images: Tensor, task: str | None = None) -> Tensor:
        """(B, 3, H, W) -> (B, E), not normalised."""
        return self.pool(self.run_stages(images, task=task))

    def run_stages(self, x: Tensor, start: int = 0, stop: int | None = None, task: str | None = None) -> Tensor:
        """Stages start..stop-1; tokens (B, N, d) travel between them. start = 0 takes pictures."""
        stop = len(self.stages) if stop is None else stop
        task = known(task, self.kinds)
        if start >= stop:
            return x
        if start == 0:
            self._check_size(x)
            x = self.trunk.image_stem(x)
        return self.trunk.image_blocks(x, task, max(start - 1, 0), stop - 1)

    def pool(self, features: Tensor) -> Tensor:
        """Tokens (B, N, d) of the last block -> (B, E)."""
        return self.trunk.image_pool(features)

    def to_map(self, features: Tensor) -> Tensor:
        """Tokens (B, N, d) -> map (B, d, h, w), without the class token."""
        tokens = features[:, 1:]
        side = round(tokens.shape[1] ** 0.5)
        return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], side, side)

    # ---- texts, and pictures with texts ----

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """B texts -> (B, N) int64 on the model's device; what is too long is cut."""
        return tokens_of(self.vocabulary).encode(texts, self.context_length).to(self._device)

    def cut_texts(self, texts: Sequence[str]) -> int:
        """How many of the texts are longer than what is read of them."""
        return tokens_of(self.vocabulary).cut(texts, self.context_length)

    def encode_text(self, texts: Sequence[str], task: str | None = None) -> Tensor:
        """B texts -> (B, E), not normalised."""
        return self.trunk.text(self.tokenize(texts), known(task, self.kinds))

    def compose(self, images: Tensor, texts: Sequence[str], task: str | None = None) -> Tensor:
        """(B, 3, H, W) and B texts -> f_v + f_t (B, E). Towers do not see one another where the kind has no way."""
        if len(images) != len(texts):
            raise ValueError(f"{len(images)} pictures and {len(texts)} texts: one text for each picture")
        self._check_size(images)
        task = known(task, self.kinds)
        across = len(ACROSS[self.kinds[task]]) == 2 if task is not None else False
        one, other = self.trunk.fused(images, self.tokenize(texts), task, across=across)
        return one + other

    # ---- captions ----

    @property
    def ends(self) -> Ends:
        """Numbers of the tokens that open and close a text."""
        tokens = tokens_of(self.vocabulary)
        return Ends(tokens.start, tokens.end)

    def captions(
        self,
        images: Tensor,
        words: Callable[[Tensor], Tensor],
        task: str | None = None,
        *,
        beams: int = 1,
        length: int | None = None,
    ) -> list[str]:
        """A text for each picture (B, 3, H, W). words: (B, text_dim) -> (B, V) logits of the next token.

        beams: 1 = the likeliest token at each place. length: most tokens, without start and end; None: what fits.
        """
        task = able(task, self.kinds, ("captioning",), "write captions")
        self._check_size(images)
        with torch.no_grad():
            memory = self.trunk.memory(images, task)

        def named(hidden: Tensor) -> Tensor:
            return words(self.trunk.said(hidden, task))

        if beams == 1:
            written = greedy(self.trunk, named, memory, task, self.ends, length=length)
        else:
            written = beam(self.trunk, named, memory, task, self.ends, beams=beams, length=length)
        return [tokens_of(self.vocabulary).decode(numbers) for numbers in written]

    # ---- parts ----

    def stage_modules(self, index: int) -> list[Any]:
        """Modules of stage `index` in both towers, with adapters and way across; each parameter in exactly one stage.

        The stem holds what turns pictures and tokens into vectors, the last block what follows the blocks.
        """
        return stage_modules(self.trunk, range(len(self.stages))[index])

    @property
    def _device(self) -> torch.device:
        return next(self.parameters()).device

    def _check_size(self, images: Tensor) -> None:
        if images.shape[-2:] != self.input_spec.size:
            asked, have = "x".join(map(str, images.shape[-2:])), "x".join(map(str, self.input_spec.size))
            raise ValueError(f"{self.model} was made for pictures of {have}, not {asked}; set image_size")
