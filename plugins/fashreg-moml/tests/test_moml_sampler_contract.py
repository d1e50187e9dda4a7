"""The contracts of samplers over TwoRelationSampler: as it comes, looking often, and dealing classes."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from fashreg_moml.sampler import TwoRelationSampler

from fashreg.testing.sampler import ClassBalancedContract
from fashreg.testing.sampler_seeing import SeeingContract


class TestAsItComes(ClassBalancedContract, SeeingContract):
    @pytest.fixture
    def make(self) -> Any:
        return TwoRelationSampler


class TestLookingOftenWithoutWarmup(ClassBalancedContract, SeeingContract):
    @pytest.fixture
    def make(self) -> Any:
        options = {"warmup": 0, "refresh": 2, "ahead": 3, "nearest": 3}
        return lambda **facts: TwoRelationSampler(**{"images_per_class": 2, **options, **facts})


class TestDealingClasses(SeeingContract):
    @pytest.fixture
    def make(self) -> Any:
        return partial(TwoRelationSampler, seeds="classes", images_per_class=2, uniform=0.5, refresh=3)
