"""A toy that knows pictures and texts: four kinds of task in a few small layers, for tests of what asks with texts.

Neither class is registered; a test that saves one, or names it in a recipe, makes a plugin of `ENTRY_POINTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fashreg.encoder import Encoder
from fashreg.values import InputSpec

KINDS = ("cross-modal", "composed", "classification", "captioning")
TOLD = ("composed", "classification")  # kinds of task whose pictures are told a text
CLASSES = ("dress", "shirt", "trousers")
LETTERS = "\n abcdefghijklmnopqrstuvwxyz"  # what captions are written in; the first ends one
BUCKETS, PLACES = 64, 24
ENTRY_POINTS = {
    "fashreg.backbone": {"tiny-text": "fashreg.testing.tiny_texts:TinyTextBackbone"},
    "fashreg.head": {"tiny-text": "fashreg.testing.tiny_texts:TinyTextHead"},
}


class TinyTextBackbone(nn.Module):
    """Two stages over 16 x 16 pictures; a text is the mean of its letters' vectors. Each task has two adapters.

    Args:
        kinds: name of each task, and its kind.
        width: of everything inside.
        seed: of the first weights.
    """

    modalities = frozenset({"image", "text"})
    stages: tuple[str, ...] = ("stem", "block")
    vocabulary = len(LETTERS)

    def __init__(self, kinds: dict[str, str] | None = None, width: int = 12, seed: int = 0) -> None:
        super().__init__()
        self.width, self.seed = width, seed
        self.out_dim = self.map_dim = self.text_dim = width
        self.input_spec = InputSpec(size=(16, 16), crop=1.0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.stem, self.block = nn.Conv2d(3, width, 4, 4), nn.Conv2d(width, width, 1)
            self.letters, self.words = nn.Embedding(BUCKETS, width), nn.Linear(width, width)
        self.across: nn.Linear | None = None if kinds else self._across()
        self.adapters = nn.ModuleDict()
        self.kinds: dict[str, str] = {}
        for name, kind in (kinds or {}).items():
            self.add_task(name, kind)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names, in the order of adding."""
        return tuple(self.kinds)

    def add_task(self, name: str, kind: str) -> None:
        """Fresh adapters, which depend on the seed and the number of tasks alone."""
        if not name or name in self.kinds:
            raise ValueError(f"a task needs a new name, not {name!r}; there are {', '.join(self.tasks) or 'none yet'}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed + 1 + len(self.kinds))
            made = nn.ModuleDict(
                {"image": nn.Conv2d(self.width, self.width, 1), "text": nn.Linear(self.width, self.width)}
            )
        self.adapters[_key(name)] = made.to(self.stem.weight.device).train(self.training)
        if self.across is None and kind in TOLD:
            self.across = self._across().to(self.stem.weight.device).train(self.training)
        self.kinds[name] = kind

    def _across(self) -> nn.Linear:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return nn.Linear(self.width, self.width)

    def forward(self, images: Tensor, task: str | None = None) -> Tensor:
        """(B, 3, H, W) -> (B, F)."""
        return self.pool(self.run_stages(images, task=task))

    def run_stages(self, x: Tensor, start: int = 0, stop: int | None = None, task: str | None = None) -> Tensor:
        """Stages start..stop-1."""
        adapters = self._adapters(task)
        for stage in range(2)[start:stop]:
            x = self.stem(x) if stage == 0 else x + torch.tanh(self.block(x)) + adapters(x, "image")
        return x

    def pool(self, features: Tensor) -> Tensor:
        """(B, F, h, w) -> (B, F)."""
        return features.mean((2, 3))

    def to_map(self, features: Tensor) -> Tensor:
        """The map itself."""
        return features

    def stage_modules(self, index: int) -> list[Any]:
        """What each stage owns: texts are read in the stem."""
        told = [] if self.across is None else [self.across]
        return [self.stem, self.letters] if index == 0 else [self.block, self.words, self.adapters, *told]

    def modules_of(self, task: str) -> list[Any]:
        """The adapters of a task, and the way across where pictures are told texts."""
        adapters = self.adapters[_key(task)]
        return [adapters, self.across] if self.kinds[task] in TOLD else [adapters]

    def encode_text(self, texts: Sequence[str], task: str | None = None) -> Tensor:
        """B texts -> (B, F)."""
        adapters, hidden = self._adapters(task), self._read(texts)
        return hidden + torch.tanh(self.words(hidden)) + adapters(hidden, "text")

    def compose(self, images: Tensor, texts: Sequence[str], task: str | None = None) -> Tensor:
        """A picture and a text each -> (B, F): every place of the picture is told the text."""
        said = self.encode_text(texts, task)
        if self.across is None or (self.kinds and self.kinds[task or self.tasks[0]] not in TOLD):
            raise ValueError(f"task {task!r} takes no picture with a text")
        told = torch.tanh(self.across(said))[:, :, None, None] * self.run_stages(images, task=task)
        return self.pool(told) + said

    def captions(
        self,
        images: Tensor,
        words: Callable[[Tensor], Tensor],
        task: str | None = None,
        *,
        beams: int = 1,
        length: int | None = None,
    ) -> list[str]:
        """The likeliest letter at each place, given the picture and the letters so far."""
        seen, written = self(images, task), [""] * len(images)
        going = torch.ones(len(images), dtype=torch.bool)
        for _ in range(length or PLACES):
            said = self.encode_text(written, task) if any(written) else torch.zeros_like(seen)
            chosen = words(torch.tanh(seen + said)).topk(min(beams, 2), dim=1).indices[:, -1]
            going &= (chosen != 0).cpu()
            letters = chosen.tolist()
            written = [w + LETTERS[c] if go else w for w, c, go in zip(written, letters, going.tolist(), strict=True)]
        return written

    def _read(self, texts: Sequence[str]) -> Tensor:
        """Mean of the vectors of letters, each with its place in the text."""
        place = self.letters.weight
        rows = [[(ord(c) * 7 + i % 3) % BUCKETS for i, c in enumerate(text.lower())] or [0] for text in texts]
        means = [self.letters(torch.tensor(row, device=place.device)).mean(0) for row in rows]
        return torch.stack(means) if means else place.new_zeros(0, self.width)

    def _adapters(self, task: str | None) -> Callable[[Tensor, str], Tensor]:
        if not self.kinds and task is None:
            return lambda x, side: torch.zeros_like(x)
        name = self.tasks[0] if task is None and len(self.kinds) == 1 else task
        if name not in self.kinds:
            raise ValueError(f"no task {name!r}; the tasks are {', '.join(self.tasks) or 'none'}")
        made: Any = self.adapters[_key(name)]
        return lambda x, side: torch.tanh(made[side](x))


class TinyTextHead(nn.Module):
    """Unit rows, classes of the tasks that classify, letters of captions.

    Args:
        in_dim: width of the features.
        kinds: name of each task, and its kind.
        classes: names of the classes of each task that classifies.
        vocabulary: number of letters.
        seed: of the first weights.
    """

    takes: Literal["pooled", "map"] = "pooled"
    unit = True

    def __init__(
        self,
        in_dim: int,
        kinds: dict[str, str] | None = None,
        classes: dict[str, list[str]] | None = None,
        vocabulary: int = len(LETTERS),
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.in_dim = self.out_dim = in_dim
        self.vocabulary, self.seed = vocabulary, seed
        self.kinds: dict[str, str] = {}
        self.classes: dict[str, list[str]] = {}
        self.answers = nn.ModuleDict()
        for name, kind in (kinds or {}).items():
            self.add_task(name, kind, (classes or {}).get(name))

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names, in the order of adding."""
        return tuple(self.kinds)

    def add_task(self, name: str, kind: str = "cross-modal", classes: Sequence[str] | None = None) -> None:
        """A linear layer for what a task answers."""
        width = {"classification": len(classes or ()), "captioning": self.vocabulary}.get(kind, self.in_dim)
        if classes is not None:
            self.classes[name] = list(classes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed + 1 + len(self.kinds))
            self.answers[_key(name)] = nn.Linear(self.in_dim, width)
        self.kinds[name] = kind

    def forward(self, features: Tensor, task: str | None = None) -> Tensor:
        """(B, F) -> unit rows (B, F); the same for every task."""
        return nn.functional.normalize(features, dim=1)

    def head_of(self, task: str) -> nn.Module:
        """What a task has of its own."""
        found: nn.Module = self.answers[_key(task)]
        return found

    def classify(self, features: Tensor, task: str) -> Tensor:
        """(B, F) -> logits (B, C)."""
        logits: Tensor = self.answers[_key(task)](features)
        return logits

    def words(self, hidden: Tensor, task: str) -> Tensor:
        """(B, F) -> logits of the next letter."""
        logits: Tensor = self.answers[_key(task)](hidden)
        return logits


def _key(task: str) -> str:
    """A name that a ModuleDict takes; one for each task."""
    return "task_" + task.replace("%", "%25").replace(".", "%2E")


def tiny_text_encoder(kinds: Mapping[str, str] | None = None, seed: int = 0) -> Encoder:
    """The toy with a task of each kind, named like it, unless `kinds` says otherwise; classes are `CLASSES`."""
    chosen = {kind: kind for kind in KINDS} if kinds is None else dict(kinds)
    backbone = TinyTextBackbone(chosen, seed=seed)
    classes = {name: list(CLASSES) for name, kind in chosen.items() if kind == "classification"}
    return Encoder(backbone, TinyTextHead(backbone.out_dim, chosen, classes, seed=seed))
