"""The plugin as a whole: found by name, its recipes train, its models say what they need, its README runs."""

from __future__ import annotations

from pathlib import Path

from fashreg.testing.plugin import PluginContract

EDITS = (
    "tasks.composed.data={table: edits.csv, image: source_image, target: target_image, label: target, text: text}",
    "tasks.classification.data.label=category",
)
TINY = (
    "backbone={name: fame-vil, model: tiny, weights: null, vocabulary: 600}",
    "trainer.max_steps=3",
    "trainer.batch_size=8",
    "trainer.evaluate_every=0",
)


class TestFameViL(PluginContract):
    plugin, module = "fashreg-famevil", "fashreg_famevil"
    components = frozenset({("backbone", "fame-vil"), ("head", "fame-vil"), ("learner", "multi-task")})
    recipes = {  # noqa: RUF012
        "famevil-quick": TINY,
        "famevil-atelier": TINY,
        "famevil-fashion-products": (*TINY, *EDITS, "data.label=label"),
        "famevil-fashiongen-fashioniq": (
            *TINY,
            *EDITS,
            "data.text=caption",
            "trainer.warmup_steps=2",
            "trainer.step_at=[2]",
            "learner.batches.classification=1",
        ),
    }
    readme = Path(__file__).parents[1] / "README.md"
