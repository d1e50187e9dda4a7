"""Must I embed my gallery again? New queries against an old gallery, beside old against old and new against new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fashreg.assembly import build
from fashreg.data.table import Table
from fashreg.encoder import Encoder
from fashreg.encoder.questions import kinds_of
from fashreg.errors import ModelError
from fashreg.functional.gain import share_of_gain
from fashreg.functional.uncertainty import PairedTest, paired_test
from fashreg.interfaces import Evaluator
from fashreg.jobs.compatibility_asking import ByKind, ByPictures, Given
from fashreg.jobs.compatibility_result import Compatibility, Crossed, TaskCompatibility
from fashreg.jobs.evaluation_question import Question, column_codes
from fashreg.jobs.evaluation_ranking import answer
from fashreg.jobs.index_model import HOW_ASKED, finding_tasks, task_of
from fashreg.jobs.opening import Model, open_model

__all__ = ["Compatibility", "compatibility"]

_METRICS = ("recall@1", "map")
_PRIMARY = "map"


def compatibility(
    old: Model,
    new: Model,
    table: Any,
    *,
    task: str | Sequence[str] | None = None,
    pictures: bool = False,
    split: str | None = None,
    label: str | None = None,
    source: str | None = None,
    resample: str | None = None,
    batch_size: int = 64,
    options: Sequence[str] = (),
    progress: bool = True,
) -> Compatibility:
    """Measure what a gallery embedded by `old` is worth when `new` asks it, and what embedding it again would bring.

    old, new: model folder, user/name@REV on the Hub, or Encoder. table: rows that neither was trained on. task: one
    or several (default: all that both serve). Pictures ask for pictures, judged by the column of the task's name, else
    by the labels. A task of the kind cross-modal is asked with the table's texts, one of the kind composed with
    pictures and texts; of several such tasks one must be named. pictures: they, too, are asked with pictures alone.
    label: a column that judges instead. split, source, resample, options: as in `fashreg.evaluate`.
    A task whose fingerprint is the same in both is embedded once: its vectors are equal to the bit. By the criterion of
    Shen et al. (CVPR 2020) a new model is compatible where new queries find more in the old gallery than old queries.
    """
    one, _ = open_model(old)
    other, trained = open_model(new)
    wanted, fresh = _tasks(one, other, [task] if isinstance(task, str) else task)
    same = {t: one.fingerprint(t) == other.fingerprint(t) for t in wanted}
    given = Given(table, split, label, source, batch_size, options, progress)
    asks: ByPictures | ByKind
    if pictures or not kinds_of(other):
        asks = ByPictures(one, other, trained, same, given)
    else:
        asks = ByKind(one, other, trained, _one_of_kinds(other, wanted, named=task is not None), given)
    widths = (one.embed_dim, other.embed_dim)
    found, rules = [], []
    for t in wanted:
        after, ids = asks.new(t)
        before = after if same[t] or widths[0] != widths[1] else asks.old(t)[0]
        groups = _groups(asks.table(t), resample, ids)
        metrics = {} if widths[0] != widths[1] else _measured(before, after, groups)
        rules.append(after.rule)
        found.append(TaskCompatibility(t, same[t], widths, len(after.queries), len(after.gallery), metrics, _PRIMARY))
    rate = len(asks.table(wanted[0])) / asks.seconds if asks.seconds else None
    where, rule = asks.table(wanted[0]).source, " and ".join(dict.fromkeys(rules))
    return Compatibility(_named(old), _named(new), where, rule, resample, tuple(found), tuple(fresh), rate)


def _one_of_kinds(encoder: Encoder, wanted: Sequence[str | None], *, named: bool) -> list[str]:
    """The tasks to ask, each in its way; ModelError where several are left open, for they need other tables."""
    tasks = [task for task in wanted if task is not None]
    if len(tasks) > 1 and not named:
        told = ", ".join(f"{task} {HOW_ASKED[kinds_of(encoder)[task]]}" for task in tasks)
        raise ModelError(f"both models find pictures in several ways: say which, --task NAME, one of: {told}")
    return tasks


def _tasks(old: Encoder, new: Encoder, asked: Sequence[str] | None) -> tuple[list[str | None], list[str]]:
    """The tasks to compare, in the order of the new model, and those that only it serves."""
    theirs, ours = finding_tasks(old), finding_tasks(new)
    for task in asked or ():
        for which, encoder in (("the old", old), ("the new", new)):
            try:
                task_of(encoder, task)
            except ModelError as error:
                raise ModelError(f"{which} model cannot be asked: {error}") from error
    if asked:
        return [*dict.fromkeys(asked)], []
    if not (theirs or ours):
        return [None], []
    both: list[str | None] = [task for task in ours or theirs if task in (theirs or ours)]
    if not both:
        raise ModelError(f"the models have no task in common: {', '.join(theirs)} and {', '.join(ours)}")
    return both, [task for task in ours if theirs and task not in theirs]


def _groups(rows: Table, resample: str | None, asking: Tensor) -> Tensor | None:
    """(Q,) which queries are drawn together; a row without a value is drawn by itself. asking: (Q,) ids of rows."""
    if resample is None:
        return None
    codes = torch.from_numpy(column_codes(rows, resample, "--resample")[0])
    groups = torch.where(codes >= 0, codes, torch.arange(len(codes)) + int(codes.max()) + 1)
    ids, order = torch.from_numpy(rows.ids).sort()
    return groups[order[torch.searchsorted(ids, asking)]]


def _measured(before: Question, after: Question, groups: Tensor | None) -> dict[str, Crossed]:
    """The metrics of old/old, new/old and new/new. before, after: the same question by the old and the new model."""
    spec = {"name": "retrieval", "ks": [1], "metrics": list(_METRICS), "primary": _PRIMARY}
    judge: Evaluator = build("evaluator", spec)
    old = _values(before, judge)
    new = old if after is before else _values(after, judge)
    mixed = old if after is before else _values(replace(before, queries=after.queries), judge)
    return {name: _crossed(old[name], mixed[name], new[name], groups) for name in _METRICS}


def _values(asked: Question, judge: Evaluator) -> dict[str, Tensor]:
    """Metric -> (Q,), NaN for queries without a relevant picture."""
    values = answer(asked, [judge]).values[0]
    assert values is not None
    return values


def _crossed(old: Tensor, mixed: Tensor, new: Tensor, groups: Tensor | None) -> Crossed:
    """One metric, query by query, of old/old, new/old and new/new; one tensor three times where vectors are equal."""
    if mixed is old and new is old:
        counted = int((~old.isnan()).sum())
        mean, none = float(old.nanmean()), PairedTest(0.0, 0.0, 0.0, 1.0, counted, 0, 0)  # surely, whoever asks
        return Crossed(mean, mean, mean, none, none, none, None)
    gain = paired_test(old, new, groups=groups)
    return Crossed(
        old_old=float(old.nanmean()),
        new_old=float(mixed.nanmean()),
        new_new=float(new.nanmean()),
        crossed=paired_test(old, mixed, groups=groups),
        gain=gain,
        left=paired_test(mixed, new, groups=groups),
        share=share_of_gain(old, mixed, new, groups=groups) if gain.low > 0 else None,
    )


def _named(model: Model) -> str:
    return "a model in memory" if isinstance(model, Encoder) else str(model)
