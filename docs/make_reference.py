"""Write docs/reference.md from the code: the recipe's fields, every built-in component, every error and command.

python docs/make_reference.py          # writes the page
python docs/make_reference.py --check  # exits 1 when the page is not what the code says
"""

from __future__ import annotations

import argparse
import inspect
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

PAGE = Path(__file__).parent / "reference.md"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    os.environ["FASHREG_PLUGINS"] = ""  # the core alone: plugins document themselves
    text = "\n".join([*head(), *recipe(), *components(), *errors(), *commands()]) + "\n"
    if check:
        current = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
        print("docs/reference.md " + ("is up to date" if current == text else "is out of date: run this script"))
        return int(current != text)
    PAGE.write_text(text, encoding="utf-8", newline="\n")
    return 0


def head() -> list[str]:
    return [
        "# Reference",
        "",
        "Made from the code by `python docs/make_reference.py`; a test keeps it true.",
        "[Recipe](#recipe) · [Components](#components) · [Errors](#errors) · [Commands](#commands)",
    ]


def recipe() -> Iterator[str]:
    from fashreg.config import Recipe

    yield from ["", "## Recipe", "", "One YAML or JSON file, or the same names in Python. Unknown fields are errors."]
    yield "On the command line any field is set with `--set a.b=c`."
    yield from fields_of(Recipe, "", shown=set())


def fields_of(model: Any, prefix: str, shown: set[Any]) -> Iterator[str]:
    inner = []
    shown.add(model)
    yield from ["", f"### `{prefix or 'the recipe itself'}`", "", "| field | default | meaning |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        below = model_in(field.annotation)
        if below is not None and below.__name__ != "ComponentConfig" and below not in shown:
            several = ".NAME" if any(get_origin(a) is dict for a in get_args(field.annotation)) else ""
            inner.append((below, f"{prefix}.{name}{several}".strip(".")))
        default = field.get_default(call_default_factory=True, validated_data={})
        text = "`{}`" if below in shown else default_text(default, field.is_required())
        yield f"| `{name}` | {text} | {field.description} |"
    for below, place in inner:
        yield from fields_of(below, place, shown)


def model_in(annotation: Any) -> Any:
    from pydantic import BaseModel

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for a in get_args(annotation) if (m := model_in(a)) is not None), None)


def default_text(default: Any, required: bool) -> str:
    from pydantic import BaseModel

    if required:
        return "required"
    if isinstance(default, BaseModel):
        dumped = default.model_dump(mode="json")
        return f"`{dumped['name']}`" if set(dumped) == {"name"} else "below"
    if isinstance(default, list) and default and isinstance(default[0], BaseModel):
        return ", ".join(f"`{item.model_dump()['name']}`" for item in default)
    return f"`{'null' if default is None else default if default != '' else repr('')}`"


def components() -> Iterator[str]:
    from fashreg import registry
    from fashreg.component import documentation_of, options_of
    from fashreg.interfaces import KINDS

    yield from ["", "## Components", "", "`fashreg show KIND NAME` prints the same with the whole text."]
    for kind in KINDS:
        yield from ["", f"### {kind}"]
        for entry in registry.entries(kind):
            cls = registry.load(entry)
            said = documentation_of(cls)
            yield from ["", f"#### {kind} `{entry.name}`", "", said.summary]
            yield from (f"\nSource: {source}" for source in said.sources)
            options = options_of(cls)
            if options:
                yield from ["", "| option | type | default | meaning |", "|---|---|---|---|"]
            for o in options:
                plain = f"`{o.default}`" if o.default is not inspect.Parameter.empty else "required"
                default = "filled by the run" if o.fact else plain
                kind_text = o.type_text.replace("|", "\\|")
                yield f"| `{o.name}` | {kind_text} | {default} | {o.meaning.replace('|', chr(92) + '|')} |"


def errors() -> Iterator[str]:
    from fashreg import errors as module

    yield from ["", "## Errors", "", "```"]
    text = inspect.getdoc(module) or ""
    yield from (line for line in text.splitlines() if line.startswith("    ") or "─" in line)  # the tree
    yield "```"


def commands() -> Iterator[str]:
    import typer

    from fashreg.cli.app import app

    yield from ["", "## Commands"]
    yield from command_pages(typer.main.get_command(app), "fashreg")


def command_pages(command: Any, name: str) -> Iterator[str]:
    below = getattr(command, "commands", {})
    yield from ["", f"### `{name}`", "", (command.help or "").strip()]
    rows = [p for p in command.params if p.name not in {"help"}]
    if rows:
        yield from ["", "| | meaning |", "|---|---|"]
    for p in rows:
        spelling = ", ".join(o for o in p.opts if o.startswith("-")) or (p.name or "").upper()
        yield f"| `{spelling}` | {getattr(p, 'help', '') or ''} |"
    for inner in below.values():
        yield from command_pages(inner, f"{name} {inner.name}")


if __name__ == "__main__":
    sys.exit(main())
