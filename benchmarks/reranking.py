"""What does re-ranking gain or lose on the test styles of fashion-products, and what does it cost?

Leave-one-out within the test split. Prints recall@1, recall@10, map@r and map of the plain search and of rerankers at
their defaults and around them, the difference of each to the plain search with its 95% interval (bootstrap over
queries), and milliseconds a query of a search for 10 hits, all in all. Nothing is chosen here: a row is one setting.

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


def judged(
    index: ExactIndex, vectors: torch.Tensor, ids: torch.Tensor, relevance: fashreg.Relevance, arm: Any
) -> dict[str, torch.Tensor]:
    """Each metric before the mean, of whole rankings."""
    evaluator = fashreg.build("evaluator", "retrieval", metrics=("recall@k", "map@r", "map"))
    rankings = search_and_rerank(index, vectors, len(index), rerankers_of(list(arm)), query_ids=ids)
    return evaluator.per_query(rankings, relevance)


def milliseconds(index: ExactIndex, vectors: torch.Tensor, ids: torch.Tensor, arm: Any) -> float:
    """A query's share of a search for 10 hits with these rerankers; the best of three."""
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        search_and_rerank(index, vectors, 10, rerankers_of(list(arm)), query_ids=ids)
        taken.append(time.perf_counter() - start)
    return 1000 * min(taken) / len(vectors)


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
    plain = judged(index, vectors, ids, relevance, ())
    found = []
    print(f"{len(rows)} pictures, D = {vectors.shape[1]}\n\n| rerankers | {' | '.join(METRICS)} | ms a query |")
    print("|---|" + "---|" * (len(METRICS) + 1))
    for arm in ARMS:
        values, cost = judged(index, vectors, ids, relevance, arm), milliseconds(index, vectors, ids, arm)
        tests = {name: paired_test(plain[name], values[name]) for name in METRICS}
        cells = [
            f"{values[m].nanmean():.3f}" + (f" ({tests[m].low:+.3f} to {tests[m].high:+.3f})" if arm else "")
            for m in METRICS
        ]
        name = ", then ".join(" ".join(f"{k}={v}" if k != "name" else v for k, v in part.items()) for part in arm)
        print(f"| {name or 'none'} | {' | '.join(cells)} | {cost:.2f} |", flush=True)
        numbers = {m: [float(values[m].nanmean()), tests[m].low, tests[m].high, tests[m].p_value] for m in METRICS}
        found.append({"rerankers": list(arm), "ms_a_query": cost, "metrics": numbers})
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
