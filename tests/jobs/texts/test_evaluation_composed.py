"""Pictures with texts find targets: galleries, flags and candidates, against a plain reference."""

from __future__ import annotations

import pytest
from text_rows import PRODUCTS, TEXTS, edits, mean, order

from fashreg.errors import DataError
from fashreg.evaluators.composed import ComposedEvaluator
from fashreg.jobs.evaluation import Asking, evaluate_table


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


def test_the_reference_is_no_candidate_where_it_is_left_out(encoder, make) -> None:
    table = edits(make)
    shown = [target or path for path, target in zip(table.paths, table.targets, strict=True)]
    met = []
    for left_out in (True, False):
        evaluator = ComposedEvaluator(ks=(1,), candidates=7, queries=20, repeats=1, exclude_reference=left_out)
        near = evaluate_table(encoder, table, [evaluator]).neighbours
        found = zip(near.query_ids.tolist(), near.ids.tolist(), strict=True)
        met.append(sum(shown[i] == table.paths[query] for query, ids in found for i in ids if i >= 0))
    assert met[0] == 0 < met[1]
