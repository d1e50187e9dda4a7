"""The stream shop, and a run that learned two of its attributes."""

from __future__ import annotations

import pandas as pd
import pytest
from stream_shop import stream_shop
from stream_training import train

from fashreg.jobs.training import TrainedRun


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return stream_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def whole(shop: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    return train(shop, tmp_path_factory.mktemp("whole") / "run")
