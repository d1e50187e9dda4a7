"""Classes and captions of pictures: the questions of evaluators that judge what a model says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fashreg.encoder.answers import class_names
from fashreg.encoder.questions import task_for
from fashreg.errors import DataError
from fashreg.jobs.evaluation_asker import Asker
from fashreg.jobs.evaluation_parts import CodesOf, Found
from fashreg.jobs.evaluation_slices import ByValue
from fashreg.jobs.evaluation_things import different, ids_of, pictures_of
from fashreg.protocol import CAPTIONS, CLASSES

_SHOWN = 3  # classes kept for each picture


def classes_found(asker: Asker, evaluator: Any) -> Found:
    """Every row is classified, with its text where the model takes one. Classes that training did not have are left
    out and counted."""
    table, encoder = asker.table, asker.encoder
    task = task_for(encoder, "classes", asker.task)
    names = class_names(encoder, task)
    code = {name: place for place, name in enumerate(names)}
    known = torch.tensor([code.get(name, -1) for name in [*table.label_names, ""]])
    labels = known[torch.from_numpy(table.labels)]
    unknown = int((labels < 0).sum())
    if unknown == len(table):
        some = ", ".join(table.label_names[:3]) or "none"
        raise DataError(
            f"{table.source}: no row has a class that the model knows; its classes are {', '.join(names[:3])}, ..., "
            f"and the labels here {some}, ...; name the label column, e.g. --label sub_category"
        )
    texts = table.texts if table.texts is not None and hasattr(encoder.backbone, "compose") else None
    logits = encoder.logits(table, texts=texts, task=task, batch_size=asker.batch_size, progress=asker.progress)
    ids, order = torch.from_numpy(table.ids).sort()
    logits, labels = logits[order], labels[order]

    def numbers(rows: Tensor) -> dict[str, float]:
        found: dict[str, float] = evaluator(logits[rows], labels[rows])
        return found

    return Found(
        numbers(torch.arange(len(ids))),
        ids,
        evaluator.per_query(logits, labels) if hasattr(evaluator, "per_query") else {},
        _by_code(numbers, ids, labels >= 0),
        CLASSES,
        {"queries": len(table), "classes": len(names), "queries_of_unknown_class": unknown},
        said=_best(ids, logits, names) if asker.first else {},
    )


def captions_found(asker: Asker, evaluator: Any) -> Found:
    """Every different picture gets a caption, judged by the texts of all its rows. Pictures without text are left out
    and counted."""
    table, said = asker.table, asker.texts()
    task = task_for(asker.encoder, "captions", asker.task)
    things = different(pictures_of(table), np.zeros(len(table), dtype=np.int64), table.ids)
    references: list[list[str]] = [[] for _ in range(len(things))]
    for place, text in zip(things.place.tolist(), said, strict=True):
        if text and text not in references[place]:
            references[place].append(text)
    kept = np.array([len(texts) > 0 for texts in references], dtype=np.bool_)
    if not kept.any():
        raise DataError(f"{table.source}: every text is empty; name another column, e.g. --set text=caption")
    rows = things.rows[kept]
    part = table.take(rows, dense=False)
    written = asker.encoder.caption(
        part, task=task, beams=asker.beams, batch_size=asker.batch_size, progress=asker.progress
    )
    theirs = [texts for texts, has in zip(references, kept, strict=True) if has]
    ids, order = ids_of(table, rows).sort()
    written, theirs = [written[i] for i in order], [theirs[i] for i in order]

    def numbers(places: Tensor) -> dict[str, float]:
        found: dict[str, float] = evaluator([written[i] for i in places], [theirs[i] for i in places])
        return found

    told = zip(ids.tolist(), written, theirs, strict=True)
    return Found(
        numbers(torch.arange(len(ids))),
        ids,
        evaluator.per_query(written, theirs) if hasattr(evaluator, "per_query") else {},
        _by_code(numbers, ids, torch.ones(len(ids), dtype=torch.bool)),
        CAPTIONS,
        {"queries": len(ids), "pictures_without_text": int((~kept).sum())},
        getattr(evaluator, "ranges", {}),
        said={i: {"written": text, "references": others} for i, text, others in told} if asker.first else {},
    )


def _by_code(
    numbers: Callable[[Tensor], dict[str, float]], ids: Tensor, counted: Tensor
) -> Callable[[CodesOf], ByValue]:
    """Slices, each measured on its own rows."""

    def found(codes_of: CodesOf) -> ByValue:
        codes = torch.where(counted, codes_of(ids), -1)
        rows = {int(code): (codes == code).nonzero().flatten() for code in torch.unique(codes) if code >= 0}
        return {code: {**numbers(where), "support": len(where)} for code, where in rows.items()}

    return found


def _best(ids: Tensor, logits: Tensor, names: list[str]) -> dict[int, dict[str, Any]]:
    """Row id -> the likeliest classes with their probabilities."""
    shares, places = logits.softmax(1).topk(min(_SHOWN, len(names)), 1)
    rows = zip(ids.tolist(), places.tolist(), shares.tolist(), strict=True)
    return {i: {"answers": [[names[p], round(s, 6)] for p, s in zip(ps, ss, strict=True)]} for i, ps, ss in rows}
