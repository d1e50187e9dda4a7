"""Learning on: a trained model gets a new attribute, and what it knew stays as it was."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from fashreg import registry
from fashreg.assembly import told_by
from fashreg.encoder import Encoder
from fashreg.errors import ModelError
from fashreg.jobs.continuing_recipe import checked_names, continued_recipe, freeze_before
from fashreg.jobs.continuing_source import Beginning, read_beginning
from fashreg.jobs.keeping_check import Before, Kept
from fashreg.jobs.new_heads import let_reach
from fashreg.jobs.parts import assemble, read_tables
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
    add: str | Sequence[str],
    table: Any,
    out: str | Path | None = None,
    train_encoder: bool = False,
    recipe: Any = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
    quiet: bool = False,
) -> ContinuedRun:
    """Add attributes to a trained model, one after the other, each with a head of its own.

    source: a run folder (with what its learner handed on), a model folder, user/name[@REVISION] on the Hub, or an
    Encoder, which is left as it is. add: columns of `table`, a path or DataFrame. out: a run folder to make; None
    writes nothing. train_encoder: False leaves everything that the model knew equal to the bit, which is checked at the
    end; True lets the encoder learn on, so that what it knew moves. recipe: instead of the one that is kept with the
    model. overrides: "field=value" of the recipe. resume: go on in `out` after an interruption.

    The recipe stays as it was but for table, attributes and what is frozen. Attributes that the model knows and the
    table has are measured before and after, and not learned again.
    """
    begun = read_beginning(source)
    with _prepared(begun, add, table, train_encoder, recipe, overrides) as plan:
        run = _learned(begun, plan, out, resume=resume, quiet=quiet)
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
    add: str | Sequence[str],
    table: Any,
    train_encoder: bool = False,
    recipe: Any = None,
    overrides: Sequence[str] = (),
) -> Plan:
    """Everything that `continue_training` does before its first step. Raises what it would raise."""
    begun = read_beginning(source)
    with _prepared(begun, add, table, train_encoder, recipe, overrides) as plan:
        _judge(plan)
        return plan


@contextlib.contextmanager
def _prepared(
    begun: Beginning, add: str | Sequence[str], table: Any, train_encoder: bool, recipe: Any, overrides: Sequence[str]
) -> Iterator[Plan]:
    """The recipe and the parts, built; within the block what the recipe names is seen, and no more."""
    names = checked_names(begun, add)
    read = continued_recipe(begun, names, table, train_encoder=train_encoder, recipe=recipe, overrides=overrides)
    stranger = told_by(begun.name) if begun.foreign and recipe is None else contextlib.nullcontext()
    encoder = begun.encoder
    with registry.only(read.plugins):
        tables = read_tables(read, None if isinstance(table, str | Path) else table)
        with stranger:
            let_reach(encoder, read)
            parts = assemble(read, tables, {"backbone": encoder.backbone, "head": encoder.head})
        parts.encoder.input_spec = encoder.input_spec
        parts.provenance["continued_from"] = {**begun.told(), **freeze_before(begun, recipe, read)}
        yield Plan(read, tables, parts)


def _judge(plan: Plan) -> Judge:
    return stream_judge(plan.recipe, plan.tables, plan.parts, {"head": plan.parts.encoder.head})


def _learned(begun: Beginning, plan: Plan, out: str | Path | None, *, resume: bool, quiet: bool) -> ContinuedRun:
    """Train, and compare with what was known before."""
    names = tuple(experience.name for experience in plan.tables.experiences)
    said = {"continued_from": plan.parts.provenance["continued_from"], "added": list(names)}
    judge, document = _judge(plan), plan.recipe.model_dump(mode="json")
    before = Before(begun.encoder, plan.tables.train, begun.tasks) if _first() else None

    def bound(learner: Any) -> None:
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
