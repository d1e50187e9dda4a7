"""Tests of a plugin that ask for it touch nothing of the person who runs them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fashreg.registry import entries
from fashreg.testing.private import keep_private


def test_the_cache_is_the_sessions_and_every_plugin_is_seen(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    monkeypatch.setenv("FASHREG_CACHE", str(tmp_path / "mine"))
    seen = entries()
    monkeypatch.setenv("FASHREG_PLUGINS", "")
    synced: list[int] = []
    monkeypatch.setattr("os.fsync", synced.append)
    keep_private(monkeypatch, tmp_path_factory)
    assert Path(os.environ["FASHREG_CACHE"]).is_relative_to(tmp_path_factory.getbasetemp())
    assert os.environ["FASHREG_CACHE"] != str(tmp_path / "mine")
    assert entries() == seen
    os.fsync(1)
    assert synced == []
