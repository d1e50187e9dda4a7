"""The snippet of the README runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

README = Path(__file__).parents[1] / "README.md"


def test_the_snippet_runs_and_moves_what_it_names() -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S)
    space: dict[str, Any] = {}
    exec(compile(code, str(README), "exec"), space)
    assert space["model"].tasks == ("matching", "caption")
    assert space["logits"].shape == (8, 8)
    assert space["scale"].grad is not None
