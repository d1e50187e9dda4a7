"""The plugin as a whole: found by name, its recipes train, its models say what they need, its README runs."""

from __future__ import annotations

from pathlib import Path

from fashreg.testing.plugin import PluginContract

LEARNERS = ("ewc", "fine-tune", "joint", "lwf", "mcl-fir", "replay", "retrain")
SMALL = ("data.attributes=[colour, pattern]", "sampler.pairs=16", "trainer.epochs=1")
LITE = ("backbone.image_size=48", "trainer.batch_size=16", "trainer.warmup_steps=0", "stream.least=2")


class TestMCLFIR(PluginContract):
    plugin, module = "fashreg-mclfir", "fashreg_mclfir"
    components = frozenset(
        {("head", "attribute-attention"), ("head", "own-network"), *(("learner", name) for name in LEARNERS)}
    )
    recipes = {  # noqa: RUF012
        "mclfir-quick": SMALL,
        "mclfir-fashion-products": (*SMALL, *LITE),
        "mclfir-independent": (
            *SMALL,
            "trainer.batch_size=16",
            "trainer.warmup_steps=0",
            "backbone.backbone.image_size=48",
            "head.head.backbone.image_size=48",
        ),
    }
    readme = Path(__file__).parents[1] / "README.md"
