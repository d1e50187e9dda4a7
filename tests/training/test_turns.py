"""Whose turn it is: a learner may order the batches of several parts, also with more turns than a part has batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import pytest

from fashreg.samplers.random import RandomSampler
from fashreg.training.interleaved import InterleavedSampler, Turns

NAMES = ("long", "short")


def in_turn(lengths: Mapping[str, int], seed: tuple[int, int]) -> list[str]:
    return [*NAMES] * max(lengths.values())


def made(turns: Turns | None = in_turn, seed: int = 3) -> InterleavedSampler:
    samplers = [RandomSampler(range(24), batch_size=size, seed=seed) for size in (4, 12)]
    return InterleavedSampler(samplers, seed, NAMES, turns)


def test_without_turns_a_seed_alone_decides_as_ever() -> None:
    assert [made(None).order().tolist(), list(made(None))] == [made(None).order().tolist(), list(made(None))]
    assert Counter(made(None).order().tolist()) == {0: 6, 1: 2}


def test_a_learner_is_told_the_lengths_the_seed_and_the_epoch() -> None:
    asked = []

    def turns(lengths: dict[str, int], seed: tuple[int, int]) -> Sequence[str]:
        asked.append((dict(lengths), seed))
        return ["short", "long"]

    sampler = made(turns)
    sampler.set_epoch(2)
    assert sampler.order().tolist() == [1, 0]
    assert asked == [({"long": 6, "short": 2}, (3, 0)), ({"long": 6, "short": 2}, (3, 2))]
    assert len(sampler) == 2


def test_a_part_with_more_turns_than_batches_goes_round_with_other_batches() -> None:
    sampler = made()
    assert len(sampler) == 12
    batches = list(sampler)
    short = batches[1::2]
    assert [len(batch) for batch in short] == [12] * 6
    for first, second in (short[0:2], short[2:4], short[4:6]):
        assert sorted(first + second) == list(range(24))
    assert short[0] != short[2]
    assert sorted(position for batch in batches[0::2] for position in batch) == list(range(24))


def test_the_first_round_is_what_the_part_gives_alone() -> None:
    alone = RandomSampler(range(24), batch_size=12, seed=3)
    alone.set_epoch(4)
    sampler = made()
    sampler.set_epoch(4)
    assert list(sampler)[1:4:2] == list(alone)


@pytest.mark.parametrize("done", range(13))
def test_an_epoch_goes_on_after_any_batch_in_any_round(done: int) -> None:
    whole = made()
    whole.set_epoch(1)
    batches = list(whole)
    first = made()
    first.set_epoch(1)
    first.advance_to(done)
    second = made()
    second.load_state_dict(first.state_dict())
    assert list(second) == batches[done:]
    assert list(first) == batches[done:]


def test_saying_what_is_done_while_batches_come_changes_nothing() -> None:
    expected = list(made())
    sampler, seen = made(), []
    for number, batch in enumerate(sampler, 1):
        seen.append(batch)
        sampler.advance_to(number)
    assert seen == expected


def test_turns_of_unknown_names_and_of_changing_number_are_refused() -> None:
    with pytest.raises(ValueError, match="turns names 'other'"):
        made(lambda lengths, seed: ["long", "other"])
    sampler = made(lambda lengths, seed: ["long"] * (1 + seed[1]))
    sampler.set_epoch(1)
    with pytest.raises(ValueError, match="epoch 1 has 2 turns, and the first one had 1"):
        sampler.order()
    with pytest.raises(ValueError, match="0 names for 1 samplers"):
        InterleavedSampler([RandomSampler(range(4), batch_size=2)], 0, (), in_turn)
