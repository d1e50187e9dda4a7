"""Fields given to `fashreg.train` beside a recipe."""

from __future__ import annotations

from fashreg.jobs.training import _resolve

RECIPE = {
    "data": {"table": "atelier:products=8", "label": "style", "holdout": 0.2},
    "backbone": {"name": "timm", "arch": "test_resnet"},
    "trainer": {"epochs": 3, "head_lr_factor": 10.0},
}


def test_trainer_and_data_are_laid_over_those_of_the_recipe_as_set_does() -> None:
    recipe, _ = _resolve(RECIPE, None, {"trainer": {"epochs": 1}, "data": {"holdout": 0.5}})
    assert (recipe.trainer.epochs, recipe.trainer.head_lr_factor) == (1, 10.0)
    assert (recipe.data.label, recipe.data.holdout) == ("style", 0.5)


def test_a_component_given_beside_the_recipe_replaces_the_whole_one() -> None:
    recipe, _ = _resolve({**RECIPE, "loss": {"name": "triplet", "margin": 0.3}}, None, {"loss": "contrastive"})
    assert recipe.loss.name == "contrastive"
    assert not recipe.loss.options
