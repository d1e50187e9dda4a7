"""Atelier: garments drawn by rule, with attributes, views, captions and edits; the same on every machine.

Not evidence: a stand-in at any size for demonstrations, documentation and tests.
"""

from __future__ import annotations

from fashreg.data.atelier.drawing import draw_atelier

__all__ = ["draw_atelier"]
