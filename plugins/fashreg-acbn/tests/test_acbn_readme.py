"""What the README says of the gains is true."""

from __future__ import annotations

import re
from pathlib import Path

from fashreg_acbn.kalman import steady_gain

README = Path(__file__).parents[1] / "README.md"


def test_the_gains_of_the_readme_are_those_of_the_filter() -> None:
    said = re.search(
        r"gain ends at (.*?) for q = 0.001, (.*?) for 0.01, (.*?) for 0.1, (.*?) for 1\.", README.read_text()
    )
    assert said
    for q, value in zip((0.001, 0.01, 0.1, 1.0), said.groups(), strict=True):
        assert f"{steady_gain(q, 1.0):.2f}" == value
