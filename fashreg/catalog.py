"""Plugins that are known but perhaps not installed, so that an error can say what to install. Nothing is imported."""

from __future__ import annotations

#: distribution -> (kind, name) of the components it brings.
KNOWN_PLUGINS: dict[str, tuple[tuple[str, str], ...]] = {
    "fashreg-acbn": (("memory", "acbn"),),
    "fashreg-famevil": (("backbone", "fame-vil"), ("head", "fame-vil"), ("learner", "multi-task")),
    "fashreg-lite0": (("backbone", "lite0"),),
    "fashreg-mclfir": (
        ("head", "attribute-attention"),
        ("head", "own-network"),
        ("learner", "ewc"),
        ("learner", "fine-tune"),
        ("learner", "joint"),
        ("learner", "lwf"),
        ("learner", "mcl-fir"),
        ("learner", "replay"),
        ("learner", "retrain"),
    ),
    "fashreg-milvus": (("index", "milvus"),),
    "fashreg-moml": (("loss", "multi-objective"), ("loss", "proxy-repulsion"), ("sampler", "two-relation")),
}


def who_brings(name: str, kind: str | None = None) -> tuple[tuple[str, str, str], ...]:
    """(distribution, kind, name) of the known components of that name, the asked kind first."""
    found = [(d, k, n) for d, parts in KNOWN_PLUGINS.items() for k, n in parts if n == name]
    return tuple(sorted(found, key=lambda item: (item[1] != kind, item)))


def known_names(kind: str) -> tuple[str, ...]:
    """Names of that kind that some known plugin brings."""
    return tuple(sorted(n for parts in KNOWN_PLUGINS.values() for k, n in parts if k == kind))
