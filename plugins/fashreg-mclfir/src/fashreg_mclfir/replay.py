"""Experience replay: a few old pictures are kept and shown again beside the new ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from torch import Tensor, nn

from fashreg.errors import RecipeError
from fashreg.training.features import embed_table
from fashreg.values import Experience, TrainingBatch
from fashreg_mclfir.exemplars import Turns, kept_part, read, size_of, written
from fashreg_mclfir.fine_tune import When
from fashreg_mclfir.herding import in_order, share
from fashreg_mclfir.lwf import LwFLearner
from fashreg_mclfir.passing import Passed, pass_batch


class ReplayLearner(LwFLearner):
    """Fine-tuning with a memory of old pictures, replayed one to one through the old tasks' heads.

    After each experience some of its pictures are kept, `images` over all tasks together, equally many of each task and
    of each value. In later experiences every batch is followed by one of the same size from one old task, in turn:

        value = loss(batch through its head) + loss(old batch through its head) [+ weight * LwF's term, with distil]

    selection "herding" takes the pictures whose mean embedding stays nearest to their value's mean, "random" any. Kept
    pictures stay files where they are; their names and values are kept with the run. A step costs twice the passes.

    Source: replay: Chaudhry et al., "On Tiny Episodic Memories in Continual Learning", 2019,
        https://arxiv.org/abs/1902.10486; herding, fixed budget, distillation: Rebuffi et al., "iCaRL: Incremental
        Classifier and Representation Learning", CVPR 2017, https://arxiv.org/abs/1611.07725
    Differs: an old batch has a task of its own and its own loss, because negatives of another attribute mean nothing.
        iCaRL classifies by the nearest mean and distils class probabilities, kept pictures among them; here retrieval,
        and embeddings of the new pictures. Old heads rest unless `old_heads` says otherwise.
    See also: lwf (no pictures), ewc, joint (all pictures).

    Args:
        images: pictures kept in all; each task gets an equal share, which must fill a batch.
        selection: "herding" or "random".
        distil: add LwF's term on the new pictures, as iCaRL does.
        weight: of that term.
        old_heads: "frozen": old heads stay equal to the bit; "trained": they learn on with the replayed pictures.
        encoder: when the trunk learns: "trained" in every experience, in the "first" alone, "frozen" never.
        batch_norm: when the trunk's batch norms follow the batches' statistics; as in fine-tune.
    """

    def __init__(
        self,
        images: Annotated[int, Field(gt=0)] = 2000,
        selection: Literal["herding", "random"] = "herding",
        distil: bool = False,
        weight: Annotated[float, Field(ge=0.0)] = 1.0,
        old_heads: Literal["frozen", "trained"] = "frozen",
        encoder: When = "trained",
        batch_norm: When = "first",
    ) -> None:
        if images < 1:
            raise ValueError(f"images must be at least 1, got {images}")
        if selection not in ("herding", "random"):
            raise ValueError(f'selection must be "herding" or "random", got {selection!r}')
        if old_heads not in ("frozen", "trained"):
            raise ValueError(f'old_heads must be "frozen" or "trained", got {old_heads!r}')
        super().__init__(weight, encoder=encoder, batch_norm=batch_norm)
        self.images, self.selection, self.distil, self.old_heads = images, selection, distil, old_heads
        self._known: dict[str, Experience] = {}  # every experience with its table
        self._ordered: dict[str, list[list[int]]] = {}  # of each, rows by value, best first
        self._replayed = 0
        self._turns: Turns | None = None

    # ---- moments ----

    def before(self, experience: Experience) -> None:
        """Which experiences there are; the kept pictures' batches begin anew."""
        self._end()
        super().before(experience)
        if not self.distil:
            self.before_this = None
        self._known[experience.name] = experience

    def after(self, experience: Experience) -> None:
        """Choose what is kept of it, and let go of what no longer has room."""
        self._end()
        self._ordered[experience.name] = self._chosen(experience)
        sizes = (size_of(kept) for kept in self._kept())
        self.session.cost.keeps("exemplars", exemplar_bytes=sum(sizes))

    def _resting(self) -> list[nn.Module]:
        rests = super()._resting()
        if self.old_heads == "frozen" or not self._replays:
            return rests
        head = self.session.encoder.head
        learning = [id(head.head_of(task)) for task in self.older if task is not None]
        return [module for module in rests if id(module) not in learning]

    # ---- one step ----

    def terms(self, batch: TrainingBatch, passed: Passed) -> dict[str, Tensor]:
        """The loss of an old batch, and LwF's term where it is wanted."""
        found = super().terms(batch, passed)
        return {**found, "replay": self._replay()} if self._replays and self._ordered else found

    @property
    def _replays(self) -> bool:
        return len(self.seen) > 1 and (self.trunk_learns or self.old_heads == "trained")

    def _replay(self) -> Tensor:
        session = self.session
        if self._turns is None:
            self._turns = Turns(session, self.frozen, self._kept(filling=True), session.seed)
            self._turns.done = self._replayed
        old = self._turns.next()
        self._replayed += 1
        passed = pass_batch(session, self.frozen, old, both=False)
        pairs = getattr(session.loss, "mode", "") == "pairs"
        session.cost.tuples(len(old) // 2 if pairs else len(old))
        value: Tensor = session.loss(session.processes.gather(passed.rows))
        return value

    # ---- what is kept ----

    def _chosen(self, experience: Experience) -> list[list[int]]:
        table, session = experience.train, self.session
        if table is None:
            return []
        vectors = None
        with session.cost.timed():
            if self.selection == "herding":
                session.cost.forward(len(table) // session.processes.size)
                vectors = embed_table(session.encoder, table, session.trainer, task=experience.task)
            random = np.random.default_rng([session.seed, len(self.seen)])
            return in_order(table.labels, self.images, vectors, random)

    def _kept(self, *, filling: bool = False) -> list[Experience]:
        """What is kept of every experience that is over. filling: it must fill a batch."""
        over = [name for name in self._known if name in self._ordered]
        budget, batch = self.images // max(1, len(over)), self.session.trainer.batch_size
        kept = []
        for name in over:
            rows = share(self._ordered[name], budget)
            if filling and self._known[name].train is not None and len(rows) < batch:
                raise RecipeError(
                    f"learner replay keeps {self.images} pictures, {len(rows)} of {name!r}, which is less than a batch "
                    f"of {batch}: --set learner.images={batch * len(over)}, or a smaller trainer.batch_size",
                    field="learner.images",
                )
            kept.append(kept_part(self._known[name], rows))
        return kept

    def _end(self) -> None:
        if self._turns is not None:
            self._turns.close()
        self._turns, self._replayed = None, 0

    # ---- state ----

    def state_dict(self) -> dict[str, Any]:
        """Rows that are kept, how many old batches were shown, and the model before with distil."""
        return {**super().state_dict(), "ordered": dict(self._ordered), "replayed": self._replayed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`."""
        super().load_state_dict(state)
        self._ordered = {name: [list(rows) for rows in values] for name, values in state["ordered"].items()}
        self._replayed = int(state["replayed"])

    def carry(self) -> dict[str, Any]:
        """Which experiences there were, and the kept pictures by path."""
        kept = [one for one in self._kept() if one.train is not None]
        return {**super().carry(), "kept": {one.name: written(one) for one in kept}}

    def take_up(self, state: Mapping[str, Any] | None) -> None:
        """Go on with the kept pictures, as far as there are any."""
        super().take_up(state)
        for name, said in (state or {}).get("kept", {}).items():
            self._known[name] = read(name, said)
            table: Any = self._known[name].train
            every = [np.flatnonzero(table.labels == value) for value in range(table.num_classes)]
            self._ordered[name] = [[int(row) for row in rows] for rows in every]  # they were written best first
