"""FashionIQ's and FashionGen's tables, measured by the questions of their benchmarks as the printed command asks."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from official_folders import fashion_gen, fashion_iq
from PIL import Image

from fashreg.config import read_data
from fashreg.data.layouts import LAYOUTS, options_for, read_layout
from fashreg.data.layouts.fashion_gen import read_trials
from fashreg.data.table import read_table
from fashreg.jobs.evaluation import Evaluation, evaluate
from fashreg.strict_yaml import read_yaml
from fashreg.testing.tiny_texts import tiny_text_encoder


@pytest.fixture(scope="module")
def encoder() -> Any:
    return tiny_text_encoder()


def noisy(folder: Path) -> Path:
    """The pictures of an official folder made different from one another."""
    noise = np.random.default_rng(0)
    for path in sorted([*folder.rglob("*.jpg"), *folder.rglob("*.png")]):
        Image.fromarray(noise.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(path)
    return folder


def as_printed(encoder: Any, name: str, folder: Path) -> Evaluation:
    """Measured with the options that `fashreg data convert` prints."""
    frame = read_layout(name, folder)
    typed = shlex.split(options_for(LAYOUTS[name], frame))
    given = list(zip(typed[::2], typed[1::2], strict=True))
    evaluators = [read_yaml(value) for option, value in given if option == "--evaluator"]
    split = next(value for option, value in given if option == "--split")
    options = [value for option, value in given if option == "--set"]
    read_data(None, options)
    return evaluate(encoder, frame, split=split, evaluators=evaluators, options=options, progress=False)


def first_is_right(scores: Any, right: list[bool], ids: list[int], k: int) -> float:
    order = sorted(range(len(ids)), key=lambda place: (-float(scores.float()[place]), ids[place]))
    return float(any(right[place] for place in order[:k]))


def test_fashion_iq_searches_each_category_by_itself_with_the_reference_left_in(encoder: Any, tmp_path: Path) -> None:
    folder = noisy(fashion_iq(tmp_path))
    found = as_printed(encoder, "fashion-iq-original", folder)
    assert found.counts == {"queries": 6, "gallery": 12, "queries_without_relevant": 0}
    assert found.metrics["recall@10"] == 1.0  # of four pictures
    assert found.metrics["mean_recall"] == 1.0
    assert {"recall@50[dress]", "recall@50[shirt]", "recall@50[toptee]"} <= set(found.metrics)
    assert found.protocol.name == "fashion-iq-original"
    frame = read_layout("fashion-iq-original", folder)
    options = ["text=text", "target=target"]
    near = evaluate(
        encoder, frame, split="validation-dress", evaluators=[{"name": "composed", "ks": [1, 2]}], options=options
    )
    pictures = [str(folder / f"images/B00dressval{i}.jpg") for i in range(4)]
    gallery = encoder.embed(pictures, task="composed").double()
    hits = []
    for target, words in ((1, "is  red, has no sleeves"), (2, "is longer, is blue")):
        query = encoder.embed(pictures[0], texts=words, task="composed").double()[0]
        hits.append(first_is_right(gallery @ query, [i == target for i in range(4)], list(range(4)), 2))
    assert near.metrics["recall@2"] == pytest.approx(sum(hits) / 2)


def test_the_smaller_galleries_of_fashion_iq_hold_what_triplets_name(encoder: Any, tmp_path: Path) -> None:
    found = as_printed(encoder, "fashion-iq-val", noisy(fashion_iq(tmp_path)))
    assert found.counts["gallery"] == 9


def test_fashion_gen_is_searched_both_ways_and_bears_its_name(encoder: Any, tmp_path: Path) -> None:
    found = as_printed(encoder, "fashion-gen-full", noisy(fashion_gen(tmp_path, 6)))
    assert found.counts["gallery"] == 9
    assert found.counts["texts"] == 6
    assert found.protocol.name == "fashion-gen-full"
    table = read_layout("fashion-gen-full", tmp_path)
    drawn = [{"name": "cross-modal", "candidates": 3}]
    other = evaluate(encoder, table, split="validation", evaluators=drawn, options=["text=text"], progress=False)
    assert other.protocol.name == "pictures and texts find each other"


def test_fashion_gen_s_own_candidates_are_those_of_the_table(encoder: Any, tmp_path: Path) -> None:
    folder = noisy(fashion_gen(tmp_path))
    found = as_printed(encoder, "fashion-gen-random-100", folder)
    assert found.protocol.name == "fashion-gen-random-100"
    assert found.counts["queries"] == 2 * 5 * 104
    assert found.counts["queries_short_of_candidates"] == 0
    frame = read_layout("fashion-gen-random-100", folder)
    table = read_table(frame, {"text": "text"}, split="validation")
    row_of = {row: place for place, row in enumerate(table.rows.tolist())}
    pictures = encoder.embed(table.paths, task="cross-modal").double()
    texts = encoder.embed(texts=table.texts, task="cross-modal").double()
    for direction, asks, finds in (("image-to-text", pictures, texts), ("text-to-image", texts, pictures)):
        hits = []
        for repeat in range(1, 6):
            for asking, shown in zip(*read_trials(table.frame, direction, repeat), strict=True):
                places = [row_of[row] for row in shown.tolist()]
                first = [table.labels.tolist().index(table.labels[place]) for place in places]
                ids = first if direction == "image-to-text" else places  # a text stands at its product's first row
                right = [place == 0 for place in range(101)]
                hits.append(first_is_right(finds[places] @ asks[asking], right, ids, 10))
        assert found.metrics[f"{direction.replace('-', '_')}/recall@10"] == pytest.approx(sum(hits) / len(hits))
