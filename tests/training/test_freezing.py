from __future__ import annotations

import pytest
import torch

from fashreg.errors import RecipeError
from fashreg.learners.standard import StandardLearner
from fashreg.testing.tiny_run import difference, tiny_encoder, tiny_experience, tiny_session, weights_of
from fashreg.training.freezing import freeze


@pytest.mark.parametrize("how", [2, "backbone"])
def test_what_is_frozen_does_not_change_a_bit_and_the_rest_does(how: int | str) -> None:
    session = tiny_session(trainer={"freeze": how, "weight_decay": 0.1})
    before = weights_of(session)
    StandardLearner().bind(session).learn(tiny_experience())
    moved = {name for name in difference(before, weights_of(session)) if name.startswith("encoder.")}
    frozen = range(2) if how == 2 else range(len(session.encoder.backbone.stages))
    modules = {id(m) for i in frozen for part in session.encoder.backbone.stage_modules(i) for m in part.modules()}
    names = [f"encoder.{n}." for n, m in session.encoder.named_modules() if id(m) in modules]
    assert names
    assert not [name for name in moved if name.startswith(tuple(names))]
    assert [name for name in moved if "head" in name]
    assert bool([name for name in moved if "backbone" in name]) == (how == 2)


def test_frozen_parts_give_in_training_what_they_give_in_evaluation() -> None:
    encoder = tiny_encoder()
    frozen = freeze(encoder, 3)
    images = torch.randn(4, 3, 32, 32)
    frozen.training_mode()
    assert encoder.training
    assert torch.equal(encoder.until(images, 3), encoder.eval().until(images, 3))


def test_batch_norm_statistics_of_the_trained_part_can_be_kept() -> None:
    for keep in (True, False):
        session = tiny_session(trainer={"freeze_batch_norm": keep})
        before = weights_of(session)
        StandardLearner().bind(session).learn(tiny_experience())
        moved = [name for name in difference(before, weights_of(session)) if "running_mean" in name]
        assert bool(moved) != keep


def test_cuts_say_where_training_begins() -> None:
    encoder = tiny_encoder()
    stages = len(encoder.backbone.stages)
    assert [freeze(tiny_encoder(), how).cut for how in ("none", 0, 1, stages, "backbone")] == [
        0,
        0,
        1,
        stages + 1,
        stages + 1,
    ]


@pytest.mark.parametrize("how", [99, -1, "head"])
def test_a_number_of_stages_that_is_not_there_is_refused_with_their_names(how: int | str) -> None:
    with pytest.raises(RecipeError, match=r"1 stem, 2 blocks\.0"):
        freeze(tiny_encoder(), how)
