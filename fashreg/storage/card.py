"""The model card: what a stranger needs to know before using the model, from what was recorded and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from fashreg.storage.card_metadata import MOST_METRICS, Measured, dataset_name, front_matter, ordered
from fashreg.storage.card_tasks import limits_of, lines_of_use, tasks_line
from fashreg.storage.card_text import Rows, bullets, cell, recorded, said, spec, table
from fashreg.storage.model_config import ModelConfig

PLACE = "path/to/this/folder"
PICTURE = "neighbours.jpg"
TITLE = "An image retrieval model made with fashreg"
_TRAINER = ("epochs", "batch_size", "optimizer", "lr", "schedule", "precision", "freeze", "cache", "ema_decay")
_LEFT_OUT = frozenset({"recipe", "metrics", "environment"})


def model_card(
    config: ModelConfig,
    metrics: Mapping[str, Any] | None = None,
    recipe: Mapping[str, Any] | None = None,
    *,
    measured: Measured | None = None,
    tasks: Mapping[str, Measured] | None = None,
    name: str = "",
    licence: str | None = None,
    picture: bool = False,
) -> str:
    """A fresh README.md: front matter and text.

    metrics: numbers alone, where there is no measurement to tell more of. tasks: measurements by task, where each has
    its own. name: of the model. licence: SPDX identifier
    (default: that of config or recipe). picture: neighbours.jpg lies beside the card. Every value is escaped: none can
    become HTML, a link, or a mark that fashreg looks for.
    """
    chosen = licence or config.licence or (recipe or {}).get("licence")
    title = name or TITLE
    base = None if config.base is None else config.base.repo
    everything = [*([] if measured is None else [measured]), *(tasks or {}).values()]
    front = front_matter(title, licence=chosen, measured=everything, base=base)
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---",
        f"# {said(title)}",
        _about(config, recipe),
        "## Use\n\n" + _use(config),
        "## Measured\n\n"
        + (_numbers(metrics) if measured is None and not tasks else _all_measured(measured, tasks or {})),
        *([_picture(measured)] if picture else []),
        "## Trained on\n\n" + _trained(config, recipe),
        *([f"## Made with\n\n{made}"] if (made := _environment(config)) else []),
        "## Limits\n\n" + _limits(config, metrics or tasks, measured),
        "## Licence\n\n" + _licence(chosen),
    ]
    return "\n\n".join(parts) + "\n"


def _about(config: ModelConfig, recipe: Mapping[str, Any] | None) -> str:
    height, width = config.input_spec.size
    purpose = said(str((recipe or {}).get("description") or "").strip())
    rows = [
        ("backbone", f"`{config.backbone.name}`{_options(config.backbone.config)}"),
        ("head", f"`{config.head.name}`"),
        ("embedding", f"{config.embed_dim} numbers; nearer in meaning = larger cosine"),
        ("pictures", f"{width} x {height} pixels (scaled and cropped by fashreg)"),
        ("plugins", said(", ".join(sorted({f"{s.plugin} {s.version}" for s in (config.backbone, config.head)})))),
    ]
    if tasks := tasks_line(config):
        rows.insert(2, ("tasks", tasks))
    if config.base is not None:
        rows.append(("goes on from", f"`{config.base}`, whose weights are taken where this model has no others"))
    return (f"{purpose}\n\n" if purpose else "") + table(("part", "what it is"), rows)


def _options(config: Mapping[str, Any]) -> str:
    given = [f"{key}: {config[key]}" for key in ("model", "name", "arch", "weights") if config.get(key)]
    return f" ({cell(', '.join(given))})" if given else ""


def _use(config: ModelConfig) -> str:
    plugins = sorted({s.plugin for s in (config.backbone, config.head)} | {"fashreg"})
    code = [
        "import fashreg",
        "",
        f'encoder = fashreg.load("{PLACE}")',
        *lines_of_use(config),
    ]
    fetched = "no weights are fetched from anywhere else"
    if config.base is not None:
        fetched = f"weights are fetched only from here and from `{config.base.repo}`, at one commit and checked"
    return (
        f"```\npip install {' '.join(plugins)}\n```\n\n```python\n" + "\n".join(code) + "\n```\n\n"
        f"Components are found among the installed plugins. Nothing in these files is executed, and {fetched}."
    )


def _numbers(metrics: Mapping[str, Any] | None) -> str:
    if not metrics:
        return "Nothing was measured when this model was saved."
    rows = [(cell(name), f"{v:.4f}" if isinstance(v, float) else cell(str(v))) for name, v in metrics.items()]
    return "Fractions, 0 to 1, as recorded when the model was saved.\n\n" + table(("metric", "value"), rows)


def _all_measured(found: Measured | None, tasks: Mapping[str, Measured]) -> str:
    alone = [] if found is None else [_measured(found)]
    return "\n\n".join([*alone, *(f"### {said(task)}\n\n{_measured(one)}" for task, one in tasks.items())])


def _measured(found: Measured) -> str:
    names, counts, protocol = ordered(found), found.counts, found.protocol
    asked = f"{counts.get('queries', 0):,} queries"
    if counts.get("gallery"):
        asked += f", {counts['gallery']:,} pictures searched"
    over = "single queries" if found.resampled is None else f"groups of queries with one {said(found.resampled)}"
    rows = [(cell(name), f"{found.metrics[name]:.4f}", _interval(found, name)) for name in names]
    left = len(found.metrics) - len(names)
    facts: Rows = [
        ("rule", said(protocol.rule)),
        ("never counted", said(", ".join(protocol.exclusions))),
        ("relevant", said(", ".join([*filter(None, [protocol.label]), *protocol.attributes]))),
        ("re-ranking", said(", ".join(spec(s) for s in protocol.rerankers) or "none")),
        ("head", said(protocol.task or "")),
        ("protocol (sha256)", f"`{protocol.hash}`"),
        ("data (sha256)", f"`{cell(protocol.data)}`"),
    ]
    lines = [
        f"On {said(dataset_name(protocol))}, {said(protocol.rule)}: {asked}. Fractions, 0 to 1; 95 % bootstrap "
        f"intervals over {over}.",
        table(("metric", "value", "95 % interval"), rows),
        *([f"{left} more were measured; the first {MOST_METRICS} are shown."] if left > 0 else []),
        "Results are comparable when they have the same protocol; `fashreg compare` checks that.",
        table(("protocol", ""), [fact for fact in facts if fact[1]]),
    ]
    return "\n\n".join(lines)


def _interval(found: Measured, name: str) -> str:
    ends = found.intervals.get(name)
    return "" if ends is None else f"{ends[0]:.4f} to {ends[1]:.4f}"


def _picture(found: Measured | None) -> str:
    how = " The queries are spread evenly from the worst answered to the best." if found is not None else ""
    return (
        f"## Neighbours\n\n![Queries and their nearest pictures]({PICTURE})\n\nLeft: the query. Then its nearest "
        f"pictures, best first; green: the same label.{how}"
    )


def _trained(config: ModelConfig, recipe: Mapping[str, Any] | None) -> str:
    rows = recorded({k: v for k, v in config.provenance.items() if k not in _LEFT_OUT})
    given = recipe or {}
    if given.get("sampler"):
        rows.append(("sampler", cell(spec(given["sampler"]))))
    trainer = given.get("trainer")
    rows += recorded({name: trainer[name] for name in _TRAINER if name in trainer} if isinstance(trainer, dict) else {})
    if not rows:
        return "Not recorded."
    more = "\n\nThe whole recipe is in [recipe.yaml](recipe.yaml)." if given else ""
    return table(("what", "value"), rows) + more


def _environment(config: ModelConfig) -> str:
    found = config.provenance.get("environment")
    rows = recorded(found) if isinstance(found, dict) else []
    return table(("", "version"), rows) if rows else ""


def _limits(config: ModelConfig, metrics: Mapping[str, Any] | None, found: Measured | None) -> str:
    shown = "The numbers above hold" if metrics or found is not None else "Whatever was or will be measured holds"
    points = [
        f"{shown} for that data and protocol only; other catalogues, cameras and categories give other numbers. "
        "Measure on pictures of your own before relying on it: `fashreg evaluate MODEL --table T`.",
        *limits_of(config),
    ]
    if found is not None:
        points.append("The intervals are over queries: another training of the same recipe may differ by more.")
        if alone := found.counts.get("queries_without_relevant", 0):
            points.append(f"{alone:,} queries have nothing relevant to find and do not count.")
        points += [
            f"Weakest by {said(column)}: {said(value)}, {said(found.primary)} {score:.4f} ({support:,} queries)."
            for column, value, score, support in found.weakest
        ]
    return bullets(points)


def _licence(chosen: str | None) -> str:
    rest = "The licences of the training pictures and of the first weights apply beside it."
    if chosen is None:
        return "No licence is stated here; the licences of the training pictures and of the first weights apply."
    return f"`{cell(chosen)}`. {rest}"
