"""The plugin as a whole: found by name, its recipes train, its models need it no more, its README runs."""

from __future__ import annotations

import json
from pathlib import Path

from fashreg.config import read_recipe
from fashreg.testing.plugin import PluginContract

SMALL = ("trainer.max_steps=4", "trainer.epochs=2", "memory.capacity=24")


class TestACBN(PluginContract):
    plugin, module = "fashreg-acbn", "fashreg_acbn"
    components = frozenset({("memory", "acbn")})
    recipes = {  # noqa: RUF012
        "acbn-quick": SMALL,
        "acbn-fashion-products": (*SMALL, "memory.start_step=0", "trainer.warmup_steps=0", "backbone.image_size=48"),
    }
    readme = Path(__file__).parents[1] / "README.md"
    after_readme = "assert len(memory) == 256\nassert not torch.equal(memory.scale, torch.ones(16).double())\n"

    def test_a_recipe_names_what_exists_and_uses_the_plugin(self, recipe: str) -> None:
        super().test_a_recipe_names_what_exists_and_uses_the_plugin(recipe)
        memory = read_recipe(recipe).memory
        assert memory is not None
        assert memory.name == "acbn"

    def look_at_run(self, folder: Path) -> None:
        """What it says of itself is in the log as well."""
        log = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert any("memory" in line for line in log if line["kind"] == "train")
