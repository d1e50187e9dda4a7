"""Sending a client to the local Hub: this process's huggingface_hub, and those of processes that it starts."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fashreg.testing.local_hub.server import LocalHub

CLEARED = (
    "HF_TOKEN HUGGING_FACE_HUB_TOKEN HF_TOKEN_PATH HF_HUB_CACHE HUGGINGFACE_HUB_CACHE HF_ASSETS_CACHE HF_XET_CACHE "
    "HF_HUB_OFFLINE TRANSFORMERS_OFFLINE HF_HUB_ENABLE_HF_TRANSFER HF_HUB_DISABLE_IMPLICIT_TOKEN HUGGINGFACE_CO_STAGING"
)


def environment(hub: LocalHub, home: Path, *, token: str | None = None) -> dict[str, str | None]:
    """The variables of a process whose client knows only this Hub and keeps everything under `home`; None: unset."""
    variables: dict[str, str | None] = dict.fromkeys(CLEARED.split())
    variables |= {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(home), "HF_TOKEN": token}
    switches = ("HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS")
    variables |= dict.fromkeys((*switches, "HF_HUB_DISABLE_UPDATE_CHECK"), "1")
    return variables | {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}


def constants(hub: LocalHub, home: Path) -> dict[str, object]:
    """What huggingface_hub.constants would hold, had it been imported in that environment."""
    cache = str(home / "hub")
    return {
        "ENDPOINT": hub.endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HOME": str(home),
        "HF_HUB_CACHE": cache,
        "HUGGINGFACE_HUB_CACHE": cache,
        "HF_ASSETS_CACHE": str(home / "assets"),
        "HF_XET_CACHE": str(home / "xet"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_TELEMETRY": True,
        "HF_HUB_DISABLE_PROGRESS_BARS": True,
    }


@contextmanager
def client_of(hub: LocalHub, home: Path, *, token: str | None = None) -> Iterator[None]:
    """Send huggingface_hub to the local Hub while the block lasts, with a home of its own and no token but `token`.

    huggingface_hub reads the environment once, when it is imported. So the environment is set for processes that are
    started, and the constants of this process's huggingface_hub are exchanged in all its modules; its functions
    (`huggingface_hub.create_repo`) go to the local Hub too. An `HfApi()` that was made before keeps its Hub.
    """
    before = {name: os.environ.get(name) for name in environment(hub, home)}
    with suppress(ImportError):  # now: an import inside the block would take the local Hub for the real one for good
        importlib.import_module("huggingface_hub.hf_api")
    held = _held(constants(hub, home))
    api = getattr(sys.modules.get("huggingface_hub.hf_api"), "api", SimpleNamespace(endpoint=None))
    endpoint, api.endpoint = api.endpoint, hub.endpoint
    _set(environment(hub, home, token=token))
    _exchange(constants(hub, home), {})
    try:
        yield
    finally:
        _exchange(held.get("huggingface_hub.constants", {}), held)
        api.endpoint = endpoint
        _set(before)


def _set(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _held(wanted: dict[str, object]) -> dict[str, dict[str, object]]:
    """What each module of huggingface_hub holds under these names: several keep copies of the constants."""
    modules = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "huggingface_hub"}
    return {name: {key: vars(module)[key] for key in wanted if key in vars(module)} for name, module in modules.items()}


def _exchange(values: dict[str, object], special: dict[str, dict[str, object]]) -> None:
    """Put values under their names in every module that has them (`special` ones in some); forget open connections."""
    for name, there in _held(values).items():
        vars(sys.modules[name]).update({key: {**values, **special.get(name, {})}[key] for key in there})
    http = sys.modules.get("huggingface_hub.utils._http")
    forget = getattr(http, "close_session", None) or getattr(http, "reset_sessions", None)  # the name before 1.0
    if forget is not None:
        forget()
