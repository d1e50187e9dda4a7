"""The protocol of a measurement: what two results must have in common before anybody may compare them. No torch.

A number like "recall@1 = 0.61" means nothing without the pictures, who asked, who could be found, what counted as a hit
and how the metric is defined. `Protocol` says all of it in plain JSON; its hash is equal exactly when all of it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

#: Version of the definitions in fashreg.functional.metrics; grows when a metric of an old name gives other numbers.
DEFINITIONS = 1
LEAVE_ONE_OUT, QUERIES_AGAINST_GALLERY = "leave-one-out", "queries against gallery"
PICTURES_AND_TEXTS, COMPOSED = "pictures and texts find each other", "pictures with texts find pictures"
CLASSES, CAPTIONS = "classes of pictures", "captions of pictures"
#: Fields that say how a model was asked or what a thing is called, and not what was measured.
_OUTSIDE_THE_HASH = frozenset({"source", "task", "rerankers"})
_CORE = "fashreg"

Spec = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """How something was measured.

    name: of the benchmark ("in-shop"), or the rule for a table of one's own. data: fingerprint of the rows. source:
    the table, for display. split: of the table, None for all rows. label, attributes: the columns that made pictures
    relevant. rule: "leave-one-out", "queries against gallery", or what else was asked: one of the four below them.
    exclusions: pairs that never count: "same-id", "same-source:COLUMN". task: the head that was used. rerankers,
    evaluators: specs, in order. definitions: version of the metrics' definitions.
    """

    data: str
    rule: str
    name: str = LEAVE_ONE_OUT
    source: str = ""
    split: str | None = None
    label: str | None = None
    attributes: tuple[str, ...] = ()
    exclusions: tuple[str, ...] = ("same-id",)
    task: str | None = None
    rerankers: tuple[Spec, ...] = ()
    evaluators: tuple[Spec, ...] = ()
    definitions: int = DEFINITIONS

    @property
    def hash(self) -> str:
        """sha256 of everything but `source`, `task` and `rerankers`: equal where results may be compared.

        The last two belong to what is judged, as the model does: an answer with re-ranking may be compared with one
        without. Of the core's evaluators the version does not count, since `definitions` stands for it.
        """
        text = json.dumps(self._measured(), sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode("ascii")).hexdigest()

    def differences(self, other: Protocol) -> dict[str, tuple[Any, Any]]:
        """Field -> its two values, for every field that keeps two results from being compared."""
        ours, theirs = self._measured(), other._measured()
        return {name: (ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]}

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON, with the hash."""
        return {**json.loads(json.dumps(asdict(self), allow_nan=False)), "hash": self.hash}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """What `as_dict` gave. ValueError for unknown fields, values of another type, or a hash that is not theirs."""
        if not isinstance(document, Mapping):
            raise ValueError(f"a protocol is an object, not {type(document).__name__}")
        given = {name: value for name, value in document.items() if name != "hash"}
        unknown = sorted(set(given) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(f"a protocol has no field {', '.join(unknown)}")
        for name, value in given.items():
            if not _fits(name, value):
                raise ValueError(f"the protocol's field {name} cannot be {value!r}")
        parts: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in given.items()}
        if missing := sorted({"data", "rule"} - set(parts)):
            raise ValueError(f"a protocol needs {' and '.join(missing)}")
        made = cls(**parts)
        if document.get("hash", made.hash) != made.hash:
            raise ValueError("the protocol's hash is not that of its fields: somebody changed it by hand")
        return made

    def _measured(self) -> dict[str, Any]:
        plain = json.loads(json.dumps(asdict(self), allow_nan=False))
        plain["attributes"].sort()
        plain["exclusions"].sort()
        for spec in plain["evaluators"]:
            if spec.get("plugin") == _CORE:
                spec.pop("version", None)
        return {name: value for name, value in plain.items() if name not in _OUTSIDE_THE_HASH}


def _fits(name: str, value: Any) -> bool:
    """Whether a JSON value has the type of the field."""
    if name in ("attributes", "exclusions"):
        return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
    if name in ("evaluators", "rerankers"):
        return isinstance(value, list | tuple) and all(isinstance(item, dict) for item in value)
    if name == "definitions":
        return type(value) is int
    return isinstance(value, str) or (value is None and name in ("split", "label", "task"))
