"""Model cards: true numbers in the Hub's form, words of strangers that stay words, a person's own text kept."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from PIL import Image

import fashreg
from fashreg.cli import run
from fashreg.errors import FashregError, ModelError
from fashreg.hub.origin import Origin, write_origin
from fashreg.jobs.card import card_text, write_card
from fashreg.jobs.evaluation_folder import save_evaluation
from fashreg.jobs.evaluation_result import Evaluation, Neighbours, PerQuery
from fashreg.manifest import verify_folder
from fashreg.protocol import Protocol
from fashreg.storage import load_encoder, save_encoder
from fashreg.testing.tiny_run import tiny_encoder

PROTOCOL = Protocol(data="d" * 64, rule="leave-one-out", source='/home/ann/shop/t.csv, split "test"', label="style")
RECIPE = {
    "description": "finds the same dress",
    "licence": "CC-BY-NC-4.0",
    "data": {"table": "/home/ann/shop/t.csv"},
    "sampler": {"name": "class-balanced", "images_per_class": 2},
    "trainer": {"epochs": 3, "lr": 0.001, "workers": 7},
}


def front_of(card: str) -> dict[str, Any]:
    return dict(yaml.safe_load(re.match(r"---\n(.*?)\n---\n", card, re.S).group(1)))  # type: ignore[union-attr]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    said = {
        "loss": {"name": "triplet", "plugin": "fashreg", "version": "0.1.0", "config": {"margin": 0.2}},
        "data": {"table": "t.csv", "train": {"pictures": 36, "sha256": "a" * 64}},
        "environment": {"fashreg": "0.1.0", "torch": "2.9"},
    }
    return save_encoder(tiny_encoder(), tmp_path / "model", recipe=RECIPE, metrics={"recall@1": 0.4}, provenance=said)


@pytest.fixture
def measured(tmp_path: Path, model: Path) -> Evaluation:
    """Eight queries with pictures; every second one is answered rightly."""
    items = []
    for number in range(8):
        path = tmp_path / "pictures" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 30), (30 * number, 200, 90)).save(path)
        items.append({"id": number, "image": str(path), "label": f"style {number // 2}", "attributes": {}})
    ids = torch.arange(8)
    hits = (ids % 2).double()
    near = torch.stack([ids.roll(-1), ids.roll(-2), torch.full_like(ids, -1)], 1)
    return Evaluation(
        metrics={"map@r": 0.512345678, "recall@1": 0.5, "map[neck line]": 0.25, "odd": float("nan")},
        primary="recall@1",
        protocol=PROTOCOL,
        counts={"queries": 8, "gallery": 8, "queries_without_relevant": 1},
        intervals={"recall@1": (0.2, 0.8)},
        slices={
            "category": {
                "dress": {"recall@1": 0.9, "support": 40},
                "scarf": {"recall@1": 0.1, "support": 6},
                "hat": {"recall@1": 0.0, "support": 1},
            }
        },
        model={"fingerprint": load_encoder(model).fingerprint()},
        per_query=PerQuery(ids, {"recall@1": hits}),
        neighbours=Neighbours(ids, near, torch.linspace(1, 0, 3).repeat(8, 1)),
        items=items,
    )


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


# ---- writing ----


def test_writing_keeps_the_models_bits_and_renews_the_manifest(model: Path, measured: Evaluation) -> None:
    before = load_encoder(model).fingerprint()
    path = write_card(model, evaluation=measured, licence="MIT")
    assert path == model / "README.md"
    verify_folder(model, kind="model")
    assert load_encoder(model).fingerprint() == before
    assert front_of(path.read_text())["license"] == "mit"
    assert front_of(card_text(model))["license"] == "mit"  # it is remembered
    assert not (model / "neighbours.jpg").exists()


def test_words_of_a_person_are_kept_and_only_ours_are_renewed(model: Path, measured: Evaluation) -> None:
    path = model / "README.md"
    own = "\n## Made by Ann\n\nWith love, <b>by hand</b>.\n"
    path.write_text(path.read_text() + own, encoding="utf-8")
    write_card(model, evaluation=measured)
    text = path.read_text()
    assert own.strip() in text
    assert "0.2000 to 0.8000" in text
    assert text.count("## Measured") == 1
    write_card(model, evaluation=measured)
    assert path.read_text() == text


def test_pictures_are_drawn_only_when_asked_for_and_then_shown(model: Path, measured: Evaluation) -> None:
    write_card(model, evaluation=measured, pictures=True)
    drawn = Image.open(model / "neighbours.jpg")
    assert drawn.format == "JPEG"
    assert not drawn.getexif()
    assert "](neighbours.jpg)" in (model / "README.md").read_text()
    write_card(model, evaluation=measured)  # renewing the text keeps the picture
    assert "](neighbours.jpg)" in (model / "README.md").read_text()
    verify_folder(model, kind="model")


def test_files_that_a_person_put_beside_the_model_stay_and_stay_unlisted(model: Path, measured: Evaluation) -> None:
    (model / "LICENSE").write_text("mine")
    (model / "notes").mkdir()
    (model / "notes" / "a.png").write_bytes(b"png")
    (model / "link").symlink_to("/nowhere")
    write_card(model, licence="MIT")
    assert (model / "LICENSE").read_text() == "mine"
    assert (model / "notes" / "a.png").read_bytes() == b"png"
    assert (model / "link").is_symlink()
    assert not {"LICENSE", "notes/a.png", "link"} & set(verify_folder(model).files)
    (model / "neighbours.jpg").write_bytes(b"a person's picture")
    with pytest.raises(ModelError, match=r"neighbours\.jpg is somebody else's"):
        write_card(model, evaluation=measured, pictures=True)
    assert (model / "neighbours.jpg").read_bytes() == b"a person's picture"


def test_a_pulled_models_card_goes_on_naming_its_repository_and_no_strange_one(model: Path) -> None:
    write_origin(model, Origin("ann/dresses", "c" * 40))
    write_card(model)
    assert 'fashreg.load("ann/dresses")' in (model / "README.md").read_text()
    write_origin(model, Origin('x"); import os; ("', "c" * 40))
    assert "import os" not in card_text(model)


@pytest.mark.parametrize("what", ["no evaluation", "no neighbours", "no pictures"])
def test_pictures_that_cannot_be_drawn_leave_the_folder_as_it_was(model: Path, measured: Evaluation, what: str) -> None:
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    given = {
        "no evaluation": None,
        "no neighbours": replace(measured, neighbours=None),
        "no pictures": replace(measured, items=[{**i, "image": "gone.png"} for i in measured.items or ()]),
    }[what]
    with pytest.raises(ModelError):
        write_card(model, evaluation=given, pictures=True)
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before
    assert [p.name for p in model.parent.iterdir() if p.name.startswith(".model")] in ([], [".model.lock"])


def test_a_damaged_model_gets_no_new_manifest(model: Path) -> None:
    path = model / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ModelError, match="was changed"):
        write_card(model)


# ---- the command, and training ----


def test_the_command_previews_and_writes(model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    before = (model / "README.md").read_bytes()
    assert run(["card", str(model), "--licence", "LicenseRef-Ann", "--repo", "ann/dresses"]) == 0
    seen = capsys.readouterr()
    assert "license: other" in seen.out
    assert "put its text into a file LICENSE" in seen.err
    assert (model / "README.md").read_bytes() == before
    assert run(["card", str(model), "--licence", "MIT", "--write"]) == 0
    assert "fashreg push" in capsys.readouterr().out
    assert front_of((model / "README.md").read_text())["license"] == "mit"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--pictures"], "add --write"),
        (["--licence", "a licence, I think"], "SPDX identifier"),
        (["--repo", "no repo"], "no repo"),
        (["--evaluation", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_one_line(
    model: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["card", str(model), *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FashregError, match="neither a model folder nor a run folder"):
        card_text(tmp_path)


def test_training_leaves_a_card_with_its_last_evaluation_and_its_data(tmp_path: Path) -> None:
    done = fashreg.train(
        backbone={"name": "timm", "model": "test_efficientnet", "weights": None, "image_size": 32},
        table="atelier:products=24,views=4,size=48",
        label="style",
        licence="Apache-2.0",
        trainer={"max_steps": 2, "batch_size": 16},
        out=tmp_path / "run",
        quiet=True,
    )
    text = (tmp_path / "run" / "model" / "README.md").read_text()
    data = ModelCard(text).data
    assert data.license == "apache-2.0"
    values = {result.metric_name: result.metric_value for result in data.eval_results}
    assert values == pytest.approx(done.after.metrics, abs=1e-6)
    assert all("interval_95" in (result.metric_args or {}) for result in data.eval_results)
    for told in ("data.train.sha256", "| torch |", "multi-similarity (", done.after.protocol.hash):
        assert told in text
    assert "fashreg-" not in text  # plugins that are installed and took no part
    assert done.after.model == {"fingerprint": done.encoder.fingerprint()}
    assert load_encoder(tmp_path / "run" / "model").fingerprint() == done.encoder.fingerprint()


def test_a_card_that_tells_what_was_measured_is_not_written_anew_without_an_evaluation(
    model: Path, measured: Evaluation
) -> None:
    write_card(model, evaluation=measured)
    before = (model / "README.md").read_bytes()
    with pytest.raises(ModelError, match="give --evaluation FOLDER"):
        write_card(model)
    assert (model / "README.md").read_bytes() == before
    write_card(model, evaluation=measured)
