"""Training anew at every increment on everything so far: what shops do, and what continual learning argues against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor

from fashreg.errors import ModelError
from fashreg.training.session import LearnReport, Session
from fashreg.values import Experience
from fashreg_mclfir.fine_tune import FineTuneLearner, When


class RetrainLearner(FineTuneLearner):
    """At every experience: back to the first weights, then all tasks so far together, as `joint` does.

    Nothing is forgotten because everything is shown again; the cost of increment t is that of t + 1 tasks, and every
    gallery must be embedded anew, because nothing connects two trainings. All data so far must still be there.

    Source: the common practice, and the row "cumulative" or "joint" of the field's tables, e.g. Masana et al., TPAMI
        2022, https://arxiv.org/abs/2010.15277
    See also: joint (once, on everything), fine-tune, mcl-fir.

    Args:
        encoder: whether the trunk learns: "trained", or "frozen"; "first" means "trained" here.
        batch_norm: whether the trunk's batch norms follow the batches' statistics; "first" means "trained" here.
    """

    def __init__(self, encoder: When = "trained", batch_norm: When = "first") -> None:
        super().__init__(encoder, batch_norm)
        self._so_far: list[Experience] = []
        self._first: dict[str, Tensor] = {}
        self._first_loss: dict[str, Tensor] = {}

    def bind(self, session: Session) -> Self:
        """Remember the first weights."""
        super().bind(session)
        self._first, self._first_loss = _copied(session.encoder), _copied(session.loss)
        return self

    def learn(self, experience: Experience) -> LearnReport:
        """Learn this experience and all before it, from the first weights."""
        self._so_far.append(experience)
        if len(self._so_far) == 1:
            return super().learn(experience)
        return super().learn(Experience(experience.name, None, task=experience.task, parts=tuple(self._so_far)))

    def before(self, experience: Experience) -> None:
        """The head; then everything as it was at first, heads too."""
        super().before(experience)
        self.seen = self.seen[-1:]
        encoder = self.session.encoder
        for name, value in _copied(encoder).items():
            self._first.setdefault(name, value)  # a head that was added just now
        encoder.load_state_dict(self._first)
        self.session.loss.load_state_dict(self._first_loss)

    def take_up(self, state: Mapping[str, Any] | None) -> None:
        """It cannot: it would need what was learned before."""
        raise ModelError(
            "learner retrain begins anew on all attributes, and learning on brings the new ones alone: train with "
            "`fashreg train` and all attributes in data.attributes, or take another learner: --set learner=lwf"
        )


def _copied(module: Any) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}
