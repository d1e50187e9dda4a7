"""What an evaluation says of its counts."""

from __future__ import annotations

from fashreg.jobs.evaluation_result import Evaluation
from fashreg.protocol import Protocol


def said(**counts: int) -> list[str]:
    protocol = Protocol(data="0" * 64, rule="leave-one-out", name="leave-one-out", source="my.csv")
    return Evaluation({"map@r": 0.5}, "map@r", protocol, counts).summary().splitlines()[:2]


def test_one_is_one_and_several_are_several() -> None:
    assert said(queries=1, gallery=1, texts=1)[0] == "leave-one-out: 1 query, 1 picture and 1 text searched"
    assert said(queries=2, gallery=3)[0] == "leave-one-out: 2 queries, 3 pictures searched"
    assert said(queries=1)[0] == "leave-one-out: 1 picture"
    assert said(queries=5, queries_without_relevant=1)[1] == "  1 query has no relevant picture and does not count"
    assert said(queries=5, pictures_without_text=3)[1].startswith("  3 pictures have no text")
    assert "map@r" in said(queries=5, queries_without_relevant=0)[1]
