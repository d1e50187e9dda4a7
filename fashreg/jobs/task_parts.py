"""What belongs to each task of a recipe beside its tables: sampler, evaluator, batch size; and how it is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fashreg.assembly import build
from fashreg.config import Recipe
from fashreg.config_data import DataConfig
from fashreg.config_trainer import TrainerConfig
from fashreg.encoder import Encoder
from fashreg.errors import RecipeError
from fashreg.interfaces import Evaluator
from fashreg.jobs.evaluation import Asking, Evaluation, evaluate_table
from fashreg.jobs.evaluation_kinds import judges
from fashreg.jobs.settling import task_evaluators
from fashreg.jobs.task_tables import CLASSIFICATION, TaskTables
from fashreg.values import Experience

#: The mean over the tasks of the metric that matters most to each.
MEAN = "mean_primary"

_LOOKED_AT = 1000  # training texts of a task that are held against what the backbone reads

#: Kind of task -> what a backbone, and a head, must be able to do.
_ABLE = {
    "backbone": {"cross-modal": "encode_text", "composed": "compose", "captioning": "captions"},
    "head": {CLASSIFICATION: "classify", "captioning": "words"},
}
#: Kind of task -> what its evaluator may be given. Pictures that find pictures can be asked of the first two as well.
_JUDGED = {
    "cross-modal": ("cross-modal", "pictures"),
    "composed": ("composed", "pictures"),
    CLASSIFICATION: ("classes",),
    "captioning": ("captions",),
}


@dataclass(frozen=True)
class TaskPart:
    """One task. sampler: None is the recipe's. batch_size: over all processes."""

    name: str
    kind: str
    data: DataConfig
    evaluator: Evaluator
    batch_size: int
    sampler: Any = None


def task_parts(recipe: Recipe, tables: Mapping[str, TaskTables], facts: Mapping[str, Any]) -> dict[str, TaskPart]:
    """The parts of each task, built."""
    evaluators, found = task_evaluators(recipe), {}
    for name, task in tables.items():
        own = (recipe.tasks or {})[name]
        evaluator = build("evaluator", evaluators[name], facts=facts)
        size = own.batch_size or recipe.trainer.batch_size
        found[name] = TaskPart(name, task.kind, task.data, evaluator, size, own.sampler)
    return found


def task_facts(tables: Mapping[str, TaskTables]) -> dict[str, Any]:
    """What components are told of the tasks."""
    return {
        "kinds": {name: task.kind for name, task in tables.items()},
        "classes": {name: task.train.label_names for name, task in tables.items() if task.kind == CLASSIFICATION},
    }


def check_able(tables: Mapping[str, TaskTables], field: str, part: Any) -> None:
    """RecipeError where a backbone or head (field) cannot do what a kind of task asks of it."""
    for name, task in tables.items():
        member = _ABLE[field].get(task.kind)
        if member is not None and not hasattr(part, member):
            raise RecipeError(
                f"task {name!r} ({task.kind}): {field} {type(part).__name__} knows nothing of such tasks (it has no "
                f"{member}): --set {field}=fame-vil (plugin fashreg-famevil), or leave the task out: --set "
                f"tasks.{name}=null",
                field=field,
            )


def check_judges(parts: Mapping[str, TaskPart]) -> None:
    """RecipeError where an evaluator judges something else than a task of its kind gives."""
    for name, part in parts.items():
        judged = judges(part.evaluator)
        if judged not in _JUDGED[part.kind]:
            raise RecipeError(
                f"task {name!r} ({part.kind}) cannot be measured by {type(part.evaluator).__name__}, which judges "
                f"{judged}: leave tasks.{name}.evaluator out, or name {part.kind}",
                field=f"tasks.{name}.evaluator",
            )


def check_tasks(tables: Mapping[str, TaskTables], learner: Any) -> None:
    """RecipeError where a learner needs of a kind of task what a table does not have."""
    asked = getattr(learner, "needs_of_kind", None)
    for name, task in tables.items():
        known = {"texts": task.train.texts is not None, "targets": task.train.targets is not None, "second_view": True}
        known["attributes"] = bool(task.train.attributes)
        for need in sorted(asked(task.kind) if asked is not None else ()):
            if not known.get(need, False):
                column = {"texts": "text=COLUMN", "targets": "target=COLUMN"}.get(need, f"{need}=[COLUMN, ...]")
                raise RecipeError(
                    f"the learner needs {need} for task {name!r} ({task.kind}), and the recipe names none: --set "
                    f"tasks.{name}.data.{column}",
                    field=f"tasks.{name}.data",
                )


def cut_texts(tables: Mapping[str, TaskTables], backbone: Any) -> tuple[str, ...]:
    """What to tell of training texts that the backbone does not read to their end, where it can say so."""
    told = []
    for name, task in tables.items():
        texts = [text for text in task.train.texts or () if text][:_LOOKED_AT]
        if texts and hasattr(backbone, "cut_texts") and (cut := backbone.cut_texts(texts)):
            of = f"{len(texts):,}" if len(texts) < _LOOKED_AT else f"the first {len(texts):,}"
            told.append(
                f"task {name}: {cut:,} of {of} training texts are longer than the {backbone.context_length} tokens "
                "that are read, and are cut: --set backbone.context_length=N"
            )
    return tuple(told)


def evaluate_part(
    encoder: Encoder, experience: Experience, part: TaskPart, trainer: TrainerConfig
) -> tuple[dict[str, float], float] | None:
    """One task on its validation rows: the metrics by `TASK/METRIC`, and the primary one; None without such rows."""
    if experience.validation is None:
        return None
    found = evaluate_task(encoder, experience.validation, part, trainer=trainer, asking=Asking(details=False))
    return {f"{part.name}/{name}": value for name, value in found.metrics.items()}, found.metrics[found.primary]


def evaluate_parts(
    encoder: Encoder, experience: Experience, parts: Mapping[str, TaskPart], trainer: TrainerConfig
) -> dict[str, float]:
    """All tasks on their validation rows, and the mean of their primary metrics; {} where no task has such rows."""
    several = [evaluate_part(encoder, one, parts[one.name], trainer) for one in experience.parts]
    measured = [found for found in several if found is not None]
    if not measured:
        return {}
    together = {name: value for metrics, _ in measured for name, value in metrics.items()}
    return {MEAN: sum(primary for _, primary in measured) / len(measured), **together}


def evaluate_task(
    encoder: Encoder, table: Any, part: TaskPart, *, asking: Asking, trainer: TrainerConfig | None = None
) -> Evaluation:
    """One task on a table, by its own evaluator."""
    return evaluate_table(
        encoder, table, [part.evaluator], config=part.data, task=part.name, trainer=trainer, asking=asking
    )
