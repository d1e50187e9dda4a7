"""Lists of names, as a person gives them."""

from __future__ import annotations

from collections.abc import Iterable


def listed(tasks: Iterable[str]) -> list[str]:
    """The names of tasks in their order; ValueError for a single name, whose letters would pass as names."""
    if isinstance(tasks, str):
        raise ValueError(f"tasks is a list of names, not the single name {tasks!r}: write [{tasks!r}]")
    return list(tasks)
