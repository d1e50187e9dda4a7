"""What an experience leaves in the run folder: the model with its provenance, and what the learner hands on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fashreg.storage import save_encoder
from fashreg.training.checkpoint import read_state, write_state
from fashreg.training.run import Run
from fashreg.training.run_folder import RunFolder
from fashreg.training.session import Session

CARRIED = "carried"


def keep_model(session: Session, run: Run) -> None:
    """The encoder as it is now, with what was measured of it."""
    if session.folder is None or not session.folder.writes:
        return
    at = run.position
    said = {**session.provenance, "experience": run.experience.name, "steps": at.step, "seed": session.seed}
    save_encoder(
        session.encoder, session.folder.model, recipe=session.recipe, metrics=at.metrics or None, provenance=said
    )


def keep_carried(folder: RunFolder, state: Mapping[str, Any]) -> None:
    """What a learner hands on to a later run, in place of what an earlier experience left; nothing when it has none."""
    if state and folder.writes:
        write_state(folder.path / CARRIED, state)


def read_carried(run: Path) -> dict[str, Any] | None:
    """What the learner of a run folder handed on; None when that is nothing. ModelError when it is damaged."""
    path = run / CARRIED
    return read_state(path) if path.is_dir() else None
