"""An index whose option names a place outside of its folder, as the source of a plugin."""

from __future__ import annotations

FAR_INDEX = """
from fashreg.indexes.exact import ExactIndex


class FarIndex(ExactIndex):
    reaches = {"uri": None}

    def __init__(self, uri: str | None = None, *, embed_dim: int) -> None:
        super().__init__(embed_dim=embed_dim)
        self.uri = uri
"""
