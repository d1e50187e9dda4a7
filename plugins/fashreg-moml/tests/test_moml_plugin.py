"""The plugin as a whole: found by name, its recipes train, its models need it no more, its README runs."""

from __future__ import annotations

import json
from pathlib import Path

from fashreg.config import read_recipe
from fashreg.testing.plugin import PluginContract

SMALL = ("trainer.max_steps=6", "trainer.log_every=1")
LITE = ("trainer.batch_size=32", "trainer.warmup_steps=0", "sampler.refresh=4", "backbone.image_size=48")


class TestMOML(PluginContract):
    plugin, module = "fashreg-moml", "fashreg_moml"
    components = frozenset({("loss", "multi-objective"), ("loss", "proxy-repulsion"), ("sampler", "two-relation")})
    recipes = {  # noqa: RUF012
        "moml-quick": SMALL,
        "moml-fashion-products": (*SMALL, *LITE),
    }
    readme = Path(__file__).parents[1] / "README.md"
    after_readme = (
        "assert step == 48\n"
        "assert len(sampler.state_dict()['seen']) >= 1\n"
        "parts = {'pair', 'proxy', 'repulsion', 'weight[pair]', 'share[pair]', 'share[repulsion]'}\n"
        "assert parts <= set(loss.parts)\n"
        "assert run.report.steps == 6\n"
    )

    def test_a_recipe_names_what_exists_and_uses_the_plugin(self, recipe: str) -> None:
        super().test_a_recipe_names_what_exists_and_uses_the_plugin(recipe)
        read = read_recipe(recipe)
        assert (read.loss.name, read.sampler.name) == ("multi-objective", "two-relation")

    def look_at_run(self, folder: Path) -> None:
        """What it says of itself is in the log as well."""
        log = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        steps = [line for line in log if line["kind"] == "train"]
        assert all({"pair", "proxy", "repulsion", "weight[pair]"} <= set(line) for line in steps)
        assert any(0 < line.get("coverage[classes]", 0) <= 1 for line in steps)
