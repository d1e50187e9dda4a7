from __future__ import annotations

import pytest
from pydantic import ValidationError

from fashreg.config_trainer import TrainerConfig


def test_every_field_says_what_it_is_for() -> None:
    for name, field in TrainerConfig.model_fields.items():
        assert field.description, name


def test_what_is_dumped_reads_back_equal() -> None:
    for config in (
        TrainerConfig(),
        TrainerConfig(freeze=2, cache="features", cache_views=3),
        TrainerConfig(schedule="step", step_epochs=2),
        TrainerConfig(schedule="step", step_at=[5, 9], warmup_steps=3, warmup_from=0.25),
    ):
        assert TrainerConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"learning_rate": 1.0}, "Extra inputs"),
        ({"cache": "features"}, "set freeze"),
        ({"momentum": 0.5}, "optimizer: sgd"),
        ({"step_epochs": 3}, "schedule: step"),
        ({"schedule": "step"}, "needs step_epochs"),
        ({"schedule": "step", "step_epochs": 1, "step_at": [5]}, "one of them"),
        ({"schedule": "step", "step_at": [9, 5]}, "rising"),
        ({"step_at": [5]}, "schedule: step"),
        ({"warmup_from": 0.5}, "warmup_steps"),
        ({"cache_views": 2}, "cache: features"),
        ({"warmup_steps": 5, "warmup_share": 0.1}, "twice"),
        ({"backbone_lr_factor": 0.0}, "freeze: backbone"),
        ({"freeze": True}, "freeze"),
        ({"freeze": "2"}, "freeze"),
        ({"freeze": -1}, "freeze"),
        ({"batch_size": 1}, "batch_size"),
        ({"lr": 0.0}, "lr"),
        ({"ema_decay": 1.0}, "ema_decay"),
        ({"precision": "fp8"}, "precision"),
    ],
)
def test_what_cannot_be_or_would_be_ignored_is_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TrainerConfig.model_validate(given)


def test_from_head_only_to_the_whole_network_is_one_field() -> None:
    head_only = TrainerConfig(freeze="backbone")
    whole = head_only.model_copy(update={"freeze": "none"})
    assert head_only.freezes
    assert not whole.freezes
    assert whole == TrainerConfig()
