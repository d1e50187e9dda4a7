"""Loss and sampler in whole runs: learner, checkpoints, processes, recipes, and models that outlive the plugin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from moml_sampler_ranks import Noting, session, train

from fashreg import registry
from fashreg.assembly import build, spec_of
from fashreg.errors import UnknownComponentError
from fashreg.testing.ranks import in_two_processes
from fashreg.testing.tiny_run import CrashError, difference, run_folder, tiny_experience, weights_of


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
    in_two_processes(Path(__file__).with_name("moml_sampler_ranks.py"), tmp_path)
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


def test_without_the_plugin_a_name_nearly_right_says_how_to_get_it() -> None:
    with registry.only([]), pytest.raises(UnknownComponentError, match="pip install fashreg-moml"):
        build("loss", "multi-objectiv")
