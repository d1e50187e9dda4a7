"""A model's card: what the Hub reads, what a person reads, and whose numbers it tells."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from card_front import PROTOCOL, front_of
from huggingface_hub import ModelCard
from PIL import Image

from fashreg.errors import ModelError
from fashreg.jobs.card import card_text
from fashreg.jobs.evaluation_folder import save_evaluation
from fashreg.jobs.evaluation_result import Evaluation
from fashreg.storage import save_encoder
from fashreg.testing.tiny_run import tiny_encoder

# ---- what the Hub reads ----


def test_the_hubs_own_parser_reads_every_metric_with_its_interval_and_what_it_was_measured_on(
    model: Path, measured: Evaluation
) -> None:
    data = ModelCard(card_text(model, evaluation=measured, repo="ann/dresses")).data
    assert (data.license, data.library_name, data.model_name) == ("cc-by-nc-4.0", "fashreg", "dresses")
    assert data.pipeline_tag == "image-feature-extraction"
    found = {result.metric_name: result for result in data.eval_results}
    assert list(found) == ["recall@1", "map@r", "map[neck line]"]  # NaN is no number
    assert found["recall@1"].metric_args == {"interval_95": [0.2, 0.8]}
    assert found["map@r"].metric_value == 0.512346
    assert found["map@r"].metric_args is None
    assert found["map[neck line]"].metric_type == "map_neck-line"
    one = found["recall@1"]
    assert (one.dataset_type, one.dataset_name) == ("unknown", 't.csv, split "test"')
    assert one.dataset_args == {
        "rule": "leave-one-out",
        "queries": 8,
        "gallery": 8,
        "data_sha256": "d" * 64,
        "protocol_sha256": PROTOCOL.hash,
    }


def test_what_the_hubs_parser_writes_again_is_what_was_read(model: Path, measured: Evaluation) -> None:
    text = card_text(model, evaluation=measured)
    assert front_of(ModelCard(text).content)["model-index"] == front_of(text)["model-index"]


def test_a_benchmark_is_named_and_its_split_told(model: Path, measured: Evaluation) -> None:
    official = replace(measured, protocol=replace(PROTOCOL, name="in-shop", split="test"))
    (result,) = front_of(card_text(model, evaluation=official))["model-index"][0]["results"]
    assert (result["dataset"]["type"], result["dataset"]["split"]) == ("in-shop", "test")


def test_an_unmeasured_model_claims_nothing(tmp_path: Path) -> None:
    front = front_of(card_text(save_encoder(tiny_encoder(), tmp_path / "model")))
    assert set(front) == {"library_name", "pipeline_tag", "tags"}


@pytest.mark.parametrize(
    ("licence", "front"),
    [
        ("MIT", {"license": "mit"}),
        ("LicenseRef-Ann", {"license": "other", "license_name": "licenseref-ann"}),
    ],
)
def test_a_licence_given_stands_over_the_recipes(model: Path, licence: str, front: dict[str, str]) -> None:
    text = card_text(model, licence=licence)
    assert {key: value for key, value in front_of(text).items() if key.startswith("license")} == front
    assert f"## Licence\n\n`{licence}`." in text


# ---- what a person reads ----


def test_the_text_tells_metrics_hashes_training_environment_and_limits(model: Path, measured: Evaluation) -> None:
    text = card_text(model, evaluation=measured)
    for told in (
        "finds the same dress",
        "| recall@1 | 0.5000 | 0.2000 to 0.8000 |",
        "| map@r | 0.5123 |  |",
        "8 queries, 8 pictures searched",
        PROTOCOL.hash,
        "d" * 64,
        "triplet (margin 0.2), fashreg 0.1.0",
        "class-balanced (images\\_per\\_class 2)".replace("\\_", "_"),
        "| epochs | 3 |",
        "| data.train.pictures | 36 |",
        "| torch | 2.9 |",
        "Weakest by category: scarf, recall@1 0.1000 (6 queries).",
        "1 queries have nothing relevant to find",
    ):
        assert told in text, told
    assert "/home/ann" not in text
    assert "workers" not in text


def test_the_code_in_the_card_runs(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("dress.jpg", "shirt.jpg"):
        Image.new("RGB", (40, 40), "teal").save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"^```python\n(.*?)^```", card_text(model), re.M | re.S)
    space: dict[str, Any] = {}
    exec(code.replace("path/to/this/folder", "model"), space)
    assert space["vectors"].shape == (2, 8)
    assert 'fashreg.load("ann/dresses")' in card_text(model, repo="ann/dresses")


def test_values_of_strangers_stay_text(model: Path, measured: Evaluation, tmp_path: Path) -> None:
    evil = (
        "<img src=x onerror=alert(1)> <!-- fashreg --> [a](http://b) | `c` \x1b[31m\u202e\n\n# big\n---\nlicense: mit"
    )
    folder = save_encoder(
        tiny_encoder(),
        tmp_path / "evil",
        recipe={"description": evil},
        provenance={evil: evil, "environment": {evil: evil}},
    )
    strange = replace(
        measured,
        metrics={"recall@1": 0.5, evil: 0.5},
        protocol=replace(PROTOCOL, source=evil, label=evil, name=evil, split=evil),
        slices={evil: {evil: {"recall@1": 0.5, "support": 9}}},
        resampled=evil,
        model=None,
    )
    text = card_text(folder, evaluation=strange)
    body = text.partition("\n---\n")[2]
    assert "<img" not in body
    assert "[a](" not in body
    assert "# big" not in [line.strip() for line in body.splitlines()]
    assert not {"\x1b", "\u202e"} & set(text)
    assert ModelCard(text).data.license is None


def test_trees_without_end_are_cut(tmp_path: Path) -> None:
    deep: Any = "bottom"
    for _ in range(40):
        deep = {"x": [deep]}
    said = {"many": {f"key {n}": n for n in range(500)}, "deep": deep, "part": {"name": "p", "config": {"tree": deep}}}
    text = card_text(save_encoder(tiny_encoder(), tmp_path / "model", provenance=said))
    assert "| many.key 7 | 7 |" in text
    assert "bottom" not in text
    assert text.count("\n") < 250


# ---- whose numbers ----


def test_the_evaluation_of_another_model_is_refused(model: Path, measured: Evaluation) -> None:
    with pytest.raises(ModelError, match=r"measured another model than .* fashreg evaluate"):
        card_text(model, evaluation=replace(measured, model={"fingerprint": "f" * 64}))


def test_a_result_that_does_not_say_whose_it_is_is_taken_at_ones_word(model: Path, measured: Evaluation) -> None:
    assert "0.2000 to 0.8000" in card_text(model, evaluation=replace(measured, model=None))


def test_the_evaluation_inside_the_folder_or_beside_it_in_a_run_is_found(
    model: Path, measured: Evaluation, tmp_path: Path
) -> None:
    save_evaluation(replace(measured, metrics={"recall@1": 0.5}), tmp_path / "evaluation")
    assert "0.2000 to 0.8000" not in card_text(model)  # a neighbour of any folder is not its own
    (tmp_path / "recipe.yaml").write_text("seed: 0\n")
    assert "0.2000 to 0.8000" in card_text(model)
    assert card_text(tmp_path) == card_text(model)
