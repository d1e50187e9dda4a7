"""`fashreg pull`: models and what belongs to them, from the Hugging Face Hub or a mirror of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def pull(
    address: Annotated[str, typer.Argument(metavar="USER/NAME[@REV]", help="Repository, and branch, tag or commit.")],
    out: Annotated[Path, typer.Option(help="Folder to make, or of the same kind to replace.")],
    part: Annotated[
        str, typer.Option(help="Folder of the repository: index, evaluation; default: the model at its root.")
    ] = "",
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit, if not in the address.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="From the cache only; no network.")] = False,
) -> None:
    """Fetch a model (or index, or evaluation) from the Hub into a folder: checked, whole or not at all."""
    from fashreg.hub.origin import read_origin
    from fashreg.storage.loading import pull_folder

    pull_folder(address, out, part=part, revision=revision, local_files_only=offline)
    print(f"{read_origin(out)} is in {out}, every file checked")
