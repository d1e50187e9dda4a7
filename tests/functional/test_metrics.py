"""Each metric against a plain Python reference, against values worked out by hand, and against other libraries."""

import itertools
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, label_ranking_average_precision_score, ndcg_score

from fashreg.functional import metrics as m
from fashreg.functional.graded import relevance_from_label_sets
from fashreg.functional.neighbours import nearest
from fashreg.functional.relevance import relevance_from_labels, relevance_from_pairs
from fashreg.functional.similarity import unit_rows
from fashreg.values import Rankings


def t(*values):
    return torch.tensor(values, dtype=torch.int64)


def ranked(*rows):
    ids = torch.tensor(rows, dtype=torch.int64)
    return Rankings(ids, torch.where(ids < 0, -torch.inf, -torch.arange(ids.shape[1]).float()))


def hits_of(*found):
    """One query whose ranked items are relevant where `found` says so, and no others are."""
    rankings = ranked(range(len(found)))
    return rankings, relevance_from_pairs(t(99), [[i for i, hit in enumerate(found) if hit]])


def one(metric, *found, **options):
    return float(metric(m.judge(*hits_of(*found)), **options)[0])


def ndcg(rankings, relevance, k):
    return m.ndcg_at_k(m.judge(rankings, relevance), relevance, k)


# Plain references, one query at a time: `found` are 0/1 in ranked order, `r` the number of relevant items.
def plain_ap(found, r, depth=None):
    return sum(sum(found[: i + 1]) / (i + 1) for i, hit in enumerate(found[:depth]) if hit) / r


PLAIN = {
    "recall": (m.recall_at_k, lambda f, r, k: float(any(f[:k]))),
    "precision": (m.precision_at_k, lambda f, r, k: sum(f[:k]) / k),
    "share-found": (m.share_found_at_k, lambda f, r, k: sum(f[:k]) / r),
    "mrr": (m.reciprocal_rank, lambda f, r, k: max([1 / (i + 1) for i in range(k) if f[i]], default=0.0)),
    "map@r": (lambda j, k: m.map_at_r(j), lambda f, r, k: plain_ap(f, r, r)),
    "r-precision": (lambda j, k: m.r_precision(j), lambda f, r, k: sum(f[:r]) / r),
    "map": (lambda j, k: m.average_precision(j), lambda f, r, k: plain_ap(f, r)),
    "mrr, all": (lambda j, k: m.reciprocal_rank(j), lambda f, r, k: 1 / (f.index(1) + 1)),
}


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 1), min_size=9, max_size=9), min_size=1, max_size=6), st.integers(1, 9))
def test_every_metric_equals_its_plain_definition(table, k):
    rankings = ranked(*[range(9)] * len(table))
    queries = torch.arange(100, 100 + len(table))
    judged = m.judge(rankings, relevance_from_pairs(queries, [[i for i in range(9) if row[i]] for row in table]))
    for name, (metric, plain) in PLAIN.items():
        wanted = [plain(row, sum(row), k) if sum(row) else math.nan for row in table]
        np.testing.assert_allclose(metric(judged, k).numpy(), wanted, rtol=1e-14, err_msg=name)


def test_values_worked_out_by_hand():
    assert one(m.average_precision, 1, 0, 1, 0) == pytest.approx(0.833333, abs=5e-7)  # (1/1 + 2/3) / 2
    assert one(m.average_precision, 0, 1, 0, 1) == 0.5  # (1/2 + 2/4) / 2
    assert one(m.average_precision, 1, 1, 1, 1) == 1.0
    assert math.isnan(one(m.average_precision, 0, 0, 0, 0))
    assert one(m.map_at_r, 0, 1, 1, 0) == 0.25  # R = 2: only rank 2 counts, (1/2) / 2
    assert one(m.r_precision, 0, 1, 1, 0) == 0.5
    assert one(m.reciprocal_rank, 0, 0, 1, 1) == pytest.approx(1 / 3)
    assert one(m.reciprocal_rank, 0, 0, 1, 1, k=2) == 0.0
    assert one(m.recall_at_k, 0, 1, 1, 0, k=1) == 0.0
    assert one(m.recall_at_k, 0, 1, 1, 0, k=2) == 1.0
    assert one(m.precision_at_k, 0, 1, 1, 0, k=4) == 0.5


def test_map_at_r_of_the_reality_check_paper():
    """R = 10 and the hits of its table 1: MAP@R 0.1, 0.3..., where R-precision tells nothing apart."""
    first_only = [1] + [0] * 9 + [1] * 9
    assert one(m.map_at_r, *first_only) == pytest.approx(0.1)
    both_ends = [1, *[0] * 8, 1, *[1] * 8]
    assert one(m.map_at_r, *both_ends) == pytest.approx(0.12)
    assert one(m.r_precision, *both_ends) == pytest.approx(0.2)
    assert one(m.map_at_r, 1, 1, *[0] * 8, *[1] * 8) == pytest.approx(0.2)


def graded(seed):
    made = torch.Generator().manual_seed(seed)
    grades = torch.randint(0, 4, (5, 12), generator=made)
    order = torch.stack([torch.randperm(12, generator=made) for _ in range(5)])
    relevant = [[int(i) for i in torch.arange(12)[row > 0]] for row in grades]
    values = [row[row > 0].tolist() for row in grades]
    return grades.numpy(), ranked(*order.tolist()), order.numpy(), relevant, values


@pytest.mark.parametrize("k", [1, 3, 12])
def test_ndcg_equals_scikit_learn(k):
    grades, rankings, order, relevant, values = graded(0)
    scores = np.empty((5, 12))
    np.put_along_axis(scores, order, np.arange(12, 0, -1)[None].repeat(5, 0).astype(float), 1)
    found = ndcg(rankings, relevance_from_pairs(torch.arange(100, 105), relevant, values), k)
    assert m.average(found) == pytest.approx(ndcg_score(grades, scores, k=k), rel=1e-12)
    binary = ndcg(rankings, relevance_from_pairs(torch.arange(100, 105), relevant), k)
    assert m.average(binary) == pytest.approx(ndcg_score(grades > 0, scores, k=k), rel=1e-12)


def test_the_best_ndcg_does_not_count_the_query_itself():
    relevance = relevance_from_pairs(t(1, 9), [[1, 2, 3], [1, 2, 3]], [[5.0, 1.0, 2.0], [5.0, 1.0, 2.0]])
    found = ndcg(ranked([3, 2, -1], [3, 2, 1]), relevance, 2)
    assert found[0] == 1.0  # 3 (gain 2), then 2 (gain 1) is the best that there is without 1
    assert found[1] == pytest.approx((2 + 1 / math.log2(3)) / (5 + 2 / math.log2(3)))


def test_ndcg_of_queries_without_relevant_items_is_not_a_number():
    relevance = relevance_from_pairs(t(1, 2), [[], []], [[], []])
    assert ndcg(ranked([3], [4]), relevance, 1).isnan().all()


def test_average_precision_equals_scikit_learn():
    made = np.random.default_rng(0)
    truth = made.integers(0, 2, (20, 30))
    truth[:, 0] = 1
    scores = made.permuted(np.arange(30.0)[None].repeat(20, 0), axis=1)
    rankings = ranked(*np.argsort(-scores, 1).tolist())
    judged = m.judge(
        rankings, relevance_from_pairs(torch.arange(100, 120), [np.flatnonzero(r).tolist() for r in truth])
    )
    wanted = [average_precision_score(y, s) for y, s in zip(truth, scores, strict=True)]
    np.testing.assert_allclose(m.average_precision(judged).numpy(), wanted, rtol=1e-12)


def test_multi_label_average_precision_equals_scikit_learn():
    made = np.random.default_rng(1)
    queries, gallery = made.integers(0, 2, (12, 4)), made.integers(0, 2, (25, 4))
    queries[:, 0] = gallery[0, 0] = 1
    truth = queries @ gallery.T > 0
    scores = made.permuted(np.arange(25.0)[None].repeat(12, 0), axis=1)
    relevance = relevance_from_label_sets(
        torch.from_numpy(queries), torch.full((12,), -1), torch.from_numpy(gallery), torch.arange(25)
    )
    judged = m.judge(ranked(*np.argsort(-scores, 1).tolist()), relevance)
    wanted = label_ranking_average_precision_score(truth, scores)
    assert m.average(m.average_precision(judged)) == pytest.approx(wanted, rel=1e-12)


PEER = """
import json, sys
import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

given = json.load(sys.stdin)
calculator = AccuracyCalculator(include=given["include"], k="max_bin_count", device=torch.device("cpu"))
print(json.dumps(calculator.get_accuracy(torch.tensor(given["vectors"]), torch.tensor(given["labels"]))))
"""


def test_leave_one_out_equals_pytorch_metric_learning():
    """In a process of its own: that calculator replaces methods of FAISS for the whole process."""
    made = torch.Generator().manual_seed(0)
    vectors, labels = unit_rows(torch.randn(120, 6, generator=made)), torch.randint(0, 15, (120,), generator=made)
    include = ("precision_at_1", "r_precision", "mean_average_precision_at_r", "mean_reciprocal_rank")
    given = json.dumps({"include": include, "vectors": vectors.tolist(), "labels": labels.tolist()})
    done = subprocess.run([sys.executable, "-c", PEER], input=given, capture_output=True, text=True, check=True)
    wanted = json.loads(done.stdout.splitlines()[-1])
    ids = torch.arange(120)
    relevance = relevance_from_labels(labels, ids, labels, ids)
    judged = m.judge(nearest(vectors, vectors, ids, 119, ids), relevance)
    deepest = int(labels.bincount().max()) - 1
    found = {
        "precision_at_1": m.recall_at_k(judged, 1),
        "r_precision": m.r_precision(judged),
        "mean_average_precision_at_r": m.map_at_r(judged),
        "mean_reciprocal_rank": m.reciprocal_rank(judged, deepest),
    }
    for name, values in found.items():
        assert m.average(values) == pytest.approx(wanted[name], rel=1e-6), name


@pytest.mark.parametrize(("n", "r"), [(1, 1), (4, 2), (5, 1), (6, 3), (7, 7), (7, 4)])
def test_the_expected_ap_of_a_random_order_is_the_mean_over_all_orders(n, r):
    orders = list(itertools.combinations(range(n), r))
    mean = sum(plain_ap([int(i in places) for i in range(n)], r) for places in orders) / len(orders)
    assert float(m.random_average_precision(t(n), t(r))[0]) == pytest.approx(mean, rel=1e-12)


def test_the_golden_values_of_a_random_order():
    found = m.random_average_precision(t(4, 1703, 3, 0), t(2, 1703 // 6, 0, 0))
    assert float(found[0]) == pytest.approx(0.680556, abs=5e-7)
    assert float(found[1]) == pytest.approx(0.17, abs=0.002)  # skirt_length of FashionAI, its six values taken as equal
    assert found[2:].isnan().all()


@pytest.mark.parametrize("grades", [None, [3.0, 0.5, 1.0]], ids=["binary", "graded"])
@pytest.mark.parametrize("k", [1, 3, 9])
def test_the_expected_ndcg_of_a_random_order_is_the_mean_over_all_orders(grades, k):
    relevance = relevance_from_pairs(t(99, 98), [[0, 2, 3], []], None if grades is None else [grades, []])
    found = m.random_ndcg_at_k(relevance, t(5, 5), k)
    orders = [ranked(order, order) for order in itertools.permutations(range(5))]
    wanted = sum(float(ndcg(order, relevance, min(k, 5))[0]) for order in orders) / len(orders)
    assert float(found[0]) == pytest.approx(wanted, rel=1e-12)
    assert found[1].isnan()


def test_queries_without_relevant_items_do_not_count():
    relevance = relevance_from_pairs(t(1, 2, 3), [[5], [], [7]])
    judged = m.judge(ranked([5, 6], [5, 6], [5, 6]), relevance)
    found = m.recall_at_k(judged, 1)
    assert found[[0, 2]].tolist() == [1.0, 0.0]
    assert found[1].isnan()
    assert m.average(found) == 0.5
    with pytest.raises(ValueError, match="none of the 1 queries has a relevant item"):
        m.average(found[1:2])


def test_places_that_stay_empty_are_misses():
    judged = m.judge(ranked([5, -1, -1, -1]), relevance_from_pairs(t(1), [[5, 6]]))
    assert float(m.precision_at_k(judged, 4)) == 0.25
    assert float(m.average_precision(judged)) == 0.5
    assert float(m.reciprocal_rank(m.judge(ranked([7, -1]), relevance_from_pairs(t(1), [[5]])))) == 0.0


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda j: m.recall_at_k(j, 3), "needs 3 ranks, and the rankings hold 2"),
        (lambda j: m.precision_at_k(j, 0), "k must be at least 1"),
        (lambda j: m.share_found_at_k(j, 3), "needs 3 ranks"),
        (lambda j: m.reciprocal_rank(j, 3), "needs 3 ranks"),
        (m.map_at_r, "a query has 3 relevant items"),
        (m.r_precision, "the rankings hold 2"),
        (m.average_precision, "needs the whole ranking; 1 queries"),
        (m.reciprocal_rank, "beyond the 2 ranks"),
    ],
)
def test_rankings_that_are_too_short_are_refused(call, says):
    judged = m.judge(ranked([8, 9]), relevance_from_pairs(t(1), [[5, 6, 7]]))
    with pytest.raises(ValueError, match=says):
        call(judged)
    with pytest.raises(ValueError, match="needs 5 ranks"):
        ndcg(ranked([8, 9]), relevance_from_pairs(t(1), [[5, 6, 7]]), 5)


@pytest.mark.parametrize("whole", [ranked([5, 8]), ranked([8, 5, -1])], ids=["all were found", "it ends in padding"])
def test_short_rankings_are_taken_where_nothing_was_left_unseen(whole):
    judged = m.judge(whole, relevance_from_pairs(t(1), [[5]]))
    rank = 1 + whole.ids[0].tolist().index(5)
    assert float(m.recall_at_k(judged, 9)) == 1
    assert float(m.precision_at_k(judged, 10)) == 0.1
    assert float(m.average_precision(judged)) == float(m.reciprocal_rank(judged, 9)) == 1 / rank
    assert float(ndcg(whole, relevance_from_pairs(t(1), [[5]]), 9)) == pytest.approx(1 / math.log2(1 + rank))


def test_ndcg_refuses_hits_that_another_relevance_judged():
    judged = m.judge(ranked([5]), relevance_from_pairs(t(1), [[5]]))
    with pytest.raises(ValueError, match="judged by another relevance"):
        m.ndcg_at_k(judged, relevance_from_pairs(t(1), [[5]], [[2.0]]), 1)


def test_the_best_gain_is_found_whatever_the_block(monkeypatch):
    _, rankings, _, relevant, values = graded(3)
    relevance = relevance_from_pairs(torch.arange(100, 105), relevant, values)
    whole = ndcg(rankings, relevance, 3)
    monkeypatch.setattr(m, "_BLOCK", 1)
    assert torch.equal(ndcg(rankings, relevance, 3), whole)
