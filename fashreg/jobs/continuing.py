"""Learning on: a trained model gets a new attribute or task, and what it knew stays as it was."""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from fashreg import registry
from fashreg.assembly import told_by
from fashreg.config import Recipe
from fashreg.encoder import Encoder
from fashreg.errors import ModelError, RecipeError
from fashreg.jobs.continuing_recipe import checked_names, continued_recipe, freeze_before
from fashreg.jobs.continuing_source import Beginning, read_beginning
from fashreg.jobs.continuing_tasks import checked_tasks, recipe_with_tasks, rest_all_but
from fashreg.jobs.keeping_check import Before, Kept
from fashreg.jobs.new_heads import let_reach
from fashreg.jobs.parts import assemble, read_tables
from fashreg.jobs.settling import settled
from fashreg.jobs.stream_check import stream_judge
from fashreg.jobs.stream_judging import Judge
from fashreg.jobs.training import Plan, TrainedRun, run_training
from fashreg.strict_json import read_json, write_json
from fashreg.training.run_folder import RunFolder, open_run

CONTINUED = "continued.json"


@dataclass(frozen=True)
class ContinuedRun(TrainedRun):
    """As TrainedRun. added: the new attributes. continued_from: the model that was learned on from. kept: what became
    of what it knew; None on processes other than the first.
    """

    added: tuple[str, ...] = ()
    continued_from: dict[str, Any] = field(default_factory=dict)
    kept: Kept | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        kept = None if self.kept is None else self.kept.as_dict()
        return {**super().as_dict(), "added": list(self.added), "continued_from": self.continued_from, "kept": kept}

    def summary(self) -> str:
        """As ever, and what became of what was known."""
        lines = [super().summary()]
        if self.kept is not None and self.kept.equal:
            lines.append(self.kept.summary())
        return "\n".join(lines)


def continue_training(
    source: str | Path | Encoder,
    *,
    add: str | Sequence[str] = (),
    table: Any = None,
    add_task: str | Sequence[str] = (),
    out: str | Path | None = None,
    train_encoder: bool = False,
    recipe: Any = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
    quiet: bool = False,
) -> ContinuedRun:
    """Add attributes or tasks to a trained model.

    source: a run folder (with what its learner handed on), a model folder, user/name[@REVISION] on the Hub, or an
    Encoder, which is left as it is. add: columns of `table`, a path or DataFrame; one after the other, each with a head
    of its own. add_task: instead, tasks as in a recipe's section `tasks`, learned together; kinds, columns and, without
    `table`, tables stand in the overrides: "tasks.NAME.data.text=caption". out: a run folder to make; None writes
    nothing. train_encoder: False leaves everything that the model knew equal to the bit, which is checked at the
    end; True lets the encoder learn on, so that what it knew moves. recipe: instead of the one that is kept with the
    model. overrides: "field=value" of the recipe. resume: go on in `out` after an interruption.

    The recipe stays as it was but for table, attributes or tasks, and what is frozen. Attributes that the model knows
    and the table has are measured before and after, and not learned again.
    """
    asked = _Asked(add, table, add_task, train_encoder, recipe, overrides)
    begun = read_beginning(source)
    with _prepared(begun, asked) as plan:
        run = _learned(begun, plan, asked, out, resume=resume, quiet=quiet)
    kept = run.kept
    if kept is not None and not train_encoder and not kept.whole:
        raise ModelError(
            f"{', '.join(task for task, equal in kept.equal.items() if not equal)} changed although the encoder was to "
            f"stay: learner {plan.recipe.learner.name!r} moves what is frozen. Take another (--set learner=NAME), or "
            "allow it (--train-encoder)"
        )
    return run


def plan_continuing(
    source: str | Path | Encoder,
    *,
    add: str | Sequence[str] = (),
    table: Any = None,
    add_task: str | Sequence[str] = (),
    train_encoder: bool = False,
    recipe: Any = None,
    overrides: Sequence[str] = (),
) -> Plan:
    """Everything that `continue_training` does before its first step. Raises what it would raise."""
    begun = read_beginning(source)
    with _prepared(begun, _Asked(add, table, add_task, train_encoder, recipe, overrides)) as plan:
        _judge(plan)
        return plan


@dataclass(frozen=True)
class _Asked:
    """What was asked for: the arguments of `continue_training`."""

    add: str | Sequence[str]
    table: Any
    add_task: str | Sequence[str]
    train_encoder: bool
    recipe: Any
    overrides: Sequence[str]

    def read(self, begun: Beginning) -> Recipe:
        """The recipe of the new run."""
        if self.add_task and self.add:
            raise RecipeError("an attribute and a task are added one after the other: --add-attribute, or --add-task")
        if self.add_task:
            names = checked_tasks(begun, self.add_task)
            how = {"recipe": self.recipe, "overrides": self.overrides}
            return recipe_with_tasks(begun, names, self.table, **how)
        names = checked_names(begun, self.add)
        if self.table is None:
            raise RecipeError("say which table has the new attribute as a column: --table TABLE", field="data.table")
        how = {"train_encoder": self.train_encoder, "recipe": self.recipe, "overrides": self.overrides}
        return continued_recipe(begun, names, self.table, **how)


@contextlib.contextmanager
def _prepared(begun: Beginning, asked: _Asked) -> Iterator[Plan]:
    """The recipe and the parts, built; within the block what the recipe names is seen, and no more."""
    read, recipe = asked.read(begun), asked.recipe
    stranger = told_by(begun.name) if begun.foreign and recipe is None else contextlib.nullcontext()
    # a task is added to the encoder at once, so what was known is asked of another one
    encoder = copy.deepcopy(begun.encoder) if asked.add_task else begun.encoder
    with registry.only(read.plugins):
        objects = {"backbone": encoder.backbone, "head": encoder.head}
        read = settled(read, objects)
        tables = read_tables(read, None if isinstance(asked.table, str | Path) else asked.table)
        with stranger:
            let_reach(encoder, read)
            parts = assemble(read, tables, objects)
        parts.encoder.input_spec = encoder.input_spec
        before = {} if tables.tasks else freeze_before(begun, recipe, read)
        parts.provenance["continued_from"] = {**begun.told(), **before}
        yield Plan(read, tables, parts)


def _judge(plan: Plan) -> Judge | None:
    """Of attributes; tasks are measured each by its own evaluator."""
    if plan.tables.tasks:
        return None
    return stream_judge(plan.recipe, plan.tables, plan.parts, {"head": plan.parts.encoder.head})


def _learned(
    begun: Beginning, plan: Plan, asked: _Asked, out: str | Path | None, *, resume: bool, quiet: bool
) -> ContinuedRun:
    """Train, and compare with what was known before."""
    tables = plan.tables
    names = tuple(tables.tasks) or tuple(experience.name for experience in tables.experiences)
    said = {"continued_from": plan.parts.provenance["continued_from"], "added": list(names)}
    judge, document = _judge(plan), plan.recipe.model_dump(mode="json")
    before = Before(begun.encoder, tables.train, begun.tasks) if _first() else None

    def bound(learner: Any) -> None:
        if tables.tasks and not asked.train_encoder:
            learner.frozen.modules += rest_all_but(plan.parts.encoder, names)
        if hasattr(learner, "take_up"):
            learner.take_up(begun.carried)

    def learn(folder: RunFolder | None) -> ContinuedRun:
        how: dict[str, Any] = {"quiet": quiet, "judge": judge, "bound": bound, "earlier": begun.record}
        run = run_training(plan.recipe, plan.tables, plan.parts, document, folder, **how)
        kept = None if before is None else before.compare(run.encoder if folder is None else folder.model)
        whole = {one.name: getattr(run, one.name) for one in fields(TrainedRun)}
        return ContinuedRun(**whole, added=names, continued_from=said["continued_from"], kept=kept)

    if out is None:
        return learn(None)
    with open_run(out, recipe=document, resume=resume) as folder:
        _note(folder, said)
        run = learn(folder)
        if run.kept is not None:
            _note(folder, {**said, "kept": run.kept.as_dict()})
        return run


def _note(folder: RunFolder, said: dict[str, Any]) -> None:
    """Keep what is learned on from; when a run is resumed it must be the same model."""
    path = folder.path / CONTINUED
    if not folder.writes:
        return
    if path.is_file():
        before, now = (one["continued_from"]["fingerprint"] for one in (read_json(path), said))
        if before != now:
            raise ModelError(
                f"{folder.path} learns on from the model {before[:12]}, and this one is {now[:12]}: give the one it "
                "began with (on the Hub by its commit, user/name@COMMIT), or choose another folder"
            )
    elif folder.checkpoints.newest() is not None:
        raise ModelError(f"{folder.path} holds a run that was not begun by `fashreg continue`; choose another folder")
    write_json(path, said)


def _first() -> bool:
    return int(os.environ.get("RANK", "0")) == 0
