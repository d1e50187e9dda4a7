"""What every test of the plugin has."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are written as ever, and nobody waits until they lie on the disk."""
    monkeypatch.setattr("os.fsync", lambda handle: None)
