"""The head of a report: what stands out, and the list of its sections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fashreg.report.suspects import Suspects
from fashreg.report.suspects_shown import ShownSuspects

_SECTIONS = (
    ("metrics", "Metrics", ("metrics",)),
    ("tasks", "Tasks", ("tasks",)),
    ("training", "Training", ("charts",)),
    ("increments", "Increments", ("increments",)),
    ("classes", "Classes", ("classes",)),
    ("attributes", "Attributes", ("attributes", "whole")),
    ("named", "What is called what", ("named",)),
    ("captions", "Captions", ("captions",)),
    ("queries", "Queries", ("answers",)),
    ("back", "Pictures that ask", ("back",)),
    ("suspects", "Suspects", ("suspects",)),
    ("map", "Embedding map", ("map",)),
    ("gaps", "What is not here", ("gaps",)),
)


def contents_of(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Anchor and name of every section that the page has, in order."""
    there = [(anchor, name) for anchor, name, keys in _SECTIONS if any(content[key] for key in keys)]
    if content["back"]:
        there = [(anchor, "Texts that ask" if anchor == "queries" else name) for anchor, name in there]
    first = ("metrics", "tasks", "training", "increments")
    after = 1 + max((i for i, (anchor, _) in enumerate(there) if anchor in first), default=-1)
    there[after:after] = [(section.anchor, section.title) for section in content["sections"]]
    return [("summary", "Summary"), *there, ("setting", "Setting")]


def findings_of(content: Mapping[str, Any], found: Suspects | None) -> list[tuple[str, str]]:
    """What stands out, as (where, sentence)."""
    said: list[tuple[str, str]] = []
    classes, answers, increments = content["classes"], content["answers"], content["increments"]
    if increments is not None and increments.finding:
        said.append(("increments", increments.finding))
    if classes is not None and len(classes.rows) > 1:
        worst = classes.rows[0]
        queries = _count(worst.support, "query", "queries")
        said.append(("classes", f"Worst class: {worst.name}, {classes.metrics[0]} {worst.values[0]:.3f} ({queries})"))
    if answers is not None and answers.confusions and (top := answers.confusions[0]).count > 1:
        said.append(("queries", f"Most often mistaken: {top.asked} for {top.given}, {top.count:,} times"))
    if content["named"] is not None and content["named"].pairs and (pair := content["named"].pairs[0]).count > 1:
        said.append(("named", f"Most often mistaken: {pair.asked} for {pair.given}, {pair.count:,} times"))
    if content["captions"] is not None and content["captions"].different < content["captions"].of:
        written = content["captions"]
        captions = _count(written.different, "different caption", "different captions")
        said.append(("captions", f"{captions} for {written.of:,} pictures"))
    if found is not None:
        shown: ShownSuspects = content["suspects"]
        if shown.files_twice:
            said.append(("suspects", f"{_count(shown.files_twice, 'pair', 'pairs')} of pictures are one file twice"))
        if shown.likely_different:
            pairs = _count(shown.likely_different, "pair of near-equal pictures", "pairs of near-equal pictures")
            said.append(("suspects", f"{pairs} with different labels"))
        if found.doubts:
            said.append(
                ("suspects", f"{_count(len(found.doubts), 'picture lies', 'pictures lie')} among another class")
            )
    return said


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
