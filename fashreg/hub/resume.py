"""Large files that come in several goes: what a killed or cut download has left in the cache is gone on from.

The client goes on within one call only, and newer ones begin anew in the next. Here the bytes lie beside the blobs
under a name of their own until all have come; then they are the blob, and the client finds it there. Files that come
through Xet are left to the client: it keeps pieces of its own.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fashreg.errors import BusyError
from fashreg.folder_lock import lock_folder

if TYPE_CHECKING:
    from huggingface_hub import HfApi

LEAST = 16 * 2**20  # the client hands on 10 MiB at a time, so that smaller files leave nothing to go on from


def comes_by_xet(metadata: Any) -> bool:
    """Whether the client will fetch a file through Xet. metadata: the client's."""
    from huggingface_hub import constants

    offered = getattr(metadata, "xet_file_data", None) is not None
    wanted = not getattr(constants, "HF_HUB_DISABLE_XET", False)
    return offered and wanted and importlib.util.find_spec("hf_xet") is not None


def forget_excess(blob: Path, size: int | None) -> None:
    """Remove what an older client has left of a blob if it is too long: that client would ask for its rest for ever."""
    rest = blob.with_name(f"{blob.name}.incomplete")
    if rest.is_file() and (size is None or rest.stat().st_size > size):
        rest.unlink(missing_ok=True)


def fetch_blob(api: HfApi, url: str, *, blob: Path, size: int) -> None:
    """Have a blob in the cache, going on from what there is of it. Only its size is looked at, as by the client.

    Where another process is at it, nothing is done. Errors are the client's; what has come by then is kept.
    """
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    if blob.exists():
        return
    blob.parent.mkdir(parents=True, exist_ok=True)
    part = blob.with_name(f"{blob.name}.fashreg.incomplete")
    headers = build_hf_headers(token=api.token, library_name=api.library_name, library_version=api.library_version)
    try:
        with lock_folder(part):
            with part.open("ab") as file:
                if file.tell() > size:
                    file.truncate(0)
                done = file.seek(0, os.SEEK_END)
                http_get(url, file, resume_size=done, headers=headers, expected_size=size)
            if part.stat().st_size == size:
                os.replace(part, blob)
            else:
                part.unlink()
    except BusyError:
        return
