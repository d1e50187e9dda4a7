"""Texts and pictures find one another: recalls against a plain reference, candidates, drawings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from text_rows import KINDS, PRODUCTS, TEXTS, N, mean, order

from fashreg.errors import DataError
from fashreg.evaluators.cross_modal import CrossModalEvaluator
from fashreg.functional.candidates import Trials
from fashreg.functional.relevance import relevance_from_labels
from fashreg.jobs.evaluation import Asking, evaluate_table
from fashreg.jobs.evaluation_asker import Search, nobody, side
from fashreg.jobs.evaluation_folder import load_evaluation, save_evaluation
from fashreg.jobs.evaluation_question import Question


def plain_directions(encoder, table) -> dict[str, dict[int, list[int]]]:
    """For each direction, row that asks -> 1 or 0 for every ranked thing."""
    texts = {}  # (label, text) -> first row
    for row, (text, label) in enumerate(zip(table.texts, table.labels.tolist(), strict=True)):
        texts.setdefault((label, text), row)
    pictures = encoder.embed(table.paths, task="cross-modal").double()
    said = encoder.embed(texts=[text for _, text in texts], task="cross-modal").double()
    first, owner = list(texts.values()), [label for label, _ in texts]
    labels = table.labels.tolist()
    to_text = {
        row: [int(owner[t] == labels[row]) for t in order(said @ pictures[row], first)] for row in range(len(table))
    }
    to_image = {
        first[t]: [int(labels[p] == owner[t]) for p in order(pictures @ said[t], list(range(len(table))))]
        for t in range(len(first))
    }
    return {"image_to_text": to_text, "text_to_image": to_image}


def test_both_directions_are_recalls_over_the_different_texts_and_all_pictures(encoder, shop) -> None:
    found = evaluate_table(encoder, shop, [CrossModalEvaluator(ks=(1, 5))])
    plain = plain_directions(encoder, shop)
    recalls = {
        f"{way}/recall@{k}": mean(any(hits[:k]) for hits in asked.values())
        for way, asked in plain.items()
        for k in (1, 5)
    }
    for name, value in recalls.items():
        assert found.metrics[name] == pytest.approx(value), name
    assert found.metrics["mean_recall"] == pytest.approx(mean(recalls.values()))
    assert found.primary == "mean_recall"
    assert found.counts["texts"] == len(plain["text_to_image"]) < N
    assert found.counts["gallery"] == N
    for name, value in found.metrics.items():
        assert float(found.per_query.values[name].nanmean()) == pytest.approx(value), name
        low, high = found.intervals[name]
        assert low <= value <= high
    asked = dict(
        zip(found.per_query.ids.tolist(), found.per_query.values["text_to_image/recall@5"].tolist(), strict=True)
    )
    assert {row: value for row, value in asked.items() if value == value} == {
        row: float(any(hits[:5])) for row, hits in plain["text_to_image"].items()
    }


def test_a_text_whose_product_has_three_views_is_one_hit(encoder, shop) -> None:
    """The golden row on the hit rule: any view among the first K, counted once."""
    found = evaluate_table(encoder, shop, [CrossModalEvaluator(ks=(N,))])
    assert found.metrics["text_to_image/recall@30"] == found.metrics["image_to_text/recall@30"] == 1.0


def test_neighbours_of_both_directions_are_kept_and_come_back_from_a_folder(encoder, shop, tmp_path) -> None:
    found = evaluate_table(encoder, shop, [CrossModalEvaluator()])
    assert (found.neighbours.asks, found.neighbours.finds) == ("text", "image")
    assert (found.back.asks, found.back.finds) == ("image", "text")
    assert found.items[4]["text"] == TEXTS[4]
    again = load_evaluation(save_evaluation(found, tmp_path / "evaluation"))
    assert again.as_dict() == found.as_dict()
    assert (again.neighbours.asks, again.neighbours.finds) == ("text", "image")
    assert torch.equal(again.back.ids, found.back.ids)
    assert again.items == found.items


def test_without_labels_the_text_beside_a_picture_is_the_right_one(encoder, make) -> None:
    table = make({"text": TEXTS}, text="text", label=None)
    found = evaluate_table(encoder, table, [CrossModalEvaluator(ks=(1,))])
    said = encoder.embed(texts=TEXTS, task="cross-modal").double()
    pictures = encoder.embed(table.paths, task="cross-modal").double()
    hits = [order(said @ pictures[row], list(range(N)))[0] == row for row in range(N)]
    assert found.metrics["image_to_text/recall@1"] == pytest.approx(mean(hits))


def test_rows_without_text_are_found_as_pictures_only(encoder, make) -> None:
    texts = ["" if i % 3 == 2 else text for i, text in enumerate(TEXTS)]
    table = make({"label": PRODUCTS, "text": texts}, text="text")
    found = evaluate_table(encoder, table, [CrossModalEvaluator()])
    assert found.counts["gallery"] == N
    assert found.counts["texts"] == len({(p, t) for p, t in zip(PRODUCTS, texts, strict=True) if t})
    with pytest.raises(DataError, match="every text is empty"):
        evaluate_table(encoder, make({"label": PRODUCTS, "text": [""] * N}, text="text"), [CrossModalEvaluator()])
    with pytest.raises(DataError, match="--set text=caption"):
        evaluate_table(encoder, make({"label": PRODUCTS}), [CrossModalEvaluator()])


def test_candidates_are_ranked_among_themselves(encoder, shop) -> None:
    """Recomputed from the neighbours that are kept: one right answer and wrong ones of the same kind only."""
    evaluator = CrossModalEvaluator(ks=(1, 2), candidates=4, queries=10, repeats=1, seed=3, within="kind")
    found = evaluate_table(encoder, shop, [evaluator])
    pictures = encoder.embed(shop.paths, task="cross-modal").double()
    hits = []
    for query, ids, scores in zip(
        found.neighbours.query_ids.tolist(), found.neighbours.ids.tolist(), found.neighbours.scores, strict=True
    ):
        shown = [i for i in ids if i >= 0]
        assert len(shown) <= 5
        right = [PRODUCTS[i] == PRODUCTS[query] for i in shown]
        assert sum(right) == 1
        assert all(KINDS[i] == KINDS[query] for i in shown)
        said = encoder.embed(texts=[TEXTS[query]], task="cross-modal").double()[0]
        assert torch.allclose(scores[: len(shown)].double(), pictures[shown] @ said, atol=1e-6)
        assert order(pictures[shown] @ said, shown) == list(range(len(shown)))
        hits.append(right)
    assert found.metrics["text_to_image/recall@2"] == pytest.approx(mean(any(right[:2]) for right in hits))
    assert found.counts["queries"] == 20


def test_drawings_depend_on_the_seed_and_not_on_the_order_of_rows(encoder, shop) -> None:
    def measured(table, seed):
        made = CrossModalEvaluator(candidates=5, queries=7, repeats=3, seed=seed)
        return evaluate_table(encoder, table, [made], asking=Asking(details=False)).metrics

    def distinct(table):  # the first row of a text decides its id, so every text must be its own
        return table.take(np.flatnonzero(np.arange(N) % 3 == 0))

    some = distinct(shop)
    turned = some.take(np.arange(len(some))[::-1])
    assert measured(some, 0) == measured(turned, 0)
    assert measured(shop, 0) != measured(shop, 1)


def test_intervals_of_drawn_queries_count_each_row_as_often_as_it_was_drawn(encoder, shop) -> None:
    found = evaluate_table(encoder, shop, [CrossModalEvaluator(candidates=5, queries=8, repeats=5)])
    for name, value in found.metrics.items():
        assert float(found.per_query.values[name].nanmean()) == pytest.approx(value), name
        assert found.intervals[name][0] <= value <= found.intervals[name][1]


def test_too_few_wrong_candidates_are_fewer_and_said(encoder, shop) -> None:
    found = evaluate_table(encoder, shop, [CrossModalEvaluator(candidates=100, queries=5, repeats=1)])
    assert found.counts["queries_short_of_candidates"] == 10
    assert "fewer wrong candidates" in found.summary()


@pytest.mark.parametrize("drawing", [{"candidates": 5, "queries": 7, "repeats": 3, "within": "kind"}, {}])
def test_the_order_of_rows_does_not_matter_where_views_share_a_text(encoder, make, drawing) -> None:
    """The id of a text is the smallest of its rows', not that of the row which happens to stand first."""
    columns = {"label": PRODUCTS, "text": TEXTS, "kind": KINDS, "number": [7 * i % 31 for i in range(N)]}
    columns["image"] = [f"{i}.png" for i in range(N)]
    whole = make(columns, text="text", id="number")
    turned = whole.take(np.random.default_rng(1).permutation(N), dense=False)
    one, other = (evaluate_table(encoder, table, [CrossModalEvaluator(**drawing)]) for table in (whole, turned))
    assert one.metrics == other.metrics
    assert torch.equal(one.per_query.ids, other.per_query.ids)
    assert torch.equal(one.neighbours.ids, other.neighbours.ids)


def test_of_candidates_with_equal_scores_the_smaller_id_comes_first_and_not_the_right_one() -> None:
    asked = side(torch.ones(3, 2), np.array([0, 1, 2]), nobody(3))
    gallery = side(torch.ones(6, 2), np.array([0, 0, 1, 1, 2, 2]), torch.arange(6))
    relevance = relevance_from_labels(asked.labels, asked.ids, gallery.labels, gallery.ids)
    search = Search(Question(asked, gallery, relevance, "", 0), torch.arange(3), "text", "image")
    trials = Trials(torch.arange(3), torch.tensor([[1, 2, -1], [2, 5, 0], [4, 0, 1]]))
    part, near = search.drawn(CrossModalEvaluator(ks=(1, 2)), trials, 3, 1)
    assert near.ids.tolist() == [[1, 2, -1], [0, 2, 5], [0, 1, 4]]
    assert (part.numbers["recall@1"], part.numbers["recall@2"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
