"""Hooks: what a plugin may bring that is not a component. One entry point in the group `fashreg` names the module."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pluggy

hookspec = pluggy.HookspecMarker("fashreg")
hookimpl = pluggy.HookimplMarker("fashreg")


@hookspec
def fashreg_recipes() -> Mapping[str, Path]:  # type: ignore[empty-body]
    """Recipes this plugin ships: name -> file. `fashreg recipes` lists them, `fashreg train NAME` takes them."""
