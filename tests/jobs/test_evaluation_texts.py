"""Evaluating what reads texts: every number against plain loops over all pairs, with a toy model of four tasks."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fashreg.data.table import read_table
from fashreg.errors import DataError, ModelError
from fashreg.evaluators.captioning import CaptioningEvaluator
from fashreg.evaluators.classification import ClassificationEvaluator
from fashreg.evaluators.composed import ComposedEvaluator
from fashreg.evaluators.cross_modal import CrossModalEvaluator
from fashreg.evaluators.retrieval import RetrievalEvaluator
from fashreg.jobs.evaluation import Asking, evaluate, evaluate_table, evaluate_vectors
from fashreg.jobs.evaluation_folder import load_evaluation, save_evaluation
from fashreg.testing.tiny_texts import CLASSES, tiny_text_encoder

N = 30
PRODUCTS = [f"p{i // 3}" for i in range(N)]  # three views of each
KINDS = [CLASSES[(i // 3) % 3] for i in range(N)]
TEXTS = [f"a {KINDS[i]} number {i // 3 if i % 9 else 'nine'}" for i in range(N)]  # now and then a second text


@pytest.fixture(scope="module")
def encoder() -> Any:
    return tiny_text_encoder()


@pytest.fixture
def make(tmp_path):
    """A table of pictures of noise. columns: beside image; options: of the data section."""

    def made(columns: dict[str, list[Any]], **options: Any) -> Any:
        noise = np.random.default_rng(0)
        rows = len(next(iter(columns.values())))
        names = columns.pop("image", [f"{row}.png" for row in range(rows)])
        targets = {name for name in columns.get("wanted", []) if name}
        for name in dict.fromkeys([*names, *sorted(targets)]):
            Image.fromarray(noise.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(tmp_path / name)
        frame = pd.DataFrame({"image": names, **columns})
        return read_table(frame, {"root": str(tmp_path), **options}, need_label=False)

    return made


@pytest.fixture
def shop(make):
    return make({"label": PRODUCTS, "text": TEXTS, "kind": KINDS}, text="text")


def order(scores: torch.Tensor, ids: list[int]) -> list[int]:
    """Places by falling score, rounded to fp32 as everywhere, then by id."""
    rounded = scores.float().tolist()
    return sorted(range(len(ids)), key=lambda place: (-rounded[place], ids[place]))


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


def mean(values: Any) -> float:
    values = list(values)
    return sum(values) / len(values)


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


def edits(make, **more: Any) -> Any:
    """Edits between pictures of a small shop: 12 queries whose targets repeat, and two rows that only add pictures."""
    pictures = [f"{i}.png" for i in range(10)]
    source = [pictures[i % 6] for i in range(12)] + ["8.png", "9.png"]
    wanted = [pictures[(i * 5 + 3) % 8] for i in range(12)] + ["", ""]
    texts = [f"but number {i}" for i in range(12)] + ["", ""]
    columns = {"image": source, "wanted": wanted, "text": texts, "kind": [str(i % 2) for i in range(14)]}
    columns["label"] = [Path_stem(w or s) for w, s in zip(wanted, source, strict=True)]
    return make(columns, text="text", target="wanted", **more)


def Path_stem(name: str) -> str:  # noqa: N802
    return f"product {int(name.split('.')[0]) // 2}"


def plain_composed(encoder, table, ks, rows=None, exclude=False) -> dict[int, list[int]]:
    """Row that asks -> 1 or 0 for each ranked picture of the gallery, every different picture once."""
    rows = range(len(table)) if rows is None else rows
    gallery: dict[str, int] = {}
    for row in rows:
        gallery.setdefault(table.targets[row] or table.paths[row], row)
    answers = encoder.embed(list(gallery), task="composed").double()
    found = {}
    for row in rows:
        if not table.texts[row]:
            continue
        query = encoder.embed([table.paths[row]], texts=[table.texts[row]], task="composed").double()[0]
        names = list(gallery)
        ranked = [names[p] for p in order(answers @ query, list(gallery.values()))]
        ranked = [name for name in ranked if not (exclude and name == table.paths[row])]
        found[row] = [int(table.labels[gallery[name]] == table.labels[row]) for name in ranked]
    return {row: hits for row, hits in found.items() if any(hits)}


def test_pictures_with_texts_find_targets_among_the_different_targets(encoder, make) -> None:
    table = edits(make)
    found = evaluate_table(encoder, table, [ComposedEvaluator(ks=(1, 3))])
    plain = plain_composed(encoder, table, (1, 3))
    for k in (1, 3):
        assert found.metrics[f"recall@{k}"] == pytest.approx(mean(any(hits[:k]) for hits in plain.values()))
    assert found.metrics["mean_recall"] == pytest.approx(mean([found.metrics["recall@1"], found.metrics["recall@3"]]))
    assert found.counts["gallery"] == len({t for t in table.targets if t}) + 2  # duplicates collapse; two more
    assert found.counts["queries"] == 12  # rows that only add pictures do not ask
    assert (found.neighbours.asks, found.neighbours.finds) == ("image+text", "target")
    assert dict(zip(found.per_query.ids.tolist(), found.per_query.values["recall@1"].tolist(), strict=True)) == {
        row: float(hits[0]) for row, hits in plain.items()
    }


def test_the_reference_is_left_out_when_asked_for(encoder, make) -> None:
    table = edits(make)
    found = evaluate_table(encoder, table, [ComposedEvaluator(ks=(1, 3), exclude_reference=True)])
    plain = plain_composed(encoder, table, (1, 3), exclude=True)
    assert found.metrics["recall@3"] == pytest.approx(mean(any(hits[:3]) for hits in plain.values()))
    seen = [{table.targets[i] for i in ids if i >= 0} for ids in found.neighbours.ids.tolist()]
    assert not any(table.images[i] in paths for i, paths in zip(found.neighbours.query_ids.tolist(), seen, strict=True))
    kept = evaluate_table(encoder, table, [ComposedEvaluator(ks=(1, 3))]).neighbours
    assert int((kept.ids >= 0).sum()) > int((found.neighbours.ids >= 0).sum())


def test_each_value_of_a_column_has_its_own_gallery_and_one_voice(encoder, make) -> None:
    table = edits(make)
    found = evaluate_table(encoder, table, [ComposedEvaluator(ks=(1, 2), by="kind")], asking=Asking(slices=("kind",)))
    by_kind = {}
    for kind in ("0", "1"):
        rows = [row for row in range(len(table)) if table.frame["kind"][row] == kind]
        plain = plain_composed(encoder, table, (1, 2), rows)
        by_kind[kind] = mean(any(hits[:2]) for hits in plain.values())
        assert found.metrics[f"recall@2[{kind}]"] == pytest.approx(by_kind[kind])
    assert found.metrics["recall@2"] == pytest.approx(mean(by_kind.values()))
    assert float(found.per_query.values["recall@2"].nanmean()) == pytest.approx(found.metrics["recall@2"])
    assert found.slices["kind"]["1"]["recall@2"] == pytest.approx(by_kind["1"])


def test_flags_say_who_asks_and_what_is_searched(encoder, make) -> None:
    """FashionIQ's tables: rows that ask name a target, rows of the gallery are pictures of their own."""
    columns = {
        "image": ["0.png", "1.png", "2.png", "0.png", "1.png", "2.png", "3.png"],
        "wanted": ["2.png", "3.png", "0.png", "", "", "", ""],
        "text": ["but blue", "but red", "but long", "", "", "", ""],
        "label": ["2", "3", "0", "0", "1", "2", "3"],
        "is_query": [True, True, True, False, False, False, False],
        "is_gallery": [False, False, False, True, True, True, True],
    }
    table = make(columns, text="text", target="wanted")
    found = evaluate_table(encoder, table, [ComposedEvaluator(ks=(1, 4))])
    assert found.counts == {"queries": 3, "gallery": 4, "queries_without_relevant": 0}
    assert found.metrics["recall@4"] == 1.0


def test_a_query_without_target_in_the_gallery_does_not_count(encoder, make) -> None:
    with pytest.raises(DataError, match="--set target=COLUMN"):
        evaluate_table(encoder, make({"label": PRODUCTS, "text": TEXTS}, text="text"), [ComposedEvaluator()])


def test_candidates_of_composed_queries(encoder, make) -> None:
    table = edits(make)
    evaluator = ComposedEvaluator(ks=(1,), candidates=2, queries=6, repeats=4)
    found = evaluate_table(encoder, table, [evaluator])
    assert found.counts["queries"] == 24
    assert float(found.per_query.values["recall@1"].nanmean()) == pytest.approx(found.metrics["recall@1"])
    for query, ids in zip(found.neighbours.query_ids.tolist(), found.neighbours.ids.tolist(), strict=True):
        assert sum(table.labels[i] == table.labels[query] for i in ids if i >= 0) == 1


def test_classes_are_those_of_training_and_unknown_ones_are_left_out(encoder, make) -> None:
    labels = [*KINDS[:-2], "hat", "hat"]
    table = make({"label": labels, "text": TEXTS}, text="text")
    found = evaluate_table(encoder, table, [ClassificationEvaluator(ks=(2,))], asking=Asking(slices=("label",)))
    logits = encoder.logits(table.paths, texts=TEXTS, task="classification")
    answers = [CLASSES[place] for place in logits.argmax(1).tolist()]
    assert found.metrics["accuracy"] == pytest.approx(
        mean(a == b for a, b in list(zip(answers, labels, strict=True))[:-2])
    )
    from sklearn.metrics import f1_score

    assert found.metrics["macro_f1"] == pytest.approx(f1_score(labels[:-2], answers[:-2], average="macro"))
    assert found.counts["queries_of_unknown_class"] == 2
    assert "a class that training did not have" in found.summary()
    assert found.items[0]["answers"][0][0] == answers[0]
    for name, value in found.metrics.items():
        assert float(found.per_query.values[name].nanmean()) == pytest.approx(value)
    shirts = [a == "shirt" for a, b in zip(answers, labels, strict=True) if b == "shirt"]
    assert found.slices["label"]["shirt"]["accuracy"] == pytest.approx(mean(shirts))
    with pytest.raises(DataError, match="--label sub_category"):
        evaluate_table(encoder, make({"label": ["hat"] * N}), [ClassificationEvaluator()])


def test_captions_are_written_once_a_picture_and_judged_by_all_its_texts(encoder, make) -> None:
    images = [f"{i // 2}.png" for i in range(12)]
    texts = ["a red dress with sleeves", "the dress is red"] * 5 + ["", ""]
    table = make({"image": images, "text": texts, "wanted": images}, text="text", label=None, target="wanted")
    found = evaluate_table(encoder, table, [CaptioningEvaluator()], asking=Asking(beams=2))
    written = encoder.caption(sorted({*table.paths})[:5], task="captioning", beams=2)
    expected = CaptioningEvaluator()(written, [["a red dress with sleeves", "the dress is red"]] * 5)
    assert found.metrics == pytest.approx(expected)
    assert found.counts == {"queries": 5, "pictures_without_text": 1}
    assert found.items[0]["written"] == written[0]
    assert found.items[0]["references"] == ["a red dress with sleeves", "the dress is red"]
    assert found.model["beams"] == "2"
    assert found.intervals["cider"][0] <= found.metrics["cider"] <= found.intervals["cider"][1]


def test_the_task_chooses_the_evaluator_of_its_kind(make) -> None:
    table = make({"label": KINDS, "text": TEXTS}, text="text")
    encoder = tiny_text_encoder({"words": "cross-modal", "kind": "classification"})
    assert evaluate(encoder, table, task="words", progress=False).primary == "mean_recall"
    assert evaluate(encoder, table, task="kind", progress=False).primary == "mean"
    with pytest.raises(ModelError, match=r"--task NAME, one of: words \(cross-modal\), kind \(classification\)"):
        evaluate(encoder, table, progress=False)
    with pytest.raises(ModelError, match="no task 'colour'"):
        evaluate(encoder, table, task="colour", progress=False)
    single = tiny_text_encoder({"words": "cross-modal"})
    assert (
        evaluate(single, table, progress=False).metrics == evaluate(single, table, task="words", progress=False).metrics
    )


def test_protocols_differ_where_the_question_differs(encoder, shop) -> None:
    whole = evaluate_table(encoder, shop, [CrossModalEvaluator()], task="cross-modal").protocol
    drawn = evaluate_table(encoder, shop, [CrossModalEvaluator(candidates=3)], task="cross-modal").protocol
    seeded = evaluate_table(encoder, shop, [CrossModalEvaluator(candidates=3, seed=1)], task="cross-modal").protocol
    assert len({whole.hash, drawn.hash, seeded.hash}) == 3
    assert whole.rule == "pictures and texts find each other"
    assert whole.exclusions == ()
    assert whole.task == "cross-modal"


def test_several_evaluators_judge_one_table(encoder, shop) -> None:
    both = [RetrievalEvaluator(ks=(1,)), CrossModalEvaluator(ks=(1,))]
    found = evaluate_table(encoder, shop, both, task="cross-modal")
    alone = [evaluate_table(encoder, shop, [one], task="cross-modal").metrics for one in both]
    assert found.metrics == {**alone[1], **alone[0]}
    assert found.primary == "map@r"


def test_what_is_for_pictures_alone_is_refused(encoder, shop) -> None:
    with pytest.raises(DataError, match="--source is for pictures"):
        evaluate_table(encoder, shop, [CrossModalEvaluator()], asking=Asking(source="kind"))
    with pytest.raises(ValueError, match="vectors alone cannot answer"):
        evaluate_vectors(torch.zeros(N, 4), shop, [CrossModalEvaluator()])


def test_random_vectors_find_one_of_101_candidates_with_chance_k_of_101(make) -> None:
    """The golden row: R@K with random embeddings, one right and 100 wrong."""
    from fashreg.functional.candidates import draw_trials
    from fashreg.functional.relevance import relevance_from_labels
    from fashreg.jobs.evaluation_asker import Search, nobody, side
    from fashreg.jobs.evaluation_question import Question

    count, noise = 1000, torch.Generator().manual_seed(0)
    labels, ids = np.arange(count), torch.arange(count)
    asks = side(torch.randn(count, 24, generator=noise), labels, nobody(count))
    finds = side(torch.randn(count, 24, generator=noise), labels, ids)
    relevance = relevance_from_labels(asks.labels, asks.ids, finds.labels, finds.ids)
    search = Search(Question(asks, finds, relevance, "", 0), ids, "text", "image")
    trials = draw_trials(asks.labels, ids, finds.labels, ids, candidates=100, queries=1000, repeats=5, seed=0)
    part, _ = search.drawn(CrossModalEvaluator(), trials, 10, 5)
    assert Counter(trials.queries.tolist()) == dict.fromkeys(range(count), 5)
    for k in (1, 5, 10):
        chance = k / 101
        deviation = (chance * (1 - chance) / 5000) ** 0.5
        assert abs(part.numbers[f"recall@{k}"] - chance) < 4 * deviation


def test_the_picture_of_a_model_card_shows_what_asks_and_what_is_found(encoder, shop, make, tmp_path) -> None:
    from fashreg.jobs.neighbours_picture import draw_neighbours

    by_text = Image.open(draw_neighbours(evaluate_table(encoder, shop, [CrossModalEvaluator()]), tmp_path / "t.jpg"))
    found = evaluate_table(encoder, edits(make), [ComposedEvaluator(ks=(1, 3))])
    both = Image.open(draw_neighbours(found, tmp_path / "b.jpg"))
    for picture in (by_text, both):
        assert picture.width > 800
        assert np.asarray(picture).std() > 20
