"""The sampler contracts over the three built-in samplers, in the settings that change how batches are drawn."""

from __future__ import annotations

from functools import partial

import pytest

from fashreg.samplers.class_balanced import ClassBalancedSampler
from fashreg.samplers.pairs import PairsSampler
from fashreg.samplers.random import RandomSampler
from fashreg.testing.sampler import ClassBalancedContract, Make, SamplerContract


class TestRandom(SamplerContract):
    @pytest.fixture
    def make(self) -> Make:
        return RandomSampler


class TestRandomWithTheSmallerLastBatch(SamplerContract):
    @pytest.fixture
    def make(self) -> Make:
        return partial(RandomSampler, drop_last=False)


class TestPairs(SamplerContract):
    @pytest.fixture
    def make(self) -> Make:
        return PairsSampler


class TestPairsBalanced(SamplerContract):
    @pytest.fixture
    def make(self) -> Make:
        return partial(PairsSampler, anchors="balanced", pairs=70)


class TestClassBalanced(ClassBalancedContract):
    @pytest.fixture
    def make(self) -> Make:
        return ClassBalancedSampler


class TestClassBalancedWithTwoEach(ClassBalancedContract):
    @pytest.fixture
    def make(self) -> Make:
        def two_each(**facts: object) -> ClassBalancedSampler:
            return ClassBalancedSampler(**{"images_per_class": 2, "small_classes": "exclude", **facts})  # type: ignore[arg-type]

        return two_each
