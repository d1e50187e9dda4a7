"""Every way to open a folder: what a person's command or program would do first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fashreg.indexes.folder import load_index_folder
from fashreg.jobs.evaluation_folder import load_evaluation
from fashreg.jobs.indexing import open_gallery
from fashreg.jobs.opening import open_model
from fashreg.storage import read_provenance


def open_folder(base: str, folder: Path) -> Any:
    """Open a folder wholly, as its kind is opened."""
    if base in ("model", "tasks"):
        return open_model(folder), read_provenance(folder)
    if base == "evaluation":
        return load_evaluation(folder)
    gallery = open_gallery(load_index_folder(folder), None)
    if len(gallery):
        gallery.search_ids([int(gallery.items["id"].iloc[0])], k=3)
    return type(gallery.index).load(folder)
