"""TwoRelationSampler: who is drawn with whom, that everybody is drawn, and when what it saw begins to count (G14)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from fashreg_moml.deck import Deck
from fashreg_moml.neighbours import Neighbours, nearest_classes
from fashreg_moml.sampler import TwoRelationSampler
from hypothesis import given, settings
from hypothesis import strategies as st

SIZES = [1, 2, 3, 4, 5, 9, 1, 6, 4, 12, 2, 8, 4, 4, 7, 1, 5, 4, 3, 11]  # images of 20 classes
LABELS = [label for label, size in enumerate(SIZES) for _ in range(size)]  # 96 images


def made(**options: Any) -> TwoRelationSampler:
    facts: dict[str, Any] = {"labels": LABELS, "batch_size": 32, "warmup": 0, "seed": 5, "seeds": "classes"}
    return TwoRelationSampler(**{**facts, **options})


def classes_of(batch: list[int]) -> list[int]:
    return [LABELS[position] for position in batch]


def epochs(sampler: TwoRelationSampler, count: int, start: int = 0) -> Iterator[list[list[int]]]:
    for epoch in range(start, start + count):
        sampler.set_epoch(epoch)
        yield list(sampler)


def circle(count: int = 20) -> torch.Tensor:
    """Proxies around a circle at growing steps, so that no two neighbours are equally near."""
    angle = torch.linspace(0, 1, count).double() ** 1.3 * 5
    return torch.stack([angle.cos(), angle.sin()], 1)


@pytest.mark.parametrize("looked", [False, True])
@pytest.mark.parametrize("seeds", ["classes", "images"])
def test_a_batch_is_p_classes_of_k_images_and_only_small_classes_repeat_images(seeds: Any, looked: bool) -> None:
    sampler = made(seeds=seeds)
    if looked:
        sampler.see(circle(), 1)
    for batch in (batch for batches in epochs(sampler, 12, start=1) for batch in batches):
        assert set(Counter(classes_of(batch)).values()) == {4}
        assert len(set(classes_of(batch))) == 8
        for position, times in Counter(batch).items():
            size = SIZES[LABELS[position]]
            assert times <= math.ceil(4 / size)


@pytest.mark.parametrize("uniform", [0.25, 0.3, 0.5, 1.0])
def test_the_seeds_come_from_the_deck_whatever_the_proxies_say(uniform: float) -> None:
    sampler = made(uniform=uniform)
    sampler.see(torch.ones(20, 3) + 1e-3 * torch.eye(20, 3), 1)
    seeds, deck = math.ceil(uniform * 8), Deck(np.arange(20), 5)
    number = len(sampler)
    for batches in epochs(sampler, 10, start=1):
        for batch in batches:
            assert set(deck.dealt(number * seeds, seeds)) <= set(classes_of(batch))
            number += 1


@pytest.mark.parametrize(("seeds", "cards"), [("classes", 20), ("images", 96)])
def test_every_class_is_drawn_within_a_bounded_time_even_where_no_proxy_is_near_it(seeds: Any, cards: int) -> None:
    proxies = torch.zeros(20, 2)
    proxies[:, 0] = -1.0
    proxies[:9, 0], proxies[:9, 1] = 1.0, torch.arange(9) * 1e-3  # everybody's nearest are among nine
    sampler = made(seeds=seeds, temperature=1e-3, nearest=3)
    sampler.see(proxies, 1)
    per_epoch = 2 * len(sampler)  # seeds
    bound = math.ceil((2 * cards - 1) / per_epoch) + 1
    drawn = [{c for batch in batches for c in classes_of(batch)} for batches in epochs(sampler, 5 * bound, start=1)]
    for start in range(len(drawn) - bound):
        assert set().union(*drawn[start : start + bound]) == set(range(20))


def test_a_cold_draw_takes_the_three_nearest_of_each_seed() -> None:
    sampler = made(temperature=1e-6, batch_size=16)  # one seed, three neighbours
    sampler.see(circle(), 1)
    cosines = (circle() @ circle().T).fill_diagonal_(-2)
    deck = Deck(np.arange(20), 5)
    number = len(sampler)
    for batches in epochs(sampler, 5, start=1):
        for batch in batches:
            (seed,) = deck.dealt(number, 1)
            assert set(classes_of(batch)) == {seed, *cosines[seed].topk(3).indices.tolist()}
            number += 1


def test_neighbours_that_are_there_already_make_room_for_classes_drawn_from_all() -> None:
    proxies = torch.full((20, 2), -1.0)
    proxies[:3] = torch.tensor([[1.0, 0.0], [1.0, 1e-3], [1.0, 2e-3]])
    proxies[3:, 0] = torch.linspace(-1, -0.9, 17)
    sampler = made(temperature=1e-9, nearest=1)  # at most one neighbour each: two seeds, two neighbours, four others
    sampler.see(proxies, 1)
    batches = [batch for drawn in epochs(sampler, 30, start=1) for batch in drawn]
    counted = Counter(label for batch in batches for label in set(classes_of(batch)))
    assert set(counted) == set(range(20))
    assert {len(set(classes_of(batch))) for batch in batches} == {8}


def test_the_draw_follows_the_softmax_over_similarities() -> None:
    u = np.array([[0.9, 0.8, 0.75, 0.6]])
    view = Neighbours(0, np.array([[3, 1, 4, 2]]), u)
    random = np.random.default_rng(0)
    first = Counter(view.drawn(0, 1, 0.1, random)[0] for _ in range(4000))
    p = np.exp(u[0] / 0.1) / np.exp(u[0] / 0.1).sum()
    for label, wanted in zip((3, 1, 4, 2), p, strict=True):
        assert abs(first[label] / 4000 - wanted) < 4 * math.sqrt(wanted * (1 - wanted) / 4000)
    assert sorted(view.drawn(0, 9, 0.1, random)) == [1, 2, 3, 4]


@settings(deadline=None, max_examples=30)
@given(classes=st.integers(2, 9), each=st.integers(1, 3), top=st.integers(1, 12), seed=st.integers(0, 99))
def test_the_nearest_classes_are_those_of_a_plain_search(classes: int, each: int, top: int, seed: int) -> None:
    p = torch.randn(classes, each, 4, generator=torch.Generator().manual_seed(seed))
    near, u = nearest_classes(p, top)
    rows = torch.nn.functional.normalize(p, dim=2)
    for c in range(classes):
        found = {d: max(float(a @ b) for a in rows[c] for b in rows[d]) for d in range(classes) if d != c}
        wanted = sorted(found, key=lambda d: -found[d])[:top]
        assert near[c].tolist() == wanted
        assert np.allclose(u[c], [found[d] for d in wanted], atol=1e-6)


def test_blocks_of_classes_give_what_one_block_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    p = torch.randn(23, 2, 6, generator=torch.Generator().manual_seed(0))
    whole = nearest_classes(p, 5)
    monkeypatch.setattr("fashreg_moml.neighbours._SCORES", 23 * 2 * 2 * 4)
    near, u = nearest_classes(p, 5)
    assert near.tolist() == whole[0].tolist()
    assert np.allclose(u, whole[1], atol=1e-6)


def test_classes_without_images_are_never_drawn() -> None:
    labels = [label * 2 for label in LABELS]  # odd classes have proxies and no images
    sampler = made(labels=labels, num_classes=40, temperature=0.01)
    sampler.see(torch.randn(40, 4, generator=torch.Generator().manual_seed(1)), 1)
    for batch in (batch for batches in epochs(sampler, 5, start=1) for batch in batches):
        assert len({labels[position] for position in batch}) == 8


def test_during_warmup_nobody_looks_and_what_is_shown_waits() -> None:
    expected = list(epochs(made(warmup=2), 4))
    sampler = made(warmup=2)
    found = []
    for epoch in range(4):
        sampler.set_epoch(epoch)
        found.append(list(sampler))
        for done in range(1, len(sampler) + 1):
            sampler.advance_to(done)
            step = epoch * len(sampler) + done
            assert sampler.wants(step) == (step >= 2 * len(sampler))
        if epoch == 0:
            sampler.see(circle(), 1)
            sampler._looked = None  # shown by somebody else, not asked for
    assert found[:2] == expected[:2]
    assert found[2] != expected[2]


def test_it_looks_again_after_refresh_steps() -> None:
    sampler = made(refresh=7)
    looks = []
    for step in range(1, 30):
        if sampler.wants(step):
            sampler.see(circle(), step)
            looks.append(step)
    assert looks == [1, 8, 15, 22, 29]
    assert not made(uniform=1.0).wants(1)


@pytest.mark.parametrize(("done", "first"), [(1, 3), (2, 3), (3, 3)])
def test_what_it_saw_counts_from_ahead_batches_on_or_from_the_next_epoch(done: int, first: int) -> None:
    plain = list(epochs(made(batch_size=16, ahead=2), 2))
    sampler = made(batch_size=16, ahead=2)
    assert len(sampler) == 6
    sampler.advance_to(done)
    sampler.see(circle(), done)
    sampler.set_epoch(0)
    now = list(sampler)
    changed = [i for i, (a, b) in enumerate(zip(now, plain[0], strict=True)) if a != b]
    assert min(changed) == done + 2
    sampler.set_epoch(1)
    assert next(iter(sampler)) != plain[1][0]


def test_a_loader_that_fetches_too_far_ahead_is_told_so() -> None:
    sampler = made(batch_size=16, ahead=2)
    running = iter(sampler)
    list(islice(running, 4))
    sampler.advance_to(1)
    with pytest.raises(ValueError, match=r"3 batches have been fetched ahead.*ahead=3 or more"):
        sampler.see(circle(), 1)
    sampler.advance_to(2)
    sampler.see(circle(), 2)
    assert len(list(sampler)) == 4, "looking at all batches is no fetching ahead"
    sampler.see(circle(), 3)


def test_coverage_is_the_share_of_classes_in_the_batches_done() -> None:
    sampler = made()
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        for done in range(len(sampler) + 1):
            sampler.advance_to(done)
            held = {label for batch in batches[:done] for label in classes_of(batch)}
            assert sampler.parts == {"coverage[classes]": len(held) / 20}
        sampler.see(circle(), 1)


def test_a_pass_over_the_deck_deals_every_card_once_and_passes_differ() -> None:
    cards = np.array([3, 3, 1, 4, 1, 5])
    deck = Deck(cards, 7)
    passes = [deck.dealt(6 * n, 6) for n in range(20)]
    assert all(sorted(dealt) == sorted(cards.tolist()) for dealt in passes)
    assert len({tuple(dealt) for dealt in passes}) > 10
    assert Deck(cards, 7).dealt(9, 12) == [card for dealt in passes for card in dealt][9:21]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": 30}, "no multiple of images_per_class 4: use batch_size 28 or 32"),
        ({"batch_size": 4}, "use batch_size 8 or more"),
        ({"batch_size": 84}, "needs 21 classes in a batch, and there are 20: use batch_size 80 or less"),
        ({"images_per_class": 1}, "2 or more, got 1"),
        ({"uniform": 0.2}, "uniform must lie in 0.25..1, got 0.2"),
        ({"temperature": 0.0}, "temperature must be positive, got 0.0"),
        ({"seeds": "pictures"}, "seeds must be classes or images, got 'pictures'"),
        ({"refresh": 0}, "1 or more"),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        made(**options)


def test_a_state_of_other_classes_is_refused() -> None:
    sampler = made()
    sampler.see(circle(), 1)
    with pytest.raises(ValueError, match="saw 20 classes, this one has 19"):
        made(labels=[min(label, 18) for label in LABELS]).load_state_dict(sampler.state_dict())
