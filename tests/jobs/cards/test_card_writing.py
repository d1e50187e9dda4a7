"""Writing a card: bits and people's words stay, the command, training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from card_front import front_of
from huggingface_hub import ModelCard
from PIL import Image

import fashreg
from fashreg.cli import run
from fashreg.errors import FashregError, ModelError
from fashreg.hub.origin import Origin, write_origin
from fashreg.jobs.card import card_text, write_card
from fashreg.jobs.evaluation_result import Evaluation
from fashreg.manifest import verify_folder
from fashreg.storage import load_encoder

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
