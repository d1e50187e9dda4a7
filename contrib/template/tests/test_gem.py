"""GemHead: the head contract, one case by hand, the two limits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fashreg_template.gem import GemHead

from fashreg import build, components
from fashreg.testing.head import HeadContract


class TestGem(HeadContract):
    @pytest.fixture
    def head(self) -> Any:
        return GemHead(5, in_dim=7)


def test_it_is_found_by_its_name() -> None:
    assert "gem" in {entry.name for entry in components("head") if entry.plugin == "fashreg-template"}
    assert isinstance(build("head", "fashreg-template:gem", in_dim=7), GemHead)


def test_a_case_by_hand() -> None:
    head = GemHead(2, in_dim=2, p=2.0)
    maps = torch.tensor([[[[1.0, 7.0]], [[3.0, 3.0]]]])
    # channel 1: sqrt((1 + 49) / 2) = 5; channel 2: sqrt((9 + 9) / 2) = 3
    assert torch.allclose(head.pool(maps), torch.tensor([[5.0, 3.0]]))
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[0.6, 0.0], [0.0, 4 / 3]]))
    assert torch.allclose(head(maps), torch.tensor([[0.6, 0.8]]))  # (3, 4), of length 5


@pytest.mark.parametrize("p", [1.0, 300.0])
def test_it_lies_between_average_and_maximum(p: float) -> None:
    maps = torch.rand(2, 4, 3, 3, generator=torch.Generator().manual_seed(0)) * 1000
    limit = maps.mean((2, 3)) if p == 1.0 else maps.amax((2, 3))
    assert torch.allclose(GemHead(2, in_dim=4, p=p).pool(maps), limit, rtol=1e-2)


def test_impossible_values_are_refused() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        GemHead(5, in_dim=7, p=0.0)
