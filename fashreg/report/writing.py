"""`fashreg report`: from a run or evaluation folder to one HTML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from fashreg.jobs.evaluation_result import Evaluation, Item, StoredVectors
from fashreg.jobs.opening import Model, open_model
from fashreg.protocol import CAPTIONS, CLASSES, COMPOSED
from fashreg.report.answers import Answers, read_answers
from fashreg.report.charts import Chart, histogram, line_chart, training_charts
from fashreg.report.contents import contents_of, findings_of
from fashreg.report.embedding_map import Method, draw_map
from fashreg.report.groups import attribute_tables, class_table, slice_tables, whole_attributes
from fashreg.report.increments import increments_of
from fashreg.report.page import render, write_page
from fashreg.report.said import read_captions, read_classes
from fashreg.report.sections import plugin_sections
from fashreg.report.settings import configuration_of, environment_of, headline, lede_of, protocol_of, training_line
from fashreg.report.subject import ABOUT, Subject, read_subject
from fashreg.report.suspects import find_suspects
from fashreg.report.suspects_shown import show_suspects
from fashreg.report.tasks import FOLDER, metric_rows, task_results
from fashreg.report.thumbnails import Thumbnails

MOST_EMBEDDED = 20_000
_WITHOUT_MAP = (COMPOSED, CLASSES, CAPTIONS)  # no picture of a row is what is searched


def write_report(folder: str | Path, out: str | Path, *, model: Model | None = None, method: Method = "pca") -> Path:
    """Write the report of a run or evaluation folder as one HTML file that needs nothing else; returns its path.

    model: embeds the pictures again where the folder keeps no vectors (it keeps small ones), for map and suspects.
    method: of the map: "pca", or "tsne" (scikit-learn) or "umap" (umap-learn). A run that learned several tasks has a
    page for each beside it, OUT-TASK.html.
    """
    subject, path = read_subject(folder), Path(out)
    pages = {}
    for task in subject.tasks:
        kept = Path(folder) / f"{FOLDER}{task}"
        if (kept / ABOUT).is_file():
            page = path.with_name(f"{path.stem}-{task}{path.suffix}")
            pages[task] = write_page(report_html(read_subject(kept), model=model, method=method), page).name
    return write_page(report_html(subject, model=model, method=method, pages=pages), path)


def default_place(folder: str | Path) -> Path:
    """RUN/report.html of a run; beside an evaluation folder, which holds nothing that it did not write, FOLDER.html."""
    path = Path(folder)
    if (path / ABOUT).is_file():
        whole = path.resolve()
        return path.parent / f"{whole.name}.html" if path.name else whole.with_name(f"{whole.name}.html")
    return path / "report.html"


def report_html(
    subject: Subject, *, model: Model | None = None, method: Method = "pca", pages: Mapping[str, str] | None = None
) -> str:
    """The report as text. pages: task -> file name of its own page, of a run that learned several."""
    thumbnails = Thumbnails(*_roots(subject))
    evaluation, items = subject.evaluation, subject.items_by_id()
    stored = _vectors(subject, items, thumbnails, model)
    answers = None if evaluation is None else read_answers(evaluation, items)
    found = None if stored is None else find_suspects(stored, items)
    sections, failed = plugin_sections(subject)
    content = {
        **_numbers(subject, answers),
        **_groups(evaluation, items),
        "tasks": task_results(subject.tasks, pages or {}),
        "charts": training_charts(subject.steps, subject.checks, _of_tasks(subject)),
        "training_line": training_line(subject),
        "increments": increments_of(subject.stream),
        "answers": answers,
        "back": None
        if evaluation is None or evaluation.back is None
        else read_answers(evaluation, items, evaluation.back),
        "named": None if evaluation is None else read_classes(evaluation, items),
        "captions": None if evaluation is None else read_captions(evaluation, items),
        "suspects": None if found is None else show_suspects(found, thumbnails),
        "map": None if stored is None else draw_map(stored, items, thumbnails, method),
        "sections": sections,
        "gaps": [*_gaps(subject, stored), *failed],
        "recipe": _yaml(subject.recipe),
        "configuration": configuration_of(subject),
        "environment": environment_of(subject),
    }
    near = None if evaluation is None else evaluation.neighbours
    return render(
        "report.html",
        thumbnails,
        None if near is None else near.attribute,
        subject=subject,
        title=subject.name,
        lede=lede_of(subject),
        findings=findings_of(content, found),
        contents=contents_of(content),
        **content,
    )


def _numbers(subject: Subject, answers: Answers | None) -> dict[str, Any]:
    evaluation = subject.evaluation
    if evaluation is None:
        return dict.fromkeys(("metrics", "single", "tiles", "protocol", "spread", "primary"), None) | {
            "counted": 0, "alone": 0, "intervals": False, "protocol_line": _measured_line(subject)
        }  # fmt: skip
    alone = evaluation.counts.get("queries_without_relevant", 0)
    rows = metric_rows(evaluation, subject.before)
    single = [row for row in rows if "[" in row.name]
    return {
        "metrics": [row for row in rows if "[" not in row.name] or rows,
        "single": single if len(single) < len(rows) else [],
        "primary": evaluation.primary,
        "counted": evaluation.counts.get("queries", 0) - alone,
        "alone": alone,
        "intervals": bool(evaluation.intervals),
        "spread": _spread(answers),
        "tiles": headline(subject, evaluation),
        "protocol": protocol_of(evaluation.protocol),
        "protocol_line": f"{evaluation.protocol.rule} on {evaluation.protocol.source or 'a table'}".capitalize() + ".",
    }


def _measured_line(subject: Subject) -> str:
    """In place of the protocol, where the run has no evaluation of its own."""
    return f"{len(subject.tasks)} tasks, each measured by itself." if subject.tasks else "Nothing was measured."


def _spread(answers: Answers | None) -> list[Chart]:
    """What lies behind the means: how the queries spread, and how far one has to look."""
    if answers is None:
        return []
    charts = [histogram(answers.values, answers.metric)]
    if len(answers.within) > 1:
        ranks = [float(k) for k in range(1, len(answers.within) + 1)]
        title = f"A right answer ({answers.told}) among the first k"
        charts.append(line_chart(title, {"share of queries": (ranks, answers.within.tolist())}, "k", dots=True))
    return charts


def _groups(evaluation: Evaluation | None, items: Mapping[int, Item]) -> dict[str, Any]:
    if evaluation is None:
        return {"classes": None, "attributes": [], "whole": None, "sliced": False}
    attributes = attribute_tables(evaluation, items)
    label = [] if evaluation.protocol.label is None else [evaluation.protocol.label]
    slices = slice_tables(evaluation, [*label, *(table.title for table in attributes)])
    return {
        "classes": class_table(evaluation, items),
        "attributes": [*attributes, *slices],
        "whole": whole_attributes(evaluation.metrics),
        "sliced": bool(slices),
    }


def _vectors(
    subject: Subject, items: Mapping[int, Item], thumbnails: Thumbnails, model: Model | None
) -> StoredVectors | None:
    """Those of the evaluation folder; else made again by the model that was given, of an even sample."""
    evaluation = subject.evaluation
    if evaluation is None or (evaluation.vectors is None and model is None) or not items:
        return None
    if evaluation.protocol.rule in _WITHOUT_MAP:
        return None
    if evaluation.vectors is not None:
        return evaluation.vectors
    assert model is not None
    there = [item_id for item_id, item in items.items() if thumbnails.path(item).is_file()]
    if not there:
        return None
    places = torch.linspace(0, len(there) - 1, min(len(there), MOST_EMBEDDED), dtype=torch.float64).round().tolist()
    chosen = [there[int(place)] for place in dict.fromkeys(places)]
    encoder, _ = open_model(model)
    near = evaluation.neighbours
    wanted = near.attribute if near is not None and near.attribute is not None else evaluation.protocol.task
    task = wanted if wanted in encoder.head.tasks else None
    vectors = encoder.embed([str(thumbnails.path(items[item_id])) for item_id in chosen], task=task)
    return StoredVectors(torch.tensor(chosen), vectors)


def _roots(subject: Subject) -> list[Path]:
    """Where relative paths of pictures may start: the working folder, the recipe's root, the table's folder."""
    data = subject.recipe.get("data") or {}
    table = data.get("table")
    given = [data.get("root"), str(Path(table).parent) if isinstance(table, str) else None]
    return [Path(), *(Path(root) for root in given if isinstance(root, str)), subject.folder]


def _of_tasks(subject: Subject) -> list[str]:
    """The validation metrics to draw of a run that learned several tasks: the mean and the primary one of each."""
    return (
        ["mean_primary", *(f"{n}/{found.primary}" for n, (found, _) in subject.tasks.items())] if subject.tasks else []
    )


def _gaps(subject: Subject, stored: StoredVectors | None) -> list[str]:
    """What the page would show of more, and what to type for it."""
    evaluation = subject.evaluation
    gaps = []
    if evaluation is None and not subject.tasks:
        gaps.append(
            "Metrics: the table of this run has neither a test nor a validation split. Measure the model with "
            "fashreg evaluate RUN/model --table TABLE --out FOLDER, and make the report of FOLDER."
        )
    elif evaluation is None:
        pass
    elif evaluation.per_query is None or evaluation.items is None:
        gaps.append(
            "Classes, queries, suspects and the map: only the numbers of this evaluation were kept. "
            "fashreg evaluate MODEL --table TABLE --out FOLDER keeps what lies behind them."
        )
    elif stored is None and evaluation.protocol.rule not in _WITHOUT_MAP:
        gaps.append(
            "Suspects and the map: the vectors were too many to keep with the evaluation; --model MODEL makes them "
            f"again, of at most {MOST_EMBEDDED:,} pictures."
        )
    return gaps


def _yaml(recipe: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True) if recipe else ""
