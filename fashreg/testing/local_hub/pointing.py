"""Sending a client to the local Hub: this process's huggingface_hub, and those of processes that it starts."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
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
    there = {name: value for name, value in _constants().items() if name in constants(hub, home)}
    here = {name: value for name, value in constants(hub, home).items() if name in there}
    _set(environment(hub, home, token=token))
    _exchange(there, here)
    try:
        yield
    finally:
        _exchange(here, there)
        _set(before)


def _constants() -> dict[str, object]:
    return vars(sys.modules["huggingface_hub.constants"]) if "huggingface_hub.constants" in sys.modules else {}


def _set(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _exchange(old: dict[str, object], new: dict[str, object]) -> None:
    """Put new values for old ones in every module of huggingface_hub that has a copy, and forget open connections."""
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "huggingface_hub" and module is not None:
            for constant, value in new.items():
                if vars(module).get(constant) == old[constant]:
                    setattr(module, constant, value)
    api = getattr(sys.modules.get("huggingface_hub.hf_api"), "api", None)
    if api is not None and api.endpoint == old["ENDPOINT"]:
        api.endpoint = new["ENDPOINT"]
    http = sys.modules.get("huggingface_hub.utils._http")
    forget = getattr(http, "close_session", None) or getattr(http, "reset_sessions", None)  # the name before 1.0
    if forget is not None:
        forget()
