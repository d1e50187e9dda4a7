"""Products by oneDNN: the same numbers as torch's own, or torch's own."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from fashreg_moml import product
from fashreg_moml.fused import anchored_and_apart, sharpness_of
from fashreg_moml.product import onednn, times_transposed
from fashreg_moml.repulsion import ProxyRepulsionLoss
from hypothesis import given, settings
from hypothesis import strategies as st
from moml_plain import random_batch

from fashreg.losses.proxy_anchor import ProxyAnchorLoss


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 90), st.integers(1, 70), st.integers(1, 80), st.booleans(), st.booleans(), st.integers(0, 99))
def test_a_product_is_that_of_double_precision_for_any_shape_and_strides(
    n: int, m: int, k: int, turned: bool, cut: bool, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    a = torch.randn((k, n), generator=random).T if turned else torch.randn((n, k), generator=random)
    wide = torch.randn((m, k + 3), generator=random)
    b = wide[:, 2 : k + 2] if cut else wide[:, :k].contiguous()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(product, "_WORTH", 0)
        found = times_transposed(a, b)
    assert torch.allclose(found.double(), a.double() @ b.double().T, rtol=1e-5, atol=1e-5)


def test_double_precision_and_small_products_are_torchs_own() -> None:
    a, b = torch.randn(200, 64), torch.randn(100, 64)
    assert torch.equal(times_transposed(a.double(), b.double()), a.double() @ b.double().T)
    assert torch.equal(times_transposed(a[:2], b[:3]), a[:2] @ b[:3].T)


def test_without_the_operator_or_with_another_one_of_its_name_torchs_own_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a, b = torch.randn(200, 64), torch.randn(100, 64)

    def refuses(*given: object) -> torch.Tensor:
        raise TypeError("another signature")

    for other in (
        SimpleNamespace(),
        SimpleNamespace(_linear_pointwise=refuses),
        SimpleNamespace(_linear_pointwise=lambda a, b, *given: 2 * a @ b.T),
    ):
        onednn.cache_clear()
        monkeypatch.setattr(torch.ops, "mkldnn", other)
        assert onednn() is None
        assert torch.equal(times_transposed(a, b), a @ b.T)
    onednn.cache_clear()


@pytest.mark.parametrize("worth", [0, 1 << 40])
def test_single_precision_walks_to_the_gradients_of_double_precision(
    worth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(product, "_WORTH", worth)
    found = []
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(0)
        anchor = ProxyAnchorLoss(num_classes=300, embed_dim=24).to(dtype)
        batch = random_batch(40, 24, 300, cone=0.2)
        leaf = replace(batch, vectors=batch.vectors.to(dtype).requires_grad_())
        how = sharpness_of(anchor, ProxyRepulsionLoss(num_classes=300, embed_dim=24), leaf)
        assert how is not None
        with torch.autocast("cpu", torch.bfloat16):
            near, apart, _ = anchored_and_apart(leaf, anchor.proxies, how)
        (near + apart).backward()
        found.append([near.detach(), apart.detach(), leaf.vectors.grad, anchor.proxies.grad])
    for single, double in zip(*found, strict=True):
        assert single is not None
        assert double is not None
        assert float((single.double() - double).abs().max()) < 2e-5 * float(double.abs().max())
