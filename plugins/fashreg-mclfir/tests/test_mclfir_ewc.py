"""EWC: the Fisher diagonal against slow plain sums, the spring against autograd."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from fashreg_mclfir.ewc import EWCLearner
from fashreg_mclfir.fisher import fisher_diagonal
from mclfir_run import NAMES, experience, learn, stream_session
from torch import Tensor

from fashreg.errors import ModelError
from fashreg.testing.tiny_run import difference
from fashreg.training.session import Session
from fashreg.values import Embedded, TrainingBatch


def trained(**options: Any) -> tuple[EWCLearner, Session]:
    session = stream_session(trainer={"epochs": 1})
    learner = EWCLearner(**{"tuples": 12, "weight": 3.0, **options})
    learn(learner, session, NAMES[0])
    return learner, session


def batches(learner: EWCLearner, session: Session, count: int) -> list[TrainingBatch]:
    learner.source.sampler.set_epoch(session.trainer.epochs)
    return list(itertools.islice(learner.source.batches(session.trainer.epochs), count))


def value_of(session: Session, vectors: Tensor, batch: TrainingBatch) -> Tensor:
    value: Tensor = session.loss(Embedded(vectors, batch.labels, batch.ids, unit=True))
    return value


@pytest.mark.parametrize("per", ["sample", "batch"])
def test_the_fisher_diagonal_equals_a_slow_sum(per: Any) -> None:
    """Per sample: gradients through row i alone, i by i; per batch: n times the squared gradient of the mean."""
    learner, session = trained()
    encoder = session.encoder
    encoder.double()
    names = [name for name, p in encoder.backbone.named_parameters() if p.requires_grad]
    parameters = [p for p in encoder.backbone.parameters() if p.requires_grad]
    expected = [torch.zeros_like(p) for p in parameters]
    encoder.eval()
    seen = batches(learner, session, 2)
    for batch in seen:
        batch.images = batch.images.double()
        n = len(batch)
        rows = encoder(batch.images, batch.task)
        (pull,) = torch.autograd.grad(value_of(session, rows, batch), rows, retain_graph=True)
        whole = torch.autograd.grad(rows, parameters, pull, retain_graph=True)
        if per == "batch":
            for total, gradient in zip(expected, whole, strict=True):
                total += n * gradient.square() / len(seen)
            continue
        single = [torch.autograd.grad(rows[i], parameters, pull[i], retain_graph=True) for i in range(n)]
        for place, gradient in enumerate(whole):
            assert torch.allclose(sum(one[place] for one in single), gradient, atol=1e-10)
            expected[place] += sum((n * one[place]).square() for one in single) / (n * len(seen))

    class Given:
        sampler = learner.source.sampler

        def batches(self, epoch: int) -> Any:
            return iter(seen)

    found = fisher_diagonal(session, Given(), parameters, 12, per)  # type: ignore[arg-type]
    for name, one, other in zip(names, found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-6, atol=1e-12), name
    assert all(p.grad is None for p in parameters)
    assert any(bool(value.any()) for value in found)


def test_the_spring_is_half_the_weighted_square_and_its_gradient() -> None:
    learner, session = trained()
    now = learner._shared()
    with torch.no_grad():
        for parameter in now.values():
            parameter.add_(0.1 * torch.randn_like(parameter))
    expected = torch.stack(
        [(learner.fisher[name] * (value - learner.anchor[name]).square()).sum() for name, value in now.items()]
    ).sum()
    learner.before(experience(NAMES[1]))
    spring = learner.terms(batches(learner, session, 1)[0], None)["spring"]  # type: ignore[arg-type]
    assert spring.item() == pytest.approx(3.0 / 2 * expected.item(), rel=1e-5)
    parameters = list(now.values())
    found = torch.autograd.grad(spring, parameters)
    plain = torch.autograd.grad(3.0 / 2 * expected, parameters)
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-7) for a, b in zip(found, plain, strict=True))


def test_where_the_weights_have_not_moved_there_is_no_spring() -> None:
    learner, session = trained()
    learner.before(experience(NAMES[1]))
    assert learner.terms(batches(learner, session, 1)[0], None)["spring"].item() == 0.0  # type: ignore[arg-type]


def test_the_first_experience_has_no_spring_and_later_ones_add_to_a_decayed_sum() -> None:
    ends = []
    for decay in (1.0, 0.5, 0.0):
        session = stream_session(trainer={"epochs": 1})
        learner = EWCLearner(weight=1e-9, decay=decay, tuples=12, per="batch").bind(session)
        learner.learn(experience(NAMES[0]))
        first = {name: value.clone() for name, value in learner.fisher.items()}
        learner.learn(experience(NAMES[1]))
        ends.append({name: value - decay * first[name] for name, value in learner.fisher.items()})
    for name in ends[0]:
        assert torch.allclose(ends[0][name], ends[2][name], rtol=1e-3, atol=1e-6)
        assert torch.allclose(ends[1][name], ends[2][name], rtol=1e-3, atol=1e-6)


def test_a_stiff_spring_holds_the_trunk_more_than_a_loose_one() -> None:
    moved = []
    for weight in (1e-6, 300.0):
        session = stream_session(trainer={"epochs": 1, "optimizer": "sgd", "momentum": 0.0, "lr": 1e-3})
        learner = EWCLearner(weight=weight, tuples=12, per="batch").bind(session)
        learner.learn(experience(NAMES[0]))
        fisher, anchor = learner.fisher, learner.anchor
        learner.learn(experience(NAMES[1]))
        now = dict(session.encoder.named_parameters())
        moved.append(sum((fisher[n] * (now[n].detach() - anchor[n]).square()).sum().item() for n in anchor))
    assert moved[1] < moved[0]


def test_only_the_trunk_is_held_and_nothing_where_it_rests() -> None:
    learner, session = trained()
    assert learner.fisher
    assert all(name.startswith("backbone.") for name in learner.fisher)
    assert session.cost.of(NAMES[0]).parameters == sum(
        p.numel() for p in [*session.encoder.parameters(), *learner.fisher.values()]
    )
    resting = stream_session(trainer={"freeze": "backbone", "epochs": 1})
    other = EWCLearner(tuples=12)
    learn(other, resting, *NAMES[:2])
    assert not other.fisher


def test_it_goes_on_with_what_an_earlier_run_carried_and_says_what_is_missing_without() -> None:
    learner, session = trained()
    later = EWCLearner(weight=3.0, tuples=12).bind(stream_session(encoder=session.encoder))
    later.take_up(learner.carry())
    assert not difference(later.fisher, learner.fisher)
    assert not difference(later.anchor, learner.anchor)
    assert (later.seen, later.learnt) == ([NAMES[0]], [NAMES[0]])
    alone = EWCLearner().bind(stream_session(encoder=session.encoder))
    with pytest.raises(ModelError, match=r"fashreg continue RUN.*learner=lwf"):
        alone.take_up(None)
    frozen = EWCLearner(encoder="frozen").bind(stream_session(encoder=session.encoder))
    frozen.take_up(None)
    assert frozen.learnt == [NAMES[0]]
    state = learner.carry()
    state["fisher"]["backbone.strange"] = torch.zeros(3)
    with pytest.raises(ModelError, match="another network"):
        alone.take_up(state)


@pytest.mark.parametrize("options", [{"weight": -1.0}, {"decay": 2.0}, {"tuples": 0}, {"per": "epoch"}])
def test_impossible_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        EWCLearner(**options)
