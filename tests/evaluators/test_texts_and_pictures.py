"""Cross-modal and composed recalls: joins, and what the constructors refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fashreg.evaluators.composed import ComposedEvaluator
from fashreg.evaluators.cross_modal import CrossModalEvaluator
from fashreg.functional.candidates import draw_trials
from fashreg.functional.relevance import relevance_from_labels
from fashreg.values import Rankings


def test_recalls_by_hand_and_their_mean() -> None:
    """Three queries of which the first finds its kin at rank 1, the second at rank 3, the third not within 3."""
    labels, ids = torch.arange(4), torch.arange(4)
    ranked = torch.tensor([[0, 1, 2], [0, 2, 1], [0, 1, 3]])
    relevance = relevance_from_labels(torch.tensor([0, 1, 2]), torch.full((3,), -1), labels, ids)
    found = CrossModalEvaluator(ks=(1, 3))(Rankings(ranked, torch.rand(3, 3)), relevance)
    assert found == pytest.approx({"recall@1": 1 / 3, "recall@3": 2 / 3, "mean_recall": 1 / 2})


def test_the_mean_recall_is_the_mean_of_six_as_papers_print_it() -> None:
    """The golden row: (65.94 + 91.92 + 97.22 + 62.86 + 87.38 + 93.52) / 6 = 83.14."""

    def numbers(*values: float) -> dict[str, float]:
        named = dict(zip(("recall@1", "recall@5", "recall@10"), values, strict=True))
        return {**named, "mean_recall": sum(values) / 3}

    found = CrossModalEvaluator().joined(
        {"text_to_image": numbers(0.6286, 0.8738, 0.9352), "image_to_text": numbers(0.6594, 0.9192, 0.9722)}
    )
    assert round(100 * found["mean_recall"], 2) == 83.14
    assert found["image_to_text/recall@5"] == 0.9192
    with pytest.raises(ValueError, match="the directions are image_to_text and text_to_image"):
        CrossModalEvaluator().joined({"image_to_text": numbers(0, 0, 0)})


def test_every_value_of_a_column_has_one_voice() -> None:
    found = ComposedEvaluator(by="category").joined({"dress": {"recall@10": 0.2}, "shirt": {"recall@10": 0.6}})
    assert found == pytest.approx({"recall@10": 0.4, "recall@10[dress]": 0.2, "recall@10[shirt]": 0.6})


@pytest.mark.parametrize("cls", [CrossModalEvaluator, ComposedEvaluator])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ks": ()}, "ks must be"),
        ({"ks": (0,)}, "ks must be"),
        ({"candidates": 0}, "candidates must be"),
        ({"candidates": "all"}, "candidates must be"),
        ({"candidates": 5, "repeats": 0}, "queries and repeats"),
        ({"within": "kind"}, "say how many candidates"),
    ],
)
def test_options_that_mean_nothing_are_refused(cls: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        cls(**options)


def trials(count: int = 40, **more: Any) -> Any:
    ids = torch.arange(count)
    options = {"candidates": 4, "queries": 12, "repeats": 3, "seed": 0, **more}
    return draw_trials(ids // 4, ids, ids // 4, ids, **options)


def test_a_drawing_has_one_right_answer_first_and_different_wrong_ones() -> None:
    found = trials()
    labels = found.candidates // 4
    assert (labels[:, 0] == found.queries // 4).all()
    assert (labels[:, 1:] != found.queries[:, None] // 4).all()
    assert all(len(set(row)) == 5 for row in found.candidates.tolist())
    assert [len(set(found.queries[start : start + 12].tolist())) for start in (0, 12, 24)] == [12, 12, 12]
    assert found.short == 0


def test_a_drawing_is_the_same_everywhere() -> None:
    """Written down once: another library, machine or release must draw the same."""
    found = trials(count=12, queries=3, repeats=1, candidates=2)
    assert found.queries.tolist() == [2, 1, 9]
    assert found.candidates.tolist() == [[1, 10, 7], [0, 8, 10], [10, 0, 3]]


def test_drawings_are_even() -> None:
    """Every query and every wrong candidate is drawn about as often as every other."""
    found = trials(count=20, queries=5, repeats=2000, candidates=3)
    for drawn, wanted in ((found.queries, 500), (found.candidates[:, 1:].flatten(), 1500)):
        counts = torch.bincount(drawn, minlength=20).double()
        assert float(((counts - wanted) ** 2 / wanted).sum()) < 45  # chi square, 19 degrees: p = 0.0007


def test_wrong_candidates_are_of_the_same_kind_where_asked() -> None:
    kinds = torch.arange(40) // 8
    found = trials(query_kinds=kinds, gallery_kinds=kinds, candidates=6)
    shown = found.candidates[:, 1:]
    assert (kinds[shown.clamp(min=0)] == kinds[found.queries][:, None])[shown >= 0].all()
    assert found.short == len(found) == 36  # eight of a kind, four of a label: four wrong ones
    assert (shown >= 0).sum(1).tolist() == [4] * 36


def test_what_is_excluded_is_no_candidate() -> None:
    ids = torch.arange(40)
    found = trials(excluded=ids)
    assert (found.candidates != found.queries[:, None]).all()
