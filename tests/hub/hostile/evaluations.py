"""Evaluation folders whose numbers are none, or not those of what they name."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hostile.workshop import Hostile, Workshop, nested, pickle_of


def _about(name: str, change: Callable[[Any], object], says: str) -> Hostile:
    return Hostile(f"evaluation: {name}", "evaluation", lambda w: w.json("evaluation.json", change), says)


def _tensors(file: str, name: str, change: Callable[[Any], object], says: str) -> Hostile:
    def make(w: Workshop) -> None:
        from safetensors.numpy import load, save

        arrays = {n: a.copy() for n, a in load((w.folder / file).read_bytes()).items()}
        change(arrays)
        w.put(file, save(arrays))

    return Hostile(f"{file}: {name}", "evaluation", make, says)


def _line(name: str, line: str) -> Hostile:
    def make(w: Workshop) -> None:
        lines = (w.folder / "items.jsonl").read_text().splitlines()
        w.put("items.jsonl", "\n".join([line, *lines[1:]]) + "\n")

    return Hostile(f"evaluation items: {name}", "evaluation", make, "items.jsonl")


_ABOUT = [
    _about("it is a list", lambda d: [d], "evaluation.json"),
    _about("another version", lambda d: d.update(version=99), "evaluation.json"),
    _about("metrics that are a list", lambda d: d.update(metrics=[]), "metrics|evaluation.json"),
    _about("a metric that is text", lambda d: d["metrics"].update({"recall@1": "high"}), "recall@1|high"),
    _about("a metric that is a list", lambda d: d["metrics"].update({"recall@1": [1]}), "recall@1|evaluation.json"),
    _about("a metric without end", lambda d: d["metrics"].update({"recall@1": 10**400}), "evaluation.json"),
    _about("a metric that is NaN by name", lambda d: d["metrics"].update({"recall@1": "nan"}), "recall@1|nan"),
    _about("a metric that is infinity by name", lambda d: d["metrics"].update({"recall@1": "inf"}), "recall@1|inf"),
    _about("a count without end", lambda d: d["counts"].update(queries="9" * 5000), "evaluation.json"),
    _about("a count of half", lambda d: d["counts"].update(queries=1e308), "evaluation.json"),
    _about("an interval of one", lambda d: d["intervals"].update({"recall@1": [1]}), "evaluation.json"),
    _about("an interval of letters", lambda d: d["intervals"].update({"recall@1": "ab"}), "evaluation.json"),
    _about("slices that are text", lambda d: d.update(slices="all"), "evaluation.json"),
    _about("a slice that is a list", lambda d: d["slices"].update(season=[1]), "evaluation.json"),
    _about("a slice of a list", lambda d: d["slices"].update(season={"summer": [1]}), "evaluation.json"),
    _about("support of a float", lambda d: d["slices"]["season"]["summer"].update(support=1e999), "evaluation.json"),
    _about("no metric that matters", lambda d: d.update(primary="os:system"), "primary"),
    _about("a primary metric that is a list", lambda d: d.update(primary=["x"]), "primary|evaluation.json"),
    _about("no protocol", lambda d: d.pop("protocol"), "protocol"),
    _about("a protocol that is text", lambda d: d.update(protocol="leave-one-out"), "protocol"),
    _about("a protocol with a stranger's field", lambda d: d["protocol"].update(hook="os:system"), "hook"),
    _about("another hash", lambda d: d["protocol"].update(hash="0" * 64), "hash"),
    _about("other data under the same hash", lambda d: d["protocol"].update(data="0" * 64), "hash"),
    _about("a rule that is a list", lambda d: d["protocol"].update(rule=["x"]), "rule"),
    _about("deep evaluators", lambda d: d["protocol"].update(evaluators=[{"x": json.loads(nested(900))}]),
           "evaluation.json"),
    _about("evaluators by code", lambda d: d["protocol"].update(evaluators=["os:system"]), "evaluators"),
    _about("definitions of truth", lambda d: d["protocol"].update(definitions=True), "definitions"),
    _about("neighbours of a list", lambda d: d.update(neighbours_of=["x"]), "neighbours_of"),
    _about("a resampling of a list", lambda d: d.update(resampled=["x"]), "evaluation.json"),
    Hostile("evaluation: it is a pickle", "evaluation",
            lambda w: w.put("evaluation.json", pickle_of("true")), "evaluation.json"),
    Hostile("evaluation: it is deep", "evaluation",
            lambda w: w.put("evaluation.json", nested(100_000)), "evaluation.json"),
]  # fmt: skip

_PER_QUERY = "per_query.safetensors"
_NEIGHBOURS = "neighbours.safetensors"
_TENSORS = [
    _tensors(_PER_QUERY, "infinity", lambda a: a["metric:recall@1"].fill(float("inf")), "infinity"),
    _tensors(_PER_QUERY, "half of a metric", lambda a: a.update({"metric:recall@1": a["metric:recall@1"][:1].copy()}),
             "recall@1"),
    _tensors(_PER_QUERY, "no ids", lambda a: a.pop("ids"), "'ids'"),
    _tensors(_PER_QUERY, "ids of floats", lambda a: a.update(ids=a["ids"].astype("float32")), "'ids'"),
    _tensors(_PER_QUERY, "a stranger's tensor", lambda a: a.update(hook=a["ids"].copy()), "hook"),
    _tensors(_PER_QUERY, "a metric of integers", lambda a: a.update({"metric:recall@1": a["ids"].copy()}), "recall@1"),
    _tensors(_NEIGHBOURS, "NaN", lambda a: a["scores"].fill(float("nan")), "NaN"),
    _tensors(_NEIGHBOURS, "half of the scores", lambda a: a.update(scores=a["scores"][:1].copy()), "neighbours"),
    _tensors(_NEIGHBOURS, "flat ids", lambda a: a.update(ids=a["ids"].ravel().copy()), "'ids'"),
    _tensors("vectors.safetensors", "NaN", lambda a: a["vectors"].fill(float("nan")), "'vectors' holds NaN"),
    _tensors("vectors.safetensors", "half", lambda a: a.update(ids=a["ids"][:1].copy()), "vectors"),
    *(Hostile(f"{file}: a pickle", "evaluation", lambda w, file=file: w.put(file, pickle_of("true")), file)
      for file in (_PER_QUERY, _NEIGHBOURS, "vectors.safetensors")),
]  # fmt: skip

_LINES = [
    _line("no JSON", "{"),
    _line("a list", "[]"),
    _line("no id", "{}"),
    _line("an id of truth", '{"id": true}'),
    _line("a key twice", '{"id": 3, "id": 4}'),
    _line("NaN", '{"id": 3, "image": NaN}'),
    _line("a deep one", nested(100_000)),
    _line("a pickle", pickle_of("true").decode().replace("\n", " ")),
]

CASES = [*_ABOUT, *_TENSORS, *_LINES]
