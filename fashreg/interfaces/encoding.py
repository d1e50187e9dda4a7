"""Pictures and texts to embeddings: the contracts of a backbone and of a head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from fashreg.values import InputSpec


class Backbone(Protocol):
    """Pictures (and, if it says so, texts) to features. An nn.Module.

    Its work is a row of named stages; freezing and caching cut between stages, and what travels between them is the
    network's own affair (a map, tokens). `forward(images)` must equal `pool(run_stages(images))`, and
    run_stages(run_stages(x, 0, s), s, n) must equal run_stages(x, 0, n). A constructor parameter `weights` says where
    pretrained weights come from; with weights=None nothing is fetched or read (so is a saved model built).

    One that knows texts, or whose work depends on the task, has members of `TextBackbone`, too.
    """

    modalities: frozenset[str]  # {"image"}, {"image", "text"}
    out_dim: int  # F, width of the pooled feature
    map_dim: int  # C, channels of the spatial map
    input_spec: InputSpec
    stages: tuple[str, ...]  # names, first to last

    def __call__(self, images: Tensor) -> Tensor: ...  # (B, 3, H, W) -> (B, F)
    def run_stages(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Stages start..stop-1, batch first. start = 0 takes images; stop = None runs to the last stage."""

    def pool(self, features: Tensor) -> Tensor: ...  # output of the last stage -> (B, F)
    def to_map(self, features: Tensor) -> Tensor: ...  # output of the last stage -> spatial map (B, C, h, w)
    def stage_modules(self, index: int) -> list[Any]:
        """The nn.Modules whose parameters belong to stage `index` (for freezing); all stages: each exactly once.

        What pooling owns belongs to the last stage.
        """


class TextBackbone(Backbone, Protocol):
    """What a backbone may have beside: texts, tasks of its own, captions. Each member is looked for by its name.

    With `tasks` the trunk itself depends on the task: forward and run_stages take `task` (None: the only one;
    ValueError for an unknown one, and for None among several). `kinds` says what each is for: "cross-modal" (pictures
    and texts find one another), "composed" (picture and text find a picture), "classification", "captioning". Features
    of texts, and of pictures with texts, are as wide as those of pictures and go through the same head. "text" is in
    `modalities` if and only if there is `encode_text`. In evaluation no row depends on another.
    """

    tasks: tuple[str, ...]
    kinds: Mapping[str, str]  # task -> kind, for every task; as a constructor parameter a fact of the run
    text_dim: int  # width of the hidden states that a caption's words are read from
    vocabulary: int  # number of words that a caption is made of

    def encode_text(self, texts: Sequence[str], task: str | None = None) -> Tensor: ...  # B texts -> (B, F)
    def compose(self, images: Tensor, texts: Sequence[str], task: str | None = None) -> Tensor:
        """Pictures (B, 3, H, W), each with its text -> (B, F); for tasks of the kinds composed and classification."""

    def captions(
        self, images: Tensor, words: Any, task: str | None = None, *, beams: int = 1, length: int | None = None
    ) -> list[str]:
        """words: hidden (B, text_dim) -> logits (B, vocabulary), the head's. length: most tokens; None: what fits."""

    def add_task(self, name: str, kind: str) -> None: ...  # the others stay as they are, bit for bit
    def modules_of(self, task: str) -> list[Any]:
        """The nn.Modules that this task uses and not every task must: changes in others' leave its vectors alone."""


class Head(Protocol):
    """Features to embeddings. An nn.Module.

    takes: "pooled" (B, F) or "map" (B, C, h, w). unit: rows of the output have length 1.
    tasks: names of the tasks it serves, () for a head that serves one. A task added later leaves the others as they
    were, bit for bit. It may have `head_of(task)`: the nn.Module that alone decides that task's vectors; with it, an
    index of one task stays valid when other tasks come or learn.

    A head over a `TextBackbone` may also have `classes` (task -> names of its classes) with `classify(features, task)`
    -> logits (B, C), for tasks that classify, and `words(hidden, task)` -> logits (B, vocabulary), for captions.
    """

    in_dim: int
    out_dim: int
    takes: Literal["pooled", "map"]
    unit: bool
    tasks: tuple[str, ...]

    def __call__(self, features: Tensor, task: str | None = None) -> Tensor: ...  # -> (B, D)
