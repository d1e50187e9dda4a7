"""Tables without real pictures: files that exist are enough where vectors are given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from fashreg.data.table import Table, read_table

MakeTable = Callable[..., Table]


@pytest.fixture
def make_table(tmp_path: Path) -> MakeTable:
    """A table of rows with the columns given; files are made. options: fields of the data section."""

    def make(columns: dict[str, list[Any]], **options: Any) -> Table:
        names = []
        for row in range(len(next(iter(columns.values())))):
            names.append(f"{row}.jpg")
            (tmp_path / names[-1]).write_text(str(row))
        frame = pd.DataFrame({"image": names, **columns})
        return read_table(frame, {"root": str(tmp_path), **options})

    return make


@pytest.fixture
def vectors() -> Callable[..., Tensor]:
    """Unit vectors that lie near those of their class."""

    def make(labels: list[Any], noise: float = 0.8, dim: int = 16, seed: int = 0) -> Tensor:
        random = torch.Generator().manual_seed(seed)
        names = sorted({str(label) for label in labels})
        centres = torch.randn(len(names), dim, generator=random)
        codes = torch.tensor([names.index(str(label)) for label in labels])
        noisy = centres[codes] + noise * torch.randn(len(labels), dim, generator=random)
        return torch.nn.functional.normalize(noisy, dim=1)

    return make
