"""What does re-ranking gain or lose on the test styles of fashion-products, and what does it cost?

Leave-one-out within the test split. Prints recall@1, recall@10, map@r and map of the plain search and of rerankers at
their defaults and around them, the difference of each to the plain search with its 95% interval (bootstrap over
queries), and milliseconds a query for the re-ranking alone. Nothing is chosen here: every row is one setting.

    python benchmarks/reranking.py --model RUN/model --data FOLDER [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from products import add_data_argument, table_of

import fashreg
from fashreg.functional.relevance import relevance_from_labels
from fashreg.functional.uncertainty import paired_test
from fashreg.indexes.exact import ExactIndex
from fashreg.jobs.reranking import rerankers_of, search_and_rerank

METRICS = ("recall@1", "recall@10", "map@r", "map")
ARMS: tuple[tuple[dict[str, Any], ...], ...] = (
    (),
    ({"name": "query-expansion"},),
    ({"name": "query-expansion", "alpha": 0},),
    ({"name": "query-expansion", "n": 1},),
    ({"name": "query-expansion", "n": 10},),
    ({"name": "k-reciprocal"},),
    ({"name": "k-reciprocal", "k1": 10, "k2": 3},),
    ({"name": "k-reciprocal", "original_weight": 0.7},),
    ({"name": "k-reciprocal", "depth": 50},),
    ({"name": "k-reciprocal", "depth": 200},),
    ({"name": "query-expansion"}, {"name": "k-reciprocal", "original_weight": 0.7}),
)


def measure(
    index: ExactIndex, vectors: torch.Tensor, ids: torch.Tensor, relevance: fashreg.Relevance, arm: Any
) -> tuple[dict[str, torch.Tensor], float]:
    """Each metric before the mean, and seconds."""
    judge = fashreg.build("evaluator", "retrieval", metrics=("recall@k", "map@r", "map"))
    start = time.perf_counter()
    rankings = search_and_rerank(index, vectors, len(index), rerankers_of(list(arm)), query_ids=ids)
    return judge.per_query(rankings, relevance), time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_argument(parser)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = fashreg.read_table(table_of(options.data), {"label": "style"}, split="test")
    vectors, ids = fashreg.load(options.model).embed(rows), torch.from_numpy(rows.ids)
    labels = torch.from_numpy(rows.labels)
    relevance = relevance_from_labels(labels, ids, labels, ids)
    index = ExactIndex(embed_dim=vectors.shape[1])
    index.add(vectors, ids)
    plain, base = measure(index, vectors, ids, relevance, ())
    found = []
    print(f"{len(rows)} pictures, D = {vectors.shape[1]}\n\n| rerankers | {' | '.join(METRICS)} | ms a query |")
    print("|---|" + "---|" * (len(METRICS) + 1))
    for arm in ARMS:
        values, seconds = measure(index, vectors, ids, relevance, arm)
        tests = {name: paired_test(plain[name], values[name]) for name in METRICS}
        cells = [f"{values[m].nanmean():.3f} ({tests[m].low:+.3f} to {tests[m].high:+.3f})" for m in METRICS]
        cost = 1000 * max(0.0, seconds - base) / len(rows)
        name = ", then ".join(" ".join(f"{k}={v}" if k != "name" else v for k, v in part.items()) for part in arm)
        print(f"| {name or 'none'} | {' | '.join(cells)} | {cost:.2f} |", flush=True)
        numbers = {m: [float(values[m].nanmean()), tests[m].low, tests[m].high, tests[m].p_value] for m in METRICS}
        found.append({"rerankers": list(arm), "ms_a_query": cost, "metrics": numbers})
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
