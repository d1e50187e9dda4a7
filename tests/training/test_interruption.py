from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fashreg.learners.standard import StandardLearner
from fashreg.testing.tiny_run import difference, run_folder, tiny_experience, tiny_session, weights_of
from fashreg.training.interruption import Interrupted, StopRequest
from fashreg.training.session import Session


def learned(folder: Path | None, signal_at: int | None = None, number: int = signal.SIGTERM) -> Session:
    session = tiny_session(None if folder is None else run_folder(folder), trainer={"epochs": 2})
    learner = StandardLearner().bind(session)

    def stepped(step: int) -> None:
        if step == signal_at:
            signal.raise_signal(number)

    learner.stepped = stepped  # type: ignore[method-assign]
    learner.learn(tiny_experience())
    return session


@pytest.mark.parametrize(("step", "number"), [(2, signal.SIGTERM), (3, signal.SIGINT)])
def test_a_signal_ends_after_the_step_with_a_checkpoint_to_go_on_from(tmp_path: Path, step: int, number: int) -> None:
    """Step 2 lies within the first epoch, step 3 is its last."""
    whole = weights_of(learned(None))
    with pytest.raises(Interrupted, match=f"stopped after {step} of 6 steps.*--resume") as stopped:
        learned(tmp_path, step, number)
    assert stopped.value.signal_number == number
    assert stopped.value.checkpoint == tmp_path / "checkpoints" / f"step-{step:09d}"
    assert not difference(whole, weights_of(learned(tmp_path)))


def test_a_signal_at_the_very_end_changes_nothing(tmp_path: Path) -> None:
    assert not difference(weights_of(learned(None)), weights_of(learned(tmp_path, 6)))


def test_without_a_folder_a_signal_says_that_nothing_was_kept() -> None:
    with pytest.raises(Interrupted, match="nothing was kept"):
        learned(None, 2)


def test_signals_are_the_callers_again_afterwards() -> None:
    def handlers() -> list[Any]:
        return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    before: list[Callable[..., Any] | int | None] = handlers()
    with pytest.raises(Interrupted):
        learned(None, 1)
    assert handlers() == before


def test_a_second_ctrl_c_is_obeyed_at_once() -> None:
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.asked == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
