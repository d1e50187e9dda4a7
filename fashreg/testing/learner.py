"""The contract of a learner: it learns, can be interrupted anywhere, and its three moments happen when they should."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fashreg.testing.tiny_run import (
    CrashError,
    difference,
    run_folder,
    tiny_experience,
    tiny_session,
    weights_of,
)
from fashreg.training.packing import pack, unpack
from fashreg.training.session import LearnReport, Session
from fashreg.values import Embedded, Experience, TrainingBatch

MakeLearner = Callable[[], Any]


def moments(learner: Any) -> list[tuple[str, dict[str, Tensor]]]:
    """A list that fills with ("before" | "after", weights at that moment) while the learner learns."""
    seen: list[tuple[str, dict[str, Tensor]]] = []
    for name in ("before", "after"):
        own = getattr(learner, name)

        def spy(experience: Experience, own: Any = own, name: str = name) -> None:
            seen.append((name, weights_of(learner.session)))
            own(experience)

        setattr(learner, name, spy)
    return seen


def add_penalty(learner: Any, extra: Callable[[TrainingBatch, Embedded], Tensor]) -> None:
    """Let the learner's penalty be its own plus `extra`."""
    own = learner.penalty

    def both(batch: TrainingBatch, embedded: Embedded) -> Tensor:
        before = own(batch, embedded)
        return extra(batch, embedded) + (0.0 if before is None else before)

    learner.penalty = both


class LearnerContract:
    """Override `make_learner`; and `session`, `experience` where the learner needs other parts than the tiny run's."""

    @pytest.fixture
    def make_learner(self) -> MakeLearner:
        """Makes fresh learners, all alike."""
        raise NotImplementedError("override the fixture `make_learner`")

    def session(self, **parts: Any) -> Session:
        """Fresh parts, always the same; `parts` as `tiny_session` takes them."""
        return tiny_session(parts.pop("folder", None), **parts)

    def experience(self, name: str = "all") -> Experience:
        """Something to learn that the session's source can serve."""
        return tiny_experience(name)

    def evaluated(self, values: list[float]) -> Callable[..., dict[str, float]]:
        """An evaluation that gives these numbers, one after the other."""
        left = iter(values)
        return lambda encoder, experience: {"recall@1": next(left)}

    # ---- learning ----

    def test_learning_moves_the_encoder_and_the_loss_and_reports_it(self, make_learner: MakeLearner) -> None:
        session = self.session()
        start = weights_of(session)
        report = make_learner().bind(session).learn(self.experience())
        moved = difference(start, weights_of(session))
        for module in (session.encoder.backbone, session.encoder.head, session.loss):
            part = "loss" if module is session.loss else "encoder"
            part += {id(session.encoder.backbone): ".backbone", id(session.encoder.head): ".head"}.get(id(module), "")
            trained = [f"{part}.{name}" for name, p in module.named_parameters() if p.requires_grad]
            assert not trained or set(trained) & set(moved), f"nothing of {part} was trained"
        assert isinstance(report, LearnReport)
        assert report.steps >= 2
        assert report.images > 0
        assert report.seconds > 0

    def test_the_same_seed_gives_the_same_weights(self, make_learner: MakeLearner) -> None:
        weights = []
        for _ in range(2):
            session = self.session()
            make_learner().bind(session).learn(self.experience())
            weights.append(weights_of(session))
        assert not difference(*weights)

    def test_the_weights_that_measured_best_are_kept(self, make_learner: MakeLearner) -> None:
        kept = []
        for epochs, values in ((1, [0.9]), (3, [0.9, 0.5, 0.7])):
            trainer = {"epochs": epochs, "schedule": "constant"}
            session = self.session(trainer=trainer, evaluate=self.evaluated(values))
            report = make_learner().bind(session).learn(self.experience())
            assert report.best == 0.9
            assert report.metrics["recall@1"] == 0.9
            kept.append({k: v for k, v in weights_of(session).items() if k.startswith("encoder.")})
        assert not difference(*kept)

    def test_the_memory_is_aligned_before_and_given_rows_without_gradient_after_the_loss(
        self, make_learner: MakeLearner
    ) -> None:
        session = self.session()
        if session.memory is None:
            return
        calls: list[str] = []
        for name in ("align", "read", "push"):
            own = getattr(session.memory, name)

            def spy(*batch: Embedded, own: Any = own, name: str = name) -> Any:
                calls.append(name)
                assert name != "push" or not batch[0].vectors.requires_grad
                return own(*batch)

            setattr(session.memory, name, spy)
        make_learner().bind(session).learn(self.experience())
        assert calls[:3] == ["align", "read", "push"]
        assert calls.count("align") == calls.count("push") == len(calls) // 3

    # ---- before, penalty, after ----

    def test_before_and_after_happen_once_an_experience_around_its_steps(self, make_learner: MakeLearner) -> None:
        session = self.session()
        learner = make_learner()
        seen = moments(learner)
        start = weights_of(session)
        learner.bind(session)
        for name in ("first", "second"):
            learner.learn(self.experience(name))
        assert [name for name, _ in seen] == ["before", "after"] * 2
        shared = [name for name in start if name in seen[0][1]]
        assert all(torch.equal(seen[0][1][name], start[name]) for name in shared)
        assert difference(seen[1][1], seen[0][1])  # what was added counts
        assert difference(seen[3][1], seen[1][1])

    def test_the_penalty_is_added_to_the_loss_as_it_is(self, make_learner: MakeLearner) -> None:
        """One SGD step with a penalty c * sum(w) must differ from one without by - lr c in every entry of w."""
        lr, c, ends = 0.01, 3.0, []
        for factor in (0.0, c):
            trainer = {"optimizer": "sgd", "momentum": 0.0, "lr": lr, "schedule": "constant", "max_steps": 1}
            session = self.session(trainer={**trainer, "weight_decay": 0.0})
            learner = make_learner()
            chosen = next(p for p in session.encoder.head.parameters() if p.requires_grad)

            def extra(batch: TrainingBatch, embedded: Embedded, f: float = factor, w: Tensor = chosen) -> Tensor:
                return f * w.sum()

            add_penalty(learner, extra)
            learner.bind(session).learn(self.experience())
            ends.append(chosen.detach().clone())
        assert torch.allclose(ends[1] - ends[0], torch.full_like(ends[0], -lr * c), atol=1e-5)

    def test_the_penalty_sees_the_batch_and_its_rows_with_gradient(self, make_learner: MakeLearner) -> None:
        session = self.session(trainer={"max_steps": 1})
        learner = make_learner()
        seen: list[tuple[TrainingBatch, Embedded]] = []

        def look(batch: TrainingBatch, embedded: Embedded) -> Tensor:
            seen.append((batch, embedded))
            return embedded.vectors.sum() * 0.0

        add_penalty(learner, look)
        learner.bind(session).learn(self.experience())
        batch, embedded = seen[0]
        assert embedded.vectors.requires_grad
        assert embedded.vectors.shape == (len(batch), session.encoder.embed_dim)
        assert torch.equal(embedded.ids, batch.ids)

    # ---- interruption ----

    @pytest.mark.parametrize("crash_at", [2, 3, 5])
    def test_a_run_that_died_goes_on_bit_for_bit(
        self, make_learner: MakeLearner, tmp_path: Path, crash_at: int
    ) -> None:
        """Dies before batch `crash_at`; the checkpoint is of step 2 or 4, within an epoch; random numbers are drawn."""
        trainer = {"checkpoint_steps": 2, "ema_decay": 0.9}

        def learn(folder: Path, fails_at: int | None = None) -> Session:
            session = self.session(folder=run_folder(folder), trainer=trainer, fails_at=fails_at)
            learner = make_learner()
            add_penalty(learner, lambda batch, embedded: (embedded.vectors * torch.rand(embedded.vectors.shape)).sum())
            learner.bind(session).learn(self.experience())
            return session

        whole = weights_of(learn(tmp_path / "whole"))
        with pytest.raises(CrashError):
            learn(tmp_path / "died", crash_at)
        assert not difference(whole, weights_of(learn(tmp_path / "died")))

    def test_a_finished_experience_is_not_learned_again(self, make_learner: MakeLearner, tmp_path: Path) -> None:
        ends, reports = [], []
        for fails_at in (None, 0):  # a second learning would ask for batch 0 and die
            session = self.session(folder=run_folder(tmp_path), trainer={"checkpoint_every": 1}, fails_at=fails_at)
            learner = make_learner().bind(session)
            reports.append([learner.learn(self.experience(name)).steps for name in ("first", "second")])
            ends.append(weights_of(session))
        assert reports[0] == reports[1]
        assert not difference(*ends)

    def test_its_state_can_be_written_and_put_back(self, make_learner: MakeLearner) -> None:
        learner = make_learner().bind(self.session())
        learner.learn(self.experience())
        tensors, plain = pack(learner.state_dict())
        other = make_learner().bind(self.session())
        other.before(self.experience())
        other.load_state_dict(unpack(tensors, plain))
        again, same = pack(other.state_dict())
        assert same == plain
        assert not difference(tensors, again)
