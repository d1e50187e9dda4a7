"""What a gallery in Milvus Lite costs beside the indexes in memory: python contrib/fashreg-milvus/tools/measure.py.

Prints a Markdown table: seconds to add, milliseconds for one query and for one of 64 asked together, with a filter of
a tenth of the ids, recall@10, seconds to read everything, megabytes on disk. Rows: 1,000 clouds around random unit
vectors.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from fashreg_milvus.index import MilvusIndex

from fashreg import build
from fashreg.indexes.recall import recall_of

K = 10
FAISS = {"faiss HNSW": {"factory": "HNSW32"}}


def clouds(count: int, width: int, seed: int) -> torch.Tensor:
    """(count, width) rows of length 1 in 1,000 clouds; the clouds are the same for every seed."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.nn.functional.normalize(torch.randn(1000, width, generator=torch.Generator().manual_seed(7)))
    chosen = centres[torch.randint(1000, (count,), generator=generator)]
    return torch.nn.functional.normalize(chosen + torch.randn(count, width, generator=generator) / width**0.5)


def seconds(work: Callable[[], Any], repeats: int) -> float:
    """Median of some runs."""

    def once() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return median(once() for _ in range(repeats))


def measured(index: Any, vectors: torch.Tensor, queries: torch.Tensor, repeats: int) -> list[str]:
    """The cells of one line of the table, but for the megabytes."""
    ids = torch.arange(len(vectors))
    add = seconds(lambda: index.add(vectors, ids), 1)
    if isinstance(index, MilvusIndex):
        add += seconds(index._stored.flush, 1)
    index.search(queries[:1], K)
    one = seconds(lambda: index.search(queries[:1], K), repeats)
    many = seconds(lambda: index.search(queries[:64], K), repeats) / 64
    tenth = seconds(lambda: index.search(queries[:1], K, allowed=ids[::10]), repeats)
    read = seconds(index.vectors, 1)
    recall = recall_of(index, queries[:200], K)
    return [f"{add:.1f}", f"{one * 1e3:.1f}", f"{many * 1e3:.1f}", f"{tenth * 1e3:.0f}", f"{recall:.3f}", f"{read:.1f}"]


def made(name: str, width: int, path: str) -> Any:
    """One of the indexes compared, empty."""
    if name.startswith("milvus"):
        return MilvusIndex(path, index_type=name.split()[1], embed_dim=width)
    return build("index", "faiss" if "faiss" in name else "exact", embed_dim=width, **FAISS.get(name, {}))


def main() -> None:
    """The table, line by line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| rows | index | add, s | 1 query, ms | 1 of 64, ms | a tenth allowed, ms | recall@10 | read all, s | MB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for count in options.rows:
        vectors, queries = clouds(count, options.width, 0), clouds(200, options.width, 1)
        for name in ("exact", "faiss HNSW", "milvus FLAT", "milvus HNSW"):
            with tempfile.TemporaryDirectory() as folder:
                path = str(Path(folder) / "gallery.db")
                index = made(name, options.width, path)
                cells = measured(index, vectors, queries, options.repeats)
                size = sum(p.stat().st_size for p in Path(path).rglob("*") if p.is_file()) / 1e6
                if isinstance(index, MilvusIndex):
                    index.close()
                print(f"| {count:,} | {name} | {' | '.join(cells)} | {size:.0f} |", flush=True)


if __name__ == "__main__":
    main()
