"""Three objectives and remembered rows: which are weighed, measured and trained."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from fashreg_moml.contribution import on_sphere
from moml_asking import asking, made
from moml_plain import random_batch

from fashreg.learners.standard import StandardLearner
from fashreg.testing.tiny_run import DIM, tiny_experience, tiny_session
from fashreg.values import Embedded

# ---- remembered rows ----


def remembered(seed: int = 1, count: int = 30) -> Embedded:
    found = random_batch(count, DIM, 6, seed)
    return replace(found, vectors=found.vectors.float(), ids=found.ids + 100)


@pytest.mark.parametrize("rule", ["fixed", "loss-statistics", "gradnorm", "dynamic-average", "uncertainty"])
def test_against_remembered_rows_it_is_the_weighed_pair_objective_and_no_step(rule: Any) -> None:
    loss, batch, others = made(rule=rule), random_batch(12, DIM, 6), remembered()
    loss(asking(batch))
    before = copy.deepcopy(loss.state_dict())
    found = loss(asking(batch), others)
    wanted = loss.pair(replace(batch, vectors=batch.vectors.float()), others)
    assert torch.allclose(found, wanted * loss.weighing.weights()[0])
    assert all(torch.equal(before[name], value) for name, value in loss.state_dict().items())


@pytest.mark.parametrize("aim", [0.5, 1.0])
def test_balanced_remembered_pairs_contribute_what_was_aimed_at_whatever_their_own_pull(aim: float) -> None:
    loss, batch = made(every=1, momentum=0.0, pair_weight=aim), asking(random_batch(12, DIM, 6))
    values = loss._values(batch)
    (proxy,) = torch.autograd.grad(values["proxy"], batch.vectors)
    loss(batch)
    own = float(loss.parts["weight[pair]"])
    for others in (remembered(1), remembered(2, 200)):
        (pull,) = torch.autograd.grad(loss(batch, others), batch.vectors)
        pulls = [float(on_sphere(g, batch.vectors).norm()) for g in (pull, proxy)]  # type: ignore[union-attr]
        assert pulls[0] == pytest.approx(aim * pulls[1], rel=1e-5)
        assert float(loss.parts["share[pair]"]) == pytest.approx(aim / (1 + aim), rel=1e-5)
        assert float(loss.parts["weight[pair]"]) != pytest.approx(own, rel=1e-3)
    assert int(loss.steps) == 1, "a call with remembered rows is no step"


def test_remembered_pairs_have_the_weight_of_the_batchs_until_both_norms_are_known() -> None:
    loss, batch = made(pair_weight=0.7), asking(random_batch(12, DIM, 6))
    loss(batch, remembered())
    assert float(loss.parts["weight[pair]"]) == pytest.approx(0.7)
    loss = made()
    loss(batch)
    loss.pair = Nothing()
    loss(batch, remembered())
    assert torch.equal(loss.parts["weight[pair]"], loss.weighing.weights()[0]), "a norm of 0 says nothing"
    assert int(loss.remembered.seen) == 0


def test_remembered_pairs_are_measured_every_so_many_calls_in_training_only() -> None:
    loss, batch = made(every=3), asking(random_batch(12, DIM, 6))
    loss(batch)
    weights = []
    for seed in range(7):
        loss(batch, remembered(seed))
        weights.append(float(loss.parts["weight[pair]"]))
    assert int(loss.remembered.seen) == 3
    assert [weights[i] == weights[i - 1] for i in range(1, 7)] == [True, True, False, True, True, False]
    before = copy.deepcopy(loss.state_dict())
    loss.eval()(batch, remembered(9))
    with torch.no_grad():
        loss.train()(batch, remembered(9))
    assert all(torch.equal(before[name], value) for name, value in loss.state_dict().items())


def test_with_a_memory_all_three_objectives_and_the_remembered_pairs_train() -> None:
    session = tiny_session(loss=made(), trainer={"epochs": 2})
    seen: list[dict[str, float]] = []
    learner = StandardLearner().bind(session)
    objective = learner.objective
    learner.objective = lambda batch: (seen.append(dict((m := objective(batch)).parts)), m)[1]  # type: ignore[assignment, func-returns-value]
    learner.learn(tiny_experience())
    assert {"memory.pair", "batch.pair", "batch.proxy", "batch.repulsion"} <= set(seen[-1])


@pytest.mark.parametrize("rule", ["balanced", "loss-statistics", "gradnorm", "dynamic-average", "uncertainty"])
def test_calls_before_a_backward_do_not_spoil_one_another(rule: Any) -> None:
    loss, others = made(every=1, rule=rule), random_batch(30, DIM, 6, 9)
    others = replace(others, vectors=others.vectors.float(), ids=others.ids + 100)
    wanted = copy.deepcopy(loss)
    batches = [asking(random_batch(12, DIM, 6, seed)) for seed in range(3)]
    far = loss(batches[0], others)
    near = [loss(batch) for batch in batches[:2]]
    parts = dict(loss.parts)
    said = {name: float(part) for name, part in parts.items()}
    loss(batches[2])
    assert {name: float(part) for name, part in parts.items()} == said, "parts of an earlier call stay"
    torch.stack([far, *near]).sum().backward()
    found = loss.proxies.grad
    wanted(batches[0], others).backward()
    for batch in batches[:2]:
        wanted(batch).backward()
    assert found is not None
    assert wanted.proxies.grad is not None
    assert torch.allclose(found, wanted.proxies.grad)


class Nothing(torch.nn.Module):
    def forward(self, batch: Embedded, *given: Any) -> torch.Tensor:
        return 0.0 * batch.vectors.sum()
