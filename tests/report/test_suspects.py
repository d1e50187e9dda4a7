"""Near-duplicates and labels in doubt."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from drawn_shop import CLASSES, TWICE, WRONG, by_id

from fashreg.jobs.evaluation_result import Evaluation, Item, StoredVectors
from fashreg.report import suspects as module
from fashreg.report.suspects import find_suspects
from fashreg.report.suspects_shown import show_suspects
from fashreg.report.thumbnails import Thumbnails


def clusters(labels: list[str], places: list[int], dim: int = 8) -> tuple[StoredVectors, dict[int, Item]]:
    """Vectors around axis `places[i]`, with labels."""
    vectors = 0.05 * torch.randn(len(labels), dim, generator=torch.Generator().manual_seed(0))
    vectors[torch.arange(len(labels)), torch.tensor(places)] += 1.0
    ids = torch.arange(len(labels)) + 10
    return StoredVectors(ids, vectors), {i + 10: {"id": i + 10, "label": label} for i, label in enumerate(labels)}


def test_the_planted_wrong_label_and_only_it_is_in_doubt() -> None:
    labels = ["a"] * 5 + ["b"] * 5
    labels[7] = "a"
    stored, items = clusters(labels, [0] * 5 + [1] * 5)
    found = find_suspects(stored, items)
    assert found is not None
    (doubt,) = found.doubts
    assert (doubt.item["id"], doubt.claimed, doubt.own, doubt.other) == (17, "b", 0.2, 0.8)
    assert {n["label"] for n in doubt.neighbours} == {"b"}


def test_clean_clusters_raise_no_doubt_and_neither_do_classes_of_two() -> None:
    stored, items = clusters(["a"] * 4 + ["b"] * 4, [0] * 4 + [1] * 4)
    assert find_suspects(stored, items).doubts == ()  # type: ignore[union-attr]
    stored, items = clusters(["a", "b", "a", "b"], [0, 0, 1, 1])
    assert find_suspects(stored, items).doubts == ()  # type: ignore[union-attr]


def test_each_close_pair_is_named_once_nearest_first() -> None:
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.001], [1.0, 0.2], [0.0, 1.0]])
    items: dict[int, Item] = {i: {"id": i, "label": label} for i, label in enumerate(("a", "b", "a", None))}
    found = find_suspects(StoredVectors(torch.arange(4), vectors), items)
    assert found is not None
    assert [(p.one["id"], p.other["id"], p.same_label) for p in found.pairs] == [
        (0, 1, False), (1, 2, False), (0, 2, True)
    ]  # fmt: skip
    assert found.pairs[0].cosine == pytest.approx(1.0, abs=1e-5)


def test_of_very_many_pictures_an_even_sample_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 6)
    stored, items = clusters(["a"] * 10 + ["b"] * 10, [0] * 10 + [1] * 10)
    found = find_suspects(stored, items)
    assert found is not None
    assert (found.looked_at, found.of) == (6, 20)


def test_the_drawn_shop_gives_its_doubled_file_and_its_wrong_label(evaluation: Evaluation) -> None:
    assert evaluation.vectors is not None
    found = find_suspects(evaluation.vectors, by_id(evaluation))
    assert found is not None
    shown = show_suspects(found, Thumbnails())
    assert shown.files_twice == 1
    pair = shown.different[0]
    assert {Path(pair.one["image"]).name, Path(pair.other["image"]).name} == {f"{row}.png" for row in TWICE}
    assert (pair.same_file, pair.pixels) == (True, pytest.approx(1.0))
    assert {Path(d.item["image"]).name: d.claimed for d in found.doubts}[f"{WRONG}.png"] == CLASSES[2]


def test_pictures_that_are_gone_are_no_duplicates_and_no_crash() -> None:
    stored, items = clusters(["a", "b", "a"], [0, 0, 0])
    for item in items.values():
        item["image"] = "gone.png"
    found = find_suspects(stored, items)
    assert found is not None
    thumbnails = Thumbnails()
    assert show_suspects(found, thumbnails).different == ()
    assert thumbnails.missing == {"gone.png"}
