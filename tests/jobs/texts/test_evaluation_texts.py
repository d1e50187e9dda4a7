"""Classes, captions, and what goes with which question."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from text_rows import KINDS, TEXTS, N, edits, mean

from fashreg.errors import DataError, ModelError
from fashreg.evaluators.captioning import CaptioningEvaluator
from fashreg.evaluators.classification import ClassificationEvaluator
from fashreg.evaluators.composed import ComposedEvaluator
from fashreg.evaluators.cross_modal import CrossModalEvaluator
from fashreg.evaluators.retrieval import RetrievalEvaluator
from fashreg.jobs.evaluation import Asking, evaluate, evaluate_table, evaluate_vectors
from fashreg.testing.tiny_texts import CLASSES, tiny_text_encoder


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
