"""What the tests of this plugin look at: three pictures and three texts."""

from __future__ import annotations

import pytest
from famevil_small import small_pictures, small_tokens
from torch import Tensor


@pytest.fixture
def pictures() -> Tensor:
    return small_pictures()


@pytest.fixture
def tokens() -> Tensor:
    return small_tokens()
