"""Moving galleries: an index folder into Milvus, and what a collection holds back into an index folder.

    fashreg-milvus push FOLDER --uri http://HOST:19530 --collection shop --out CLUSTER
    fashreg-milvus pull CLUSTER --index faiss --out FOLDER

`push` fills a new collection with the vectors and items of FOLDER; CLUSTER is an index folder whose searches are
answered by the collection. `pull` reads the rows that the collection holds now, with what has been added and deleted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from fashreg.assembly import build, spec_of
from fashreg.errors import FashregError, ModelError
from fashreg.indexes.folder import SavedIndex, load_index_folder, save_index
from fashreg_milvus.index import MilvusIndex

if TYPE_CHECKING:
    from pandas import DataFrame


def push(
    folder: str | Path,
    out: str | Path,
    *,
    uri: str,
    collection: str = "gallery",
    index_type: str = "FLAT",
    token_env: str = "MILVUS_TOKEN",
) -> int:
    """Fill a new collection with the gallery of an index folder; `out` is a folder that asks it. Gives the rows.

    Items are stored beside the vectors, so that the collection can be filtered by them; empty cells are left out.
    """
    saved = load_index_folder(folder)
    metric = saved.spec["config"].get("metric", "cosine")
    index = MilvusIndex(uri, collection, metric, index_type, token_env=token_env, embed_dim=saved.vectors.shape[1])
    if len(index):
        raise ModelError(
            f"the collection {collection!r} in {uri} holds {len(index)} rows already; name another with --collection"
        )
    index.add(saved.vectors, saved.ids, _fields(saved))
    _save(index, saved, out, saved.items, (saved.vectors, saved.ids))
    index.close()
    return len(saved.ids)


def pull(folder: str | Path, out: str | Path, *, index: Any = "exact") -> int:
    """Write what the collection of a folder holds now to the index folder `out`; gives the rows.

    index: name or spec of the index that `out` is for. Rows added since the folder was written have an id only.
    """
    saved = load_index_folder(folder)
    if "uri" not in saved.spec["config"]:
        raise ModelError(f"{folder} is a folder of the index {saved.spec['name']!r}; pull takes one that push wrote")
    source: MilvusIndex = build("index", saved.spec)
    vectors, ids = source.vectors()
    config = {"metric": source.metric} if isinstance(index, str) else {}
    target = build("index", index, facts={"embed_dim": source.embed_dim}, **config)
    _save(target, saved, out, _items_now(saved, ids), (vectors, ids))
    source.close()
    return len(ids)


@dataclass(frozen=True, eq=False)
class _Rows:
    """What save_index asks of an index, without asking Milvus again."""

    rows: tuple[Tensor, Tensor]

    def vectors(self) -> tuple[Tensor, Tensor]:
        return self.rows


def _save(index: Any, saved: SavedIndex, out: str | Path, items: DataFrame | None, rows: tuple[Tensor, Tensor]) -> None:
    source: Any = _Rows(rows)
    known, said = saved.model_fingerprint, saved.extra
    save_index(source, out, items=items, model_fingerprint=known, spec=spec_of(index), extra=said)


def _fields(saved: SavedIndex) -> list[dict[str, Any]] | None:
    """The items in the order of the vectors, as plain values, without their ids and empty cells."""
    if saved.items is None:
        return None
    rows = {row.pop("id"): row for row in saved.items.to_dict("records")}
    return [{str(k): _plain(v) for k, v in rows[i].items() if v is not None and v == v} for i in saved.ids.tolist()]


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _items_now(saved: SavedIndex, ids: Tensor) -> DataFrame | None:
    if saved.items is None:
        return None
    return saved.items.set_index("id").reindex(ids.tolist()).rename_axis("id").reset_index()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command `fashreg-milvus`; 0, or 1 with a message for mistakes."""
    parser = argparse.ArgumentParser(prog="fashreg-milvus", description="Move galleries into Milvus and back.")
    commands = parser.add_subparsers(dest="command", required=True)
    pushing = commands.add_parser("push", help="an index folder into a new collection")
    pushing.add_argument("folder")
    pushing.add_argument("--uri", required=True, help="http://HOST:19530, or a path ending in .db for Milvus Lite")
    pushing.add_argument("--collection", default="gallery")
    pushing.add_argument("--index-type", default="FLAT", help="FLAT (exact), HNSW, IVF_FLAT, ...")
    pushing.add_argument("--token-env", default="MILVUS_TOKEN", help="environment variable with the token")
    pulling = commands.add_parser("pull", help="what a collection holds now into an index folder")
    pulling.add_argument("folder", help="the folder that push wrote")
    pulling.add_argument("--index", default="exact", help="exact, faiss, ...")
    for command in (pushing, pulling):
        command.add_argument("--out", required=True, help="the index folder to write")
    options = vars(parser.parse_args(arguments))
    work = push if options.pop("command") == "push" else pull
    try:
        rows = work(**options)
    except (FashregError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{rows} rows; {options['out']}")
    return 0
