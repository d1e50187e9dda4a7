"""One experience being learned: where it stands, what belongs to it, and how it is kept and found again."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from fashreg.errors import ModelError, RecipeError
from fashreg.training.checkpoint import random_state, set_random_state
from fashreg.training.ema import Ema
from fashreg.training.freezing import Frozen
from fashreg.training.optimisation import Group, Optimisation
from fashreg.training.position import Position
from fashreg.training.run_log import RunLog
from fashreg.training.schedule import lr_factor, steps_per_epoch, total_steps
from fashreg.training.seeing import check_sight, show_proxies
from fashreg.training.session import LearnReport, Session
from fashreg.values import Experience, TrainingBatch


class Run:
    """An experience with its batches, optimiser, average and position. The learner decides, this keeps the books."""

    def __init__(self, session: Session, experience: Experience, frozen: Frozen, groups: list[Group]) -> None:
        self.session, self.processes, self.experience = session, session.processes, experience
        self.config = session.trainer
        session.cost.begin(experience.name)
        if experience.parts and session.memory is not None:
            raise RecipeError(
                "batches of several tasks come in turn, and a memory would compare rows of different tasks: "
                "--set memory=null",
                field="memory",
            )
        self.source = session.source(experience, frozen, session.processes)
        if len(self.source) == 0:
            raise RecipeError(f"{experience.name}: an epoch has no batch; lower trainer.batch_size")
        check_sight(session.loss, self.source.sampler)
        self.optimisation = Optimisation(groups, self.config, session.processes.device)
        self.ema = None if self.config.ema_decay is None else Ema(session.encoder, self.config.ema_decay)
        self.position = Position()
        self.total = total_steps(self.config, len(self.source))
        self.per_epoch = steps_per_epoch(self.config, len(self.source))
        self.log = RunLog(session, experience.name, self.total)
        self._started: float | None = None

    @property
    def epoch_done(self) -> bool:
        """Whether nothing is left of the present epoch."""
        return self.position.batch >= len(self.source) or self.position.step >= self.total

    @property
    def over(self) -> bool:
        """Whether there is nothing left to train."""
        at = self.position
        return at.stopped_early or at.epoch >= self.config.epochs or at.step >= self.total

    def groups(self) -> Iterator[list[TrainingBatch]]:
        """What is left of the present epoch: for each optimiser step, its batches."""
        if self.position.batch == 0:
            self.source.sampler.set_epoch(self.position.epoch)
        batches = iter(self.source.batches(self.position.epoch))
        while not self.epoch_done:
            group = [self._placed(batch) for batch in itertools.islice(batches, self.config.accumulate)]
            if not group:
                return
            yield group

    def step(self, group: list[TrainingBatch]) -> None:
        """Change the weights by the gradients of these batches, and count them."""
        at = self.position
        factor = lr_factor(self.config, at.step, self.total, self.per_epoch)
        self.optimisation.step(factor, self.processes.average_gradients)
        if self.ema is not None:
            self.ema.update()
        at.batch += len(group)
        at.step += 1
        at.images += sum(len(batch) for batch in group) * self.processes.size
        self.session.cost.tuples(sum(self._tuples(batch) for batch in group))
        self.log.add(show_proxies(self.session.loss, self.source.sampler, at, ended=self.epoch_done))
        if at.step % self.config.log_every == 0 or at.step == self.total:
            self._count_time()
            self.log.line(at, self.optimisation.lr)
        else:
            self.log.progress.step(at.step)

    def end_epoch(self) -> bool:
        """Go to the next epoch, unless training ends within this one; True when an evaluation is due."""
        at = self.position
        if at.batch >= len(self.source) or at.step < self.total:
            at.epoch, at.batch = at.epoch + 1, 0
        every = self.config.evaluate_every
        return self.over or (every > 0 and at.epoch % every == 0)

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Within the block time counts as training."""
        self._started = time.perf_counter()
        try:
            yield
        finally:
            self._count_time()
            self._started = None

    @contextlib.contextmanager
    def untimed(self) -> Iterator[None]:
        """Within the block time does not count, whether or not it did."""
        self._count_time()
        running, self._started = self._started is not None, None
        try:
            yield
        finally:
            self._started = time.perf_counter() if running else None

    def _count_time(self) -> None:
        if self._started is not None:
            now = time.perf_counter()
            self.position.seconds += now - self._started
            self.session.cost.seconds(now - self._started)
            self._started = now

    def judge(self, metrics: Mapping[str, float]) -> bool:
        """Take in an evaluation; True when its primary metric is the best so far."""
        at, primary = self.position, self.session.primary
        if primary not in metrics:
            raise RecipeError(f"the evaluation gives no {primary!r}; it gives {', '.join(metrics) or 'nothing'}")
        value = float(metrics[primary])
        better = not math.isnan(value) and (at.best is None or value > at.best)
        if better:
            at.best, at.best_step, at.metrics, at.waited = value, at.step, dict(metrics), 0
        else:
            at.waited += 1
            at.stopped_early = self.config.patience is not None and at.waited >= self.config.patience
        at.history.append({"epoch": at.epoch, "step": at.step, **metrics})
        self.log.evaluation(at, metrics, better)
        return better

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """Within the block the encoder has its averaged weights, if there is an average."""
        return contextlib.nullcontext() if self.ema is None else self.ema.in_place()

    def report(self) -> LearnReport:
        """What came of it."""
        at = self.position
        per_epoch = max(1, len(self.source))
        cost = self.session.cost
        cost.keeps("encoder", parameters=sum(p.numel() for p in self.session.encoder.parameters()))
        return LearnReport(
            experience=self.experience.name,
            steps=at.step,
            epochs=at.epoch + at.batch / per_epoch,
            images=at.images,
            seconds=at.seconds,
            images_per_second=at.images / at.seconds if at.seconds else 0.0,
            metrics=dict(at.metrics),
            best=at.best,
            best_step=at.best_step,
            stopped_early=at.stopped_early,
            history=list(at.history),
            cost=cost.of(self.experience.name).as_dict(),
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything that this experience needs to go on from here, bit for bit."""
        session, sampler = self.session, self.source.sampler
        sampler.advance_to(self.position.batch)
        return {
            "experience": self.experience.name,
            "position": asdict(self.position),
            "encoder": session.encoder.state_dict(),
            "loss": session.loss.state_dict(),
            "memory": None if session.memory is None else session.memory.state_dict(),
            "optimisation": self.optimisation.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "sampler": sampler.state_dict(),
            "cost": session.cost.state_dict(),
            "random": self.processes.collect(random_state()),
            "log_size": 0 if session.folder is None else session.folder.log_size(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken; the parts must be made as they were."""
        session = self.session
        try:
            session.encoder.load_state_dict(state["encoder"])
            session.loss.load_state_dict(state["loss"])
            if session.memory is not None:
                session.memory.load_state_dict(state["memory"])
            self.optimisation.load_state_dict(state["optimisation"])
            if self.ema is not None:
                self.ema.load_state_dict(state["ema"])
            self.source.sampler.load_state_dict(state["sampler"])
            self.position = Position(**state["position"])
            everyone = state["random"]
            if "cost" in state:  # checkpoints of older releases have none
                session.cost.load_state_dict(state["cost"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelError(f"the checkpoint does not fit the recipe: {error}") from error
        if len(everyone) != self.processes.size:
            raise ModelError(f"the run had {len(everyone)} processes and cannot go on with {self.processes.size}")
        set_random_state(everyone[self.processes.rank])
        self.log.resumed(self.position)
        if session.folder is not None:
            session.folder.cut_log(int(state["log_size"]))

    def _tuples(self, batch: TrainingBatch) -> int:
        """Training tuples in a batch: two pictures each for a loss that pairs the halves of a batch, else one."""
        loss = self.session.loss
        alone = batch.second_view is None or "second_view" not in loss.needs  # a learner may want it for itself
        halves = getattr(loss, "mode", "") == "pairs" and alone
        return len(batch) // 2 if halves else len(batch)

    def _placed(self, batch: TrainingBatch) -> TrainingBatch:
        """The batch on this process's device, once it is known to hold what the loss needs."""
        missing = [name for name in getattr(self.session.loss, "needs", ()) if getattr(batch, name, None) is None]
        if missing:
            raise RecipeError(
                f"{type(self.session.loss).__name__} needs {', '.join(sorted(missing))} in every batch, and this table "
                "and sampler do not give it",
                field="loss",
            )
        return batch.to(self.processes.device)
