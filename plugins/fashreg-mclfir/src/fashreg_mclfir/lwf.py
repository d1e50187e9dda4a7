"""Learning without forgetting: old heads are to answer on the new pictures as they did before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from fashreg.values import Experience, TrainingBatch
from fashreg_mclfir.distillation import answers_moved, similarity_change
from fashreg_mclfir.fine_tune import FineTuneLearner, When
from fashreg_mclfir.heads import head_of
from fashreg_mclfir.passing import Passed, single
from fashreg_mclfir.teacher import Teacher


class LwFLearner(FineTuneLearner):
    """Fine-tuning with distillation from the model before: its old heads' answers on the new pictures stay near.

    From the second experience on a frozen copy of the model as it was at its start (trunk and old heads, evaluation
    mode) sees every batch, too:

        value = loss(batch) + weight * sum over old tasks s of
            target "embeddings":  mean over pictures of |h_s(phi(x)) - h_s(phi_old(x))|^2, unit rows, 0 to 4
            target "similarity":  T^2 KL of the old and the new softmax over the other pictures of the batch, cosines/T

    "similarity" lets the space turn as a whole, which ranks galleries alike but not vectors of two models. The old
    trunk runs once a batch, its heads on top; frozen stages run once for both. No old picture is kept.

    Source: Li, Hoiem, "Learning without Forgetting", ECCV 2016, https://arxiv.org/abs/1606.09282
    Differs: there softened class probabilities are kept; retrieval has none, so embeddings or in-batch similarities
        are. Old heads rest here (there they learn on), because a shop's old indexes ask them. No warm-up of the new
        head.
    See also: mcl-fir (teacher frozen, target old-heads is this term; and averaged teachers), ewc, replay.

    Args:
        weight: of the term; 0 is fine-tuning.
        target: what is held: "embeddings", or the "similarity" of the batch's pictures among one another.
        temperature: T of "similarity".
        encoder: when the trunk learns: "trained" in every experience, in the "first" alone, "frozen" never.
        batch_norm: when the trunk's batch norms follow the batches' statistics; as in fine-tune.
    """

    def __init__(
        self,
        weight: Annotated[float, Field(ge=0.0)] = 1.0,
        target: Literal["embeddings", "similarity"] = "embeddings",
        temperature: Annotated[float, Field(gt=0.0)] = 2.0,
        encoder: When = "trained",
        batch_norm: When = "first",
    ) -> None:
        if target not in ("embeddings", "similarity"):
            raise ValueError(f'target must be "embeddings" or "similarity", got {target!r}')
        if weight < 0.0 or temperature <= 0.0:
            raise ValueError(f"weight must be >= 0 and temperature > 0, got {weight} and {temperature}")
        super().__init__(encoder, batch_norm)
        self.weight, self.target, self.temperature = weight, target, temperature
        self.before_this: Teacher | None = None

    def before(self, experience: Experience) -> None:
        """A copy of the model as it is, where there is something to keep and something that could move it."""
        super().before(experience)
        keeps = bool(self.older) and self.trunk_learns and self.weight > 0.0
        self.before_this = Teacher(self.session.encoder, self.older) if keeps else None

    def terms(self, batch: TrainingBatch, passed: Passed) -> dict[str, Tensor]:
        """weight * sum over old tasks."""
        old, session = self.before_this, self.session
        if old is None:
            return {}
        session.cost.forward(len(batch))
        with session.processes.autocast():
            theirs = old.features(passed.entry, passed.start)
            if self.target == "embeddings":
                change = answers_moved(session.encoder, passed.features, old, theirs, self.older)
            else:
                change = self._similarity(passed, old, theirs)
        return {"distillation": self.weight * change}

    def _similarity(self, passed: Passed, old: Teacher, theirs: Tensor) -> Tensor:
        """Over the whole batch of all processes."""
        encoder, gather = self.session.encoder, self.session.processes.gather
        changes = []
        for task in self.older:
            now = gather(replace(passed.rows, vectors=single(head_of(encoder, task)(passed.features))))
            then = gather(replace(passed.rows, vectors=single(old.vectors(theirs, task))))
            changes.append(similarity_change(now.vectors, then.vectors, self.temperature))
        return torch.stack(changes).sum()

    def state_dict(self) -> dict[str, Any]:
        """The weights of the model before."""
        return {} if self.before_this is None else {"before_this": self.before_this.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`."""
        if self.before_this is not None:
            self.before_this.load_state_dict(state["before_this"])
