"""Derivatives, blocks against the dense form, second derivatives, symmetry: what all losses share."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_losses import some_images, toy
from test_losses_contract import FORMS
from torch import Tensor

from fashreg.functional import blocks
from fashreg.losses.contrastive import ContrastiveLoss
from fashreg.losses.infonce import InfoNCELoss
from fashreg.losses.multi_similarity import MultiSimilarityLoss
from fashreg.losses.proxy_anchor import ProxyAnchorLoss
from fashreg.values import Embedded

BLOCKED = {name: make for name, make in FORMS.items() if name.startswith(("contrastive", "multi", "infonce"))}


def each(names: Any) -> Any:
    return pytest.mark.parametrize("name", names)


def fitting(batch: Embedded, loss: Any) -> Embedded:
    """The batch with the width that the loss was built for."""
    return batch if not hasattr(loss, "embed_dim") else replace(batch, vectors=torch.cat([batch.vectors] * 2, 1)[:, :8])


def as_leaf(batch: Embedded) -> Embedded:
    return replace(batch, vectors=batch.vectors.detach().clone().requires_grad_(), unit=False)


@each(FORMS)
def test_gradients_are_derivatives_for_the_batch_and_for_what_is_learnt(name: str) -> None:  # G13
    loss = FORMS[name]().double()
    batch = as_leaf(fitting(some_images(7, 3), loss))

    def value(vectors: Tensor, *_: Tensor) -> Tensor:
        return loss(replace(batch, vectors=vectors))  # type: ignore[no-any-return]

    assert torch.autograd.gradcheck(value, (batch.vectors, *loss.parameters()), atol=1e-6)


@each(n for n in FORMS if "prox" not in n and "softmax" not in n)
def test_gradients_reach_references_that_ask_for_one(name: str) -> None:
    loss, batch, others = FORMS[name]().double(), as_leaf(some_images(6, 3)), as_leaf(some_images(7, 4, first=90))

    def value(x: Tensor, r: Tensor) -> Tensor:
        return loss(replace(batch, vectors=x), replace(others, vectors=r))  # type: ignore[no-any-return]

    assert torch.autograd.gradcheck(value, (batch.vectors, others.vectors), atol=1e-6)


@each(BLOCKED)
def test_gradients_of_the_blocked_form_are_derivatives(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "DENSE_UP_TO", -1)
    monkeypatch.setattr(blocks, "_LEAST_BLOCK", 4)
    monkeypatch.setattr(blocks, "_BLOCK_SCORES", {})
    monkeypatch.setattr(blocks, "_OTHER_DEVICE", 1)
    loss, batch = BLOCKED[name]().double(), as_leaf(some_images(5, 3))
    for classes in (3, 40):
        others = replace(some_images(23, 4, first=90, classes=classes), unit=False)

        def value(x: Tensor, others: Embedded = others) -> Tensor:
            return loss(replace(batch, vectors=x), others)  # type: ignore[no-any-return]

        assert torch.autograd.gradcheck(value, (batch.vectors,), atol=1e-6)


def dense_and_blocked(loss: Any, batch: Embedded, *given: Any, monkeypatch: Any) -> list[tuple[Tensor, ...]]:
    found = []
    for dense_up_to in (1 << 40, -1):
        monkeypatch.setattr(blocks, "DENSE_UP_TO", dense_up_to)
        loss.zero_grad()
        leaf = as_leaf(batch)
        leaf = replace(leaf, unit=batch.unit)
        value = loss(leaf, *given)
        value.backward()
        learnt = [p.grad.clone() for p in loss.parameters()]
        found.append((value.detach(), leaf.vectors.grad, *(p.double() for p in loss.parts.values()), *learnt))
    return found


@each(BLOCKED)
@pytest.mark.parametrize("said", [False, True])
@pytest.mark.parametrize("normalize", [True, False])
def test_blocks_give_the_dense_result(name: str, said: bool, normalize: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_BLOCK_SCORES", {"cpu": 1})
    monkeypatch.setattr(blocks, "_LEAST_BLOCK", 16)
    loss = BLOCKED[name]()
    loss.normalize = normalize
    for dtype, classes, m in itertools.product((torch.float64, torch.float32), (1, 3, 60), (1, 16, 101)):
        batch = some_images(9, m, classes=classes, repeats=True)
        others = some_images(m, m + 1, classes=classes, repeats=True)
        batch, others = (replace(e, vectors=1.5 * e.vectors.to(dtype), unit=False) for e in (batch, others))
        relevance = torch.randint(-1, 2, (9, m), generator=torch.Generator().manual_seed(m)) if said else None
        dense, blocked = dense_and_blocked(loss.to(dtype), batch, others, relevance, monkeypatch=monkeypatch)
        for one, other in zip(dense, blocked, strict=True):
            assert torch.allclose(one, other, rtol=1e-9 if dtype == torch.float64 else 1e-4, atol=1e-6)


@each(BLOCKED)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_blocks_widen_half_precision_references(name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, others = some_images(9), some_images(300, 1, classes=30, first=100)
    half = replace(others, vectors=others.vectors.to(dtype), unit=False)
    batch = replace(batch, vectors=batch.vectors.to(dtype), unit=False)
    dense, blocked = dense_and_blocked(BLOCKED[name](), batch, half, monkeypatch=monkeypatch)
    for one, other in zip(dense, blocked, strict=True):
        assert torch.allclose(one.double(), other.double(), rtol=1e-2, atol=1e-3)
        assert bool(torch.isfinite(other).all())


def largest_allocation(loss: Any, batch: Embedded, others: Embedded) -> int:
    with torch.profiler.profile(profile_memory=True) as profile:
        loss(batch, others).backward()
    return max(event.cpu_memory_usage for event in profile.events())


def test_the_blocked_form_does_not_keep_the_score_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, others = some_images(32), some_images(30_000, 1, classes=3000, first=100)
    batch = replace(batch, vectors=batch.vectors.float().requires_grad_())
    others = replace(others, vectors=others.vectors.float())
    matrix = 32 * 30_000 * 4
    for loss in (ContrastiveLoss(), MultiSimilarityLoss(), MultiSimilarityLoss(epsilon=0.1), InfoNCELoss()):
        assert largest_allocation(loss, batch, others) < matrix / 2, type(loss).__name__
    monkeypatch.setattr(blocks, "DENSE_UP_TO", 1 << 40)
    assert largest_allocation(ContrastiveLoss(), batch, others) >= matrix


def test_differentiating_twice_fails_instead_of_giving_a_wrong_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for dense_up_to in (1 << 40, -1):
        monkeypatch.setattr(blocks, "DENSE_UP_TO", dense_up_to)
        for unit, references in itertools.product((True, False), (None, some_images(9, 1, first=50))):
            rows = some_images(5).vectors.requires_grad_()
            value = ContrastiveLoss()(replace(some_images(5), vectors=rows, unit=unit), references)
            (gradient,) = torch.autograd.grad(value, rows, create_graph=True)
            with pytest.raises(RuntimeError, match="differentiated twice"):
                torch.autograd.grad(value + gradient.square().sum(), rows)


def test_without_gradients_wanted_none_are_kept() -> None:
    with torch.no_grad():
        assert not ContrastiveLoss()(toy()).requires_grad
    assert not ContrastiveLoss()(toy(), some_images(4, dim=2, first=9)).requires_grad


def test_a_backward_within_autocast_stays_in_full_precision() -> None:
    for loss in (ContrastiveLoss(), ProxyAnchorLoss(num_classes=5, embed_dim=8)):
        batch = fitting(some_images(8), loss)
        found = []
        for on in (False, True):
            leaf = replace(as_leaf(batch), vectors=batch.vectors.float().requires_grad_())
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=on):
                loss(leaf).backward()
            found.append(leaf.vectors.grad)
        assert torch.equal(*found)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(FORMS)), st.integers(1, 9), st.integers(1, 4), st.integers(0, 10_000))
def test_the_order_of_rows_and_the_names_of_labels_do_not_matter(name: str, b: int, classes: int, seed: int) -> None:
    loss = FORMS[name]().double()
    batch = fitting(some_images(b, seed, classes=classes), loss)
    order = torch.randperm(b, generator=torch.Generator().manual_seed(seed))
    names = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    wanted = loss(batch).item()
    moved = replace(batch, vectors=batch.vectors[order], labels=names[batch.labels[order]], ids=batch.ids[order])
    renamed = copy.deepcopy(loss)
    if hasattr(loss, "proxies"):
        with torch.no_grad():
            renamed.proxies[names] = loss.proxies
    assert renamed(moved).item() == pytest.approx(wanted, rel=1e-9, abs=1e-9)
