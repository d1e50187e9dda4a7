"""What does it cost to measure a retrieval: recall@1, recall@10 and map@r, leave-one-out, with 95 % intervals?

Arms: ours (search, judging, metrics, bootstrap intervals over queries), pytorch-metric-learning's AccuracyCalculator
(precision_at_1, mean_average_precision_at_r with k="max_bin_count"; no recall@10, no intervals), open-metric-learning
where it is installed (batched_knn and calc_retrieval_metrics as its RetrievalResults calls them: cmc@1, cmc@10, map@R;
no intervals), and bare faiss.knn (neighbours alone, no metric at all). Every arm of every round runs in a process of
its own, the arms in an order drawn anew each round; given is the round of least time, after a warm-up on 2,000 rows,
without reading the vectors; beside it the processor's seconds, which a busy machine distorts less. Peak: how far the
resident set rose above what it was with vectors and labels in memory (library pages that the run is the first to touch
are in it, for every arm). recall@1 and map@r must agree.

`--million` measures ours alone: a gallery of 1,000,000 x 128 mapped from a file, 10,000 queries; the nearest of each
with the metrics above, then mAP over the whole rankings. Its peak is the whole process, mapped pages included.

Vectors: unit rows around the centres of N / 10 classes, D = 128, so R is 9 on average and k = max R, about 25.

Where the time goes (one core of a 2.6 GHz Zen 5 with VNNI, nanoseconds for each of the N^2 products): an fp32 product
of MKL 3.1 at D = 128, of FAISS about the same, choosing included; an int8 product 0.32, the largest of each 32 of them
0.06. That is the floor of screening, 0.4; choosing, collecting and scoring what may be among the nearest costs another
0.6 to 1 at N = 50,000 and less where N is larger. Half the products, by symmetry, would save 0.16 and cost a second
look at every tile and the state of all queries at once (0.1 and more): not done. mAP over whole rankings needs every
score exactly: an fp64 product 4.8, its rounding and counting 2 to 4.

    python benchmarks/retrieval_speed.py [--sizes N ...] [--arms ARM ...] [--rounds N] [--threads N] [--million]
        [--json FILE]
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import importlib.util
import json
import platform
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import resident
from torch import Tensor

D, A_CLASS, WARM = 128, 10, 2000
ARMS = ("ours", "pytorch-metric-learning", "open-metric-learning", "faiss")
Numbers = dict[str, Any]


def drawn(folder: Path, n: int) -> None:
    """Vectors and labels of N rows, written by blocks."""
    vectors = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, (n, D))
    fixed = torch.Generator().manual_seed(0)
    centres = torch.randn(max(2, n // A_CLASS), D, generator=fixed)
    labels = torch.randint(0, len(centres), (n,), generator=fixed)
    for part in torch.arange(n).split(50_000):
        rows = centres[labels[part]] + 1.6 * torch.randn(len(part), D, generator=fixed)
        vectors[part[0] : part[-1] + 1] = torch.nn.functional.normalize(rows, dim=1).numpy()
    np.save(folder / "labels.npy", labels.numpy())


def ours(vectors: Tensor, labels: Tensor) -> Numbers:
    from fashreg.functional import metrics as m
    from fashreg.functional.neighbours import nearest
    from fashreg.functional.relevance import counts, relevance_from_labels
    from fashreg.functional.uncertainty import bootstrap_intervals

    ids = torch.arange(len(vectors))
    relevance = relevance_from_labels(labels, ids, labels, ids)
    depth = max(10, int(counts(relevance).max()))
    judged = m.judge(nearest(vectors, vectors, ids, depth, ids), relevance)
    named = {"recall@1": m.recall_at_k(judged, 1), "recall@10": m.recall_at_k(judged, 10), "map@r": m.map_at_r(judged)}
    intervals = bootstrap_intervals(torch.stack(list(named.values()), 1))
    return {name: m.average(values) for name, values in named.items()} | {"intervals": intervals.tolist()}


def peer(vectors: Tensor, labels: Tensor) -> Numbers:
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    names = ("precision_at_1", "mean_average_precision_at_r")
    device = torch.device("cpu")
    found = AccuracyCalculator(include=names, k="max_bin_count", device=device).get_accuracy(vectors, labels)
    return {"recall@1": float(found[names[0]]), "map@r": float(found[names[1]])}


def oml(vectors: Tensor, labels: Tensor) -> Numbers:
    from oml.functional.knn import batched_knn
    from oml.functional.metrics import calc_retrieval_metrics

    ids, deepest = torch.arange(len(vectors)), int(torch.bincount(labels).max()) - 1
    _, retrieved, relevant = batched_knn(vectors, ids, ids, top_n=max(10, deepest), labels_gt=labels)
    found = calc_retrieval_metrics(
        retrieved, relevant, cmc_top_k=(1, 10), precision_top_k=(), map_top_k=(deepest,), reduce=False
    )
    alone = torch.tensor([len(some) == 0 for some in relevant])
    mean = lambda values: float(torch.as_tensor(values).double()[~alone].mean())  # noqa: E731
    return {"recall@1": mean(found["cmc"][1]), "recall@10": mean(found["cmc"][10])}  # map@k there is not map@r


def bare(vectors: Tensor, labels: Tensor) -> Numbers:
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    depth = max(10, int(torch.bincount(labels).max()) - 1)
    rows = vectors.numpy()
    faiss.knn(rows, rows, depth + 1, metric=faiss.METRIC_INNER_PRODUCT)
    return {}


WORK = {"ours": ours, "pytorch-metric-learning": peer, "open-metric-learning": oml, "faiss": bare}


def million(vectors: Tensor, labels: Tensor) -> Numbers:
    """Ours on a mapped gallery; the last 10,000 rows ask, and are themselves in it."""
    from fashreg.functional import metrics as m
    from fashreg.functional.neighbours import nearest
    from fashreg.functional.ranks import judge_whole
    from fashreg.functional.relevance import counts, relevance_from_labels

    ids, times = torch.arange(len(vectors)), {}
    asked = slice(max(0, len(vectors) - 10_000), None)
    relevance = relevance_from_labels(labels[asked], ids[asked], labels, ids)
    start = time.perf_counter()
    depth = max(10, int(counts(relevance).max()))
    first = m.judge(nearest(vectors[asked], vectors, ids, depth, ids[asked]), relevance)
    times["nearest_s"], times["nearest_mib"] = time.perf_counter() - start, resident("VmHWM") / 2**20
    start = time.perf_counter()
    whole = judge_whole(vectors[asked], vectors, relevance, ids, ids[asked])
    times["whole_s"], times["whole_mib"] = time.perf_counter() - start, resident("VmHWM") / 2**20
    if not torch.equal(m.map_at_r(first).nan_to_num(-1), m.map_at_r(whole).nan_to_num(-1)):
        raise SystemExit("the nearest and the whole rankings disagree")
    return times | {"map@r": m.average(m.map_at_r(first)), "map": m.average(m.average_precision(whole))}


def one(arm: str, folder: Path) -> None:
    """In a process of its own: print what was measured as JSON."""
    if arm == "million":
        rows = torch.from_numpy(np.load(folder / "vectors.npy", mmap_mode="c"))
        print(json.dumps(million(rows, torch.from_numpy(np.load(folder / "labels.npy")))))
        return
    vectors, labels = (torch.from_numpy(np.load(folder / f"{name}.npy")) for name in ("vectors", "labels"))
    WORK[arm](vectors[:WARM], labels[:WARM] % (WARM // A_CLASS))
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again from here
    start, used = time.perf_counter(), time.process_time()
    found = WORK[arm](vectors, labels)
    found |= {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - used}
    print(json.dumps(found | {"peak_mib": (resident("VmHWM") - before) / 2**20}))


def in_a_process(arm: str, folder: Path, threads: int) -> Numbers:
    command = [sys.executable, __file__, "--one", arm, str(folder), "--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}, killed for memory?"])[-1]
        return {"error": last[:200]}
    measured: Numbers = json.loads(done.stdout.splitlines()[-1])
    return measured


def compare(n: int, arms: list[str], options: argparse.Namespace, shuffle: random.Random) -> Numbers:
    found: dict[str, Numbers] = {}
    with tempfile.TemporaryDirectory() as folder:
        drawn(Path(folder), n)
        for _ in range(options.rounds):
            for arm in shuffle.sample(arms, len(arms)):
                if "error" in found.get(arm, {}):
                    continue
                measured = in_a_process(arm, Path(folder), options.threads)
                if arm not in found or measured.get("seconds", 0) < found[arm]["seconds"]:
                    found[arm] = measured
    for name in ("recall@1", "recall@10", "map@r"):
        values = [row[name] for row in found.values() if name in row]
        if values and max(values) - min(values) > 1e-4:
            raise SystemExit(f"the arms disagree on {name}: {values}")
    return {"N": n, **found}


def show(row: Numbers) -> None:
    floor = row.get("faiss", {}).get("seconds")
    for arm in ARMS:
        if arm in row and "error" in row[arm]:
            print(f"{row['N']:8d}  {arm:24} {row[arm]['error']}")
        elif arm in row:
            seconds, ratio = row[arm]["seconds"], f"{row[arm]['seconds'] / floor:8.2f}" if floor else f"{'-':>8}"
            numbers = "  ".join(f"{k} {v:.4f}" for k, v in row[arm].items() if "@" in k)
            cells = f"{seconds:9.2f}{ratio}{row[arm]['cpu_seconds']:9.2f}{row[arm]['peak_mib']:9.0f}"
            print(f"{row['N']:8d}  {arm:24}{cells}  {numbers}", flush=True)


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 50_000, 200_000])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--million", action="store_true", help="ours alone on 1,000,000 mapped rows")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=2, metavar=("ARM", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.one:
        one(options.one[0], Path(options.one[1]))
        return
    arms = [a for a in options.arms if a != "open-metric-learning" or importlib.util.find_spec("oml")]
    packages = ("torch", "faiss-cpu", "pytorch-metric-learning", "open-metric-learning")
    facts = {"date": datetime.date.today().isoformat(), "machine": platform.processor() or platform.machine(),
             "threads": options.threads, "rounds": options.rounds,
             **{name: version(name) for name in packages}}  # fmt: skip
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    rows: list[Numbers] = []
    if options.million:
        with tempfile.TemporaryDirectory() as folder:
            drawn(Path(folder), 1_000_000)
            rows.append({"N": 1_000_000, "queries": 10_000, **in_a_process("million", Path(folder), options.threads)})
        print(json.dumps(rows[-1], indent=1))
    else:
        print(f"{'N':>8}  {'arm':24}{'seconds':>9}{'/ faiss':>8}{'cpu':>9}{'peak MiB':>9}")
        shuffle = random.Random(0)
        for n in options.sizes:
            rows.append(compare(n, arms, options, shuffle))
            show(rows[-1])
    if options.json:
        options.json.write_text(json.dumps({**facts, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
