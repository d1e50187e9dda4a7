"""Grading by shared attributes through the whole job, against a plain loop over all pairs."""

from __future__ import annotations

import math

import pytest
import torch

from fashreg.errors import DataError
from fashreg.evaluators.attribute_overlap import AttributeOverlapEvaluator
from fashreg.evaluators.retrieval import RetrievalEvaluator
from fashreg.jobs import evaluation_overlap
from fashreg.jobs.evaluation import Asking, evaluate_vectors

LABELS = ["a", "b", "c", "d"] * 6
COLOURS = [["red", "blue", ""][(i * 5) % 3] for i in range(24)]
SLEEVES = [["long", "short"][(i // 3) % 2] for i in range(24)]
SHOPS = [i // 8 for i in range(24)]


def shared(q, g):
    known = [(c[q], c[g]) for c in (COLOURS, SLEEVES) if c[q] and c[g]]
    return sum(a == b for a, b in known) / len(known)


def plain_ndcg(vectors, k, skip=lambda q, g: False):
    found = []
    for q, query in enumerate(vectors):
        rest = [g for g in range(len(vectors)) if g != q and not skip(q, g)]
        rest.sort(key=lambda g: (-float(query.double() @ vectors[g].double()), g))
        gains = [shared(q, g) for g in rest]
        got, best = (
            sum(x / math.log2(i + 2) for i, x in enumerate(order[:k])) for order in (gains, sorted(gains, reverse=True))
        )
        found.append(got / best)
    return sum(found) / len(found)


@pytest.fixture
def table(make_table):
    columns = {"label": LABELS, "colour": COLOURS, "sleeve": SLEEVES, "shop": SHOPS}
    return make_table(columns, attributes=["colour", "sleeve"])


def test_pictures_are_graded_by_the_attributes_they_share(table, vectors) -> None:
    given = vectors(SLEEVES, noise=2.0)
    found = evaluate_vectors(given, table, [AttributeOverlapEvaluator(ks=(5, 30))])
    assert found.primary == "attribute-ndcg@5"
    for k in (5, 30):
        assert found.metrics[f"attribute-ndcg@{k}"] == pytest.approx(plain_ndcg(given, k))
    assert found.protocol.attributes == ("colour", "sleeve")
    assert found.counts == {"queries": 24, "gallery": 24, "queries_without_relevant": 0}


def test_other_evaluators_beside_it_keep_their_own_question(make_table, vectors) -> None:
    columns = {"label": ["a", "b"] * 12, "colour": COLOURS, "sleeve": SLEEVES, "shop": SHOPS}
    table = make_table(columns, attributes=["colour", "sleeve"])
    given, asking = vectors(SLEEVES, noise=2.0), Asking(source="shop", slices=("shop",))
    both = evaluate_vectors(given, table, [AttributeOverlapEvaluator(ks=(5,)), RetrievalEvaluator()], asking=asking)
    alone = evaluate_vectors(given, table, [RetrievalEvaluator()], asking=asking)
    assert {name: both.metrics[name] for name in alone.metrics} == alone.metrics
    wanted = plain_ndcg(given, 5, lambda q, g: SHOPS[q] == SHOPS[g])
    assert both.metrics["attribute-ndcg@5"] == pytest.approx(wanted)
    assert both.primary == "attribute-ndcg@5"
    assert set(both.slices["shop"]["0"]) == {"support", "attribute-ndcg@5", *alone.metrics}


def test_blocks_of_queries_change_nothing(table, vectors, monkeypatch) -> None:
    given = vectors(SLEEVES, noise=2.0)
    whole = evaluate_vectors(given, table, [AttributeOverlapEvaluator()])
    monkeypatch.setattr(evaluation_overlap, "_PAIRS", 5 * 24)
    blocks = evaluate_vectors(given, table, [AttributeOverlapEvaluator()])
    assert blocks.metrics == whole.metrics
    assert blocks.counts == whole.counts
    assert torch.equal(blocks.per_query.values["attribute-ndcg@10"], whole.per_query.values["attribute-ndcg@10"])
    assert torch.equal(blocks.neighbours.ids, whole.neighbours.ids)


def test_there_must_be_attributes_that_somebody_shares(make_table, vectors) -> None:
    given = vectors(["a"] * 4)
    with pytest.raises(DataError, match="needs attribute columns"):
        evaluate_vectors(given, make_table({"label": ["a"] * 4}), [AttributeOverlapEvaluator()])
    lonely = make_table({"label": ["a"] * 4, "colour": ["red", "blue", "green", ""]}, attributes=["colour"])
    with pytest.raises(DataError, match="no two pictures share"):
        evaluate_vectors(given, lonely, [AttributeOverlapEvaluator()])
