"""Two attributes trained here and pushed, a third added elsewhere by the command, old results equal to the bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import fashreg
from fashreg.cli import run as command
from fashreg.errors import ModelError, OptionError
from fashreg.hub.origin import Origin, write_origin
from fashreg.jobs.continuing import plan_continuing
from fashreg.jobs.stream_record import read_record
from fashreg.storage import load_encoder, read_provenance
from fashreg.testing.local_hub import LocalHub, client_of

RECIPE: dict[str, Any] = {
    "data": {"table": "table.csv", "label": None, "attributes": ["category", "colour"]},
    "stream": {"by": "attribute"},
    "backbone": {
        "name": "truncated",
        "keep": 3,
        "backbone": {"name": "timm", "model": "test_efficientnet", "weights": None, "image_size": 32},
    },
    "head": {"name": "multi-task", "tasks": [], "head": {"name": "attribute-attention", "out_dim": 8}},
    "loss": {"name": "infonce", "mode": "pairs", "negatives": "both", "temperature": 0.3, "mask_same_value": True},
    "sampler": {"name": "pairs", "anchors": "balanced"},
    "learner": {"name": "mcl-fir", "target": "old-heads", "teacher": "frozen", "weight": 1.0},
    "evaluators": ["attribute-retrieval"],
    "trainer": {"epochs": 1, "batch_size": 16, "lr": 0.01},
}

EWC = {"name": "ewc", "tuples": 8, "per": "batch"}

Place = Callable[[str], Any]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Another machine: a working folder, a Hub cache and a cache of fashreg that no other place has, and the drawn
    table. Within the block everything happens there; ann is logged in.
    """
    monkeypatch.delenv("FASHREG_PLUGINS", raising=False)

    @contextmanager
    def at(name: str, hub: LocalHub) -> Iterator[Path]:
        folder = tmp_path / name
        if not folder.exists():
            drawn = ["--products", "24", "--views", "3", "--size", "32"]
            assert command(["data", "atelier", "--out", str(folder / "shop"), *drawn]) == 0
        with client_of(hub, folder / "hf-home", token=hub.token("ann")), monkeypatch.context() as there:
            there.chdir(folder / "shop")
            there.setenv("FASHREG_CACHE", str(folder / "cache"))
            yield folder / "shop"

    return at


def fashreg_in_a_process(*words: str) -> str:
    """The command as a person runs it, where we are."""
    code = "import torch; torch.set_num_threads(1); from fashreg.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, env=dict(os.environ), check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def answers(folder: str, model: str, capsys: pytest.CaptureFixture[str]) -> Any:
    """Ids and scores that an index answers when a model asks with a picture of its own gallery."""
    capsys.readouterr()
    asked = str(Path("images/p00003_0.png").resolve())
    assert command(["search", folder, "--model", model, "--image", asked, "-k", "9", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    hits = [(hit["id"], hit["score"]) for hit in found["hits"]]
    return [hit for hit in hits if hit[0] != 9][:8]  # the picture itself, which a pulled index knows by another path


def results(model: str, task: str) -> tuple[dict[str, float], bytes]:
    """Metrics and vectors of one attribute."""
    table = fashreg.read_table("table.csv")
    measured = fashreg.evaluate(model, "table.csv", split="test", options=[f"attributes=[{task}]"], progress=False)
    return dict(measured.metrics), fashreg.load(model).embed(table, task=task).numpy().tobytes()


def test_an_attribute_is_added_elsewhere_and_old_results_stay_equal_to_the_bit(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    old = ("category", "colour")
    with LocalHub() as hub:
        with place("here", hub):
            Path("recipe.yaml").write_text(yaml.safe_dump(RECIPE))
            assert command(["train", "recipe.yaml", "--out", "runs/first", "--no-report"]) == 0
            index = ["index", "build", "runs/first/model", "--table", "table.csv", "--out", "indexes"]
            assert command([*index, "--task", "category", "--task", "colour"]) == 0
            first = {task: results("runs/first/model", task) for task in old}
            found = {task: answers(f"indexes/{task}", "runs/first/model", capsys) for task in old}
            assert command(["push", "runs/first", "ann/shop", "--message", "Two attributes"]) == 0
            for task in old:
                assert command(["push", f"indexes/{task}", "ann/shop", "--part", f"index-{task}"]) == 0
        with place("there", hub):
            said = fashreg_in_a_process(
                "continue", "ann/shop", "--add-attribute", "pattern", "--table", "table.csv", "--out", "runs/second"
            )  # fmt: skip
            assert "kept to the bit: category, colour" in said
            new = "runs/second/model"
            assert load_encoder(Path(new)).head.tasks == (*old, "pattern")
            assert {task: results(new, task) for task in old} == first
            for task in old:  # indexes that were made with the old model, fetched, and asked with the new one
                assert command(["pull", "ann/shop", "--part", f"index-{task}", "--out", f"pulled/{task}"]) == 0
                assert answers(f"pulled/{task}", new, capsys) == found[task]
            record = read_record(Path("runs/second/stream.json"))
            assert record.experiences == ("before", "pattern")
            assert record.map[0][:2] == record.map[1][:2]
            assert command(["push", "runs/second", "ann/shop", "--message", "Pattern, too"]) == 0
            origin = fashreg.load("ann/shop").origin
            assert origin is not None
        with place("a third", hub):
            assert fashreg.load("ann/shop").head.tasks == (*old, "pattern")
            assert {task: results("ann/shop", task) for task in old} == first
            assert command(["pull", "ann/shop", "--out", "model"]) == 0
            before = read_provenance(Path("model"))["continued_from"]
            assert before["repo"] == "ann/shop"
            assert before["commit"] != origin.commit
            assert fashreg.load(f"ann/shop@{before['commit']}").fingerprint() == before["fingerprint"]
            assert fashreg.load(f"ann/shop@{before['commit']}").head.tasks == old
            again = ["continue", "model", "--add-attribute", "material", "--table", "table.csv", "--out", "runs/third"]
            assert command([*again, "--no-report"]) == 0
            assert {task: results("runs/third/model", task) for task in old} == first
    assert hub.failures == []


# ---- with every learner, in one place ----


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn table, and runs that learned two attributes on it."""
    folder = tmp_path_factory.mktemp("shop")
    assert command(["data", "atelier", "--out", str(folder), "--products", "24", "--views", "3", "--size", "32"]) == 0
    return folder


@pytest.fixture(scope="module")
def trained(shop: Path) -> Callable[[Any], Path]:
    """A run by a learner, made once."""

    def by(learner: Any, **changes: Any) -> Path:
        name = learner if isinstance(learner, str) else "-".join(str(value) for value in learner.values())
        if not (shop / name).exists():
            fashreg.train(
                {**RECIPE, **changes, "learner": learner}, table=shop / "table.csv", out=shop / name, quiet=True
            )
        return shop / name

    return by


@pytest.mark.parametrize("learner", ["fine-tune", "mcl-fir", "lwf", EWC, "replay", "joint"], ids=str)
def test_whatever_learns_keeps_the_old_to_the_bit_while_the_encoder_rests(
    trained: Callable[[Any], Path], shop: Path, learner: Any
) -> None:
    run = trained(learner)
    found = fashreg.continue_training(run, add="pattern", table=shop / "table.csv", quiet=True)
    assert found.kept.equal == {"category": True, "colour": True}
    alone = fashreg.continue_training(run / "model", add="pattern", table=shop / "table.csv", quiet=True)
    assert alone.kept.whole


def test_networks_of_their_own_are_kept_too(trained: Callable[[Any], Path], shop: Path) -> None:
    network = {"name": "timm", "model": "test_efficientnet", "weights": None, "image_size": 32}
    own = {"name": "own-network", "backbone": network, "head": {"name": "attribute-attention", "out_dim": 8}}
    learner = {"name": "mcl-fir", "mode": "independent", "teacher": "frozen", "target": "features"}
    run = trained(
        learner,
        backbone={"name": "truncated", "keep": 0, "backbone": network},
        head={"name": "multi-task", "tasks": [], "head": own},
    )
    found = fashreg.continue_training(run, add="pattern", table=shop / "table.csv", quiet=True)
    assert found.kept.equal == {"category": True, "colour": True}
    assert found.encoder.head.tasks == ("category", "colour", "pattern")


@pytest.mark.parametrize("learner", ["mcl-fir", EWC, "replay"], ids=str)
def test_an_encoder_that_learns_on_takes_up_what_its_run_handed_on(
    trained: Callable[[Any], Path], shop: Path, learner: Any
) -> None:
    run = trained(learner)
    found = fashreg.continue_training(run, add="pattern", table=shop / "table.csv", train_encoder=True, quiet=True)
    assert not found.kept.whole
    assert found.stream.record.experiences == ("category", "colour", "pattern")


def test_what_cannot_do_without_says_what_to_type(trained: Callable[[Any], Path], shop: Path) -> None:
    how: dict[str, Any] = {"add": "pattern", "table": shop / "table.csv", "train_encoder": True, "quiet": True}
    with pytest.raises(ModelError, match="fashreg continue RUN"):
        fashreg.continue_training(trained(EWC) / "model", **how)
    with pytest.raises(ModelError, match="learner=lwf"):
        fashreg.continue_training(trained("fine-tune"), **how, overrides=["learner=retrain"])


def test_an_encoder_that_learns_on_is_told_to_the_learner(trained: Callable[[Any], Path], shop: Path) -> None:
    how: dict[str, Any] = {"add": "pattern", "table": shop / "table.csv"}
    run = trained({"name": "fine-tune", "encoder": "first"})
    assert plan_continuing(run, **how).recipe.learner.options["encoder"] == "first"
    assert plan_continuing(run, **how, train_encoder=True).recipe.learner.options["encoder"] == "trained"


def test_a_new_head_finds_its_text_vector_and_a_strangers_recipe_needs_consent(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def text_vector(name: str, model: str, weights: str) -> torch.Tensor:
        asked.append(f"{name} {weights}")
        return torch.randn(16, generator=torch.Generator().manual_seed(len(name)))

    monkeypatch.setattr("fashreg_mclfir.attention.text_vector", text_vector)
    text = {"name": "attribute-attention", "out_dim": 8, "vector": "text", "text_dim": 16, "text_weights": "openai"}
    recipe = {**RECIPE, "head": {"name": "multi-task", "tasks": [], "head": text}, "learner": "fine-tune"}
    how: dict[str, Any] = {"add": "pattern", "table": shop / "table.csv", "quiet": True}
    fashreg.train(recipe, table=shop / "table.csv", out=tmp_path / "run", quiet=True)
    asked.clear()
    found = fashreg.continue_training(tmp_path / "run", **how)
    assert found.kept.whole
    assert set(asked) == {"pattern openai"}
    write_origin(tmp_path / "run/model", Origin("eve/model", "0" * 40))  # as if it had been pulled
    with pytest.raises(OptionError, match="FASHREG_REACH=openai"):
        fashreg.continue_training(tmp_path / "run/model", **how)
    monkeypatch.setenv("FASHREG_REACH", "openai")
    assert fashreg.continue_training(tmp_path / "run/model", **how).kept.whole
