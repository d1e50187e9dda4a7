"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated, Any

import typer

Model = Annotated[str, typer.Argument(help="Model folder, e.g. runs/a/model; or user/name@REV on the Hub.")]
TableOption = Annotated[str, typer.Option("--table", help="CSV, TSV or Parquet with one row per picture.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="How to read the table: --set image=path (fields of data).")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Split = Annotated[str | None, typer.Option(help="Rows of this split only; default: all rows.")]
Batch = Annotated[int, typer.Option(min=1, help="Pictures per forward pass.")]
Task = Annotated[str | None, typer.Option(help="Head or attribute to use, for a model with several.")]


def component(text: str) -> Any:
    """A component as typed: a name, or a mapping like '{name: k-reciprocal, k1: 10}'."""
    import yaml

    from fashreg.errors import OptionError
    from fashreg.strict_yaml import read_yaml

    if not text.lstrip().startswith("{"):
        return text
    try:
        return read_yaml(text)
    except yaml.YAMLError:
        raise OptionError(f"{text!r} is no component; write a name, or '{{name: NAME, option: value}}'") from None
