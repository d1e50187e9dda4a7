"""What every test of the plugin has."""

from __future__ import annotations

from fashreg.testing.private import private as private
