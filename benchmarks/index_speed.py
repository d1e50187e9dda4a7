"""What does an index of fashreg cost beside FAISS used bare: to build, to ask, to hold?

For each kind, ours and bare FAISS of the same structure are built in one process, over the same vectors mapped from a
file, in several processes one after another (--builds) that take turns in which arm is built first: where its memory
happens to lie moves one structure's speed by 20 % and more. Given is the median process; for the ratio of speeds also
the least and the largest. Then each is widened (lists visited, beam of the graph; doubled from the same start) until
recall@10 against exact search is at least 0.95, and both are timed in turns, the order drawn anew every round. Where
codes are too coarse for that recall, bare FAISS refines from whole vectors too ("RFlat"), with as many candidates a
neighbour. Bytes a vector: rise of the anonymous resident memory over building (malloc_trim before each reading), and
again for our index opened from its folder, where the vectors stay in the mapped file. Recall is counted over all
queries.

Our index does more: it checks what it is given (NaN, widths, ids, duplicates), scores its answers exactly, orders ties
by id, and can delete, update and filter. Its lists are trained on 64 vectors a list where FAISS takes 256.

Vectors: unit mixtures around 20,000 centres in 32 of D dimensions, with noise in all; or --vectors FILE (.safetensors
with `vectors`), the queries held out from them.

    python benchmarks/index_speed.py [--size N] [--kinds KIND ...] [--queries N] [--builds N] [--threads N]
        [--json FILE]
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import json
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from safetensors.torch import load_file

from fashreg.indexes.faiss import FaissIndex
from fashreg.indexes.faiss_making import factory_of

K, LEAST = 10, 0.95
KINDS = ("flat", "sq8", "ivf-sq8", "ivf-pq", "hnsw")
START = {"ivf-sq8": 8, "ivf-pq": 8, "hnsw": 32}
RSS_FIELD = "RssAnon:"


def drawn(count: int, width: int, seed: int) -> np.ndarray:
    """(count, width) unit rows, the same for the same seed whatever the count of others."""
    fixed = torch.Generator().manual_seed(0)
    centres = torch.randn(20_000, 32, generator=fixed)
    basis = torch.randn(32, width, generator=fixed) / 32**0.5
    made = torch.Generator().manual_seed(seed)
    out = torch.empty(count, width)
    for start in range(0, count, 100_000):
        part = min(100_000, count - start)
        inner = centres[torch.randint(0, 20_000, (part,), generator=made)] + torch.randn(part, 32, generator=made)
        rows = inner @ basis + 0.15 * torch.randn(part, width, generator=made)
        out[start : start + part] = torch.nn.functional.normalize(rows, dim=1)
    return out.numpy()


def prepare(options: argparse.Namespace, folder: Path) -> tuple[int, int]:
    """Write gallery, queries and their true neighbours; give back N and D."""
    if options.vectors:
        rows = torch.nn.functional.normalize(load_file(options.vectors)["vectors"].float(), dim=1).numpy()
        chosen = np.random.default_rng(0).permutation(len(rows))
        queries, gallery = rows[chosen[: options.queries]], rows[chosen[options.queries :]][: options.size]
    else:
        gallery, queries = drawn(options.size, options.dim, 1), drawn(options.queries, options.dim, 2)
    np.save(folder / "gallery.npy", gallery)
    np.save(folder / "queries.npy", queries)
    _, true = faiss.knn(queries, gallery, K, metric=faiss.METRIC_INNER_PRODUCT)
    np.save(folder / "true.npy", true)
    return gallery.shape[0], gallery.shape[1]


def held() -> int:
    """Bytes of anonymous resident memory, what was freed given back to the system."""
    ctypes.CDLL(None).malloc_trim(0)
    (line,) = [row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith(RSS_FIELD)]
    return int(line.split()[1]) * 1024


def recall(found: Any, true: np.ndarray) -> float:
    return float((np.asarray(found)[:, :, None] == true[:, None, :]).any(1).mean())


class Ours:
    """A FaissIndex by kind."""

    def __init__(self, kind: str, gallery: np.ndarray) -> None:
        self.index = FaissIndex(kind=kind, embed_dim=gallery.shape[1])
        self.index.add(torch.from_numpy(gallery), torch.arange(len(gallery)))

    def widen(self, breadth: int) -> None:
        self.index._structure.set_breadth(breadth)

    def search(self, queries: np.ndarray) -> Any:
        return self.index.search(torch.from_numpy(queries), K).ids


class Bare:
    """The same structure, as FAISS's own users write it."""

    def __init__(self, kind: str, gallery: np.ndarray) -> None:
        width = gallery.shape[1]
        self.factory = factory_of(kind, width, len(gallery)) + (",RFlat" if kind == "ivf-pq" else "")
        self.index = faiss.index_factory(width, self.factory, faiss.METRIC_INNER_PRODUCT)
        if kind == "ivf-pq":
            self.index.k_factor = FaissIndex(kind="ivf-pq", embed_dim=width)._structure.refine
        self.index.train(gallery)
        self.index.add(gallery)

    def widen(self, breadth: int) -> None:
        name = "efSearch" if "HNSW" in self.factory else "nprobe"
        faiss.ParameterSpace().set_index_parameter(self.index, name, breadth)

    def search(self, queries: np.ndarray) -> Any:
        return self.index.search(queries, K)[1]


def measure(kind: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Both arms of one kind, in this process."""
    faiss.omp_set_num_threads(options.threads)
    torch.set_num_threads(options.threads)
    gallery = np.load(folder / "gallery.npy", mmap_mode="c")
    queries, true = np.load(folder / "queries.npy"), np.load(folder / "true.npy")
    row: dict[str, Any] = {"kind": kind}
    arms: dict[str, Any] = {}
    order = [("ours", Ours), ("bare", Bare)]
    FaissIndex(kind="hnsw", embed_dim=8).search  # noqa: B018  libraries are warm
    for name, arm in reversed(order) if options.bare_first else order:
        before, start = held(), time.perf_counter()
        arms[name] = arm(kind, gallery)
        row[name] = {"build": time.perf_counter() - start, "bytes": (held() - before) / len(gallery)}
        breadth, limit = START.get(kind, 0), len(gallery)
        row[name]["recall"] = 0.0
        while row[name]["recall"] < LEAST and breadth <= limit:
            if breadth:
                arms[name].widen(breadth)
            row[name].update(breadth=breadth, recall=recall(arms[name].search(queries), true))
            if not breadth:
                break
            breadth *= 2
    times: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(options.rounds):
        for name in random.sample(list(arms), len(arms)):
            start = time.perf_counter()
            arms[name].search(queries)
            times[name].append(time.perf_counter() - start)
    for name in arms:
        row[name]["qps"] = len(queries) / statistics.median(times[name])
    row["structure"] = arms["bare"].factory
    arms["ours"].index.save(folder / "index")
    arms.clear()
    before, start = held(), time.perf_counter()
    again = FaissIndex.load(folder / "index")
    row["load"] = time.perf_counter() - start
    row["mapped"] = (held() - before) / len(again)
    row["folder"] = sum(p.stat().st_size for p in (folder / "index").iterdir()) / len(again)
    return row


def middle(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The process of median ratio, with the least and the largest ratio of all."""
    ratios = sorted(row["ours"]["qps"] / row["bare"]["qps"] for row in rows)
    rows = sorted(rows, key=lambda row: row["ours"]["qps"] / row["bare"]["qps"])
    return {**rows[len(rows) // 2], "ratios": ratios}


def shown(row: dict[str, Any]) -> str:
    ours, bare, ratios = row["ours"], row["bare"], row["ratios"]
    spread = f"{ratios[len(ratios) // 2]:.2f}, {ratios[0]:.2f} to {ratios[-1]:.2f}"
    return (
        f"| {row['kind']} ({row['structure']}) | {ours['build']:.1f} / {bare['build']:.1f} "
        f"| {ours['qps']:,.0f} / {bare['qps']:,.0f} ({spread}) "
        f"| {ours['recall']:.3f} / {bare['recall']:.3f} | {ours['breadth'] or '-'} / {bare['breadth'] or '-'} "
        f"| {ours['bytes']:.0f} / {bare['bytes']:.0f} | {row['mapped']:.0f} | {row['load']:.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--vectors", help="take them from this file instead")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--builds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--scratch", help="folder for 3 GB of scratch files; default: the system's")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=2, metavar=("KIND", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--bare-first", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one[0], Path(options.one[1]), options)))
        return
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        count, width = prepare(options, Path(scratch))
        print(
            f"{count:,} x {width}, {options.queries:,} queries at once, {options.threads} threads, ours / bare FAISS\n"
        )
        print(
            "| kind | build, s | queries a second (ratio) | recall@10 | breadth | bytes a vector | mapped | load, s |"
        )
        print("|---|---|---|---|---|---|---|---|")
        rows = []
        for kind in options.kinds:
            built = []
            for number in range(options.builds):
                command = [sys.executable, __file__, *sys.argv[1:], "--one", kind, scratch]
                command += ["--bare-first"] if number % 2 else []
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    sys.exit(done.stderr)
                built.append(json.loads(done.stdout.splitlines()[-1]))
            rows.append(middle(built))
            print(shown(rows[-1]), flush=True)
    if options.json:
        about = {"date": str(datetime.date.today()), "machine": platform.machine(), "faiss": faiss.__version__}
        settings = {"size": count, "dim": width, "queries": options.queries, "threads": options.threads}
        options.json.write_text(json.dumps({**about, **settings, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
