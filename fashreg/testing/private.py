"""Tests that touch nothing of the person who runs them: a fixture for the conftest.py of a plugin."""

from __future__ import annotations

import pytest


def keep_private(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """For the rest of a test the cache is one of its session, all plugins are seen, and nobody waits for the disk."""
    monkeypatch.setattr("os.fsync", lambda handle: None)
    monkeypatch.setenv("FASHREG_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("FASHREG_PLUGINS", raising=False)


@pytest.fixture(autouse=True)
def private(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """`keep_private`, for every test below the conftest.py that imports this."""
    keep_private(monkeypatch, tmp_path_factory)
