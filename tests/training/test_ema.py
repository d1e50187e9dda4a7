from __future__ import annotations

import pytest
import torch
from torch import nn

from fashreg.learners.standard import StandardLearner
from fashreg.testing.tiny_run import difference, tiny_experience, tiny_session, weights_of
from fashreg.training.ema import Ema


def test_the_average_follows_by_hand() -> None:
    """w = 0, then 1, 1 with decay 0.15: d = min(0.15, 1/10), min(0.15, 2/11): 0.9, 0.15 * 0.9 + 0.85 = 0.985."""
    layer = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(layer.weight)
    ema = Ema(layer, 0.15)
    nn.init.ones_(layer.weight)
    ema.update()
    assert ema.average["weight"].item() == pytest.approx(0.9)
    ema.update()
    assert ema.average["weight"].item() == pytest.approx(0.985)


def test_in_place_swaps_and_swaps_back_also_after_an_error() -> None:
    layer = nn.BatchNorm1d(2)
    ema = Ema(layer, 0.9)
    with torch.no_grad():
        layer.weight.fill_(3.0)
        layer.running_mean.fill_(5.0)

    def evaluate() -> None:
        assert layer.weight.tolist() == [1.0, 1.0]
        assert layer.running_mean.tolist() == [0.0, 0.0]
        raise KeyError

    with pytest.raises(KeyError), ema.in_place():
        evaluate()
    assert layer.weight.tolist() == [3.0, 3.0]
    assert layer.running_mean.tolist() == [5.0, 5.0]
    assert ema.average["weight"].tolist() == [1.0, 1.0]


def test_the_average_is_what_is_evaluated_and_kept() -> None:
    seen = []

    def evaluate(encoder, experience):  # type: ignore[no-untyped-def]
        seen.append({k: v.clone() for k, v in encoder.state_dict().items()})
        return {"recall@1": 0.5}

    session = tiny_session(trainer={"ema_decay": 0.9, "epochs": 1}, evaluate=evaluate)
    StandardLearner().bind(session).learn(tiny_experience())
    without = tiny_session(trainer={"epochs": 1})
    StandardLearner().bind(without).learn(tiny_experience())
    assert not difference(seen[0], session.encoder.state_dict())
    assert difference(weights_of(session), weights_of(without))


def test_without_evaluation_the_average_is_kept_too() -> None:
    ends = []
    for evaluate in (None, lambda encoder, experience: {"recall@1": 0.5}):
        session = tiny_session(trainer={"ema_decay": 0.9, "epochs": 1}, evaluate=evaluate)
        StandardLearner().bind(session).learn(tiny_experience())
        ends.append(weights_of(session))
    assert not difference(*ends)


def test_an_average_of_another_network_is_refused() -> None:
    with pytest.raises(ValueError, match="another network"):
        Ema(nn.Linear(1, 1), 0.9).load_state_dict(Ema(nn.Linear(1, 1, bias=False), 0.9).state_dict())


def test_buffers_that_are_not_kept_are_left_alone() -> None:
    """A causal mask holds minus infinity, whose average would be no number."""
    network = nn.Linear(2, 2)
    mask = torch.full((2, 2), -torch.inf).triu(1)
    network.register_buffer("mask", mask.clone(), persistent=False)
    average = Ema(network, 0.9)
    average.update()
    with average.in_place():
        assert torch.equal(network.mask, mask)
    average.copy_to()
    assert torch.equal(network.mask, mask)
