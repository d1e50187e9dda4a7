"""The card of a model: gathered from its folder and from the evaluation of it, previewed or written into the folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fashreg.errors import HubError, ModelError, RecipeError
from fashreg.hub.address import checked_repo
from fashreg.hub.origin import read_origin
from fashreg.jobs.evaluation_folder import KIND as EVALUATION
from fashreg.jobs.evaluation_folder import load_evaluation
from fashreg.jobs.evaluation_result import Evaluation
from fashreg.jobs.neighbours_picture import draw_neighbours
from fashreg.licences import checked_licence
from fashreg.manifest import CARD, MANIFEST, Manifest, place_file, verify_folder, write_folder_atomically
from fashreg.readme import merge_card, name_repository, read_card
from fashreg.readme import write_card as write_readme
from fashreg.storage import CONFIG, KIND, load_encoder, read_provenance
from fashreg.storage.card import PICTURE, model_card
from fashreg.storage.card_metadata import Measured, licence_in
from fashreg.storage.model_config import ModelConfig, read_model_config
from fashreg.strict_json import write_json
from fashreg.training.run_folder import MODEL
from fashreg.training.run_folder import RECIPE as RUN_RECIPE

_ENOUGH = 5  # queries of a slice that its number is told for


@dataclass(frozen=True, eq=False)
class _Subject:
    """What a card is about. repo: on the Hub. given: the licence that was asked for now."""

    manifest: Manifest
    config: ModelConfig
    recipe: Mapping[str, Any] | None
    evaluation: Evaluation | None
    tasks: Mapping[str, Evaluation]
    repo: str | None
    given: str | None

    @property
    def folder(self) -> Path:
        return self.manifest.folder


def card_text(
    folder: str | Path,
    *,
    evaluation: str | Path | Evaluation | None = None,
    licence: str | None = None,
    repo: str | None = None,
) -> str:
    """The card of a model as it would be written: a person's own text is kept, the generated part is new.

    folder: a model folder, or a run folder. evaluation: what measured it; default: the one of its run, or `evaluation`
    within the folder. licence: SPDX identifier; default: the one that the folder or its recipe says. repo: user/name on
    the Hub, for the code that loads it; default: where a pulled folder came from.
    """
    subject = _subject(folder, evaluation, licence, repo)
    return _text(subject, picture=PICTURE in subject.manifest.files)


def write_card(
    folder: str | Path,
    *,
    evaluation: str | Path | Evaluation | None = None,
    licence: str | None = None,
    repo: str | None = None,
    pictures: bool = False,
) -> Path:
    """Write the card into the model folder; killed on the way, the folder is what it was. Returns README.md's path.

    As `card_text`; the licence is kept in config.json too. pictures: also draw queries with their neighbours into
    neighbours.jpg, from the pictures of the evaluation: only where those may be published.
    """
    subject = _subject(folder, evaluation, licence, repo)
    target = subject.folder
    _check_nothing_is_forgotten(subject)
    verify_folder(target, kind=KIND, names=tuple(n for n in subject.manifest.files if n != CARD))
    with write_folder_atomically(target, kind=KIND, keep=True) as fresh:
        if pictures:
            draw_neighbours(_measured(subject, "--pictures"), fresh / PICTURE)
        picture = pictures or PICTURE in subject.manifest.files
        write_readme(fresh / CARD, _text(subject, picture=picture))
        if licence is not None:
            write_json(fresh / CONFIG, subject.config.model_dump(mode="json"))
        for name in subject.manifest.files:
            if not (fresh / name).exists():
                place_file(target / name, fresh / name)
    return target / CARD


def card_on_base(folder: str | Path, config: ModelConfig) -> str:
    """The card of a model as `card_text` gives it, for a config that names a base."""
    subject = replace(_subject(folder, None, None, None), config=config)
    _check_nothing_is_forgotten(subject)
    return _text(subject, picture=PICTURE in subject.manifest.files)


def measured_of(evaluation: Evaluation) -> Measured:
    """What a card tells of an evaluation."""
    return Measured(
        metrics=evaluation.metrics,
        primary=evaluation.primary,
        protocol=evaluation.protocol,
        intervals=evaluation.intervals,
        counts=evaluation.counts,
        resampled=evaluation.resampled,
        weakest=tuple(_weakest(evaluation)),
    )


def _subject(
    folder: str | Path, evaluation: str | Path | Evaluation | None, licence: str | None, repo: str | None
) -> _Subject:
    model = _model_folder(Path(folder))
    manifest = verify_folder(model, kind=KIND, names=(CONFIG,))
    config = read_model_config(manifest.path(CONFIG))
    if licence is not None:
        try:
            config = config.model_copy(update={"licence": checked_licence(licence)})
        except ValueError as error:
            raise RecipeError(f"--licence: {error}", field="licence") from None
    recipe = read_provenance(model).get("recipe")
    found = _evaluation(model, evaluation)
    tasks = _task_evaluations(model) if found is None else {}
    _check_own(model, [*([] if found is None else [found]), *tasks.values()])
    written = recipe if isinstance(recipe, dict) else None
    return _Subject(manifest, config, written, found, tasks, _repo(model, repo), licence)


def _check_nothing_is_forgotten(subject: _Subject) -> None:
    """ModelError where the card there tells what was measured, and nothing is given to tell it from."""
    if (
        subject.evaluation is None
        and not subject.tasks
        and "\nmodel-index:" in (read_card(subject.folder) or "").partition("\n---")[0]
    ):
        origin = f" (fashreg pull {subject.repo} --part evaluation --out FOLDER)" if subject.repo else ""
        raise ModelError(
            f"{subject.folder / CARD} tells metrics with intervals, which a card without an evaluation would lose; "
            f"nothing was written: give --evaluation FOLDER{origin}"
        )


def _text(subject: _Subject, *, picture: bool) -> str:
    """The merged card. A licence that a person wrote into its head is the one that the text tells, too."""
    old, fresh = read_card(subject.folder), _fresh(subject, picture, None)
    merged = merge_card(old, fresh)
    stated = licence_in(merged)
    if stated is not None and stated != licence_in(fresh):
        if subject.given is not None:
            raise ModelError(
                f"{subject.folder / CARD} says `license: {stated}`, by hand, and {subject.given} was asked for; "
                "change it there, or take its line out"
            )
        merged = merge_card(old, _fresh(subject, picture, stated))
    return merged if subject.repo is None else name_repository(merged, subject.repo)


def _fresh(subject: _Subject, picture: bool, licence: str | None) -> str:
    found, metrics = subject.evaluation, subject.config.provenance.get("metrics")
    return model_card(
        subject.config,
        metrics if isinstance(metrics, dict) else None,
        subject.recipe,
        measured=None if found is None else measured_of(found),
        tasks={task: measured_of(one) for task, one in subject.tasks.items()},
        name="" if subject.repo is None else subject.repo.rpartition("/")[2],
        licence=licence,
        picture=picture,
    )


def _repo(model: Path, given: str | None) -> str | None:
    """The repository that the card's code loads: the one given, or the one that the folder was pulled from."""
    if given is not None:
        return checked_repo(given)
    origin = read_origin(model)
    try:
        return None if origin is None else checked_repo(origin.repo)
    except HubError:
        return None


def _model_folder(folder: Path) -> Path:
    if not (folder / CONFIG).is_file() and (folder / MODEL / CONFIG).is_file():
        return folder / MODEL
    if folder.is_dir() and not (folder / MANIFEST).is_file():
        raise ModelError(f"{folder} is neither a model folder nor a run folder: it has no {MANIFEST} and no {MODEL}")
    return folder


def _evaluation(model: Path, given: str | Path | Evaluation | None) -> Evaluation | None:
    if isinstance(given, Evaluation):
        return given
    if given is not None:
        return load_evaluation(given)
    whole = model.resolve()
    beside = whole.parent / EVALUATION
    if whole.name == MODEL and (whole.parent / RUN_RECIPE).is_file() and (beside / MANIFEST).is_file():
        return load_evaluation(beside)
    return load_evaluation(whole / EVALUATION) if (whole / EVALUATION / MANIFEST).is_file() else None


def _task_evaluations(model: Path) -> dict[str, Evaluation]:
    """What a run with tasks measured of its model: task -> evaluation, from RUN/evaluation-TASK."""
    whole = model.resolve()
    if whole.name != MODEL or not (whole.parent / RUN_RECIPE).is_file():
        return {}
    folders = sorted(whole.parent.glob(f"{EVALUATION}-*"))
    return {f.name.removeprefix(f"{EVALUATION}-"): load_evaluation(f) for f in folders if (f / MANIFEST).is_file()}


def _check_own(model: Path, several: Sequence[Evaluation]) -> None:
    """A card must not carry the numbers of another model. Results of older versions do not say whose they are."""
    said = {found: (found.model or {}).get("fingerprint") for found in several}
    known = {mark for mark in said.values() if mark is not None}
    own = load_encoder(model).fingerprint() if known else None
    for found, mark in said.items():
        if mark not in (None, own):
            raise ModelError(
                f"the evaluation of {found.protocol.source or 'vectors'} measured another model than {model} "
                f"(fingerprint {mark[:8]}); measure this one: fashreg evaluate {model} --table TABLE --out FOLDER"
            )


def _measured(subject: _Subject, asked: str) -> Evaluation:
    if subject.evaluation is None:
        raise ModelError(f"{asked} needs an evaluation of {subject.folder}: name its folder with --evaluation")
    return subject.evaluation


def _weakest(evaluation: Evaluation) -> list[tuple[str, str, float, int]]:
    """The worst slice of each column by the primary metric, among those with enough queries."""
    rows = []
    for column, values in evaluation.slices.items():
        known = [
            (found[evaluation.primary], value, int(found.get("support", 0)))
            for value, found in values.items()
            if evaluation.primary in found and found.get("support", 0) >= _ENOUGH
        ]
        if known:
            score, value, support = min(known)
            rows.append((column, value, score, support))
    return rows
