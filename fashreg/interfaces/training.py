"""What embeddings are learned by: the contracts of losses, memories, samplers and learners."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from torch import Tensor

    from fashreg.values import Embedded, Experience, TrainingBatch


class Loss(Protocol):
    """Embeddings to a scalar. An nn.Module; may own parameters (proxies); holds no model and no memory.

    Called with references, it scores the batch's rows against the references only; without, against the batch itself.
    relevance: (B, N) overrides labels: > 0 positive, 0 negative, < 0 not a pair. Equal ids are never a pair either way.
    Finite and differentiable when the batch holds no pair at all (then 0 with zero gradient).
    parts: named detached scalars of the last call, for logging.
    accepts_references: False for losses that compare with proxies only; giving references then raises ValueError.
    needs: fields of TrainingBatch it cannot do without, beyond images, labels and ids.
    lr_factor: learning-rate factor of its own parameters (1.0 where it has none).
    It may have `moves_batch` = False: it moves its own parameters only and is of use beside another loss, not alone.
    """

    accepts_references: bool
    needs: frozenset[str]
    lr_factor: float
    parts: Mapping[str, Tensor]

    def __call__(
        self, batch: Embedded, references: Embedded | None = None, relevance: Tensor | None = None
    ) -> Tensor: ...


class Memory(Protocol):
    """Embeddings of earlier batches. An nn.Module whose whole state lies in buffers, so state_dict() is complete.

    One training step: align(batch), loss(batch, read()), optimiser step, push(batch). Several processes: the learner
    gathers the batch first, so every rank pushes the same rows in the same order and holds the same memory. It may have
    `parts`, named detached scalars of the last align for logging; a name with brackets stays out of the loss chart.
    """

    capacity: int  # M
    embed_dim: int  # D
    batch_weight: float  # weight of loss(batch, batch) beside loss(batch, memory)
    memory_weight: float  # weight of loss(batch, memory)
    start_step: int  # optimiser steps without memory before it is used and filled

    def __len__(self) -> int: ...  # filled slots
    def align(self, batch: Embedded) -> None: ...  # before the loss: bring stored rows up to date
    def read(self) -> Embedded: ...  # filled slots only, no gradient
    def push(self, batch: Embedded) -> None: ...  # after the loss of that batch; detaches
    def reset(self) -> None: ...  # forget everything


class Sampler(Protocol):
    """Lists of dataset positions: a torch batch_sampler. Same (seed, epoch) -> same batches; each rank gets its share.

    Iterating continues after the batches that are done; set_epoch(e) starts epoch e from its first batch. Loaders fetch
    ahead, so iterating is no progress by itself: whoever trains calls advance_to, and state_dict() holds that number.

    It may also look at the loss's proxies, by `wants(step) -> bool` and `see(proxies, step)`: after each optimiser step
    (from 1) the learner calls advance_to, then wants, and where that is true see with the proxies (C K, D), K rows for
    each class. What it saw changes batches that no loader has fetched yet, by a rule that knows no loader; it is part
    of state_dict(), which then holds tensors too. `parts`: named numbers on the batches done so far in this epoch.
    """

    def __iter__(self) -> Iterator[list[int]]: ...
    def __len__(self) -> int: ...  # batches an epoch, per rank
    def set_epoch(self, epoch: int) -> None: ...
    def advance_to(self, batch: int) -> None: ...  # the first `batch` batches of this epoch are done
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class Learner(Protocol):
    """A way to learn: sees the encoder, the loss, the memory and the data together. Resumable bit for bit on CPU.

    On resume `before` is called anew for every experience up to the present one, then the saved state is put back.
    It may have `needs`: fields of TrainingBatch it cannot do without, as a loss has; `whole_stream` = True: it is given
    all experiences of a stream as one, with `parts`; `own_loss`, `tasks_of_kinds`, `needs_of_kind`,
    `check_tasks`, `turns`, for recipes with `tasks` (docs/tasks.md). What it spends beside the steps, it tells
    `session.cost`.
    """

    def bind(self, session: Any) -> Self: ...  # fashreg.training.session.Session, the parts; before the first learn
    def learn(self, experience: Experience) -> Any: ...
    def before(self, experience: Experience) -> None: ...
    def penalty(self, batch: TrainingBatch, embedded: Embedded) -> Tensor | None: ...
    def after(self, experience: Experience) -> None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...
