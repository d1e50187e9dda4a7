"""What a run was, in words: headline numbers, configuration, environment and protocol as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fashreg.jobs.evaluation_result import Evaluation
from fashreg.protocol import Protocol
from fashreg.report.groups import plain
from fashreg.report.subject import Subject

Facts = list[tuple[str, str]]
_PARTS = ("backbone", "head", "loss", "memory", "sampler", "learner")
_TRAINER = ("epochs", "batch_size", "optimizer", "lr", "schedule", "precision", "freeze", "cache", "ema_decay")


@dataclass(frozen=True, slots=True)
class Tile:
    """One large number, with small words below it."""

    name: str
    value: str
    more: str = ""


def headline(subject: Subject, evaluation: Evaluation) -> list[Tile]:
    """The numbers that the page opens with."""
    name = evaluation.primary
    value = evaluation.metrics[name]
    interval = evaluation.intervals.get(name)
    change = None if name not in subject.before else value - subject.before[name]
    between = _between(interval)
    tiles = [Tile(name, f"{value:.3f}", between)]
    if change is not None:
        tiles.append(Tile("gain", f"{change:+.3f}", f"{name} was {subject.before[name]:.3f} untrained"))
    second = next((n for n in evaluation.metrics if n != name and plain(n)), None)
    if second is not None:
        tiles.append(Tile(second, f"{evaluation.metrics[second]:.3f}", _between(evaluation.intervals.get(second))))
    counts = evaluation.counts
    tiles.append(_asked(counts))
    if speed := subject.training.get("images_per_second"):
        tiles.append(Tile("pictures / s", f"{speed:,.0f}", f"training took {_duration(subject.training['seconds'])}"))
    return tiles


def _asked(counts: Mapping[str, int]) -> Tile:
    asked = f"{counts.get('queries', 0):,}"
    if "classes" in counts:
        return Tile("pictures", asked, f"{counts['classes']:,} classes")
    if "gallery" not in counts:
        return Tile("pictures", asked)
    texts = f" and {counts['texts']:,} texts" if "texts" in counts else ""
    return Tile("queries", asked, f"{counts['gallery']:,} pictures{texts} searched")


def lede_of(subject: Subject) -> str:
    """One sentence on what this is."""
    recipe = subject.recipe
    if recipe:
        trainer = "loss" if recipe.get("loss") else "learner"
        parts = [_name(recipe.get(part)) for part in ("backbone", "head", trainer)]
        memory = f" with memory {_name(recipe['memory'])}" if recipe.get("memory") else ""
        said = f"{parts[0]} with a {parts[1]} head, trained by {parts[2]}{memory}."
        description = " ".join(str(recipe.get("description") or "").split())
        return f"{said} {description}".strip()
    protocol = None if subject.evaluation is None else subject.evaluation.protocol
    return f"Evaluation of a model on {protocol.source}." if protocol is not None and protocol.source else "Evaluation."


def training_line(subject: Subject) -> str:
    """How long, how much, and whether it ended early."""
    facts = subject.training
    if not facts:
        return "The training has not ended, or was stopped: this is its log so far."
    early = " Stopped early." if facts.get("stopped_early") else ""
    return (
        f"{facts.get('steps', 0):,} steps, {facts.get('epochs', 0):g} epochs, {facts.get('images', 0):,} pictures in "
        f"{_duration(facts.get('seconds', 0.0))}.{early}"
    )


def configuration_of(subject: Subject) -> Facts:
    """The parts of the recipe with their options, and the settings that matter most."""
    recipe = subject.recipe
    if not recipe:
        return []
    rows = [(part, _spec(recipe[part])) for part in _PARTS if recipe.get(part)]
    trainer = recipe.get("trainer") or {}
    rows += [(name.replace("_", " "), _plain(trainer[name])) for name in _TRAINER if trainer.get(name) is not None]
    data = recipe.get("data") or {}
    rows += [(name, str(data[name])) for name in ("table", "label") if data.get(name)]
    return [*rows, ("seed", str(recipe.get("seed", 0)))]


def environment_of(subject: Subject) -> Facts:
    """Versions and the machine."""
    found = subject.environment
    rows = [(name, str(found[name])) for name in ("fashreg", "python", "system", "processors") if name in found]
    for group in ("libraries", "plugins", "settings"):
        rows += [(name, str(value)) for name, value in (found.get(group) or {}).items()]
    return rows


def protocol_of(protocol: Protocol) -> Facts:
    """What must agree before this result is compared with another."""
    rows = [
        ("name", protocol.name),
        ("rule", protocol.rule),
        ("table", protocol.source),
        ("split", protocol.split),
        ("label", protocol.label),
        ("attributes", ", ".join(protocol.attributes)),
        ("never counted", ", ".join(protocol.exclusions)),
        ("head", protocol.task),
        ("re-ranking", ", ".join(_spec(spec) for spec in protocol.rerankers)),
        ("evaluators", ", ".join(str(spec.get("name", spec)) for spec in protocol.evaluators)),
        ("metric definitions", f"version {protocol.definitions}"),
        ("data", protocol.data[:16]),
        ("hash", protocol.hash[:16]),
    ]
    return [(name, str(value)) for name, value in rows if value]


def _between(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"95 %: {interval[0]:.3f} – {interval[1]:.3f}"


def _name(spec: Any) -> str:
    return str(spec.get("name")) if isinstance(spec, Mapping) else str(spec)


def _spec(spec: Any) -> str:
    """`xbm (capacity 4096, start_step 2)`."""
    if not isinstance(spec, Mapping):
        return str(spec)
    options = spec.get("config") if isinstance(spec.get("config"), Mapping) else spec
    given = [f"{k} {_plain(v)}" for k, v in (options or {}).items() if k not in ("name", "plugin", "version")]
    return f"{_name(spec)} ({', '.join(given)})" if given else _name(spec)


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
