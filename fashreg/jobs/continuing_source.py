"""What is learned on from: a run folder, a model folder, a repository on the Hub, or an encoder in memory."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fashreg.assembly import spec_of
from fashreg.encoder import Encoder
from fashreg.errors import ModelError
from fashreg.hub.address import hub_hint, is_address
from fashreg.jobs.stream_record import STREAM, StreamRecord, read_record
from fashreg.own_paths import public
from fashreg.storage import read_provenance
from fashreg.storage.loading import load_with_folder
from fashreg.strict_json import read_json
from fashreg.training.keeping import read_carried
from fashreg.training.run_folder import MODEL

_RESULTS = "results.json"


@dataclass(frozen=True, eq=False)
class Beginning:
    """What was known before.

    name: as a person typed it. recipe: the one that is kept with the model, None where there is none. provenance: how
    the model says it came about. carried: what the learner of its run handed on, None for a model alone. record: the
    rows that its run measured. folder: where its files lie, None in memory. foreign: whether it came from elsewhere.
    """

    name: str
    encoder: Encoder
    recipe: Mapping[str, Any] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    carried: Mapping[str, Any] | None = None
    record: StreamRecord | None = None
    folder: Path | None = None

    @property
    def tasks(self) -> tuple[str, ...]:
        """The attributes that the model knows."""
        return tuple(self.encoder.head.tasks)

    @property
    def foreign(self) -> bool:
        """Whether it was fetched from a Hub, so that its recipe may be a stranger's."""
        return self.encoder.origin is not None

    def told(self) -> dict[str, Any]:
        """For the card of what is made from it: the model by fingerprint, and by repository and commit if any."""
        said: dict[str, Any] = {"fingerprint": self.encoder.fingerprint(), "tasks": list(self.tasks)}
        origin = self.encoder.origin
        if origin is not None:
            said |= {"repo": origin.repo, "commit": origin.commit}
        elif self.folder is not None:
            said["model"] = public(str(self.folder.resolve()))
        for key in ("data", "experience", "continued_from"):
            if key in self.provenance:
                said[key] = self.provenance[key]
        return said


def read_beginning(source: str | Path | Encoder) -> Beginning:
    """Open it, checked throughout, without changing it. ModelError for what cannot take another attribute."""
    if isinstance(source, Encoder):
        found = Beginning("the encoder", copy.deepcopy(source).cpu().eval())
    elif is_address(source):
        found = _model(str(source), source)
    else:
        found = _folder(Path(source))
    _check_head(found)
    return found


def _model(name: str, place: str | Path) -> Beginning:
    encoder, folder = load_with_folder(place)
    provenance = dict(read_provenance(folder))
    recipe = provenance.pop("recipe", None)
    return Beginning(name, encoder, recipe, provenance, folder=folder)


def _folder(path: Path) -> Beginning:
    if not path.is_dir():
        raise ModelError(
            f"no run or model folder {path}; `fashreg train RECIPE --out RUN` makes one, `fashreg pull user/name --out "
            f"MODEL` fetches one{hub_hint(path)}"
        )
    if (path / "config.json").is_file():
        return _model(str(path), path)
    if not (path / MODEL / "config.json").is_file():
        raise ModelError(f"{path} holds no model; give a run folder, a model folder, or user/name on the Hub")
    record = read_record(path / STREAM) if (path / STREAM).is_file() else None
    _check_finished(path, record)
    alone = _model(str(path), path / MODEL)
    return Beginning(
        alone.name,
        alone.encoder,
        alone.recipe,
        alone.provenance,
        carried=read_carried(path) or {},
        record=record,
        folder=alone.folder,
    )


def _check_finished(run: Path, record: StreamRecord | None) -> None:
    """A run that still learns, or was stopped, is not learned on from: its weights are not those it would give."""
    results = read_json(run / _RESULTS) if (run / _RESULTS).is_file() else {}
    whole = isinstance(results, dict) and "training" in results
    if whole and (record is None or len(record.map) == len(record.experiences)):
        return
    done = "" if record is None else f" ({len(record.map)} of {len(record.experiences)} increments are done)"
    raise ModelError(
        f"{run} is not finished{done}: finish it by the command that started it and --resume; or learn on from what it "
        f"has by now, as a model alone: {run / MODEL}"
    )


def _check_head(found: Beginning) -> None:
    head = found.encoder.head
    if hasattr(head, "add_task"):
        return
    name = spec_of(head, registered=False)["name"]
    raise ModelError(
        f"{found.name} has one head for everything, {name!r}, which cannot take another attribute. Train a model whose "
        "head can: --set 'head={name: multi-task, tasks: []}' --set 'stream={by: attribute}'; or give a new model all "
        "attributes at once"
    )
