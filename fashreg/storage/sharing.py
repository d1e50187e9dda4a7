"""An encoder in memory as a repository on the Hub: saved to a folder that nobody sees, and pushed from there."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from fashreg.hub.address import parse_address
from fashreg.hub.client import Token
from fashreg.hub.push import Pushed, push
from fashreg.manifest import CARD
from fashreg.readme import merge_pushed
from fashreg.storage import save_encoder
from fashreg.strict_yaml import read_yaml

if TYPE_CHECKING:
    from fashreg.encoder import Encoder

_TAG = re.compile(r"[\w][\w .:/+-]{0,99}")
_FRONT = re.compile(r"---\n(.*?)^---\n", re.S | re.M)


def push_encoder(
    encoder: Encoder,
    repo_id: str,
    *,
    tags: Sequence[str] = (),
    recipe: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    licence: str | None = None,
    base: str | None = None,
    token: Token = None,
    revision: str | None = None,
    **how: Any,
) -> Pushed:
    """See `Encoder.push_to_hub`; `how` goes to `fashreg.hub.push.push`."""
    parse_address(repo_id, revision=revision)  # before the work
    wrong = [tag for tag in tags if not _TAG.fullmatch(tag)]
    if wrong:
        raise ValueError(f"{wrong[0]!r} cannot be a tag of a model card: letters, digits, and '-', '_', ':', '.'")
    with tempfile.TemporaryDirectory() as desk:
        folder = save_encoder(
            encoder,
            Path(desk) / "model",
            recipe=recipe,
            metrics=metrics,
            provenance=provenance,
            licence=licence,
            base=base,
            token=token,
        )
        if tags:
            card = folder / CARD
            card.write_text(_tagged(card.read_text(encoding="utf-8"), tags), encoding="utf-8", newline="\n")
        return push(folder, repo_id, token=token, revision=revision, **how)


def _tagged(card: str, tags: Sequence[str]) -> str:
    """A generated card with further tags; they count as a person's, so that later pushes keep them."""
    front = _FRONT.match(card)
    said = read_yaml(front[1]) if front else {}
    wanted = list(dict.fromkeys([*said.get("tags", ()), *tags]))
    return merge_pushed(f"---\n{yaml.safe_dump({'tags': wanted})}---\n", card)
