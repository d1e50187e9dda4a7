"""Which queries a report shows."""

from __future__ import annotations

import math

import numpy as np
from drawn_shop import by_id, hand_made

from fashreg.report.answers import read_answers, sorting_metric

LABELS = ["a", "a", "b", "b"]
#: 0 finds 1; 1 finds b first; 2 finds a twice; 3 finds 2
NEIGHBOURS = [[1, 2], [2, 0], [0, 1], [2, 0]]
SCORES = [[0.9, 0.2], [0.5, 0.4], [0.8, 0.7], [0.6, 0.1]]


def test_best_worst_and_confusing_queries_are_those_of_the_numbers() -> None:
    evaluation = hand_made({"map@r": [1.0, 0.5, 0.0, 1.0]}, LABELS, NEIGHBOURS, scores=SCORES)
    answers = read_answers(evaluation, by_id(evaluation))
    assert answers is not None
    assert answers.metric == "map@r"
    assert [a.item["id"] for a in answers.best] == [0, 3, 1, 2]  # of equals the surest; one a class first
    assert answers.worst[0].item["id"] == 2
    assert answers.wrong_first == 2
    assert [hit.right for hit in answers.worst[0].hits] == [False, False]
    assert [(c.asked, c.given, c.count, c.share) for c in answers.confusions] == [
        ("a", "b", 1, 0.5),
        ("b", "a", 1, 0.5),
    ]


def test_the_share_with_a_right_answer_within_k_is_the_hit_rate() -> None:
    evaluation = hand_made({"map@r": [1.0, 0.5, 0.0, 1.0]}, LABELS, NEIGHBOURS)
    answers = read_answers(evaluation, by_id(evaluation))
    assert answers is not None
    np.testing.assert_allclose(answers.within, [2 / 4, 3 / 4])  # 0 and 3 at once, 1 by its second, 2 never


def test_queries_that_do_not_count_and_padding_are_left_out() -> None:
    evaluation = hand_made({"map@r": [math.nan, 0.25]}, ["a", "b", "b"], [[1, 2], [2, -1]])
    answers = read_answers(evaluation, by_id(evaluation))
    assert answers is not None
    assert [a.item["id"] for a in answers.worst] == [1]
    assert len(answers.worst[0].hits) == 1
    assert answers.values.tolist() == [0.25]


def test_at_most_one_query_a_class_while_there_are_enough_classes() -> None:
    labels = [c for c in "abcdefgh" for _ in range(3)]
    evaluation = hand_made({"map@r": [i / 24 for i in range(24)]}, labels, [[(i + 1) % 24] for i in range(24)])
    answers = read_answers(evaluation, by_id(evaluation))
    assert answers is not None
    assert [a.item["label"] for a in answers.worst] == list("abcdef")


def test_a_yes_or_no_metric_gives_way_to_one_that_tells_queries_apart() -> None:
    values = {"recall@1": [0.0, 1.0, 1.0, 0.0], "map@r": [0.0, 0.4, 0.9, 0.1]}
    assert sorting_metric(hand_made(values, LABELS, NEIGHBOURS), None) == "map@r"


def test_answers_of_an_attribute_are_judged_by_that_attribute() -> None:
    colours = [{"colour": c} for c in ("red", "red", "blue", None)]
    evaluation = hand_made(
        {"map": [3.0, 0.0, 0.0, 0.0], "map[colour]": [1.0, 0.5, 0.0, math.nan]},
        [None] * 4, NEIGHBOURS, attributes=colours, attribute="colour",
    )  # fmt: skip
    answers = read_answers(evaluation, by_id(evaluation))
    assert answers is not None
    assert (answers.metric, answers.told) == ("map[colour]", "colour")
    assert [hit.right for hit in answers.best[0].hits] == [True, False]


def test_without_labels_nobody_says_right_or_wrong() -> None:
    evaluation = hand_made({"map@r": [1.0, 0.5, 0.0, 1.0]}, [None] * 4, NEIGHBOURS)
    answers = read_answers(evaluation, by_id(evaluation))
    assert answers is not None
    assert {hit.right for a in answers.best for hit in a.hits} == {None}
    assert answers.wrong_first == 0
    assert answers.confusions == ()
