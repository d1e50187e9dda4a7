"""Every metric written out for one query in plain Python: the oracle that shares no line with the library.

`found`: the grades of the ranked items, best first, 0 = not relevant. `every`: the grades of all relevant items.
"""

from __future__ import annotations

import math


def ranked_grades(query, gallery, score, grade):
    """Sort a gallery for a query and look up what it is worth; items are dicts with id, source and whatever else.

    Equal scores go by the smaller id. The query itself and what comes from its source are nowhere.
    """
    others = [g for g in gallery if g["id"] != query["id"] and (query["source"] < 0 or g["source"] != query["source"])]
    order = sorted(others, key=lambda g: (-score(query, g), g["id"]))
    found = [grade(query, g) for g in order]
    return [g["id"] for g in order], found, [x for x in found if x > 0]


def precision(found, i):
    return sum(x > 0 for x in found[:i]) / i


def average_precision(found, every, depth=None):
    seen = found[:depth]
    return sum(precision(found, i + 1) for i, x in enumerate(seen) if x > 0) / len(every)


def reciprocal_rank(found, depth=None):
    for i, x in enumerate(found[:depth]):
        if x > 0:
            return 1 / (i + 1)
    return 0.0


def dcg(gains):
    return sum(x / math.log2(i + 2) for i, x in enumerate(gains))


def every_metric(found, every, k):
    """Name -> value for one query; NaN where nothing is relevant to it."""
    r = len(every)
    if not r:
        return dict.fromkeys(NAMES, math.nan)
    values = {
        "recall@k": float(any(x > 0 for x in found[:k])),
        "share-found@k": sum(x > 0 for x in found[:k]) / r,
        "precision@k": precision(found, k),
        "map@r": average_precision(found, every, r),
        "r-precision": precision(found, r),
        "map": average_precision(found, every),
        "mrr": reciprocal_rank(found),
        "mrr@k": reciprocal_rank(found, k),
        "ndcg@k": dcg(found[:k]) / dcg(sorted(every, reverse=True)[:k]),
        "binary-ndcg@k": dcg([float(x > 0) for x in found[:k]]) / dcg([1.0] * min(k, r)),
    }
    return {name: values[name] for name in NAMES}


NAMES = (
    "recall@k",
    "share-found@k",
    "precision@k",
    "map@r",
    "r-precision",
    "map",
    "mrr",
    "mrr@k",
    "ndcg@k",
    "binary-ndcg@k",
)
