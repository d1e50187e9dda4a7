"""Protocols: equal hashes exactly where results may be compared."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from fashreg.protocol import Protocol

EVALUATOR = {"name": "retrieval", "plugin": "fashreg", "version": "0.1.0", "config": {"ks": [1, 10]}}
PROTOCOL = Protocol(data="d" * 64, rule="leave-one-out", label="style", split="test", evaluators=(EVALUATOR,))


@pytest.mark.parametrize(
    "change",
    [
        {"data": "e" * 64},
        {"rule": "queries against gallery"},
        {"name": "in-shop"},
        {"split": None},
        {"label": "colour"},
        {"attributes": ("colour",)},
        {"exclusions": ("same-id", "same-source:camera")},
        {"evaluators": ({**EVALUATOR, "config": {"ks": [1, 5]}},)},
        {"evaluators": ({**EVALUATOR, "plugin": "other"},)},
        {"definitions": 2},
    ],
)
def test_what_was_measured_changes_the_hash_and_is_named(change: dict[str, Any]) -> None:
    other = replace(PROTOCOL, **change)
    assert other.hash != PROTOCOL.hash
    assert list(PROTOCOL.differences(other)) == list(change)


@pytest.mark.parametrize(
    "change",
    [
        {"source": "elsewhere.csv"},
        {"task": "colour"},
        {"rerankers": ({"name": "k-reciprocal", "config": {}},)},
        {"evaluators": ({**EVALUATOR, "version": "0.2.0"},)},
    ],
)
def test_names_versions_of_the_core_and_how_the_model_was_asked_do_not(change: dict[str, Any]) -> None:
    other = replace(PROTOCOL, **change)
    assert other.hash == PROTOCOL.hash
    assert PROTOCOL.differences(other) == {}


def test_the_version_of_a_plugins_evaluator_counts() -> None:
    one, other = ({**EVALUATOR, "plugin": "mine", "version": version} for version in ("1", "2"))
    assert replace(PROTOCOL, evaluators=(one,)).hash != replace(PROTOCOL, evaluators=(other,)).hash


def test_the_order_of_columns_does_not_count() -> None:
    one, other = replace(PROTOCOL, attributes=("a", "b")), replace(PROTOCOL, attributes=("b", "a"))
    assert one.hash == other.hash


def test_a_protocol_comes_back_from_json() -> None:
    assert Protocol.from_dict(json.loads(json.dumps(PROTOCOL.as_dict()))) == PROTOCOL


def test_results_of_before_the_new_fields_are_read() -> None:
    old = {"data": "d", "source": "t.csv", "label": "style", "attributes": [], "rule": "leave-one-out", "task": None}
    assert Protocol.from_dict({**old, "evaluators": []}).exclusions == ("same-id",)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"colour": 1}, "no field colour"),
        ({"label": 3}, "label cannot be 3"),
        ({"definitions": True}, "definitions"),
        ({"attributes": "colour"}, "attributes"),
        ({"evaluators": ["retrieval"]}, "evaluators"),
        ({"label": "colour"}, "changed it by hand"),
    ],
)
def test_what_is_no_protocol_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Protocol.from_dict({**PROTOCOL.as_dict(), **change})


def test_the_hash_is_what_it_was() -> None:
    assert PROTOCOL.hash == "02e5eafcd0fb76567a788f324da5641a1aecfaf0618785a546d93f5977689785"
