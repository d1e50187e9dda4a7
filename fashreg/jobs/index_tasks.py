"""An index folder for each task: which tasks, and what their folders are called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from fashreg.encoder import Encoder
from fashreg.errors import ModelError
from fashreg.functional.names import listed
from fashreg.jobs.index_model import task_of
from fashreg.manifest import MANIFEST, checked_name

_NOT_IN_NAMES = re.compile(r'[%/\\:*?"<>|]')


def tasks_of(encoder: Encoder, tasks: Sequence[str] | None) -> list[str]:
    """The tasks asked for, each once; all of the head's for None. ModelError for those it does not serve."""
    if not encoder.head.tasks:
        raise ModelError("this model has no tasks, but one vector for everything: one index is enough, without --task")
    wanted = list(dict.fromkeys(listed(encoder.head.tasks if tasks is None else tasks)))
    for task in wanted:
        task_of(encoder, task)
    return wanted


def folders_for(out: Path, tasks: Sequence[str]) -> dict[str, Path]:
    """OUT/TASK for each task; ModelError where OUT is a fashreg folder itself, or two names are one on some disks."""
    if (out / MANIFEST).exists():
        raise ModelError(f"{out} is a folder of fashreg itself; indexes of several tasks go into a folder of their own")
    names = {task: folder_name(task) for task in tasks}
    seen: dict[str, str] = {}
    for task, name in names.items():
        if name.casefold() in seen:
            other = seen[name.casefold()]
            raise ModelError(f"{task!r} and {other!r} are one folder on some disks: build them one by one, --task NAME")
        seen[name.casefold()] = task
    return {task: out / name for task, name in names.items()}


def folder_name(task: str) -> str:
    """What the folder of a task is called: its name, with what no folder's name can hold as %2F and the like."""
    name = _NOT_IN_NAMES.sub(lambda found: f"%{ord(found[0]):02X}", task)
    return checked_name(name, where=f"the task {task!r}: its index")


def indexes_in(folder: Path) -> list[Path]:
    """The index folders in a folder that is none itself."""
    if (folder / MANIFEST).exists() or not folder.is_dir():
        return []
    return sorted(path.parent for path in folder.glob("*/index.json"))
