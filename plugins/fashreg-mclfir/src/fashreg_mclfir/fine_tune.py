"""One experience after the other on a shared encoder, a new head each time: the plain way, and what others build on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from fashreg.learners.standard import StandardLearner
from fashreg.training.new_tasks import add_heads
from fashreg.training.objective import Objective, loss_with_memory
from fashreg.values import Experience, TrainingBatch
from fashreg_mclfir.heads import tasks_of
from fashreg_mclfir.passing import Passed, pass_batch

#: When a part learns: in every experience, in the first alone, or never.
When = Literal["trained", "first", "frozen"]
WHEN = ("trained", "first", "frozen")


class FineTuneLearner(StandardLearner):
    """Learns one task after the other on one shared encoder; each gets a new head, and nothing protects the old.

    Before an experience the encoder's head gets a head for its task. Heads of other tasks rest: they get no gradient,
    are not in the optimiser, and their batch norms keep their statistics, so their parameters and buffers stay equal to
    the bit. What they answer still moves with the trunk below them, unless `encoder` says that it rests, too:

        encoder "trained": sequential fine-tuning, the lower bound that continual learners are compared with
        encoder "first":   the first task shapes the trunk, later ones get a head on it; old answers equal to the bit
        encoder "frozen":  heads alone on the trunk as it came; old answers equal to the bit

    A step runs the trunk once, value = loss(batch) + terms + penalty; subclasses add `terms`. A head without tasks of
    its own (projection) serves all tasks in turn and is trained in each: what forgetting looks like without heads.

    Source: the usual lower bound of the field, e.g. Masana et al., "Class-Incremental Learning: Survey and Performance
        Evaluation on Image Classification", TPAMI 2022, https://arxiv.org/abs/2010.15277 (there: FT); heads and
        frozen trunk: Xiao, Yamasaki, "A Multihead Continual Learning Framework for Fine-Grained Fashion Image
        Retrieval with Contrastive Learning and Exponential Moving Average Distillation", 2026,
        https://arxiv.org/abs/2603.20648
    See also: mcl-fir, lwf, ewc, replay (protection), joint (the upper bound).

    Args:
        encoder: when the trunk learns: "trained" in every experience, in the "first" alone, "frozen" never.
        batch_norm: when the trunk's batch norms follow the batches' statistics; resting ones use those they have. Their
            scales and shifts are weights as any other. "first" because drifting statistics move old answers.
    """

    def __init__(self, encoder: When = "trained", batch_norm: When = "first") -> None:
        for name, value in (("encoder", encoder), ("batch_norm", batch_norm)):
            if value not in WHEN:
                raise ValueError(f"{name} must be one of {', '.join(WHEN)}, got {value!r}")
        super().__init__()
        self.encoder, self.batch_norm = encoder, batch_norm
        self.seen: list[str] = []  # names of the experiences, the present one last
        self.learnt: list[str | None] = []  # their tasks
        self.older: tuple[str | None, ...] = ()  # tasks learnt before, whose answers are to be kept
        self._others: list[nn.Module] = []  # heads of other tasks
        self._stopped: list[nn.Parameter] = []

    # ---- what subclasses add ----

    def terms(self, batch: TrainingBatch, passed: Passed) -> dict[str, Tensor]:
        """Scalars, weighted, that are added to the loss of this process's batch, by the name they are logged under."""
        return {}

    # ---- what learns, what rests ----

    @property
    def trunk_learns(self) -> bool:
        """Whether any part of the trunk changes in the present experience."""
        rests = self.frozen.cut == self.session.encoder.cuts or self._rests(self.encoder)
        return not rests

    def before(self, experience: Experience) -> None:
        """Adds the head; decides what learns. Subclasses call this first."""
        encoder = self.session.encoder
        add_heads(encoder, experience)
        taught = tasks_of(encoder, experience)
        self.older = tuple(task for task in self.learnt if task is None or task not in taught)
        self.learnt += [task for task in taught if task not in self.learnt]
        self.seen.append(experience.name)
        self._others = [encoder.head.head_of(task) for task in encoder.head.tasks if task not in taught]
        for parameter in self._stopped:
            parameter.requires_grad_(True)
        self._stopped = []
        for module in self._resting():
            for parameter in module.parameters():
                if parameter.requires_grad:
                    parameter.requires_grad_(False)
                    self._stopped.append(parameter)

    def training_mode(self) -> None:
        """As ever, with resting heads, trunk and batch norms in evaluation mode."""
        super().training_mode()
        for module in self._resting():
            module.eval()
        if self._rests(self.batch_norm):
            for module in self.session.encoder.backbone.modules():
                if isinstance(module, BatchNorm):
                    module.eval()

    def _rests(self, when: str) -> bool:
        return when == "frozen" or (when == "first" and len(self.seen) > 1)

    def _resting(self) -> list[nn.Module]:
        return self._others if self.trunk_learns else [self.session.encoder.backbone, *self._others]

    # ---- one step ----

    def objective(self, batch: TrainingBatch) -> Objective:
        """Trunk once, head of the batch's task, loss, then terms and penalty."""
        session, gather = self.session, self.session.processes.gather
        passed = pass_batch(session, self.frozen, batch, both=self._loss_takes_both)
        rows, partners = gather(passed.rows), None if passed.partners is None else gather(passed.partners)
        value, parts = loss_with_memory(session, self.source, rows, partners)
        extra = self.terms(batch, passed)
        penalty = self.penalty(batch, passed.rows)
        if penalty is not None:
            extra = {**extra, "penalty": penalty}
        for name, term in extra.items():
            value = value + term
            parts[name] = term
        parts["loss"] = value
        return Objective(value, rows, parts)

    @property
    def _loss_takes_both(self) -> bool:
        return "second_view" not in self.needs or "second_view" in self.session.loss.needs

    # ---- state ----

    def carry(self) -> dict[str, Any]:
        """Which experiences and tasks there were."""
        return {"seen": list(self.seen), "learnt": list(self.learnt)}

    def take_up(self, state: Mapping[str, Any] | None) -> None:
        """Experiences of earlier runs count: what learns in the first alone rests from now on."""
        tasks = list(self.session.encoder.head.tasks)
        self.seen = list(state["seen"]) if state else tasks or ["before"]
        self.learnt = list(state["learnt"]) if state else list(tasks) or [None]
