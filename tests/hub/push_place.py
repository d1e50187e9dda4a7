"""The repository that pushes go to, and what lies there."""

from __future__ import annotations

from fashreg.testing.local_hub import LocalHub

REPO = "ann/shirts"
MODEL = {"manifest.json", "config.json", "model.safetensors", "README.md"}


def names(hub: LocalHub, revision: str = "main") -> set[str]:
    return set(hub.repo(REPO).files(revision)) - {".gitattributes"}
