"""From vectors, labels, sources and attributes to every metric, against sorting and counting in plain Python."""

import random

import numpy as np
import plain_metrics as plain
import pytest
import torch

from fashreg.evaluators.retrieval import RetrievalEvaluator
from fashreg.functional import metrics as m
from fashreg.functional.graded import relevance_from_attributes, relevance_from_label_sets
from fashreg.functional.judged import joined
from fashreg.functional.neighbours import WHOLE_RANKING, nearest
from fashreg.functional.relevance import relevance_from_labels, select
from fashreg.values import Rankings

K = 4
EVERY = RetrievalEvaluator(ks=(K,), metrics=plain.NAMES, primary="map")


def items(made, n, width=3):
    """Coarse vectors, so that scores are exact and many are equal; a few labels, sources and attributes."""
    return [
        {
            "id": i,
            "vector": [made.randrange(-2, 3) for _ in range(width)],
            "label": made.randrange(5),
            "source": made.randrange(-1, 3),
            "values": [made.randrange(-1, 3) for _ in range(3)],
            "labels": [made.randrange(2) for _ in range(4)],
        }
        for i in made.sample(range(3 * n), n)
    ]


def column(rows, name, dtype=torch.int64):
    return torch.tensor([row[name] for row in rows], dtype=dtype)


def inner(query, item):
    return sum(a * b for a, b in zip(query["vector"], item["vector"], strict=True))


def same_label(query, item):
    return float(query["label"] == item["label"])


def equal_attributes(query, item):
    both = [(a, b) for a, b in zip(query["values"], item["values"], strict=True) if a >= 0 and b >= 0]
    share = sum(a == b for a, b in both) / len(both) if both else 0.0
    return share if share >= 0.5 else 0.0


def jaccard(query, item):
    pairs = list(zip(query["labels"], item["labels"], strict=True))
    return sum(a and b for a, b in pairs) / max(1, sum(a or b for a, b in pairs))


def by_labels(queries, gallery, **sources):
    return relevance_from_labels(
        column(queries, "label"), column(queries, "id"), column(gallery, "label"), column(gallery, "id"), **sources
    )


def by_attributes(queries, gallery, **sources):
    return relevance_from_attributes(
        column(queries, "values"),
        column(queries, "id"),
        column(gallery, "values"),
        column(gallery, "id"),
        threshold=0.5,
        **sources,
    )


def by_label_sets(queries, gallery, **sources):
    return relevance_from_label_sets(
        column(queries, "labels"),
        column(queries, "id"),
        column(gallery, "labels"),
        column(gallery, "id"),
        graded=True,
        **sources,
    )


KINDS = {
    "labels": (same_label, by_labels),
    "attributes": (equal_attributes, by_attributes),
    "label sets": (jaccard, by_label_sets),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("apart", [False, True], ids=["leave-one-out", "queries against gallery"])
@pytest.mark.parametrize("excluded", [False, True], ids=["all sources", "other sources only"])
def test_every_metric_equals_plain_sorting_and_counting(kind, apart, excluded):
    grade, make = KINDS[kind]
    made = random.Random(str((kind, apart, excluded)))
    for n in (2, 9, 30):
        gallery = items(made, n)
        queries = [{**row, "id": -1 - i} for i, row in enumerate(items(made, 7))] if apart else gallery
        if not excluded:
            queries = [{**row, "source": -1} for row in queries]
        wanted, orders = [], []
        for query in queries:
            order, found, every = plain.ranked_grades(query, gallery, inner, grade)
            orders.append([*order, *[-1] * (n - len(order))])
            wanted.append(plain.every_metric(found, every, K))
        sources = {"query_sources": column(queries, "source"), "gallery_sources": column(gallery, "source")}
        relevance = make(queries, gallery, **(sources if excluded else {}))
        ranked = Rankings(torch.tensor(orders), torch.zeros(len(queries), n))
        judged = m.judge(ranked, relevance)
        assert judged.counts.tolist() == [sum(g > 0 for g in grades) for grades in all_grades(queries, gallery, grade)]
        assert judged.items.tolist() == [sum(i >= 0 for i in order) for order in orders]
        for name, values in EVERY.from_judged(judged, relevance).items():
            plainly = [w[name.replace(f"@{K}", "@k")] for w in wanted]
            np.testing.assert_allclose(values.numpy(), plainly, rtol=1e-13, atol=1e-15, err_msg=name)


def all_grades(queries, gallery, grade):
    return [plain.ranked_grades(q, gallery, inner, grade)[1] for q in queries]


def test_equal_scores_are_ordered_by_id_and_a_permuted_gallery_changes_nothing():
    made = random.Random(3)
    gallery = items(made, 40, width=2)  # 25 different vectors at most
    queries = gallery[:15]
    wanted = {}
    for turn in range(4):
        shuffled = made.sample(gallery, len(gallery)) if turn else gallery
        found = nearest(
            column(queries, "vector", torch.float32),
            column(shuffled, "vector", torch.float32),
            column(shuffled, "id"),
            WHOLE_RANKING,
            column(queries, "id"),
        )
        plainly = [plain.ranked_grades({**q, "source": -1}, gallery, inner, same_label)[0] for q in queries]
        assert [row[:-1] for row in found.ids.tolist()] == plainly
        values = EVERY.per_query(found, by_labels(queries, shuffled))
        wanted = wanted or values
        for name in values:
            assert torch.equal(values[name].nan_to_num(7), wanted[name].nan_to_num(7)), name


def test_ranks_cut_at_the_depth_that_is_asked_for_give_the_numbers_of_the_whole_ranking():
    made = random.Random(4)
    gallery = items(made, 40)
    relevance, ids = by_labels(gallery, gallery), column(gallery, "id")
    vectors = column(gallery, "vector", torch.float32)
    evaluator = RetrievalEvaluator(ks=(1, 3))
    whole = m.judge(nearest(vectors, vectors, ids, WHOLE_RANKING, ids), relevance)
    cut = m.judge(nearest(vectors, vectors, ids, evaluator.depth(relevance), ids), relevance)
    for name, values in evaluator.from_judged(cut, relevance).items():
        assert torch.equal(values.nan_to_num(7), evaluator.from_judged(whole, relevance)[name].nan_to_num(7)), name


@pytest.mark.parametrize("kind", KINDS)
def test_queries_judged_in_blocks_give_the_same_bits_as_together(kind):
    made = random.Random(5)
    gallery = items(made, 30)
    relevance, ids = KINDS[kind][1](gallery, gallery), column(gallery, "id")
    vectors = column(gallery, "vector", torch.float32)
    rankings = nearest(vectors, vectors, ids, WHOLE_RANKING, ids)
    together = m.judge(rankings, relevance)
    blocks = [slice(s, s + 7) for s in range(0, 30, 7)]
    apart = joined([m.judge(Rankings(rankings.ids[b], rankings.scores[b]), select(relevance, b)) for b in blocks])
    for name in ("offsets", "ranks", "counts", "items"):
        assert torch.equal(getattr(together, name), getattr(apart, name)), name
    numbers, others = EVERY.from_judged(together, relevance), EVERY.from_judged(apart, relevance)
    assert all(torch.equal(numbers[n].nan_to_num(7), others[n].nan_to_num(7)) for n in numbers)


def test_a_constant_embedding_finds_nothing_but_the_smallest_ids():
    labels, ids = torch.arange(40) // 4, torch.arange(40)
    same = torch.ones(40, 3)
    found = m.map_at_r(m.judge(nearest(same, same, ids, 39, ids), relevance_from_labels(labels, ids, labels, ids)))
    assert found.tolist() == [1.0] * 4 + [0.0] * 36  # everybody is given class 0
