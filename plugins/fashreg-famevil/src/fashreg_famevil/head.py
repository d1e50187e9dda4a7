"""What stands on the trunk: unit rows for searching, a scale, a classifier or a writer for each task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from fashreg_famevil.kinds import able, checked_new, known
from fashreg_famevil.models import seeded
from fashreg_famevil.writer import Offsets, Writer


class FameViLHead(nn.Module):
    """FAME-ViL's heads: unit rows for every task, and what each kind of task has of its own.

    cross-modal, composed: a learnt scale a, so that logits are a^2 cos and the temperature is 1 / a^2 (1/16 at the
    start). classification: logits W f + b of the feature as it comes. captioning: logits W_lm h + b_lm of the next
    token from a hidden state h of the text tower, or where the trunk scores the tokens itself (its option writer is
    "tied"), these scores and b_lm. Rows for searching are f / |f|: the projection is the CLIP's.

    Source: Han, Zhu, Yu, Zhang, Song, Xiang, "FAME-ViL: Multi-Tasking Vision-Language Model for Heterogeneous Fashion
        Tasks", CVPR 2023, https://arxiv.org/abs/2303.02483

    See also: fame-vil (backbone), multi-task (learner).

    Args:
        kinds: task -> its kind: cross-modal, composed, classification or captioning. A recipe's `tasks` give it.
        classes: task -> names of its classes in their order, for tasks of kind classification.
        in_dim: width E of the trunk's features, which is also that of the rows.
        text_dim: width of what words are read from, for captions: the text tower's hidden states. Where it equals
            vocabulary they are scores of tokens already.
        vocabulary: number of tokens, for captions.
        scale: a at the start.
        seed: of the first weights, together with the task's name.
    """

    takes: Literal["pooled", "map"] = "pooled"
    unit: bool = True
    _place: Tensor

    def __init__(
        self,
        *,
        kinds: dict[str, str] | None = None,
        classes: dict[str, list[str]] | None = None,
        in_dim: Annotated[int, Field(gt=0)],
        text_dim: Annotated[int, Field(gt=0)] | None = None,
        vocabulary: Annotated[int, Field(gt=0)] | None = None,
        scale: Annotated[float, Field(gt=0)] = 4.0,
        seed: Annotated[int, Field(ge=0, lt=2**63)] = 0,
    ) -> None:
        if scale <= 0:
            raise ValueError(f"scale must be above 0, not {scale}")
        super().__init__()
        self.in_dim = self.out_dim = in_dim
        self.text_dim, self.vocabulary, self.scale, self.seed = text_dim, vocabulary, scale, seed
        self.kinds: dict[str, str] = {}
        self.classes: dict[str, list[str]] = {}
        self.heads = nn.ModuleDict()
        self.register_buffer("_place", torch.empty(0), persistent=False)  # device and dtype, also before the first task
        for task, kind in (kinds or {}).items():
            self.add_task(task, kind, classes=(classes or {}).get(task))

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, in the order of adding."""
        return tuple(self.kinds)

    def add_task(self, name: str, kind: str = "cross-modal", *, classes: Sequence[str] | None = None) -> None:
        """What a new task has of its own; the others stay as they are. A known name raises ValueError."""
        checked_new(name, kind, self.kinds)
        with seeded(self.seed, name):
            made = self._made(name, kind, list(classes or ()))
        self.heads[_key(name)] = made.to(self._place).train(self.training)
        self.kinds = {**self.kinds, name: kind}
        if kind == "classification":
            self.classes = {**self.classes, name: list(classes or ())}

    def _made(self, name: str, kind: str, classes: list[str]) -> nn.Module:
        if kind == "classification":
            if len(set(classes)) != len(classes) or not classes:
                raise ValueError(
                    f"task {name!r} tells classes apart: give classes={{{name!r}: [their names, each once]}}"
                )
            return nn.Linear(self.in_dim, len(classes))
        if kind == "captioning":
            if self.text_dim is None or self.vocabulary is None:
                raise ValueError(f"task {name!r} writes captions: give text_dim and vocabulary, those of the trunk")
            if self.text_dim == self.vocabulary:
                return Offsets(self.vocabulary)
            return Writer(self.text_dim, self.vocabulary)
        return Scale(self.scale)

    def forward(self, features: Tensor, task: str | None = None) -> Tensor:
        """(B, E) -> rows of length 1 (B, E), in full precision. Raises ValueError for an unknown task."""
        known(task, self.kinds)
        return F.normalize(features.float() if features.dtype in (torch.half, torch.bfloat16) else features, dim=1)

    def scale_of(self, task: str | None = None) -> Tensor:
        """a, (1,), of a task of kind cross-modal or composed."""
        found: Any = self._own(task, ("cross-modal", "composed"), "compare rows")
        value: Tensor = found.value
        return value

    def classify(self, features: Tensor, task: str | None = None) -> Tensor:
        """(B, E) as they come from the trunk -> logits (B, C), in the order of `classes[task]`."""
        logits: Tensor = self._own(task, ("classification",), "tell classes apart")(features)
        return logits

    def words(self, hidden: Tensor, task: str | None = None) -> Tensor:
        """(..., text_dim) hidden states -> logits (..., V) of the next token."""
        logits: Tensor = self._own(task, ("captioning",), "write captions")(hidden)
        return logits

    def head_of(self, task: str) -> nn.Module:
        """The module that is this task's own. Raises ValueError for an unknown task."""
        found: nn.Module = self.heads[_key(str(known(task, self.kinds)))]
        return found

    def _own(self, task: str | None, kinds: tuple[str, ...], what: str) -> nn.Module:
        """The module of a task that must be of one of these kinds; the only one there is where none is named."""
        return self.head_of(able(task, self.kinds, kinds, what))


class Scale(nn.Module):
    """One learnt number."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.start = start
        self.value = nn.Parameter(torch.full((1,), start))


def _key(task: str) -> str:
    """A name that a ModuleDict takes, whatever the task is called; one for each task."""
    return "task_" + task.replace("%", "%25").replace(".", "%2E")
