from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fashreg.config_trainer import TrainerConfig
from fashreg.training.schedule import lr_factor, steps_per_epoch, total_steps


def test_warm_up_rises_in_equal_parts_and_cosine_falls_to_zero() -> None:
    config = TrainerConfig(warmup_steps=4)
    factors = [lr_factor(config, step, 12, 6) for step in range(13)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    assert factors[4] == 1.0
    assert abs(factors[8] - 0.5) < 1e-12  # half way between step 4 and 12: (1 + cos(pi / 2)) / 2
    assert factors[12] < 1e-12
    assert factors[4:] == sorted(factors[4:], reverse=True)


def test_a_share_of_warm_up_counts_all_steps() -> None:
    config = TrainerConfig(warmup_share=0.25, schedule="constant")
    assert [lr_factor(config, step, 8, 4) for step in range(4)] == [0.5, 1.0, 1.0, 1.0]


def test_steps_fall_after_whole_epochs() -> None:
    config = TrainerConfig(schedule="step", step_epochs=2, step_factor=0.1)
    factors = [round(lr_factor(config, step, 18, 3), 12) for step in (0, 5, 6, 11, 12)]
    assert factors == [1.0, 1.0, 0.1, 0.1, 0.01]


def test_steps_fall_where_they_are_told_to_and_a_warm_up_starts_where_it_is_told_to() -> None:
    """The schedule of FAME-ViL's joint training, as its code has it."""
    config = TrainerConfig(schedule="step", step_at=[50_000, 80_000], warmup_steps=10_000, warmup_from=0.25)
    factors = [lr_factor(config, step, 90_000, 3102) for step in (0, 5000, 10_000, 49_999, 50_000, 80_000)]
    assert factors == pytest.approx([0.25, 0.625, 1.0, 1.0, 0.1, 0.01], rel=1e-12)


def test_a_last_short_accumulation_is_a_step_and_max_steps_cuts() -> None:
    config = TrainerConfig(epochs=3, accumulate=4)
    assert steps_per_epoch(config, 9) == 3
    assert total_steps(config, 9) == 9
    assert total_steps(TrainerConfig(epochs=3, max_steps=5), 9) == 5


@given(st.integers(1, 50), st.integers(0, 60), st.sampled_from(["constant", "cosine"]))
def test_factors_stay_between_zero_and_one(total: int, warmup: int, schedule: str) -> None:
    config = TrainerConfig.model_validate({"warmup_steps": warmup, "schedule": schedule})
    assert all(0.0 <= lr_factor(config, step, total, 5) <= 1.0 for step in range(total))
