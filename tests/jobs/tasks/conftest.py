"""The task shop as a fixture, and the toys that learn it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from task_shop import ENTRY_POINTS, task_shop


@pytest.fixture
def toys(fake_plugin: Any) -> None:
    fake_plugin("fashreg-tiny-text", ENTRY_POINTS)


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return task_shop(tmp_path_factory.mktemp("shop"))
