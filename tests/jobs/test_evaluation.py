"""Evaluating embeddings: every number against a plain loop, in blocks as in one piece, with what lies behind it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fashreg.errors import DataError
from fashreg.evaluators.attribute_retrieval import AttributeRetrievalEvaluator
from fashreg.evaluators.retrieval import RetrievalEvaluator
from fashreg.jobs.evaluation import Asking, evaluate_vectors
from fashreg.jobs.evaluation_folder import load_evaluation, save_evaluation
from fashreg.jobs.evaluation_question import question_of
from fashreg.jobs.evaluation_ranking import answer
from fashreg.jobs.evaluation_tally import _shown
from fashreg.rerankers.query_expansion import QueryExpansionReranker
from fashreg.values import Rankings, Relevance

LABELS = [f"c{i % 6}" for i in range(48)]
SEASONS = ["summer", "winter", ""] * 16
CAMERAS = [i // 12 for i in range(48)]
COLOURS = [["red", "blue", "green", ""][(i * 7) % 4] for i in range(48)]
SLEEVES = [["long", "short"][(i // 3) % 2] for i in range(48)]
WHOLE = RetrievalEvaluator(ks=(1, 5), metrics=("recall@k", "map", "map@r"), primary="map")


def plain_recall(vectors: Tensor, labels: list[str], k: int, skip=lambda q, g: False) -> dict[int, float]:
    """recall@k of each query that has a relevant picture, by a loop over all pairs."""
    found = {}
    for q, query in enumerate(vectors):
        rest = [g for g in range(len(vectors)) if g != q and not skip(q, g)]
        if any(labels[g] == labels[q] for g in rest):
            rest.sort(key=lambda g: (-float(query.double() @ vectors[g].double()), g))
            found[q] = float(any(labels[g] == labels[q] for g in rest[:k]))
    return found


@pytest.fixture
def table(make_table):
    columns = {"label": LABELS, "season": SEASONS, "camera": CAMERAS, "colour": COLOURS, "sleeve": SLEEVES}
    return make_table(columns, attributes=["colour", "sleeve"])


def mean(values: Any) -> float:
    values = list(values)
    return sum(values) / len(values)


def test_numbers_are_the_means_of_what_lies_behind_them(table, vectors) -> None:
    given = vectors(LABELS)
    found = evaluate_vectors(given, table, [RetrievalEvaluator(ks=(1, 5))])
    expected = plain_recall(given, LABELS, 5)
    assert found.metrics["recall@5"] == pytest.approx(mean(expected.values()))
    assert found.per_query is not None
    assert dict(zip(found.per_query.ids.tolist(), found.per_query.values["recall@5"].tolist(), strict=True)) == expected
    for name, value in found.metrics.items():
        assert float(found.per_query.values[name].nanmean()) == pytest.approx(value)
        low, high = found.intervals[name]
        assert low <= value <= high
        assert 0.02 < high - low < 0.5
    assert found.counts == {"queries": 48, "gallery": 48, "queries_without_relevant": 0}


def test_neighbours_items_and_vectors_are_kept(table, vectors) -> None:
    given = vectors(LABELS)
    found = evaluate_vectors(given, table, [RetrievalEvaluator(ks=(1,), metrics=("recall@k",), primary="recall@1")])
    assert found.neighbours is not None
    assert found.neighbours.ids.shape == (48, 10)
    assert not (found.neighbours.ids == found.neighbours.query_ids[:, None]).any()
    scores = given @ given.T
    assert torch.allclose(found.neighbours.scores[3], scores[3][found.neighbours.ids[3]], atol=1e-6)
    assert found.items is not None
    assert found.items[1] == {
        "id": 1,
        "image": table.paths[1],
        "label": "c1",
        "attributes": {"colour": COLOURS[1] or None, "sleeve": "long"},
    }
    assert found.vectors is not None
    assert torch.equal(found.vectors.vectors, given)


def test_without_details_only_numbers_are_found(table, vectors) -> None:
    whole, bare = (
        evaluate_vectors(vectors(LABELS), table, [RetrievalEvaluator()], asking=Asking(details=details))
        for details in (True, False)
    )
    assert bare.metrics == whole.metrics
    assert bare.protocol.hash == whole.protocol.hash
    assert bare.per_query is bare.neighbours is bare.items is bare.vectors is None
    assert bare.intervals == {}


SHORT = RetrievalEvaluator(ks=(1, 5), metrics=("recall@k", "ndcg@5"), primary="recall@1")


@pytest.mark.parametrize("evaluator", [WHOLE, RetrievalEvaluator(), SHORT])
@pytest.mark.parametrize("rerankers", [(), (QueryExpansionReranker(),)])
@pytest.mark.parametrize("sources", [None, np.array(CAMERAS)])
@pytest.mark.parametrize("ranking_bytes", [1, 1500])
def test_blocks_of_any_size_give_the_same_numbers(table, vectors, evaluator, rerankers, sources, ranking_bytes) -> None:
    given = vectors(LABELS)
    given[5] = given[11] = given[40]  # equal scores
    question = question_of(given, table, table.labels, sources)
    whole = answer(question, [evaluator], rerankers, first=3)
    blocks = answer(question, [evaluator], rerankers, first=3, ranking_bytes=ranking_bytes)
    assert blocks.numbers == whole.numbers
    assert torch.equal(blocks.first.ids, whole.first.ids)
    for name, column in whole.values[0].items():
        assert torch.equal(blocks.values[0][name], column)


class OnlyRankings:
    """An evaluator that looks at rankings, as one of somebody else's may."""

    primary = "first"

    def depth(self, relevance: Relevance) -> int:
        return 3

    def __call__(self, rankings: Rankings, relevance: Relevance) -> dict[str, float]:
        return {"first": float(rankings.scores[:, 0].double().mean())}


def test_an_evaluator_that_only_reads_rankings_is_served(table, vectors) -> None:
    given = vectors(LABELS)
    found = evaluate_vectors(given, table, [OnlyRankings(), WHOLE])
    best = (given @ given.T).fill_diagonal_(-1).max(1).values
    assert found.metrics["first"] == pytest.approx(float(best.mean()), abs=1e-6)
    assert "first" not in found.intervals
    assert "map" in found.intervals


def test_queries_are_searched_in_the_gallery_where_the_table_flags_them(make_table, vectors) -> None:
    flags = {"is_query": [i % 4 == 0 for i in range(48)], "is_gallery": [i % 4 != 0 for i in range(48)]}
    given = vectors(LABELS)
    found = evaluate_vectors(given, make_table({"label": LABELS, **flags}), [WHOLE])
    expected = plain_recall(given, LABELS, 1, lambda q, g: g % 4 == 0)
    assert found.metrics["recall@1"] == pytest.approx(mean(expected[q] for q in range(0, 48, 4)))
    assert found.protocol.rule == "queries against gallery"
    assert found.per_query.ids.tolist() == list(range(0, 48, 4))
    assert [item["query"] for item in found.items] == flags["is_query"]


def test_pictures_of_the_same_source_neither_answer_nor_count(table, vectors) -> None:
    given = vectors(LABELS)
    found = evaluate_vectors(given, table, [WHOLE], asking=Asking(source="camera"))
    expected = plain_recall(given, LABELS, 1, lambda q, g: CAMERAS[q] == CAMERAS[g])
    assert found.metrics["recall@1"] == pytest.approx(mean(expected.values()))
    assert found.protocol.exclusions == ("same-id", "same-source:camera")
    near = found.neighbours
    cameras = torch.tensor(CAMERAS)
    assert not (cameras[near.ids] == cameras[near.query_ids, None])[near.ids >= 0].any()


def test_rerankers_keep_the_source_rule(table, vectors) -> None:
    reranker = QueryExpansionReranker(n=4, alpha=0.0)
    found = evaluate_vectors(vectors(LABELS), table, [WHOLE], asking=Asking(source="camera", rerankers=[reranker]))
    near, cameras = found.neighbours, torch.tensor(CAMERAS)
    assert not (cameras[near.ids] == cameras[near.query_ids, None])[near.ids >= 0].any()
    assert [spec["config"]["n"] for spec in found.protocol.rerankers] == [4]
    plain = evaluate_vectors(vectors(LABELS), table, [WHOLE], asking=Asking(source="camera"))
    assert plain.metrics != found.metrics
    assert plain.protocol.hash == found.protocol.hash


def test_a_slice_is_the_mean_over_its_queries(table, vectors) -> None:
    given = vectors(LABELS)
    found = evaluate_vectors(given, table, [WHOLE], asking=Asking(slices=("season", "label")))
    expected = plain_recall(given, LABELS, 1)
    assert list(found.slices) == ["season", "label"]
    assert set(found.slices["season"]) == {"summer", "winter"}
    for value, metrics in found.slices["season"].items():
        rows = [q for q in range(48) if SEASONS[q] == value]
        assert metrics["support"] == 16
        assert metrics["recall@1"] == pytest.approx(mean(expected[q] for q in rows))
    assert set(found.slices["label"]) == set(LABELS)
    text = found.summary()
    assert "map by season, worst first" in text


def test_attributes_are_asked_one_by_one_and_joined_by_their_rule(table, vectors) -> None:
    given = vectors(LABELS)
    found = evaluate_vectors(given, table, [AttributeRetrievalEvaluator()], asking=Asking(slices=("season",)))
    known = [i for i in range(48) if COLOURS[i]]
    colours = plain_recall(given[known], [COLOURS[i] for i in known], 1)
    sleeves = plain_recall(given, SLEEVES, 1)
    assert found.metrics["recall@1[colour]"] == pytest.approx(mean(colours.values()))
    assert found.metrics["recall@1/mean"] == pytest.approx((mean(colours.values()) + mean(sleeves.values())) / 2)
    assert found.metrics["recall@1"] == pytest.approx(mean([*colours.values(), *sleeves.values()]))
    assert found.counts == {
        "queries": 84, "gallery": 84, "queries_without_relevant": 0, "attributes_left_out": 0
    }  # fmt: skip
    summer = [q for q in range(48) if SEASONS[q] == "summer"]
    expected = [sleeves[q] for q in summer] + [colours[known.index(q)] for q in summer if q in known]
    assert found.slices["season"]["summer"]["recall@1"] == pytest.approx(mean(expected))
    assert found.slices["season"]["summer"]["support"] == len(expected)


def test_what_a_picture_has_in_a_joint_metric_adds_up_to_it_and_varies_as_it_does(make_table, vectors) -> None:
    labels = [f"c{i % 30}" for i in range(300)]
    colours = [f"v{i % 5}" if i % 3 else "" for i in range(300)]
    sleeves = [f"s{(i // 7) % 4}" for i in range(300)]
    table = make_table({"label": labels, "colour": colours, "sleeve": sleeves}, attributes=["colour", "sleeve"])
    found = evaluate_vectors(vectors(sleeves, noise=1.5), table, [AttributeRetrievalEvaluator()])
    values = found.per_query.values
    for name, value in found.metrics.items():
        assert float(values[name].nanmean()) == pytest.approx(value, abs=1e-9), name
    # the weighted mean over attributes, of pictures drawn with replacement: its spread, by a loop
    own = torch.stack([values["map[colour]"], values["map[sleeve]"]], 1)
    random = torch.Generator().manual_seed(1)
    drawn = torch.stack([own[torch.randint(300, (300,), generator=random)].nanmean() for _ in range(1500)])
    low, high = found.intervals["map"]
    assert (high - low) / (2 * 1.96 * float(drawn.std())) == pytest.approx(1, abs=0.12)


def test_an_evaluation_of_attributes_and_labels_holds_both(table, vectors, tmp_path) -> None:
    chosen = [RetrievalEvaluator(), AttributeRetrievalEvaluator()]
    found = evaluate_vectors(vectors(LABELS), table, chosen, asking=Asking(slices=("season",)))
    assert found.primary == "map@r"
    assert {"map@r", "map[colour]"} <= set(found.metrics)
    assert {"map@r", "map"} <= set(found.slices["season"]["summer"])
    labels, attributes = (evaluate_vectors(vectors(LABELS), table, [evaluator]).metrics for evaluator in chosen)
    assert found.metrics["recall@1"] == labels["recall@1"] != attributes["recall@1"]  # the one named first has it
    turned = evaluate_vectors(vectors(LABELS), table, chosen[::-1])
    assert turned.metrics["recall@1"] == attributes["recall@1"]
    assert float(turned.per_query.values["recall@1"].nanmean()) == pytest.approx(attributes["recall@1"])
    back = load_evaluation(save_evaluation(found, tmp_path / "e"))
    assert json.dumps(back.as_dict()) == json.dumps(found.as_dict())


def test_the_order_of_rows_changes_nothing(table, vectors) -> None:
    given = vectors(LABELS)
    order = torch.randperm(48, generator=torch.Generator().manual_seed(3)).tolist()
    one = evaluate_vectors(given, table, [WHOLE])
    other = evaluate_vectors(given[order], table.take(order), [WHOLE])
    assert other.metrics == pytest.approx(one.metrics, abs=1e-12)
    assert other.intervals == {name: pytest.approx(ends) for name, ends in one.intervals.items()}


def test_of_a_large_table_only_rows_that_asked_or_answered_are_kept(make_table, vectors) -> None:
    flags = {"is_query": [i < 4 for i in range(48)], "is_gallery": [i >= 4 for i in range(48)]}
    table = make_table({"label": LABELS, **flags})
    near = evaluate_vectors(vectors(LABELS), table, [WHOLE]).neighbours
    kept = _shown(table, near, most=20)
    assert set(kept.ids.tolist()) == {0, 1, 2, 3, *near.ids.flatten().tolist()}
    assert len(kept) < 48
    assert _shown(table, near, most=48) is table


def test_rows_that_lie_together_are_not_copied(make_table, vectors) -> None:
    given = vectors(LABELS)
    flags = {"is_query": [i < 4 for i in range(48)], "is_gallery": [i >= 4 for i in range(48)]}
    table = make_table({"label": LABELS, **flags})
    question = question_of(given, table, table.labels)
    assert question.gallery.vectors.data_ptr() == given[4:].data_ptr()
    mixed = make_table({"label": LABELS, "is_query": [i % 2 for i in range(48)], "is_gallery": [1] * 48})
    question = question_of(given, mixed, mixed.labels)
    assert question.queries.ids.tolist() == list(range(1, 48, 2))
    assert torch.equal(question.queries.vectors, given[1::2])


def test_vectors_may_lie_in_a_memory_map(table, vectors, tmp_path) -> None:
    given = vectors(LABELS)
    given.numpy().tofile(tmp_path / "v.bin")
    mapped = torch.from_file(str(tmp_path / "v.bin"), size=given.numel()).view(given.shape)
    assert evaluate_vectors(mapped, table, [WHOLE]).metrics == evaluate_vectors(given, table, [WHOLE]).metrics


def test_queries_that_are_alike_are_drawn_together_if_asked(make_table, vectors, tmp_path) -> None:
    labels = [f"c{i // 8}" for i in range(160)]
    products = [f"p{i // 4}" if i >= 8 else "" for i in range(160)]
    given = vectors(labels)
    given = given.view(40, 4, -1)[:, :1].expand(40, 4, -1).reshape(160, -1)  # four views that all look the same
    table = make_table({"label": labels, "product": products})
    single = evaluate_vectors(given, table, [WHOLE])
    grouped = evaluate_vectors(given, table, [WHOLE], asking=Asking(resample="product"))
    assert grouped.metrics == single.metrics
    widths = [high - low for low, high in (single.intervals["map"], grouped.intervals["map"])]
    assert widths[1] > 1.6 * widths[0]
    assert (single.resampled, grouped.resampled) == (None, "product")
    assert single.protocol.hash == grouped.protocol.hash
    back = load_evaluation(save_evaluation(grouped, tmp_path / "e"))
    assert back.resampled == "product"
    assert len(back.per_query.groups.unique()) == 38 + 8  # the rows without a product stand alone


@pytest.mark.parametrize(
    ("asking", "words"),
    [
        (Asking(slices=("saison",)), 'no column "saison" for --slice; did you mean "season"'),
        (Asking(resample="labels"), 'no column "labels" for --resample; did you mean "label"'),
        (Asking(source="camara"), 'no column "camara" for --source; did you mean "camera"'),
    ],
)
def test_an_unknown_column_names_the_nearest(table, vectors, asking, words) -> None:
    with pytest.raises(DataError, match=words):
        evaluate_vectors(vectors(LABELS), table, [WHOLE], asking=asking)


def test_a_rule_that_leaves_nothing_to_find_says_so(make_table, vectors) -> None:
    table = make_table({"label": LABELS, "shop": LABELS})
    with pytest.raises(DataError, match="no label occurs in two sources"):
        evaluate_vectors(vectors(LABELS), table, [WHOLE], asking=Asking(source="shop"))
    single = [f"c{i}" for i in range(48)]
    with pytest.raises(DataError, match="every label occurs once"):
        evaluate_vectors(vectors(single), make_table({"label": single}), [WHOLE])


def test_a_benchmarks_name_is_the_protocols(table, vectors) -> None:
    named = replace(table, protocol_name="in-shop")
    protocol = evaluate_vectors(vectors(LABELS), named, [WHOLE], asking=Asking(split="test")).protocol
    assert (protocol.name, protocol.split) == ("in-shop", "test")
    assert evaluate_vectors(vectors(LABELS), table, [WHOLE]).protocol.name == "leave-one-out"
