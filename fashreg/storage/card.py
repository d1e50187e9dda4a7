"""The model card: what a stranger needs to know before using the model, from what was recorded and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from fashreg.storage.model_config import ModelConfig


def model_card(config: ModelConfig, metrics: Mapping[str, Any] | None, recipe: Mapping[str, Any] | None) -> str:
    """README.md of a model folder."""
    front = {
        "library_name": "fashreg",
        "pipeline_tag": "image-feature-extraction",
        "tags": ["fashreg", "image-retrieval", "metric-learning", "visual-search", "fashion"],
    }
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---",
        "# An image retrieval model made with fashreg",
        _about(config, recipe),
        "## Use\n\n" + _use(),
        "## Measured\n\n" + _measured(metrics),
        "## Trained on\n\n" + _trained(config),
        "## Limits\n\n" + _limits(metrics),
    ]
    return "\n\n".join(parts) + "\n"


def _about(config: ModelConfig, recipe: Mapping[str, Any] | None) -> str:
    height, width = config.input_spec.size
    said = str((recipe or {}).get("description") or "").strip()
    rows = [
        ("backbone", f"`{config.backbone.name}`{_options(config.backbone.config)}"),
        ("head", f"`{config.head.name}`"),
        ("embedding", f"{config.embed_dim} numbers; nearer in meaning = larger cosine"),
        ("pictures", f"{width} x {height} pixels (scaled and cropped by fashreg)"),
        ("plugins", ", ".join(sorted({f"{s.plugin} {s.version}" for s in (config.backbone, config.head)}))),
    ]
    return (f"{said}\n\n" if said else "") + _table(("part", "what it is"), rows)


def _options(config: Mapping[str, Any]) -> str:
    said = [f"{key}: {config[key]}" for key in ("model", "name", "arch", "weights") if config.get(key)]
    return f" ({', '.join(said)})" if said else ""


def _use() -> str:
    code = [
        "import fashreg",
        "",
        'encoder = fashreg.load("path/to/this/folder")',
        'vectors = encoder.embed(["dress.jpg", "shirt.jpg"])  # (2, D) float32',
    ]
    return "```python\n" + "\n".join(code) + "\n```\n\nNothing in this folder is executed, and no weights are fetched."


def _measured(metrics: Mapping[str, Any] | None) -> str:
    if not metrics:
        return "Nothing was measured when this model was saved."
    rows = [(name, f"{value:.4f}" if isinstance(value, float) else str(value)) for name, value in metrics.items()]
    return "Fractions, 0 to 1, as recorded when the model was saved.\n\n" + _table(("metric", "value"), rows)


def _trained(config: ModelConfig) -> str:
    facts = _flat({k: v for k, v in config.provenance.items() if k != "recipe"})
    rows = [(name, str(value)) for name, value in facts.items() if isinstance(value, str | int | float | bool)]
    if not rows:
        return "Not recorded."
    return _table(("what", "value"), rows) + "\n\nThe whole recipe, if there is one, is in `recipe.yaml`."


def _flat(tree: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{place}.{key}" if place else str(key)
        flat |= _flat(value, name) if isinstance(value, Mapping) else {name: value}
    return flat


def _limits(metrics: Mapping[str, Any] | None) -> str:
    shown = "The numbers above hold" if metrics else "Whatever was or will be measured holds"
    return (
        f"{shown} for that data and protocol only; other catalogues, cameras and categories give other numbers. "
        "Measure on pictures of your own before relying on it: `fashreg evaluate MODEL --table T`. "
        "No licence is stated here; the licences of the training pictures and of the first weights apply."
    )


def _table(head: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "| --- | --- |"]
    return "\n".join(lines + [f"| {_cell(a)} | {_cell(b)} |" for a, b in rows])


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
