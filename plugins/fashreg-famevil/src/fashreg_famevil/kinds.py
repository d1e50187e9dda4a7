"""The four kinds of task, which towers ask the other in each, and which task is meant where none is named."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

#: Kind of task -> the towers that ask the other one in it.
ACROSS: dict[str, tuple[str, ...]] = {
    "cross-modal": (),
    "composed": ("image", "text"),
    "classification": ("image", "text"),
    "captioning": ("text",),
}


def checked_new(name: str, kind: str, kinds: Mapping[str, str]) -> None:
    """ValueError for a task that cannot join these."""
    if not name or name in kinds:
        raise ValueError(f"a task needs a new name, not {name!r}; there are {', '.join(kinds) or 'none yet'}")
    if kind not in ACROSS:
        raise ValueError(f"task {name!r} is of kind {kind!r}; the kinds are {', '.join(ACROSS)}")


def known(task: str | None, kinds: Mapping[str, str]) -> str | None:
    """The task that is meant: the one named, the only one, None where there is none at all; else ValueError."""
    if task in kinds or (task is None and not kinds):
        return task
    if task is None:
        if len(kinds) == 1:
            return next(iter(kinds))
        raise ValueError(f"this model serves several tasks; say which: task=one of {', '.join(kinds)}")
    near = get_close_matches(task, kinds, n=1)
    others = f"did you mean {near[0]!r}?" if near else f"the tasks are {', '.join(kinds) or 'none yet'}"
    raise ValueError(f"no task {task!r}; {others}")


def able(task: str | None, kinds: Mapping[str, str], of: tuple[str, ...], what: str) -> str:
    """The task that is meant among those of some kinds, which do `what`: the one named or the only one."""
    can = [name for name, kind in kinds.items() if kind in of]
    if task is None and len(can) == 1:
        return can[0]
    if task in can and task is not None:
        return task
    those = f"those that {what}: {', '.join(can)}" if can else f"none here does; add one of kind {' or '.join(of)}"
    if task is None:
        raise ValueError(f"say which task; {those}")
    known(task, kinds)
    raise ValueError(f"task {task!r} is of kind {kinds[task]} and does not {what}; {those}")
