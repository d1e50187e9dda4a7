"""One search in an index folder, from the question to the page that shows the answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fashreg.encoder.questions import Question
from fashreg.jobs.gallery import Hit
from fashreg.jobs.hits_page import write_hits_page
from fashreg.jobs.index_model import encoder_of
from fashreg.jobs.index_opening import open_index
from fashreg.jobs.indexing import open_gallery
from fashreg.jobs.queries import Asked, ask, read_vectors
from fashreg.jobs.sheet import write_sheet
from fashreg.jobs.where import Where

_EXAMPLES = 4


def search_folder(
    folder: str | Path,
    *,
    task: str | None = None,
    pictures: Sequence[Path] = (),
    ids: Sequence[int] = (),
    texts: Sequence[str] = (),
    vectors: Path | None = None,
    k: int = 10,
    where: Where | None = None,
    model: str | None = None,
    rerank: Any = None,
    across: bool = False,
) -> tuple[Asked, list[list[Hit]]]:
    """Ask an index folder with pictures, ids of its own pictures, texts, vectors; with examples of its own by default.

    task: whose index, where the folder (or repository) holds several; default: the only one that is asked so. texts:
    alone, or with the pictures and ids, each changed as its text says. The model is opened only when something must be
    embedded, or when it is named. across: it may be another one than the index's; vectors from a file then may be
    anyone's.
    """
    question: Question = "pictures" if not texts else "both" if pictures or ids else "texts"
    saved = open_index(folder, task, question)
    needed = bool(pictures or texts) or model is not None or not (ids or vectors)
    gallery = open_gallery(saved, encoder_of(saved, model, across=across) if needed else None)
    stored = None if vectors is None else read_vectors(vectors, saved, across=across)
    if not (pictures or ids or texts or vectors):
        pictures = gallery.examples(_EXAMPLES)
    asked = ask(gallery, pictures, ids, stored, texts)
    return asked, asked.search(gallery, k, where=where, rerank=rerank)


def show(
    asked: Asked,
    answers: Sequence[Sequence[Hit]],
    *,
    sheet: Path | None = None,
    html: Path | None = None,
    title: str = "",
    where: Where | None = None,
) -> None:
    """Write the pages that were asked for."""
    if sheet is not None:
        write_sheet(sheet, asked.pictures, answers, labels=asked.labels, texts=asked.texts)
    if html is not None:
        known = {"labels": asked.labels, "texts": asked.texts}
        write_hits_page(html, asked.names, asked.pictures, answers, **known, title=title, where=where)
