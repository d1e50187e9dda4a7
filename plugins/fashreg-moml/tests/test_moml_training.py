"""Loss and sampler in whole runs: learner, checkpoints, processes, recipes, and models that outlive the plugin."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from moml_sampler_ranks import Noting, session, train

from fashreg import registry
from fashreg.assembly import build, spec_of
from fashreg.cli import run
from fashreg.config import read_recipe
from fashreg.errors import UnknownComponentError
from fashreg.plugins import shipped_recipes
from fashreg.testing.tiny_run import CrashError, difference, run_folder, tiny_experience, weights_of


@pytest.fixture(autouse=True)
def _private(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setattr("os.fsync", lambda handle: None)
    monkeypatch.setenv("FASHREG_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("FASHREG_PLUGINS", raising=False)


def learn(made: Any) -> list[list[int]]:
    learner = Noting()
    learner.bind(made).learn(tiny_experience())
    return learner.seen


@pytest.mark.parametrize("fails_at", [4, 8])
def test_a_resumed_run_draws_the_same_batches_and_ends_with_the_same_weights(fails_at: int, tmp_path: Path) -> None:
    whole = session(run_folder(tmp_path / "whole"))
    seen = learn(whole)
    with pytest.raises(CrashError):
        learn(session(run_folder(tmp_path / "died"), fails_at=fails_at))
    again = session(run_folder(tmp_path / "died"))
    assert learn(again) == seen[fails_at:]
    assert difference(weights_of(whole), weights_of(again)) == []


def test_two_processes_train_on_the_batches_of_one(tmp_path: Path) -> None:
    script = Path(__file__).with_name("moml_sampler_ranks.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first == second == train()


def test_they_are_offered_by_name_and_their_specs_build_equal_ones() -> None:
    labels = [i // 6 for i in range(36)]
    facts = {"labels": labels, "num_classes": 6, "embed_dim": 8, "batch_size": 12, "num_images": 36}
    for kind, name, options in (
        ("sampler", "two-relation", {"images_per_class": 3, "uniform": 0.5, "seeds": "images", "refresh": 7}),
        ("loss", "multi-objective", {"pair": {"name": "contrastive"}, "repulsion": None, "rule": "fixed"}),
        ("loss", "proxy-repulsion", {"form": "hinge"}),
    ):
        spec = spec_of(build(kind, {"name": name, **options}, facts=facts))
        assert (spec["name"], spec["plugin"]) == (name, "fashreg-moml")
        assert spec_of(build(kind, spec, facts=facts)) == spec


@pytest.mark.parametrize(
    ("kind", "name"),
    [("loss", "multi-objective"), ("loss", "multi-objectiv"), ("loss", "proxy-repulsion"), ("sampler", "two-relation")],
)
def test_without_the_plugin_the_error_says_how_to_get_it(kind: str, name: str) -> None:
    with registry.only([]), pytest.raises(UnknownComponentError, match="pip install fashreg-moml"):
        build(kind, name)


def test_its_recipes_are_found_and_sound() -> None:
    found = {recipe.name: read_recipe(recipe.path) for recipe in shipped_recipes() if recipe.plugin == "fashreg-moml"}
    assert sorted(found) == ["moml-fashion-products", "moml-quick"]
    for recipe in found.values():
        assert recipe.loss.name == "multi-objective"
        assert recipe.sampler.name == "two-relation"


class Uninstalled:
    """Makes every import of the plugin fail."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] == "fashreg_moml":
            raise ImportError("uninstalled")


def test_a_recipe_trains_with_it_and_the_model_searches_without_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = tmp_path / "drawn"
    assert run(["data", "atelier", "--out", str(drawn), "--products", "32", "--views", "4", "--size", "48"]) == 0
    settings = ["trainer.max_steps=6", "trainer.log_every=1", f"data.table={drawn / 'table.csv'}"]
    arguments = [word for setting in settings for word in ("--set", setting)]
    assert run(["train", "moml-quick", *arguments, "--out", str(tmp_path / "run")]) == 0, capsys.readouterr().err
    log = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in log if line["kind"] == "train"]
    assert all({"pair", "proxy", "repulsion", "weight[pair]"} <= set(line) for line in steps)
    assert any(0 < line.get("coverage[classes]", 0) <= 1 for line in steps)
    monkeypatch.setenv("FASHREG_PLUGINS", "")
    monkeypatch.setattr(sys, "meta_path", [Uninstalled(), *sys.meta_path])
    for name in [name for name in sys.modules if name.partition(".")[0] == "fashreg_moml"]:
        monkeypatch.delitem(sys.modules, name)
    model, index = str(tmp_path / "run" / "model"), str(tmp_path / "index")
    picture = str(next(drawn.rglob("*.png")))
    assert run(["index", "build", model, "--table", str(drawn / "table.csv"), "--split", "test", "--out", index]) == 0
    assert run(["search", index, "--image", picture, "-k", "3", "--json"]) == 0
    assert "score" in capsys.readouterr().out
    assert not any(name.startswith("fashreg_moml") for name in sys.modules)
