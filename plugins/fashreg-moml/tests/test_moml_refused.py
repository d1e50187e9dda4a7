"""Options that mean nothing are refused and said."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fashreg_moml.loss import MultiObjectiveLoss
from fashreg_moml.repulsion import ProxyRepulsionLoss
from moml_asking import asking, made
from moml_plain import random_batch

from fashreg import build, registry
from fashreg.errors import OptionError, RecipeError
from fashreg.jobs.parts_check import check_together
from fashreg.learners.standard import StandardLearner
from fashreg.testing.tiny_run import DIM, tiny_experience, tiny_session, weights_of

# ---- options that mean nothing ----


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rule": "uncertainty", "pair_weight": 1.0}, "learns its weights"),
        ({"rule": "sum"}, "rule"),
        ({"proxy": "contrastive"}, "ContrastiveLoss is not"),
        ({"repulsion": "contrastive"}, "between"),
        ({"pair": "proxy-anchor"}, "compares rows with classes"),
        ({"pair": {"name": "infonce", "mode": "pairs"}}, "partners"),
        ({"eta": 1.5}, "eta"),
        ({"every": 0}, "every"),
    ],
)
def test_what_does_not_fit_is_refused_and_said(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        MultiObjectiveLoss(num_classes=6, embed_dim=DIM, **options)
    with pytest.raises(OptionError):
        build("loss", {"name": "multi-objective", **options}, facts={"num_classes": 6, "embed_dim": DIM})


PAIRS, PROXIES = ("contrastive", "multi-similarity", "triplet"), ("normalized-softmax", "proxy-anchor")


@pytest.mark.parametrize("role", ["pair", "proxy"])
@pytest.mark.parametrize("name", sorted(entry.name for entry in registry.entries("loss")))
def test_every_loss_that_is_installed_takes_part_or_is_refused_with_the_reason(name: str, role: str) -> None:
    facts = {"num_classes": 6, "embed_dim": DIM}
    loss: Any = None
    try:
        loss = build("loss", {"name": "multi-objective", role: name, "every": 1}, facts=facts)
    except (OptionError, ValueError) as refusal:
        said = str(refusal)
    if loss is None:
        assert f"{role} must be" in said or f"{role}: " in said
        assert name not in (PAIRS if role == "pair" else PROXIES)
        return
    batch = asking(random_batch(12, DIM, 6))
    loss(batch).backward()
    assert batch.vectors.grad is not None
    assert bool(torch.isfinite(batch.vectors.grad).all())
    assert bool(batch.vectors.grad.any())
    assert bool((loss.contribution.latest[:3] > 0).all())


def test_relevance_without_references_is_refused() -> None:
    with pytest.raises(ValueError, match="relevance"):
        made()(asking(random_batch(12, DIM, 6)), None, torch.zeros(12, 12))


def test_a_run_of_the_repulsion_alone_leaves_rows_alone() -> None:
    loss = ProxyRepulsionLoss(num_classes=6, embed_dim=DIM)
    session = tiny_session(loss=loss, memory=None, trainer={"epochs": 1, "weight_decay": 0.0, "optimizer": "sgd"})
    before = weights_of(session)
    StandardLearner().bind(session).learn(tiny_experience())
    after = weights_of(session)
    assert not torch.equal(before["loss.proxies"], after["loss.proxies"])
    trained = [name for name, _ in session.encoder.named_parameters()]
    assert all(torch.equal(before[f"encoder.{name}"], after[f"encoder.{name}"]) for name in trained)


def test_a_recipe_with_the_repulsion_alone_is_refused_before_the_first_step() -> None:
    loss = ProxyRepulsionLoss(num_classes=6, embed_dim=DIM)
    recipe: Any = SimpleNamespace(loss=SimpleNamespace(name="proxy-repulsion"))
    tables: Any = SimpleNamespace(train=SimpleNamespace(texts=None, targets=None, attributes={}), tasks={})
    parts: Any = SimpleNamespace(loss=loss, memory=None, needs=loss.needs)
    with pytest.raises(RecipeError, match="encoder would learn nothing"):
        check_together(recipe, tables, parts)
    parts.loss = made()
    check_together(recipe, tables, parts)
