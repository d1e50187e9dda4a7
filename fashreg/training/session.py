"""The parts that a learner sees together, and what it reports. Everything else in the house sees one part at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from fashreg.config_trainer import TrainerConfig
from fashreg.encoder import Encoder
from fashreg.errors import RecipeError
from fashreg.interfaces import Sampler
from fashreg.training.cost import CostCounter
from fashreg.training.freezing import Frozen
from fashreg.training.processes import Processes
from fashreg.training.run_folder import RunFolder
from fashreg.values import Experience, TrainingBatch


class Source(Protocol):
    """Where the training batches of one experience come from: sampler, loader, augmentation, and the feature cache."""

    sampler: Sampler

    def __len__(self) -> int: ...  # batches an epoch, for this process
    def batches(self, epoch: int) -> Iterator[TrainingBatch]:
        """This process's batches of the epoch that the sampler stands in, from where it stands."""

    def sample(self, count: int) -> Iterator[TrainingBatch]:
        """Batches of `count` different random training images in all (fewer if there are fewer), the same each time."""


#: Metrics of the encoder as it is now, on the experience's validation data; empty when it has none.
Evaluate = Callable[[Encoder, Experience], Mapping[str, float]]
#: The batches of an experience. Frozen says which leading steps of the encoder never change and may be cached.
MakeSource = Callable[[Experience, Frozen, Processes], Source]


@dataclass(eq=False)
class Session:
    """What a learner is bound to. Parts are ready objects; nothing is built by name here.

    loss, memory: nn.Modules that keep the contracts in fashreg.interfaces. processes: by default those of torchrun.
    source: makes the batches of an experience. evaluate: None means that nothing is measured and the last weights are
    kept. primary: the metric that chooses the best weights, larger is better. folder: from `open_run`; None keeps
    nothing on disk. recipe, provenance: plain data saved with the model. quiet: no progress on the terminal. cost:
    counts what learning costs.
    """

    encoder: Encoder
    loss: Any
    source: MakeSource
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    memory: Any = None
    evaluate: Evaluate | None = None
    primary: str = "recall@1"
    folder: RunFolder | None = None
    processes: Processes = None  # type: ignore[assignment]
    seed: int = 0
    recipe: Mapping[str, Any] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    quiet: bool = False
    cost: CostCounter = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        trainer = self.trainer
        if self.processes is None:  # made here, because only now is the precision known
            where = None if self.folder is None else self.folder.path
            self.processes = Processes(trainer.precision, trainer.trackers, where)
        size = self.processes.size
        if self.cost is None:
            self.cost = CostCounter(size)
        if trainer.batch_size % size:
            raise RecipeError(
                f"trainer.batch_size {trainer.batch_size} cannot be shared equally by {size} processes: give "
                f"{(trainer.batch_size // size + 1) * size}",
                field="trainer.batch_size",
            )
        if self.memory is not None and not getattr(self.loss, "accepts_references", True):
            raise RecipeError(
                f"{type(self.loss).__name__} compares with its own proxies only and cannot use a memory; leave memory "
                "out, or choose a loss over pairs",
                field="memory",
            )
        if self.memory is not None and getattr(self.loss, "mode", "") == "pairs":
            raise RecipeError(
                f"{type(self.loss).__name__} with mode: pairs compares row i with row i and cannot use a memory",
                field="memory",
            )
        if self.memory is not None and self.memory.embed_dim != self.encoder.embed_dim:
            raise RecipeError(
                f"the memory holds rows of width {self.memory.embed_dim}, the encoder gives {self.encoder.embed_dim}",
                field="memory.embed_dim",
            )


@dataclass
class LearnReport:
    """What came of one experience. seconds and images_per_second: of the training steps alone, over all processes.

    metrics: of the weights that were kept (best on the primary metric, or the last), empty when nothing was measured.
    best: the primary metric of those, best_step their optimiser step. history: every evaluation, in order. cost: what
    this experience cost, as `fashreg.training.cost.Cost` counts.
    """

    experience: str
    steps: int = 0
    epochs: float = 0.0
    images: int = 0
    seconds: float = 0.0
    images_per_second: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    best: float | None = None
    best_step: int | None = None
    stopped_early: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)
    cost: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)
