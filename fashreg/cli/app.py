"""All commands in one place. Nothing heavy is imported here: each command imports what it runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fashreg.cli import (
    answers,
    card,
    compatible,
    continuing,
    data,
    evaluate,
    gallery,
    index,
    look,
    report,
    share,
    train,
)


class Stopped(Exception):  # noqa: N818 - not an error
    """A command was interrupted by hand."""


class Commands(TyperGroup):
    """Typer turns a KeyboardInterrupt into a bare status; here it is told first."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            raise Stopped from stop


app = typer.Typer(
    name="fashreg",
    cls=Commands,
    help="Compose, train, measure and search image retrieval models from plugins.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        from fashreg import __version__

        print(f"fashreg {__version__}")
        raise typer.Exit


@app.callback()
def options(
    plugins: Annotated[
        str | None, typer.Option(help="See only these plugins (comma separated; '' = the core alone).")
    ] = None,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Compose, train, measure and search image retrieval models from plugins (--debug anywhere: tracebacks)."""
    if plugins is not None:
        os.environ["FASHREG_PLUGINS"] = plugins


COMMANDS: tuple[Callable[..., None], ...] = (
    look.list_,
    look.show,
    look.doctor,
    look.recipes,
    look.schema,
    train.train,
    continuing.continue_,
    evaluate.evaluate,
    evaluate.compare,
    compatible.compatible,
    report.report,
    card.card,
    share.push,
    share.pull,
    share.versions,
    share.tag,
    gallery.embed,
    index.search,
    answers.classify,
    answers.caption,
)
for command in COMMANDS:
    app.command(command.__name__.rstrip("_"))(command)
app.add_typer(index.index_app, name="index")
app.add_typer(data.data_app, name="data")


def explained() -> Any:
    """All commands, with help for people."""
    from fashreg.cli.helping import help_for

    return help_for(typer.main.get_command(app))
