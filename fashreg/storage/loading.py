"""A model from where a person says it is: a folder here, or `user/name@revision` on the Hub."""

from __future__ import annotations

import sys
from pathlib import Path

from fashreg.encoder import Encoder
from fashreg.errors import HubError, ModelError
from fashreg.hub.address import SCHEME, is_address, parse_address
from fashreg.hub.client import Token
from fashreg.hub.fetch import fetch
from fashreg.hub.origin import read_origin
from fashreg.hub.pull import pull
from fashreg.manifest import Manifest, verify_folder
from fashreg.storage import KIND, Untrained, encoder_from, untrained_from
from fashreg.storage.partial import Access

_MISSING = (401, 404)


def load(
    model: str | Path,
    *,
    revision: str | None = None,
    token: Token = None,
    local_files_only: bool = False,
    cache_dir: str | Path | None = None,
) -> Encoder:
    """The encoder of a model folder, or of a repository on the Hub, in evaluation mode, on the CPU.

    model: a folder, or "user/name", "user/name@REVISION" (a folder of that name wins; "hf://user/name" is never one).
    revision: branch, tag or commit. token: None = the one you are logged in with, False = none, or the token itself.
    local_files_only: only what the cache holds. cache_dir: default is the cache of every Hugging Face library.

    Nothing that was fetched is executed. The repository is checked before its weights are fetched, and every file by
    its sha256 whenever it is loaded. `encoder.origin` says which commit it was.
    Raises ModelError for what cannot be loaded, ComponentError naming the plugin to install, HubError and its kin.
    """
    return load_with_folder(
        model, revision=revision, token=token, local_files_only=local_files_only, cache_dir=cache_dir
    )[0]


def load_with_folder(
    model: str | Path,
    *,
    revision: str | None = None,
    token: Token = None,
    local_files_only: bool = False,
    cache_dir: str | Path | None = None,
) -> tuple[Encoder, Path]:
    """As `load`, and the folder it was loaded from, for what else is written there."""
    access = Access(token, local_files_only, cache_dir)
    if not is_address(model):
        if revision is not None:
            raise ModelError(f"{model} is a folder, or none; revision={revision!r} is for repositories on the Hub")
        manifest = verify_folder(Path(model), kind=KIND)
        encoder = encoder_from(manifest, access=access)
        encoder.origin = read_origin(manifest.folder)
        return encoder, manifest.folder
    made: list[Untrained] = []

    def check(folder: Path, listed: Manifest) -> None:
        made.append(untrained_from(listed, access))

    try:
        found = fetch(
            str(model),
            revision,
            token=token,
            local_files_only=local_files_only,
            cache_dir=cache_dir,
            check=check,
            progress=sys.stderr.isatty(),
        )
    except HubError as error:
        own = error.repo == parse_address(str(model), revision=revision).repo  # and not that of a base
        if error.status in _MISSING and own and not str(model).startswith(SCHEME):
            error.args = (f"there is no folder {model} here, and {error}",)
        raise
    encoder = encoder_from(found.manifest, made[0])
    encoder.origin = found.origin
    return encoder, found.folder


def pull_folder(
    address: str,
    out: str | Path,
    *,
    part: str = "",
    revision: str | None = None,
    token: Token = None,
    local_files_only: bool = False,
    cache_dir: str | Path | None = None,
) -> Path:
    """As `fashreg.hub.pull.pull`; a model that cannot be made here is refused before its weights come."""

    def check(folder: Path, listed: Manifest) -> None:
        if not part:
            untrained_from(listed, Access(token, local_files_only, cache_dir))

    return pull(
        address,
        out,
        part=part,
        revision=revision,
        token=token,
        local_files_only=local_files_only,
        cache_dir=cache_dir,
        check=check,
        progress=sys.stderr.isatty(),
    )
