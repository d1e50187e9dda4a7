"""`fashreg card`: what a model's page on the Hub will say."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def card(
    folder: Annotated[Path, typer.Argument(help="Model folder or run folder.")],
    evaluation: Annotated[
        Path | None, typer.Option(help="What `fashreg evaluate --out` wrote; default: the evaluation of its run.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="SPDX identifier of the model's licence: CC-BY-NC-4.0; default: the recipe's.")
    ] = None,
    repo: Annotated[str | None, typer.Option(help="USER/NAME on the Hub, for the code that loads the model.")] = None,
    pictures: Annotated[
        bool,
        typer.Option("--pictures", help="Also draw neighbours.jpg: only where those pictures may be published."),
    ] = False,
    write: Annotated[bool, typer.Option("--write", help="Write README.md into the model folder.")] = False,
) -> None:
    """Preview a model's card, or write it: what was measured, trained on, how to load. Own text in it is kept."""
    from fashreg.errors import OptionError, shown
    from fashreg.jobs.card import card_text, write_card
    from fashreg.licences import hub_licence

    if pictures and not write:
        raise OptionError("--pictures draws a file into the model folder: add --write", field="pictures")
    if write:
        path = write_card(folder, evaluation=evaluation, licence=licence, repo=repo, pictures=pictures)
        print(f"{path}: look at it, then: fashreg push {folder} USER/NAME")
    else:
        text = card_text(folder, evaluation=evaluation, licence=licence, repo=repo)
        print(shown(text, longest=2**20), end="")
    if licence is not None and hub_licence(licence)[0] == "other":
        print(
            f"note: the Hub has no licence {licence!r}, so the card says `license: other` with this name; put its text "
            "into a file LICENSE of the repository",
            file=sys.stderr,
        )
