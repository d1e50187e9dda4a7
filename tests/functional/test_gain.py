"""The share of a gain: by hand, against a plain bootstrap, and at its ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fashreg.functional.gain import share_of_gain
from fashreg.functional.uncertainty import resampled_means


def three(queries: int = 300, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """A result, a better one, and one in between, query by query."""
    random = torch.Generator().manual_seed(seed)
    first = torch.rand(queries, generator=random, dtype=torch.float64) * 0.6
    last = first + 0.1 + 0.2 * torch.rand(queries, generator=random, dtype=torch.float64)
    between = first + (last - first) * torch.rand(queries, generator=random, dtype=torch.float64)
    return first, between, last


def test_the_share_is_what_one_gets_by_hand() -> None:
    first, between, last = torch.tensor([0.0, 0.4]), torch.tensor([0.3, 0.4]), torch.tensor([0.6, 0.8])
    assert share_of_gain(first, between, last).value == pytest.approx(0.3)  # (0.35 - 0.2) / (0.7 - 0.2)


def test_nothing_gained_all_gained_and_more_than_all() -> None:
    first, _, last = three()
    assert share_of_gain(first, first, last) == (0, 0, 0)
    assert share_of_gain(first, last, last) == (1, 1, 1)
    assert share_of_gain(first, 2 * last - first, last) == pytest.approx((2, 2, 2))
    assert share_of_gain(first, 2 * first - last, last) == pytest.approx((-1, -1, -1))


def test_the_interval_is_that_of_a_plain_bootstrap() -> None:
    first, between, last = (x.numpy() for x in three())
    random = np.random.default_rng(1)
    ratios = []
    for _ in range(4000):
        drawn = random.integers(0, len(first), len(first))
        ratios.append((between[drawn] - first[drawn]).mean() / (last[drawn] - first[drawn]).mean())
    found = share_of_gain(*map(torch.from_numpy, (first, between, last)))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(ratios, [0.025, 0.975])), abs=0.004)
    assert found.low < found.value < found.high


def test_queries_that_do_not_count_change_nothing_and_groups_are_drawn_whole() -> None:
    first, between, last = three()
    none = torch.full((7,), torch.nan, dtype=torch.float64)
    wider = [torch.cat([none, column]) for column in (first, between, last)]
    assert share_of_gain(*wider) == share_of_gain(first, between, last)
    repeated = [column.repeat_interleave(4) for column in (first, between, last)]
    alone = share_of_gain(*repeated)
    together = share_of_gain(*repeated, groups=torch.arange(300).repeat_interleave(4))
    single = share_of_gain(first, between, last)
    assert together.value == pytest.approx(single.value)
    assert together.high - together.low == pytest.approx(single.high - single.low, rel=0.1)
    assert alone.high - alone.low < 0.7 * (together.high - together.low)


def test_without_a_gain_there_is_no_share() -> None:
    first, between, _ = three()
    for arguments in ((first, between, first), (first[:0], first[:0], first[:0]), (first + torch.nan, first, first)):
        with pytest.raises(ValueError, match="no gain to have a share of"):
            share_of_gain(*arguments)
    with pytest.raises(ValueError, match=r"\(Q,\) each, got \(300,\), \(299,\), \(300,\)"):
        share_of_gain(first, between[1:], first)


def test_resampled_means_need_a_number_for_every_query() -> None:
    values = torch.rand(20, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    means = resampled_means(values, resamples=500)
    assert means.shape == (500, 2)
    assert torch.allclose(means.mean(0), values.mean(0), atol=0.02)
    assert torch.equal(resampled_means(values, resamples=500), means)
    for wrong in (values[:0], torch.tensor([[0.5], [torch.nan]])):
        with pytest.raises(ValueError, match="a number for each"):
            resampled_means(wrong)
