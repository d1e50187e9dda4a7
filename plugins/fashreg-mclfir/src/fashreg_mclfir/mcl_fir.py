"""MCL-FIR: a head for each attribute, and an averaged teacher that the encoder is kept near to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor

from fashreg.values import Experience, TrainingBatch
from fashreg_mclfir.distillation import answers_moved, feature_gap, moved
from fashreg_mclfir.fine_tune import FineTuneLearner, When
from fashreg_mclfir.heads import check_networks, tasks_of
from fashreg_mclfir.passing import Passed, enter
from fashreg_mclfir.teacher import Average, Teacher

_CHOICES = {
    "mode": ("shared", "independent"),
    "teacher": ("rolling", "restarted", "frozen"),
    "target": ("features", "embeddings", "old-heads"),
    "teacher_view": ("same", "second"),
}


class MCLFIRLearner(FineTuneLearner):
    """Learns attribute after attribute: one encoder, a head for each, and a teacher that holds the encoder back.

    mode "shared", as the paper's figure has it. Increment t trains the trunk phi and its own head h_t on pairs; heads
    of earlier increments rest to the bit. A teacher T gives no gradient and is never part of the model:

        value   = loss(h_t(phi(x))) + weight * L_kd
        teacher "rolling":    T <- decay T + (1 - decay) student after every step, through all increments
        teacher "restarted":  the same, and T := student at the start of every increment
        teacher "frozen":     T := student at the start of every increment, and stays there (decay 1)

    What L_kd compares, with x' what the teacher sees (`teacher_view`):

        target "features":    mean square of the difference of the pooled trunk features (C numbers a picture)
        target "embeddings":  |h_t(phi(x)) - T_t(x')|^2, T_t the teacher's own copy of head t, averaged as its trunk is
        target "old-heads":   sum over s < t of |h_s(phi(x)) - h_s(phi_T(x'))|^2: the old answers on the new pictures

    The first two are a regulariser: with decay 0.999 a rolling teacher has forgotten the last increment after a few
    thousand steps. The third with a frozen teacher holds old answers where they were; it is LwF's idea. In the first
    increment there is no old head, and that target costs nothing.

    mode "independent", as the released code works: a whole network for each attribute (head own-network over backbone
    truncated), each from the same first weights, with "features" between it and the network it started from. Nothing
    is shared but what is frozen, so nothing is forgotten, and storage and search cost grow with the attributes. The
    teacher there never moves: `teacher` must be "frozen", and `target` "features".

    Source: Xiao, Yamasaki, "A Multihead Continual Learning Framework for Fine-Grained Fashion Image Retrieval with
        Contrastive Learning and Exponential Moving Average Distillation", 2026, https://arxiv.org/abs/2603.20648

    Differs from the released code, where the encoder is copied for every attribute before training, the teacher never
    updated and in training mode, and the teacher's view never used: here one encoder is shared, the teacher follows
    after every step, buffers included, in evaluation mode, and sees the view that is asked for. That code adds the
    mean squares of three pictures (anchor, negative, positive); here is their mean over the pictures of the batch, and
    no negative is drawn. The combination of "old-heads" with either teacher is ours. Distances of embeddings are those
    of unit rows, D times their mean square.

    See also: lwf (old-heads without an average), fine-tune (no teacher), joint.

    Args:
        mode: "shared", one encoder for all attributes; "independent", a network for each.
        teacher: where the teacher stands: "rolling", "restarted" or "frozen".
        target: what is held near to the teacher's: "features", "embeddings" or "old-heads".
        weight: of L_kd; 0 leaves the teacher out. 1e-4 is the released code's for "features", where nothing comes of
            it; "old-heads" wants about 1.
        decay: of the teacher's average, per step.
        teacher_view: "same": the teacher sees the batch's pictures; "second": another augmentation of them, as in the
            paper's figure, which doubles the pictures to prepare.
        encoder: when the trunk learns: "trained" in every experience, in the "first" alone, "frozen" never.
        batch_norm: when the trunk's batch norms follow the batches' statistics; as in fine-tune.
    """

    def __init__(
        self,
        mode: Literal["shared", "independent"] = "shared",
        teacher: Literal["rolling", "restarted", "frozen"] = "rolling",
        target: Literal["features", "embeddings", "old-heads"] = "features",
        weight: Annotated[float, Field(ge=0.0)] = 1e-4,
        decay: Annotated[float, Field(ge=0.0, le=1.0)] = 0.999,
        teacher_view: Literal["same", "second"] = "same",
        encoder: When = "trained",
        batch_norm: When = "first",
    ) -> None:
        given = {"mode": mode, "teacher": teacher, "target": target, "teacher_view": teacher_view}
        for name, value in given.items():
            if value not in _CHOICES[name]:
                raise ValueError(f"{name} must be one of {', '.join(_CHOICES[name])}, got {value!r}")
        if weight < 0.0 or not 0.0 <= decay <= 1.0:
            raise ValueError(f"weight must be >= 0 and decay within 0..1, got weight={weight}, decay={decay}")
        if mode == "independent" and (teacher, target) != ("frozen", "features"):
            raise ValueError(
                'mode "independent" holds each network near to where it started: it needs teacher: frozen and '
                "target: features"
            )
        super().__init__(encoder, batch_norm)
        self.mode, self.teacher, self.target, self.weight, self.decay = mode, teacher, target, weight, decay
        self.teacher_view = teacher_view
        if teacher_view == "second" and weight > 0.0:
            self.needs = frozenset({"second_view"})
        self.kept: Teacher | None = None
        self._average: Average | None = None

    # ---- the teacher ----

    def before(self, experience: Experience) -> None:
        """The head, then the teacher: made, carried on, or made anew."""
        super().before(experience)
        self._average = None
        if self.weight == 0.0:
            return
        encoder, taught = self.session.encoder, tasks_of(self.session.encoder, experience)
        heads = {"features": (), "embeddings": taught, "old-heads": self.older}[self.target]
        if self.mode == "independent":
            check_networks(encoder)
            heads = taught
        if self.kept is None or self.teacher != "rolling":
            self.kept = Teacher(encoder, heads)
        else:
            self.kept.take_heads(encoder, heads)
        if self.teacher != "frozen" and self._distils:
            self._average = self.kept.following(encoder, taught if self.target == "embeddings" else ())

    def stepped(self, step: int) -> None:
        """The teacher follows."""
        if self._average is not None:
            self._average.update(self.decay, self.session.processes)

    def after(self, experience: Experience) -> None:
        """A rolling teacher is kept for the next experience, beside the model."""
        if self.teacher == "rolling" and self.kept is not None:
            self.session.cost.keeps("teacher", parameters=self.kept.numbers())

    @property
    def trunk_learns(self) -> bool:
        """In mode "independent" what lies below the networks never does: it would move the old ones."""
        return self.mode == "shared" and super().trunk_learns

    @property
    def _distils(self) -> bool:
        if self.weight == 0.0 or (self.target == "old-heads" and not self.older):
            return False
        return self.mode == "independent" or self.trunk_learns or self.target == "embeddings"

    # ---- what it adds to the loss ----

    def terms(self, batch: TrainingBatch, passed: Passed) -> dict[str, Tensor]:
        """weight * L_kd."""
        if not self._distils or self.kept is None:
            return {}
        session, entry = self.session, passed.entry
        if self.teacher_view == "second":
            entry = enter(session, self.frozen, batch)
        session.cost.forward(len(batch))
        with session.processes.autocast():
            theirs = self.kept.features(entry, passed.start, batch.task)
            gap = self._gap(batch, passed, theirs, self.kept)
        return {"distillation": self.weight * gap}

    def _gap(self, batch: TrainingBatch, passed: Passed, theirs: Tensor, kept: Teacher) -> Tensor:
        if self.target == "features":
            return feature_gap(passed.features, theirs)
        if self.target == "embeddings":
            return moved(passed.rows.vectors, kept.vectors(theirs, batch.task))
        return answers_moved(self.session.encoder, passed.features, kept, theirs, self.older)

    # ---- state ----

    def state_dict(self) -> dict[str, Any]:
        """The teacher's weights."""
        return {} if self.kept is None else {"teacher": self.kept.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`."""
        if self.kept is not None:
            self.kept.load_state_dict(state["teacher"])

    def carry(self) -> dict[str, Any]:
        """Which experiences there were; a rolling teacher, too."""
        if self.kept is None or self.teacher != "rolling":
            return super().carry()
        return {**super().carry(), "teacher": dict(self.kept.network.backbone.state_dict())}

    def take_up(self, state: Mapping[str, Any] | None) -> None:
        """Go on with an earlier run's teacher; without it a rolling one starts from the model."""
        super().take_up(state)
        if state is not None and "teacher" in state and self.teacher == "rolling":
            self.kept = Teacher(self.session.encoder)
            self.kept.network.backbone.load_state_dict(dict(state["teacher"]))
