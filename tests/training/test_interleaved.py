from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fashreg.encoder import Encoder
from fashreg.errors import RecipeError
from fashreg.learners.standard import StandardLearner
from fashreg.samplers.random import RandomSampler
from fashreg.testing.tiny_run import (
    CrashError,
    TinyPictures,
    difference,
    run_folder,
    tiny_encoder_of_tasks,
    tiny_experience,
    tiny_session,
    weights_of,
)
from fashreg.training.interleaved import InterleavedSampler, InterleavedSource
from fashreg.training.session import Session
from fashreg.values import Experience, TrainingBatch

PARTS = (tiny_experience("colour", "colour"), tiny_experience("sleeve", "sleeve"))


pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def samplers(seed: int = 3) -> InterleavedSampler:
    return InterleavedSampler([RandomSampler(range(36), batch_size=size, seed=seed) for size in (12, 4)], seed)


def source(fails_at: int | None = None) -> InterleavedSource:
    parts = [TinyPictures(s, task=p.task) for s, p in zip(samplers().samplers, PARTS, strict=True)]
    made = InterleavedSource(parts, 3)
    if fails_at is not None:
        own = made.batches

        def batches(epoch: int) -> Iterator[TrainingBatch]:
            for number, batch in enumerate(own(epoch), epoch * len(made) + made.sampler.state_dict()["batch"]):
                if number == fails_at:
                    raise CrashError
                yield batch

        made.batches = batches  # type: ignore[method-assign]
    return made


def test_an_epoch_has_every_batch_of_every_part_once_with_its_own_task() -> None:
    made = source()
    assert len(made) == 12
    made.sampler.set_epoch(0)
    seen = list(made.batches(0))
    assert Counter(batch.task for batch in seen) == {"colour": 3, "sleeve": 9}
    for task, part in zip(("colour", "sleeve"), made.parts, strict=True):
        alone = [batch.ids.tolist() for batch in part.batches(0)]
        assert [batch.ids.tolist() for batch in seen if batch.task == task] == alone


def test_the_order_of_the_turns_is_of_seed_and_epoch_and_mixes_the_parts() -> None:
    def turns(seed: int, epoch: int) -> list[int]:
        made = samplers(seed)
        made.set_epoch(epoch)
        order: list[int] = made.order().tolist()
        return order

    assert turns(0, 0) == turns(0, 0)
    assert len({tuple(turns(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9
    assert all(turns(0, epoch) != sorted(turns(0, epoch)) for epoch in range(3))


@pytest.mark.parametrize("done", range(13))
def test_iterating_goes_on_where_it_was_said_to_be_done_also_after_a_state_was_put_back(done: int) -> None:
    first = samplers()
    first.set_epoch(2)
    whole = list(first)
    first.advance_to(done)
    again = samplers()
    again.load_state_dict(first.state_dict())
    assert list(first) == list(again) == whole[done:]
    assert again.state_dict() == first.state_dict()


def test_a_state_of_other_parts_is_refused() -> None:
    state = samplers(0).state_dict()
    with pytest.raises(ValueError, match="2 parts and seed 0, this one 2 and 1"):
        samplers(1).load_state_dict(state)
    with pytest.raises(ValueError, match=r"not one of 0\.\.12"):
        samplers().advance_to(13)
    with pytest.raises(ValueError, match="at least one"):
        InterleavedSampler([])


def test_random_pictures_come_from_the_parts_in_proportion() -> None:
    tasks = Counter(task for batch in source().sample(12) for task in [batch.task] * len(batch))
    assert tasks == {"colour": 3, "sleeve": 9}


def session(folder: Path | None = None, fails_at: int | None = None, **parts: Any) -> Session:
    return tiny_session(
        None if folder is None else run_folder(folder),
        encoder=tiny_encoder_of_tasks("colour", "sleeve"),
        memory=None,
        source=lambda experience, frozen, processes: source(fails_at),
        trainer={"checkpoint_steps": 5},
        **parts,
    )


def test_each_batch_moves_the_head_of_its_task_and_both_learn() -> None:
    chosen = session()
    start = weights_of(chosen)
    report = StandardLearner().bind(chosen).learn(Experience("all", None, parts=PARTS))
    moved = difference(start, weights_of(chosen))
    assert {name.split(".")[3] for name in moved if ".heads." in name} == {"task_colour", "task_sleeve"}
    assert report.steps == 24


@pytest.mark.parametrize("crash_at", [7, 17])
def test_training_on_several_parts_goes_on_bit_for_bit(tmp_path: Path, crash_at: int) -> None:
    def learn(folder: Path, fails_at: int | None = None) -> Session:
        chosen = session(folder, fails_at)
        StandardLearner().bind(chosen).learn(Experience("all", None, parts=PARTS))
        return chosen

    whole = weights_of(learn(tmp_path / "whole"))
    with pytest.raises(CrashError):
        learn(tmp_path / "died", crash_at)
    assert not difference(whole, weights_of(learn(tmp_path / "died")))


def test_a_memory_beside_several_parts_is_refused() -> None:
    from fashreg.memories.xbm import XBMMemory

    chosen = session()
    chosen.memory = XBMMemory(20, embed_dim=chosen.encoder.embed_dim)
    with pytest.raises(RecipeError, match="rows of different tasks"):
        StandardLearner().bind(chosen).learn(Experience("all", None, parts=PARTS))


def test_the_trunk_sees_one_task_at_a_time() -> None:
    chosen = session()
    seen: list[str | None] = []
    own = Encoder.forward

    def forward(self: Encoder, images: torch.Tensor, task: str | None = None, stage: int = 0) -> torch.Tensor:
        seen.append(task)
        return own(self, images, task, stage)

    chosen.encoder.forward = forward.__get__(chosen.encoder)  # type: ignore[method-assign]
    StandardLearner().bind(chosen).learn(Experience("all", None, parts=PARTS))
    assert Counter(seen) == {"colour": 6, "sleeve": 18}
