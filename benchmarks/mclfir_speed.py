"""What do several attributes cost at search, and what does a training tuple cost?

search    Vectors of T attributes: one pass of the trunk for all heads (Encoder.embed_tasks), a pass for each (embed,
          once a task), and the vectors of a single attribute, which is the unit. T = 1, 4, 8 heads
          attribute-attention over EfficientNet-Lite0 at 128 px and over ResNet-50 up to layer3 at 224 px (random
          weights: the work is the same). Both ways must give the same numbers to the bit (checked).
training  A step of 16 tuples on EfficientNet-Lite0 at 128 px, nothing frozen, from pictures in memory. "released
          layout": student with gradient and teacher without on anchor, positive and negative, though the loss never
          takes the negative (written here, after the description of the released code). Then the learner mcl-fir with
          its teacher on the same pictures, on a second view of each, and without one (weight 0). Image passes are
          counted by looking on at Encoder.steps: 1 for a forward, 2 for a backward pass; "prepared" are the pictures
          that a loader has to decode and vary for each tuple (the released loader makes a second view of all three).

Arms take turns, in an order drawn anew every round; least and median of the rounds, one thread.

    python benchmarks/mclfir_speed.py [--rounds 5] [--parts search training] [--json FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measuring import in_turns
from torch import Tensor

import fashreg
from fashreg.config_trainer import TrainerConfig
from fashreg.encoder import Encoder
from fashreg.training.allocator import keep_freed_memory
from fashreg.training.session import Session
from fashreg.values import Embedded, Experience, TrainingBatch

TRUNKS = {
    "lite0 at 128 px": ({"name": "lite0", "image_size": 128}, 1280, 32),
    "ResNet-50 to layer3 at 224 px": (
        {"name": "timm", "model": "resnet50", "weights": None, "last_stage": "layer3", "image_size": 224}, 1024, 8,
    ),
}  # fmt: skip
TASKS, TUPLES, VALUES = 8, 16, 6
INFONCE = {"name": "infonce", "mode": "pairs", "negatives": "both", "temperature": 0.3}
Numbers = dict[str, Any]


def new_encoder(backbone: Any, width: int, tasks: int) -> Encoder:
    torch.manual_seed(0)
    pattern = {"name": "attribute-attention", "in_dim": width, "out_dim": 128}
    names = [f"attribute-{number}" for number in range(tasks)]
    head = fashreg.build("head", {"name": "multi-task", "tasks": names, "head": pattern})
    return Encoder(fashreg.build("backbone", backbone), head)


def search(rounds: int) -> dict[str, Numbers]:
    """Least and median milliseconds by trunk and way, and their ratio to one attribute."""
    found: dict[str, Numbers] = {}
    for trunk, (backbone, width, pictures) in TRUNKS.items():
        encoder, images = new_encoder(backbone, width, TASKS), torch.rand(pictures, 3, *_size(backbone))
        tasks = encoder.head.tasks
        arms: dict[str, Callable[[], Any]] = {}
        for count in (1, 4, 8):
            arms[f"one pass, T {count}"] = partial(encoder.embed_tasks, images, tasks[:count])
            arms[f"a pass each, T {count}"] = partial(apart, encoder, images, tasks[:count])
        one, many = arms["one pass, T 8"](), arms["a pass each, T 8"]()
        assert all(torch.equal(one[task], many[task]) for task in tasks)
        times = in_turns(arms, rounds)
        unit = {kind: of(times["a pass each, T 1"]) for kind, of in (("least", min), ("median", statistics.median))}
        for name, taken in times.items():
            least, median = min(taken), statistics.median(taken)
            found[f"{trunk}, {name}"] = {
                "ms a picture": least / pictures, "median ms": median / pictures,
                "of one attribute": least / unit["least"], "median of one": median / unit["median"],
            }  # fmt: skip
    return found


def apart(encoder: Encoder, images: Tensor, tasks: tuple[str, ...]) -> dict[str, Tensor]:
    """The trunk once for every task."""
    return {task: encoder.embed(images, task=task) for task in tasks}


def _size(backbone: Any) -> tuple[int, int]:
    return backbone["image_size"], backbone["image_size"]


class Watched:
    """Image passes that go through Encoder.steps to its end, whoever calls it."""

    passes = 0

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        inner = Encoder.steps

        def steps(encoder: Encoder, x: Tensor, start: int, stop: int) -> Tensor:
            out = inner(encoder, x, start, stop)
            if stop == encoder.cuts and start < stop:
                self.passes += len(x) * (3 if out.requires_grad else 1)
            return out

        Encoder.steps = steps  # type: ignore[assignment, method-assign]
        try:
            yield
        finally:
            Encoder.steps = inner  # type: ignore[method-assign]


class InMemory:
    """The same few batches of noise again and again: a Source of fashreg.training.session."""

    def __init__(self, task: str, twice: bool, batches: int) -> None:
        self.task, self.twice, self.number = task, twice, batches
        codes = torch.arange(TUPLES) % VALUES
        self.labels = torch.cat([codes, codes])
        self.images = torch.rand(2 * TUPLES, 3, 128, 128)
        self.sampler: Any = fashreg.build(
            "sampler", {"name": "pairs", "anchors": "balanced", "pairs": TUPLES * batches},
            labels=self.labels, batch_size=2 * TUPLES, seed=0,
        )  # fmt: skip

    def __len__(self) -> int:
        return self.number

    def batches(self, epoch: int) -> Iterator[TrainingBatch]:
        """One epoch."""
        ids = torch.arange(2 * TUPLES)
        for _ in range(self.number):
            second = self.images.flip(3) if self.twice else None
            yield TrainingBatch(self.images, self.labels, ids, ids, second, task=self.task)

    def sample(self, count: int) -> Iterator[TrainingBatch]:
        """Nothing here asks for it."""
        yield from self.batches(0)


def learner_step(steps: int, **options: Any) -> Callable[[], Any]:
    """`steps` steps of the learner mcl-fir on its second attribute, as its own loop makes them."""
    learner = fashreg.build("learner", {"name": "mcl-fir", **options})
    twice = "second_view" in learner.needs
    encoder = new_encoder(*TRUNKS["lite0 at 128 px"][:2], 0)
    session = Session(
        encoder, fashreg.build("loss", INFONCE), lambda experience, _, __: InMemory(str(experience.task), twice, steps),
        trainer=TrainerConfig(epochs=1, batch_size=2 * TUPLES, lr=1e-4, checkpoint_every=0, log_every=1000), quiet=True,
    )  # fmt: skip
    learner.bind(session)
    number = iter(range(10_000))

    def step() -> float:
        name = f"attribute-{next(number)}"
        return float(learner.learn(Experience(name, None, task=name)).seconds)

    return step


def released_step(steps: int) -> Callable[[], Any]:
    """The released layout: three pictures a tuple through student and teacher, though the loss takes two."""
    encoder = new_encoder(*TRUNKS["lite0 at 128 px"][:2], 1)
    teacher = copy.deepcopy(encoder).requires_grad_(False)
    loss = fashreg.build("loss", INFONCE)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=1e-4)
    images, ids = torch.rand(3 * TUPLES, 3, 128, 128), torch.arange(2 * TUPLES)
    labels = torch.arange(2 * TUPLES) % VALUES

    def step() -> float:
        encoder.train()
        started = time.perf_counter()
        for _ in range(steps):
            features = encoder.steps(images, 0, encoder.cuts)
            with torch.no_grad():
                theirs = teacher.steps(images, 0, encoder.cuts).mean((2, 3))
            gap = 3 * torch.nn.functional.mse_loss(features.mean((2, 3)), theirs)
            rows = encoder.head(features[: 2 * TUPLES], None)  # anchors, positives; negatives come last
            value = loss(Embedded(rows, labels, ids)) + 1e-4 * gap
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        return time.perf_counter() - started

    return step


def training(rounds: int, steps: int = 2) -> dict[str, Numbers]:
    """Image passes and time for each tuple, by arm."""
    second = {"teacher_view": "second"}
    arms = {
        "released layout": (released_step(steps), 6),
        "mcl-fir, teacher on the same pictures": (learner_step(steps), 2),
        "mcl-fir, teacher on a second view": (learner_step(steps, **second), 4),
        "mcl-fir, no teacher": (learner_step(steps, weight=0.0), 2),
    }
    found: dict[str, Numbers] = {}
    for name, (step, prepared) in arms.items():
        watched = Watched()
        with watched.watching():
            step()
        found[name] = {"image passes": watched.passes / (steps * TUPLES), "prepared": prepared}
    times: dict[str, list[float]] = {name: [] for name in arms}
    order = random.Random(0)
    for _ in range(rounds):
        for name in order.sample(list(arms), len(arms)):
            times[name].append(arms[name][0]() / (steps * TUPLES))
    for name, seconds in times.items():
        found[name] |= {"ms a tuple": 1000 * min(seconds), "median ms": 1000 * statistics.median(seconds)}
    base = found["released layout"]
    for of in found.values():
        of["fewer passes"] = base["image passes"] / of["image passes"]
        of["faster"] = base["ms a tuple"] / of["ms a tuple"]
    return found


def show(found: dict[str, Numbers]) -> None:
    """A line an arm."""
    for name, numbers in found.items():
        print(f"{name:<55}" + "  ".join(f"{kind} {value:.3g}" for kind, value in numbers.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", nargs="+", choices=("search", "training"), default=["search", "training"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    found: dict[str, Numbers] = {}
    for part in options.parts:
        found |= search(options.rounds) if part == "search" else training(options.rounds)
    show(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
