"""What a card says of a model with several tasks: what each answers, the lines that ask it, and what to mind."""

from __future__ import annotations

from collections.abc import Mapping

from fashreg.storage.card_text import cell
from fashreg.storage.model_config import ModelConfig

_MOST = 12
_WORDS = {
    "cross-modal": "pictures by a text, texts by a picture",
    "composed": "pictures by a picture and a text",
    "classification": "names of classes",
    "captioning": "captions",
}


def kinds_in(config: ModelConfig) -> dict[str, str]:
    """Task -> kind as the backbone was told them; {} for one that has one vector for everything."""
    kinds = config.backbone.config.get("kinds")
    return {str(task): str(kind) for task, kind in kinds.items()} if isinstance(kinds, Mapping) else {}


def tasks_line(config: ModelConfig) -> str:
    """The tasks and what each answers, as a cell of a table; "" without."""
    kinds = kinds_in(config)
    if kinds:
        named = [f"{cell(task)}: {_WORDS.get(kind, cell(kind))}" for task, kind in kinds.items()]
    else:
        named = [cell(task) for task in _tasks_of_head(config)]
    return "; ".join(named[:_MOST]) + ("; and more" if len(named) > _MOST else "")


def lines_of_use(config: ModelConfig) -> list[str]:
    """Python that asks the model, after it was loaded as `encoder`."""
    kinds = {task: kind for task, kind in kinds_in(config).items() if _is_plain(task)}
    if not kinds:
        tasks = [task for task in _tasks_of_head(config) if _is_plain(task)]
        return _alike(config, tasks[0] if len(tasks) > 1 else None)
    first = {kind: task for task, kind in reversed(kinds.items())}
    finding = first.get("cross-modal") or first.get("composed")
    lines = _alike(config, finding or next(iter(kinds)))
    if task := first.get("cross-modal"):
        lines.append(f'found = encoder.embed(texts=["a red dress"], task={task!r}) @ vectors.T')
    if task := first.get("composed"):
        lines.append(f'query = encoder.embed("dress.jpg", texts=["but with long sleeves"], task={task!r})')
    if task := first.get("classification"):
        lines.append(f'print(encoder.classify(["dress.jpg"], texts=["a red dress"], task={task!r}, k=3))')
    if task := first.get("captioning"):
        lines.append(f'print(encoder.caption(["dress.jpg"], task={task!r}))')
    return lines


def limits_of(config: ModelConfig) -> list[str]:
    """What to mind of what it says in words."""
    kinds = set(kinds_in(config).values())
    if not kinds:
        return ["It says how alike pictures are, not what is on them; it was not made to recognise people."]
    points = ["It was not made to recognise people."]
    if kinds & {"classification", "captioning"}:
        points.append("Classes and captions are those of its training data; it names one even where none fits.")
    if kinds & {"cross-modal", "composed"}:
        points.append("It understands texts as far as those it was trained on; longer ones are cut.")
    return points


def _alike(config: ModelConfig, task: str | None) -> list[str]:
    asked = "" if task is None else f", task={task!r}"
    shape = f"# (2, {config.embed_dim}) float32"
    return [
        f'vectors = encoder.embed(["dress.jpg", "shirt.jpg"]{asked})  {shape}',
        "print(vectors @ vectors.T)  # how alike each pair is: larger = more alike",
    ]


def _tasks_of_head(config: ModelConfig) -> list[str]:
    tasks = config.head.config.get("tasks")
    return [str(task) for task in tasks] if isinstance(tasks, list) and len(tasks) > 1 else []


def _is_plain(task: str) -> bool:
    return task.isprintable() and "`" not in task and len(task) < 100
