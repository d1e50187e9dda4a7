"""Colours are learnt, and pairs of one value as negatives keep the loss at a floor that is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fashreg_mclfir.mcl_fir import MCLFIRLearner
from mclfir_run import (
    experience,
    stream_session,
)
from torch import Tensor

from fashreg.losses.infonce import InfoNCELoss
from fashreg.samplers.pairs import PairsSampler
from fashreg.values import Embedded, TrainingBatch

# ---- learning ----


def test_four_colours_are_learnt_and_pairs_of_one_value_as_negatives_keep_a_floor() -> None:
    """Flat pictures of 4 colours, 200 steps: MAP > 0.99; unmasked, the loss ends near the collapse floor of 3.3."""
    colours = torch.tensor([[1.0, -1, -1], [-1, 1.0, -1], [-1, -1, 1.0], [1.0, 1, -1]])
    labels = torch.arange(40) % 4
    images = (colours[labels] + 0.1 * torch.randn(40, 3, generator=torch.Generator().manual_seed(0)))[..., None, None]
    images = images.expand(40, 3, 32, 32).contiguous()

    class Flat:
        def __init__(self) -> None:
            self.sampler = PairsSampler(labels, batch_size=16, anchors="balanced", pairs=1600)

        def __len__(self) -> int:
            return len(self.sampler)

        def batches(self, epoch: int) -> Any:
            for positions in self.sampler:
                where = torch.tensor(positions)
                nobody = torch.full_like(where, -1)  # so that no pair is left out for its id
                yield TrainingBatch(images[where], labels[where], nobody, where, task="colour")

    losses: list[float] = []
    session = stream_session(
        source=lambda *given: Flat(),
        trainer={"epochs": 1, "batch_size": 16, "lr": 0.003},
        loss=InfoNCELoss("pairs", 0.3, negatives="both"),
    )
    learner = MCLFIRLearner().bind(session)
    own = learner.objective
    learner.objective = lambda batch: [m := own(batch), losses.append(m.value.item())][0]  # type: ignore
    assert learner.learn(experience("colour")).steps == 200
    rows = session.encoder.embed(images, task="colour")
    assert mean_average_precision(rows, labels) > 0.99
    floor = collapse_floor([2, 2, 2, 2], 8, -1 / 3)  # shuffled rounds: each value twice among 8 pairs
    assert floor - 0.02 < sum(losses[-20:]) / 20 < floor + 0.25


def collapse_floor(pairs_of: list[int], batch: int, cosine: float, temperature: float = 0.3) -> float:
    """L = (1/B) sum_v m_v log[1 + (2 m_v - 2) + (2 B - 2 m_v) exp((c - 1) / tau)] with one point for each value."""
    far = torch.tensor((cosine - 1) / temperature).exp().item()
    inside = [m * torch.tensor(1 + (2 * m - 2) + (2 * batch - 2 * m) * far).log().item() for m in pairs_of if m]
    return sum(inside) / batch


def mean_average_precision(rows: Tensor, labels: Tensor) -> float:
    found = []
    for i in range(len(rows)):
        order = [j for j in (rows @ rows[i]).argsort(descending=True).tolist() if j != i]
        hits = [labels[j] == labels[i] for j in order]
        precisions = [sum(hits[: k + 1]) / (k + 1) for k, hit in enumerate(hits) if hit]
        found.append(float(sum(precisions)) / len(precisions))
    return sum(found) / len(found)


@pytest.mark.parametrize(("values", "floor"), [(5, 1.90), (6, 1.75), (8, 1.55), (10, 1.41)])
def test_the_floor_of_collapsed_values_is_the_losss_own(values: int, floor: float) -> None:
    """Specification 3.3, expectation over uniform values for B = 16 pairs on a simplex, and the loss itself on each."""
    loss, random = InfoNCELoss("pairs", 0.3, negatives="both"), torch.Generator().manual_seed(0)
    corners = torch.eye(values, dtype=torch.float64) - 1 / values
    corners = torch.nn.functional.normalize(corners, dim=1)
    found = []
    for draw in range(400):
        labels = torch.randint(values, (16,), generator=random)
        both = labels.repeat(2)
        expected = collapse_floor(torch.bincount(labels, minlength=values).tolist(), 16, -1 / (values - 1))
        if draw < 5:
            given = loss(Embedded(corners[both], both, torch.arange(32), unit=True)).item()
            assert given == pytest.approx(expected, abs=1e-5)
        found.append(expected)
    assert sum(found) / len(found) == pytest.approx(floor, abs=0.02)
