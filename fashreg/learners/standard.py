"""Ordinary training: batches, loss, step; with a memory, a penalty, and two moments before and after where one asks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from fashreg.assembly import spec_of
from fashreg.errors import ModelError
from fashreg.training.allocator import keep_freed_memory
from fashreg.training.best import BestWeights
from fashreg.training.checkpoint import seed_everything
from fashreg.training.freezing import Frozen, freeze
from fashreg.training.interruption import Interrupted, StopRequest
from fashreg.training.keeping import keep_carried
from fashreg.training.objective import Objective, embed_batch, loss_with_memory
from fashreg.training.optimisation import Group, parameter_groups
from fashreg.training.run import Run
from fashreg.training.session import LearnReport, Session, Source
from fashreg.values import Embedded, Experience, TrainingBatch


class StandardLearner:
    """Learns one experience after the other by gradient steps on a loss.

    One step: sampler -> loader -> augmentation -> encoder -> memory.align -> loss -> penalty -> backward -> step ->
    memory.push -> log, with

        value = w_b loss(batch) + w_m loss(batch, memory.read()) + penalty(batch)

    where w_b, w_m are the memory's weights; while the memory gives no rows, value = loss(batch) + penalty(batch).
    `bind` gives it the parts, `learn` one experience; a run folder makes it resumable bit for bit on a CPU.

    Other learners are subclasses. Three moments are theirs: `before` and `after` an experience, and a `penalty` added
    to each batch's loss. Those who need more override `objective` (from a batch to a scalar), `gradients` (from the
    batches of a step to its gradient), `groups` (what is trained), `training_mode` (what rests), `stepped`, `measured`
    (after a step, an evaluation), `state_dict` with its counterpart, and `carry` with `take_up` (for a later run).

    Source: the usual loop of deep metric learning, e.g. Musgrave, Belongie, Lim, "A Metric Learning Reality Check",
        ECCV 2020, https://arxiv.org/abs/2003.08505; the memory's place in it: Wang, Zhang, Huang, Scott, CVPR 2020,
        https://arxiv.org/abs/1912.06798
    See also: xbm (memory).
    """

    #: Whether it wants all experiences joined as one, instead of one after the other.
    whole_stream: bool = False
    #: Fields of TrainingBatch it cannot do without, beyond images, labels and ids.
    needs: frozenset[str] = frozenset()

    session: Session
    frozen: Frozen
    source: Source
    _best: BestWeights

    def __init__(self) -> None:
        self.finished: dict[str, dict[str, Any]] = {}
        self._resumed: Mapping[str, Any] | None = None

    # ---- what other learners override ----

    def before(self, experience: Experience) -> None:
        """Before an experience: add heads, keep a copy of the encoder, ... Called anew when a run is resumed, for every
        experience up to the present one and before the saved state is put back.
        """

    def penalty(self, batch: TrainingBatch, embedded: Embedded) -> Tensor | None:
        """A scalar added to the loss of this process's batch, or None. embedded: its rows (B, D), with gradient."""
        return None

    def after(self, experience: Experience) -> None:
        """After an experience, with the weights that were kept."""

    def stepped(self, step: int) -> None:
        """After optimiser step `step` (from 1)."""

    def measured(self, metrics: Mapping[str, float]) -> None:
        """After an evaluation, on every process."""

    def gradients(self, run: Run, group: list[TrainingBatch]) -> None:
        """Take the gradients of the batches of one optimiser step: of the mean of their values."""
        for batch in group:
            value, rows, parts = self.objective(batch)
            run.optimisation.backward(value, 1.0 / len(group))
            run.log.note(parts, run.position)
            if self.session.memory is not None:
                self.session.memory.push(rows.detach())

    def training_mode(self) -> None:
        """Put the encoder into training mode, and what rests into evaluation mode. Called before every epoch."""
        self.frozen.training_mode()

    def groups(self) -> list[Group]:
        """The parameters to train, as the optimiser takes them, each group with its `lr_factor`."""
        return parameter_groups(self.session.encoder, self.session.loss, self.session.trainer)

    def objective(self, batch: TrainingBatch) -> Objective:
        """From a batch to a scalar: embed, gather over processes, loss, penalty."""
        gather = self.session.processes.gather
        own, partners = embed_batch(self.session, batch)
        rows = gather(own)
        value, parts = loss_with_memory(self.session, self.source, rows, None if partners is None else gather(partners))
        penalty = self.penalty(batch, own)
        if penalty is not None:
            value = value + penalty
            parts["penalty"] = penalty
        parts["loss"] = value
        return Objective(value, rows, parts)

    def state_dict(self) -> dict[str, Any]:
        """The learner's own state: tensors, numbers, text, lists, dicts."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`."""
        if state:
            raise ValueError(f"{type(self).__name__} keeps no state, the checkpoint holds {', '.join(state)}")

    def carry(self) -> dict[str, Any]:
        """What a later run that learns on from here should know beside the model; kept in the run folder."""
        return {}

    def take_up(self, state: Mapping[str, Any] | None) -> None:
        """Learn on from an earlier run: its `carry()`; None: there is its model and no more. After `bind`, before the
        first `learn`. A learner that cannot do without what is missing raises ModelError and says what to type.
        """

    # ---- the loop ----

    def bind(self, session: Session) -> Self:
        """Take the parts; in a folder that holds a checkpoint of this run, `learn` will go on from it."""
        self.session = session
        if session.folder is not None:
            for component in (session.encoder.backbone, session.encoder.head):
                spec_of(component)  # what cannot be saved is refused before anything is trained
            self._resumed = session.folder.checkpoints.load()
        keep_freed_memory(session.trainer.keep_freed_memory)
        seed_everything(session.seed + self.session.processes.rank)
        for part in (session.encoder, session.loss, session.memory):
            if isinstance(part, torch.nn.Module):
                part.to(self.session.processes.device)
        self.frozen = freeze(session.encoder, session.trainer.freeze, batch_norm=session.trainer.freeze_batch_norm)
        if self._resumed is not None:
            self.finished = dict(self._resumed["finished"])
        session.processes.start_trackers("fashreg", session.recipe or {"trainer": session.trainer.model_dump()})
        return self

    def learn(self, experience: Experience) -> LearnReport:
        """Train on one experience and leave the best weights (on the primary metric, else the last) in the encoder."""
        self.before(experience)
        if experience.name in self.finished:
            return LearnReport(**self.finished[experience.name])
        if self.finished and self.session.memory is not None:
            self.session.memory.reset()  # labels are numbered anew in every table
        run = Run(self.session, experience, self.frozen, self.groups())
        self.source, self._best = run.source, BestWeights(self.session, run)
        self._restore(run)
        with StopRequest() as stop, run.log.progress:
            while not run.over:
                self._epoch(run, stop)
                if run.end_epoch():
                    self._evaluate(run)
                self._checkpoint_if_due(run, stop, epoch_ended=True)
        self._best.settle()
        del self._best  # it holds the run with its optimiser, and a copy of the weights
        self.after(experience)
        if self.session.folder is not None:
            keep_carried(self.session.folder, self.carry())
        self.finished[experience.name] = run.report().as_dict()
        return run.report()

    def _epoch(self, run: Run, stop: StopRequest) -> None:
        """What is left of the present epoch."""
        self.training_mode()
        self.session.loss.train()
        with run.timed():
            for group in run.groups():
                self.gradients(run, group)
                run.step(group)
                self.stepped(run.position.step)
                if not run.epoch_done:
                    self._checkpoint_if_due(run, stop, epoch_ended=False)

    def _evaluate(self, run: Run) -> None:
        """Measure, with averaged weights if there are any, and keep the weights when they are the best so far."""
        if self.session.evaluate is None:
            return
        encoder, processes = self.session.encoder, self.session.processes
        processes.average_buffers(encoder)
        with run.averaged():
            metrics = dict(self.session.evaluate(encoder, run.experience)) if processes.first else None
            metrics = processes.from_first(metrics)
            if metrics:
                self.measured(metrics)
            if metrics and run.judge(metrics):
                self._best.keep()

    # ---- checkpoints ----

    def _checkpoint_if_due(self, run: Run, stop: StopRequest, *, epoch_ended: bool) -> None:
        """Keep a checkpoint when its time has come; when a signal asked to stop, keep one and stop."""
        config, at = run.config, run.position
        asked = self.session.processes.any(bool(stop.asked))
        due = config.checkpoint_steps is not None and at.step % config.checkpoint_steps == 0
        if epoch_ended and config.checkpoint_every:
            due = due or run.over or at.epoch % config.checkpoint_every == 0
        where = self._checkpoint(run) if due or asked else None
        if asked and not run.over:
            how = f"go on with the same command and --resume (checkpoint: {where})" if where else "nothing was kept"
            message = f"stopped after {at.step} of {run.total} steps; {how}"
            raise Interrupted(message, checkpoint=where, signal_number=stop.asked)

    def _checkpoint(self, run: Run) -> Path | None:
        folder = self.session.folder
        if folder is None:
            return None
        with run.untimed():
            state = {**run.state_dict(), "learner": self.state_dict(), "finished": self.finished}
            steps = sum(int(report["steps"]) for report in self.finished.values()) + run.position.step
            where = folder.checkpoints.save(steps, state) if folder.writes else None
            self.session.processes.wait()
        return where

    def _restore(self, run: Run) -> None:
        """Go on from the run folder's checkpoint if it is of this experience."""
        state, self._resumed = self._resumed, None
        if state is None:
            return
        if state["experience"] != run.experience.name:
            raise ModelError(
                f"the checkpoint is of experience {state['experience']!r}, not {run.experience.name!r}: go on with the "
                "experiences in the order they had"
            )
        run.load_state_dict(state)
        self.load_state_dict(state["learner"])
        run.log.progress.say(f"going on after {run.position.step} of {run.total} steps")
