"""A model pushed as what differs from another one on the Hub: some megabytes of adapters instead of the whole."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fashreg.errors import ModelError
from fashreg.hub.address import parse_address
from fashreg.hub.client import Token
from fashreg.hub.parcel import pack
from fashreg.hub.push import Pushed, push
from fashreg.jobs.card import card_on_base
from fashreg.manifest import MANIFEST, place_file, read_manifest
from fashreg.storage import KIND
from fashreg.storage.partial import Access
from fashreg.storage.rebasing import save_on_base


def push_on_base(
    folder: str | Path, repo: str, *, base: str, token: Token = None, include: Iterable[str] = (), **how: Any
) -> Pushed:
    """As `fashreg.hub.push.push`, which takes `how`, for a model or run folder; `base` holds what is not stored.

    base: "user/name" or "user/name@REVISION"; the commit it has now is pinned, and is fetched wherever the model is
    loaded. The folder stays whole. Raises ModelError for a folder without a model and for a base that shares nothing.
    """
    source, asked = Path(folder), list(include)
    parse_address(repo, revision=how.get("revision"))  # before the work
    parcel = pack(source, part=how.get("part"), include=asked)
    inner = "" if (source / MANIFEST).is_file() else "model/"
    if KIND not in {part.kind for part in parcel.parts}:
        raise ModelError(f"{folder} holds no model, and only models have a base: push it without --base")
    with tempfile.TemporaryDirectory() as desk:
        place = Path(desk) / "pushed"
        save_on_base(
            source / inner,
            place / inner,
            base,
            card=lambda config: card_on_base(source, config),
            access=Access(token),
        )
        for name in [*(_measured(source) if inner else []), *asked]:
            if not (place / name).exists():
                place_file(source / name, place / name)
        return push(place, repo, token=token, include=asked, **how)


def _measured(run: Path) -> list[str]:
    """The files of what was measured in a run, by name relative to it, lists and all."""
    folders = [folder for folder in sorted(run.glob("evaluation*")) if (folder / MANIFEST).is_file()]
    return [f"{folder.name}/{name}" for folder in folders for name in [*read_manifest(folder).files, MANIFEST]]
