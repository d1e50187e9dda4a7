"""The memory contract over ACBNMemory in the settings that change what is stored or read."""

from __future__ import annotations

from typing import Any

import pytest
from fashreg_acbn.memory import ACBNMemory

from fashreg.testing.memory import MemoryContract


class TestACBN(MemoryContract):
    @pytest.fixture
    def memory(self) -> Any:
        return ACBNMemory(capacity=7, embed_dim=4, start_step=0)


class TestACBNAsItComes(MemoryContract):
    @pytest.fixture
    def memory(self) -> Any:
        return ACBNMemory(capacity=7, embed_dim=4)


class TestPlainXBN(MemoryContract):
    @pytest.fixture
    def memory(self) -> Any:
        return ACBNMemory(
            capacity=7, embed_dim=4, start_step=0, kind="xbn", min_effective=1, unbiased=False, fill="sampled"
        )


class TestExponentialAverageOfRawRows(MemoryContract):
    @pytest.fixture
    def memory(self) -> Any:
        return ACBNMemory(capacity=7, embed_dim=4, start_step=5, kind="ema", placement="raw", exclusion="slot")


class TestPrincipledNoiseInHalfTheMemory(MemoryContract):
    tolerance = 1.6e-2  # bfloat16 keeps 8 significant bits; stored rows are the moved ones moved back

    @pytest.fixture
    def memory(self) -> Any:
        return ACBNMemory(capacity=7, embed_dim=4, start_step=0, noise="principled", dtype="bfloat16")
