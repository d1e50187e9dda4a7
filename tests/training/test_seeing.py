"""Samplers that look at the loss's proxies, in whole runs of the standard learner."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fashreg.errors import RecipeError
from fashreg.learners.standard import StandardLearner
from fashreg.losses.proxy_anchor import ProxyAnchorLoss
from fashreg.samplers.class_balanced import ClassBalancedSampler
from fashreg.testing.tiny_run import (
    BATCH,
    CLASSES,
    DIM,
    EACH,
    CrashError,
    TinyPictures,
    difference,
    run_folder,
    tiny_experience,
    tiny_session,
    weights_of,
)
from fashreg.training.run_log import RunLog
from fashreg.training.session import Session


class Watcher(ClassBalancedSampler):
    """Looks every second step, and draws the epochs after as the largest proxy says."""

    def __init__(self) -> None:
        super().__init__(torch.arange(CLASSES).repeat_interleave(EACH), batch_size=BATCH, images_per_class=2, seed=3)
        self.looks: list[tuple[int, int, int]] = []
        self.shown: list[Tensor] = []
        self.read = 0

    def wants(self, step: int) -> bool:
        return step % 2 == 0

    def see(self, proxies: Tensor, step: int) -> None:
        assert not proxies.requires_grad
        self.looks.append((step, self.epoch, self.batch))
        self.shown.append(proxies.clone())
        self.read = int(proxies.norm(dim=1).argmax())

    @property
    def parts(self) -> dict[str, float]:
        return {"turned[by]": float(self.read), "done[batches]": float(self.batch)}

    def draw(self, random: Any) -> Any:
        return super().draw(random)[:, ::-1] if self.read % 2 else super().draw(random)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "read": self.read}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.read = int(state["read"])


def session(folder: Any = None, fails_at: int | None = None, **parts: Any) -> tuple[Session, Watcher]:
    torch.manual_seed(0)
    watcher = Watcher()
    parts.setdefault("loss", ProxyAnchorLoss(num_classes=CLASSES, embed_dim=DIM))
    parts.setdefault("trainer", {"epochs": 3, "checkpoint_steps": 1})
    made = tiny_session(
        folder, memory=None, source=lambda *_: TinyPictures(watcher, fails_at=fails_at), fails_at=fails_at, **parts
    )
    return made, watcher


def learn(made: Session) -> None:
    StandardLearner().bind(made).learn(tiny_experience())


def test_it_is_asked_after_every_step_and_shown_the_proxies_of_that_moment() -> None:
    made, watcher = session()
    steps: list[Tensor] = []

    class Following(StandardLearner):
        def stepped(self, step: int) -> None:
            steps.append(made.loss.proxies.detach().clone())

    Following().bind(made).learn(tiny_experience())
    assert watcher.looks == [(2, 0, 2), (4, 1, 1), (6, 1, 3), (8, 2, 2)]
    for (step, _, _), shown in zip(watcher.looks, watcher.shown, strict=True):
        assert torch.equal(shown, steps[step - 1])


def test_with_accumulation_it_is_asked_once_a_step() -> None:
    made, watcher = session(trainer={"epochs": 3, "accumulate": 2})
    learn(made)
    assert watcher.looks == [(2, 0, 3), (4, 1, 3), (6, 2, 3)]


def test_a_resumed_run_ends_where_an_uninterrupted_one_does_to_the_bit(tmp_path: Path) -> None:
    whole, watcher = session(run_folder(tmp_path / "whole"))
    learn(whole)
    died, _ = session(run_folder(tmp_path / "died"), fails_at=7)
    with pytest.raises(CrashError):
        learn(died)
    again, last = session(run_folder(tmp_path / "died"))
    learn(again)
    assert last.read == watcher.read
    assert difference(weights_of(whole), weights_of(again)) == []


def test_a_loss_without_proxies_is_refused_before_the_first_step() -> None:
    from fashreg.losses.contrastive import ContrastiveLoss

    made, watcher = session(loss=ContrastiveLoss())
    with pytest.raises(RecipeError, match=r"Watcher looks at the loss's proxies, and ContrastiveLoss has none.*--set"):
        learn(made)
    assert watcher.looks == []


def test_what_it_says_of_an_epoch_is_logged_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[dict[str, Any]] = []
    monkeypatch.setattr(RunLog, "_write", lambda self, kind, line: lines.append({"kind": kind, **line}))
    made, _ = session()
    learn(made)
    told = {line["step"]: line["done[batches]"] for line in lines if "done[batches]" in line}
    assert told == {3: 3.0, 6: 3.0, 9: 3.0}


def test_a_sampler_that_does_not_look_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(ClassBalancedSampler, "advance_to", lambda self, batch: asked.append(batch))
    made = tiny_session(memory=None, loss=ProxyAnchorLoss(num_classes=CLASSES, embed_dim=DIM))
    learn(made)
    assert asked == []
