"""Sending a client to the local Hub: this process's huggingface_hub, and those of processes that it starts."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fashreg.testing.local_hub.server import LocalHub

CLEARED = (
    "HF_TOKEN HUGGING_FACE_HUB_TOKEN HF_TOKEN_PATH HF_HUB_CACHE HUGGINGFACE_HUB_CACHE HF_ASSETS_CACHE HF_XET_CACHE "
    "HF_HUB_OFFLINE TRANSFORMERS_OFFLINE HF_HUB_ENABLE_HF_TRANSFER HF_HUB_DISABLE_IMPLICIT_TOKEN HUGGINGFACE_CO_STAGING"
).split()


def environment(hub: LocalHub, home: Path, *, token: str | None = None) -> dict[str, str | None]:
    """The variables of a process whose client knows only this Hub and keeps everything under `home`; None: unset."""
    variables: dict[str, str | None] = dict.fromkeys(CLEARED)
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

    huggingface_hub reads the environment once, when it is imported. So the environment is set for later imports and
    for started processes, and the constants of an imported huggingface_hub are exchanged in all its modules. What
    was made before keeps its Hub: make `HfApi()` inside the block (`huggingface_hub.create_repo` is one made before).
    """
    before = {name: os.environ.get(name) for name in environment(hub, home)}
    _set(environment(hub, home, token=token))
    undo = _exchange(constants(hub, home))
    _forget_connections()
    try:
        yield
    finally:
        for module, name, value in reversed(undo):
            setattr(module, name, value)
        _set(before)
        _forget_connections()


def _set(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _exchange(values: dict[str, object]) -> list[tuple[object, str, object]]:
    """Put the values in every module of huggingface_hub that has the names; what was there, to put it back."""
    undo = []
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "huggingface_hub" and module is not None:
            for constant, value in values.items():
                if constant in vars(module):
                    undo.append((module, constant, vars(module)[constant]))
                    setattr(module, constant, value)
    return undo


def _forget_connections() -> None:
    """Connections to another server are of no use: close those that the client keeps (its name changed with 1.0)."""
    http = sys.modules.get("huggingface_hub.utils._http")
    forget = getattr(http, "close_session", None) or getattr(http, "reset_sessions", None)
    if forget is not None:
        forget()
