"""`fashreg list`, `show`, `doctor`, `recipes`, `schema`: what is there, and whether it works."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from fashreg import registry

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def list_(
    kind: Annotated[str | None, typer.Argument(help="One kind only, e.g. loss.")] = None, as_json: AsJson = False
) -> None:
    """List the components of the installed plugins (imports none of them)."""
    rows = registry.entries(kind)
    if as_json:
        fields = ("kind", "name", "plugin", "version", "problem")
        print(json.dumps([{f: getattr(e, f) for f in fields} for e in rows], indent=1))
        return
    twice = {
        (e.kind, e.name) for i, e in enumerate(rows) if i and (rows[i - 1].kind, rows[i - 1].name) == (e.kind, e.name)
    }
    table = [("KIND", "NAME", "PLUGIN", "VERSION", "")]
    for e in rows:
        name = e.qualified if (e.kind, e.name) in twice else e.name
        table.append((e.kind, name, e.plugin, e.version, f"! {e.problem}" if e.problem else ""))
    _print_table(table)


def show(
    kind: Annotated[
        str, typer.Argument(help="backbone, head, loss, memory, sampler, evaluator, index, reranker or learner.")
    ],
    name: Annotated[str, typer.Argument(help="Registered name, or plugin:name.")],
    as_json: AsJson = False,
) -> None:
    """Show one component: its options with types, defaults and meaning, and the paper it comes from."""
    facts = _describe(kind, name)
    if as_json:
        print(json.dumps(facts, indent=1))
        return
    print(f"{kind} {facts['name']}   ({facts['plugin']} {facts['version']})\n{facts['summary']}")
    for source in facts["sources"]:
        print(textwrap.fill(f"Source: {source}", 110, subsequent_indent="        "))
    print("\nOptions" + ("" if facts["options"] else ": none"))
    for option in facts["options"]:
        print(f"  {option['name']}: {option['type']}{_default_text(option)}")
        print(textwrap.fill(option["meaning"], 106, initial_indent="      ", subsequent_indent="      "))


def doctor(as_json: AsJson = False) -> None:
    """Import every component, time it, and say what is broken and why; exit 1 when something is."""
    from fashreg.doctor import examine

    report = examine()
    if as_json:
        print(json.dumps(report.as_dict(), indent=1))
    else:
        print("\n".join(report.lines()))
    if not report.healthy:
        raise typer.Exit(1)


def recipes(as_json: AsJson = False) -> None:
    """List the recipes that ship inside the core and the installed plugins."""
    from fashreg.config import parse_recipe
    from fashreg.plugins import shipped_recipes

    rows = []
    for recipe in shipped_recipes():
        document = parse_recipe(recipe.path.read_text(encoding="utf-8"), name=str(recipe.path))
        description = " ".join(str(document.get("description", "")).split())
        rows.append({"name": recipe.name, "plugin": recipe.plugin, "description": description})
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        print(f"{row['name']}   ({row['plugin']})")
        print(textwrap.fill(row["description"], 106, initial_indent="    ", subsequent_indent="    "))


def schema() -> None:
    """Print the JSON Schema of a recipe, for editors."""
    from fashreg.config import Recipe

    print(json.dumps(Recipe.model_json_schema(), indent=1))


def _describe(kind: str, name: str) -> dict[str, Any]:
    from fashreg.component import documentation_of, options_of

    entry = registry.find(kind, name)
    cls = registry.load(entry)
    documentation = documentation_of(cls)
    options = [
        {
            "name": option.name,
            "type": option.type_text,
            "required": option.required,
            "filled_by_the_run": option.fact,
            "default": _plain(option.default),
            "meaning": option.meaning,
        }
        for option in options_of(cls)
    ]
    return {
        "kind": kind, "name": entry.name, "plugin": entry.plugin, "version": entry.version,
        "summary": documentation.summary, "sources": list(documentation.sources), "options": options,
        "documentation": documentation.text,
    }  # fmt: skip


def _plain(value: Any) -> Any:
    import inspect

    if value is inspect.Parameter.empty:
        return None
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


def _default_text(option: dict[str, Any]) -> str:
    if option["required"]:
        return ", required"
    if option["filled_by_the_run"] and option["default"] is None:
        return ", filled by the run"
    return f" = {option['default']!r}"


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
