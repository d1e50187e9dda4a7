"""fashreg: a plugin-based registry framework for fashion image retrieval.

The public names load their modules on first use: `import fashreg` pulls in neither torch, timm, faiss nor pydantic.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

#: public name -> module that defines it
_WHERE = {
    "Embedded": "values",
    "Encoder": "encoder",
    "FashregError": "errors",
    "Rankings": "values",
    "Recipe": "config",
    "Relevance": "values",
    "build": "assembly",
    "build_index": "jobs.indexing",
    "build_indexes": "jobs.indexing",
    "compare": "jobs.comparison",
    "compatibility": "jobs.compatibility",
    "components": "registry",
    "continue_training": "jobs.continuing",
    "evaluate": "jobs.evaluation",
    "load": "storage.loading",
    "load_evaluation": "jobs.evaluation_folder",
    "load_index": "jobs.indexing",
    "read_recipe": "config",
    "read_table": "data.table",
    "save_evaluation": "jobs.evaluation_folder",
    "spec_of": "assembly",
    "train": "jobs.training",
    "write_report": "report.writing",
}
_RENAMED = {"components": "entries"}

__all__ = [
    "Embedded",
    "Encoder",
    "FashregError",
    "Rankings",
    "Recipe",
    "Relevance",
    "__version__",
    "build",
    "build_index",
    "build_indexes",
    "compare",
    "compatibility",
    "components",
    "continue_training",
    "evaluate",
    "load",
    "load_evaluation",
    "load_index",
    "read_recipe",
    "read_table",
    "save_evaluation",
    "spec_of",
    "train",
    "write_report",
]

if TYPE_CHECKING:
    from fashreg.assembly import build, spec_of
    from fashreg.config import Recipe, read_recipe
    from fashreg.data.table import read_table
    from fashreg.encoder import Encoder
    from fashreg.errors import FashregError
    from fashreg.jobs.comparison import compare
    from fashreg.jobs.compatibility import compatibility
    from fashreg.jobs.continuing import continue_training
    from fashreg.jobs.evaluation import evaluate
    from fashreg.jobs.evaluation_folder import load_evaluation, save_evaluation
    from fashreg.jobs.indexing import build_index, build_indexes, load_index
    from fashreg.jobs.training import train
    from fashreg.registry import entries as components
    from fashreg.report.writing import write_report
    from fashreg.storage.loading import load
    from fashreg.values import Embedded, Rankings, Relevance


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'fashreg' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"fashreg.{_WHERE[name]}"), _RENAMED.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
