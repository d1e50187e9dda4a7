"""Seeded faults: indexes that are wrong in one way each, and the contract test that notices."""

from __future__ import annotations

import functools
from typing import Any

import index_change_faults
import index_search_faults
import index_storing_faults
import pytest
from index_search_faults import Sound
from seeded_faults import failing_tests

from fashreg.indexes.faiss import FaissIndex
from fashreg.testing.index import IndexContract

FAULTS = [
    fault
    for faults in (index_search_faults, index_storing_faults, index_change_faults)
    for fault in vars(faults).values()
    if isinstance(fault, type) and issubclass(fault, Sound) and fault is not Sound
]


@functools.cache
def noticed(fault: Any) -> set[str]:
    """The contract tests that fail for this index."""
    return failing_tests(IndexContract, "index", fault)


@pytest.mark.parametrize("sound", [Sound, lambda: FaissIndex(embed_dim=8)])
def test_a_sound_index_passes(sound: Any) -> None:
    assert not noticed(sound)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_suite_notices(fault: Any) -> None:
    assert noticed(fault), fault.__doc__


def test_every_contract_test_notices_some_fault() -> None:
    seen = set().union(*map(noticed, FAULTS))
    assert seen == {name for name in dir(IndexContract) if name.startswith("test_")}
