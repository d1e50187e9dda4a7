"""Learning tasks of four kinds at once: batches of the tasks in turn, each with its own objective."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field
from torch import Tensor, nn

from fashreg.config_trainer import TrainerConfig
from fashreg.errors import RecipeError
from fashreg.learners.standard import StandardLearner
from fashreg.training.new_tasks import add_heads
from fashreg.training.objective import Objective
from fashreg.training.optimisation import Group
from fashreg.training.run import Run
from fashreg.training.session import Session
from fashreg.values import Embedded, Experience, TrainingBatch
from fashreg_famevil import checking
from fashreg_famevil.balancing import measured_scales, order_of
from fashreg_famevil.learning import learning_groups, resting
from fashreg_famevil.mixing import GradientsByTask
from fashreg_famevil.objectives import NEEDS, answers_of, without_some_texts
from fashreg_famevil.teachers import Teachers
from fashreg_famevil.valuing import Valued, value_of

Share = Annotated[float, Field(ge=0.0)]
Base = Annotated[float, Field(gt=0.0)]
Learns = Literal["trained", "frozen"]


class MultiTaskLearner(StandardLearner):
    """Learns tasks of four kinds together: every batch is of one task, and has that kind's objective.

        cross-modal       1/2 [ CE(a v, a t) + CE(a t, a v) ]   pictures v and their texts t, unit rows
        composed          CE(a q, a g)                          questions q of picture and text, target pictures g
        classification    CE(W f + b, class)                    f of picture and text, both towers in step
        captioning        CE(next word), the mean over places   up to the end of the text

    CE(x, y) sets every row x_i against all y_j of the batch, of all processes; a learnt a, one for each such task, is
    the inverse root of the temperature. With a teacher t for a task (a model of that task alone),

        value = w_task [ (2 - w) L_task + w CE(softmax of the teacher's logits, the student's logits) ]

    Batches of the tasks come in the order of `schedule`; each batch of each task comes once an epoch. The recipe names
    no loss; tables stand in its section `tasks`.

    Source: Han, Zhu, Yu, Zhang, Song, Xiang, "FAME-ViL: Multi-Tasking Vision-Language Model for Heterogeneous Fashion
        Tasks", CVPR 2023, https://arxiv.org/abs/2303.02483
    Source: `impartial`: Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021; `adaptive`: after Jean, Firat,
        Johnson, "Adaptive Scheduling for Multi-Task Learning", 2019, https://arxiv.org/abs/1909.06434

    Differs from the released code: the teacher's own rows make both sides of its logits, and no gradient flows through
    them (`published_distillation` has it their way); places after the end of a caption do not count (`count_padding`);
    another view of the same product is no wrong answer (`mask_same_label`); norms, biases and scalars have no weight
    decay; teachers rest in evaluation mode and are no part of the model.

    See also: backbone and head fame-vil. The backbone says which adapters there are.

    Args:
        schedule: whose turn it is: "size-proportional" (every left batch is as likely to be next), "uniform" (every
            task with a batch left is), "round-robin" (in turn).
        batches: task -> its batches in an epoch, where that is not all of its table once: fewer are others each epoch,
            more begin the table anew.
        teachers: task -> model folder, or user/name@REVISION on the Hub; tasks without one learn alone.
        distillation_weight: w, 0 to 2; at 1 both terms count as they are.
        published_distillation: take the targets of kind cross-modal as the released code does; for comparison only.
        count_padding: let places after the end of a caption count, as in the released code, where they are easy.
        mask_same_label: rows of equal label are left out as wrong answers to each other (cross-modal, composed); False:
            they count, as in the released code.
        empty_texts: share of the rows of kind classification that are shown without their text, so that a picture alone
            can be named later; 0 as published. Drawn anew for every batch.
        loss_weights: task -> w_task; 1 where none is given.
        clip: whether the CLIP itself learns.
        across: whether the way across, which all tasks share, learns. Frozen as the CLIP, tasks leave each other alone.
        clip_lr_factor: learning rate of the CLIP, as a share of that of adapters and head (trainer.lr).
        adaptive: scale the gradient of the CLIP's weights by how far each task is behind, after each evaluation (IAS).
        bases: for `adaptive`: task -> the score that counts as reached; unset: 0.7 and 0.6 mean_recall for cross-modal
            and composed, 0.9 macro_f1 for classification, 0.4 bleu@4 for captioning.
        impartial: mix the gradients of one batch of each task so that none prevails (IMTL-G); needs "round-robin", and
            trainer.accumulate equal to the number of tasks.
    """

    own_loss = True  # the recipe names none
    tasks_of_kinds = frozenset(NEEDS)
    #: What a folder cannot have it fetch (`fashreg.assembly.told_by`).
    reaches: ClassVar[Mapping[str, Any]] = MappingProxyType({"teachers": None})

    def __init__(
        self,
        schedule: Literal["size-proportional", "uniform", "round-robin"] = "size-proportional",
        *,
        batches: dict[str, Annotated[int, Field(gt=0)]] | None = None,
        teachers: dict[str, str] | None = None,
        distillation_weight: Annotated[float, Field(ge=0.0, le=2.0)] = 1.0,
        published_distillation: bool = False,
        count_padding: bool = False,
        mask_same_label: bool = True,
        empty_texts: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0,
        loss_weights: dict[str, Share] | None = None,
        clip: Learns = "trained",
        across: Learns = "trained",
        clip_lr_factor: Annotated[float, Field(gt=0.0)] = 0.01,
        adaptive: bool = False,
        bases: dict[str, Base] | None = None,
        impartial: bool = False,
    ) -> None:
        checking.check_choice("schedule", schedule, checking.SCHEDULES)
        checking.check_choice("clip", clip, checking.LEARNS)
        checking.check_choice("across", across, checking.LEARNS)
        checking.check_range("distillation_weight", distillation_weight, 0.0, 2.0)
        checking.check_range("empty_texts", empty_texts, 0.0, 1.0)
        if clip_lr_factor <= 0.0:
            raise ValueError(f"clip_lr_factor must be above 0, got {clip_lr_factor}; clip: frozen stops its learning")
        checking.check_above("bases", bases, 0.0)
        if impartial and schedule != "round-robin":
            raise ValueError('impartial mixes one batch of each task, in turn: it needs schedule "round-robin"')
        super().__init__()
        self.schedule, self.batches, self.teachers, self.loss_weights = schedule, batches, teachers, loss_weights
        self.distillation_weight, self.published_distillation = distillation_weight, published_distillation
        self.count_padding, self.mask_same_label, self.empty_texts = count_padding, mask_same_label, empty_texts
        self.clip, self.across, self.clip_lr_factor = clip, across, clip_lr_factor
        self.adaptive, self.bases, self.impartial = adaptive, bases, impartial
        self.scales: dict[str, float] = {}
        self.tasks: tuple[str, ...] = ()

    # ---- what it needs and is given ----

    def needs_of_kind(self, kind: str) -> frozenset[str]:
        """Fields of TrainingBatch that a task of this kind cannot do without."""
        return NEEDS[kind]

    def turns(self, lengths: Mapping[str, int], seed: tuple[int, int]) -> list[str]:
        """Whose turn it is, for every batch of an epoch."""
        chosen = {task: number for task, number in (self.batches or {}).items() if task in lengths}
        return order_of({**lengths, **chosen}, self.schedule, seed)

    def check_tasks(self, tasks: Sequence[str], trainer: TrainerConfig) -> None:
        """RecipeError for options that these tasks do not allow."""
        named = ("batches", "loss_weights", "bases", "teachers")
        checking.check_named({name: getattr(self, name) for name in named}, tasks)
        checking.check_places(self.teachers or {})
        checking.check_impartial(self.impartial, trainer.accumulate, tasks)
        checking.check_adaptive(self.adaptive, trainer.evaluate_every)

    def bind(self, session: Session) -> Self:
        """As ever; teachers are loaded, so that one that does not fit is told at once."""
        checking.check_backbone(session.encoder.backbone)
        super().bind(session)
        self._teaching = Teachers.load(self.teachers or {}, session.encoder)
        return self

    def before(self, experience: Experience) -> None:
        """Adapters and heads of new tasks; what does not learn here rests."""
        encoder = self.session.encoder
        add_heads(encoder, experience)
        backbone: Any = encoder.backbone
        taught = [part.task for part in experience.parts or (experience,)]
        only = list(backbone.kinds) if len(backbone.kinds) == 1 else []
        self.tasks = tuple(task for task in (taught if taught != [None] else only) if task is not None)
        if not self.tasks:
            raise RecipeError("learner multi-task needs the section `tasks` in the recipe", field="tasks")
        self.check_tasks(self.tasks, self.session.trainer)
        self.scales = {}
        for module in self._resting():
            module.requires_grad_(False)

    def _resting(self) -> list[nn.Module]:
        learns = {"clip": self.clip == "trained", "across": self.across == "trained"}
        return resting(self.session.encoder, self.tasks, **learns)

    def training_mode(self) -> None:
        """As ever, with what rests in evaluation mode."""
        super().training_mode()
        for module in self._resting():
            module.eval()

    def groups(self) -> list[Group]:
        """The CLIP at its own rate, adapters and ways across, the head. Only matrices have weight decay."""
        return learning_groups(self.session.encoder, self.session.trainer, self.clip_lr_factor)

    # ---- one step ----

    def objective(self, batch: TrainingBatch) -> Objective:
        """The kind's objective on the batch of all processes, and the teacher's part in it."""
        session = self.session
        task = batch.task if batch.task is not None else self.tasks[0]
        kind = session.encoder.backbone.kinds[task]
        if kind == "classification" and self.empty_texts:
            batch = without_some_texts(batch, self.empty_texts)
        with session.processes.autocast():
            mine = answers_of(session.encoder, batch, task, count_padding=self.count_padding)
            theirs = None
            if task in self._teaching:
                theirs = self._teaching.answers(batch, task, count_padding=self.count_padding)
        session.cost.forward(mine.pictures + (0 if theirs is None else theirs.pictures))
        session.cost.backward(mine.pictures)
        found = value_of(
            mine, theirs, batch, kind, session.processes, self.mask_same_label, self.published_distillation
        )
        value, parts = self._weighed(found, task)
        rows = Embedded(mine.rows.float(), batch.labels, batch.ids, unit=True)
        penalty = self.penalty(batch, rows)
        if penalty is not None:
            value = value + penalty
            parts["penalty"] = penalty
        return Objective(value, rows, {**parts, "loss": value})

    def _weighed(self, found: Valued, task: str) -> tuple[Tensor, dict[str, Tensor]]:
        weight, w = (self.loss_weights or {}).get(task, 1.0), self.distillation_weight
        parts = {f"{task}.loss": found.own}
        if found.taught is None:
            return weight * found.own, parts
        parts[f"{task}.distillation"] = found.taught
        return weight * ((2.0 - w) * found.own + w * found.taught), parts

    def gradients(self, run: Run, group: list[TrainingBatch]) -> None:
        """As ever; or kept apart by task, for those who scale or mix them."""
        if not (self.adaptive or self.impartial):
            return super().gradients(run, group)
        kept = GradientsByTask(run.optimisation.parameters, mixed=self.impartial)
        often = Counter(batch.task for batch in group)
        shared = list(self.session.encoder.backbone.trunk.clip.parameters())
        for batch in group:
            value, _, parts = self.objective(batch)
            run.optimisation.backward(value, 1.0 / (often[batch.task] if self.impartial else len(group)))
            self.session.processes.average_gradients(kept.parameters)
            task = batch.task or self.tasks[0]
            kept.take(task, self.scales.get(task, 1.0), shared)
            run.log.note(parts, run.position)
        return kept.give()

    def measured(self, metrics: Mapping[str, float]) -> None:
        """With `adaptive`: how the tasks' gradients are scaled until the next evaluation."""
        if not self.adaptive:
            return
        kinds = {task: self.session.encoder.backbone.kinds[task] for task in self.tasks}
        self.scales = measured_scales(metrics, kinds, self.bases)

    def state_dict(self) -> dict[str, Any]:
        """How gradients are scaled at present."""
        return {"scales": dict(self.scales)} if self.adaptive else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`."""
        self.scales = dict(state.get("scales", {}))
