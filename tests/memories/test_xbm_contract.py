"""The memory contract over XBMMemory in the settings that change what is stored or read."""

from __future__ import annotations

from typing import Any

import pytest

from fashreg.memories.xbm import XBMMemory
from fashreg.testing.memory import MemoryContract


class TestXBM(MemoryContract):
    @pytest.fixture
    def memory(self) -> Any:
        return XBMMemory(capacity=7, embed_dim=4, start_step=0)


class TestXBMWithWarmUp(MemoryContract):
    @pytest.fixture
    def memory(self) -> Any:
        return XBMMemory(capacity=7, embed_dim=4, start_step=5, unit=False)


class TestXBMWithSlotExclusion(MemoryContract):
    @pytest.fixture
    def memory(self) -> Any:
        return XBMMemory(capacity=7, embed_dim=4, start_step=1, exclusion="slot", fill="sampled")


class TestXBMInHalfTheMemory(MemoryContract):
    tolerance = 4e-3  # bfloat16 keeps 8 significant bits

    @pytest.fixture
    def memory(self) -> Any:
        return XBMMemory(capacity=7, embed_dim=4, start_step=0, dtype="bfloat16")


class TestXBMAsItComes(MemoryContract):
    @pytest.fixture
    def memory(self) -> Any:
        return XBMMemory(capacity=7, embed_dim=4)
