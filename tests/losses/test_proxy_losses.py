"""The losses with proxies: golden numbers, the peer's losses, several labels a row."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pytorch_metric_learning import losses as peer
from slow_losses import at, some_images, toy
from torch import Tensor

from fashreg.losses.normalized_softmax import NormalizedSoftmaxLoss
from fashreg.losses.proxy_anchor import ProxyAnchorLoss
from fashreg.values import Embedded

BOTH = pytest.mark.parametrize("kind", [ProxyAnchorLoss, NormalizedSoftmaxLoss])


def with_proxies(loss: Any, proxies: Tensor) -> Any:
    loss.double()
    with torch.no_grad():
        loss.proxies.copy_(proxies)
    return loss


@pytest.mark.parametrize(("alpha", "wanted"), [(32.0, 23.456725664), (4.0, 3.185937334)])
def test_the_toy_gives_the_numbers_of_the_specification(alpha: float, wanted: float) -> None:  # G4
    loss = with_proxies(ProxyAnchorLoss(num_classes=2, embed_dim=2, alpha=alpha, margin=0.1), at(10, 80))
    assert loss(toy()).item() == pytest.approx(wanted, abs=1e-9)
    assert float(loss.parts["positive"] + loss.parts["negative"]) == pytest.approx(wanted, abs=1e-9)
    if alpha == 32:
        assert float(loss.parts["positive"]) == pytest.approx(2.31e-11, rel=1e-2)


@BOTH
def test_it_equals_pytorch_metric_learning(kind: Any) -> None:
    for seed in range(3):
        batch = some_images(12, seed, classes=4)  # six classes have proxies, at most four are in the batch
        ours = kind(num_classes=6, embed_dim=5).double()
        theirs = getattr(peer, kind.__name__)(6, 5).double()
        with torch.no_grad():
            mirror = theirs.proxies if kind is ProxyAnchorLoss else theirs.W.T
            mirror.copy_(ours.proxies)
        one, two = (batch.vectors.clone().mul_(3).requires_grad_() for _ in range(2))
        mine, its = ours(one, batch.labels), theirs(two, batch.labels)
        assert mine.item() == pytest.approx(its.item(), abs=1e-10)
        mine.backward()
        its.backward()
        assert torch.allclose(one.grad, two.grad, atol=1e-10)  # type: ignore[arg-type]
        grad = theirs.proxies.grad if kind is ProxyAnchorLoss else theirs.W.grad.T
        assert torch.allclose(ours.proxies.grad, grad, atol=1e-10)


@BOTH
def test_labels_and_the_same_labels_as_relevance_agree(kind: Any) -> None:
    batch, loss = some_images(9, classes=4), kind(num_classes=4, embed_dim=5).double()
    one_hot = torch.nn.functional.one_hot(batch.labels, 4)
    scrambled = Embedded(batch.vectors, torch.full((9,), 77), batch.ids, unit=True)
    assert loss(scrambled, None, one_hot).item() == pytest.approx(loss(batch).item(), abs=1e-12)


def test_a_row_may_own_several_classes_and_none() -> None:
    rows, proxies = at(0, 90, 45), at(10, 80, 200)
    batch = Embedded(rows, torch.zeros(3, dtype=torch.long), torch.arange(3), unit=True)
    relevance = torch.tensor([[1, 1, 0], [0, 1, -1], [0, 0, 0]])  # two classes; one, the third left out; none
    t = rows @ proxies.T
    softmax = with_proxies(NormalizedSoftmaxLoss(num_classes=3, embed_dim=2, temperature=0.5), proxies)
    first = torch.log_softmax(t[0] / 0.5, 0)
    second = torch.log_softmax(t[1, :2] / 0.5, 0)
    assert softmax(batch, None, relevance).item() == pytest.approx(
        float(-(first[:2].mean() + second[1]) / 2), abs=1e-12
    )

    anchor = with_proxies(ProxyAnchorLoss(num_classes=3, embed_dim=2, alpha=4, margin=0.1), proxies)
    pull, push = torch.exp(-4 * (t - 0.1)), torch.exp(4 * (t + 0.1))
    near = (torch.log1p(pull[0, 0]) + torch.log1p(pull[0, 1] + pull[1, 1])) / 2
    far = torch.log1p(push[1, 0] + push[2, 0]) + torch.log1p(push[2, 1]) + torch.log1p(push[0, 2] + push[2, 2])
    assert anchor(batch, None, relevance).item() == pytest.approx(float(near + far / 3), abs=1e-12)


@BOTH
def test_a_batch_without_any_own_class_is_fine(kind: Any) -> None:
    loss = kind(num_classes=4, embed_dim=5)
    rows = torch.randn(3, 5, requires_grad=True)
    loss(rows, relevance=torch.zeros(3, 4)).backward()
    assert rows.grad is not None
    assert bool(torch.isfinite(rows.grad).all())


@BOTH
def test_wrong_widths_labels_and_references_are_named(kind: Any) -> None:
    loss = kind(num_classes=4, embed_dim=5)
    with pytest.raises(ValueError, match=r"embed_dim=5.*3 dimensions"):
        loss(torch.randn(2, 3), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"0\.\.3; got 4"):
        loss(torch.randn(2, 5), torch.tensor([0, 4]))
    with pytest.raises(ValueError, match=r"relevance must be \(2, 4\)"):
        loss(torch.randn(2, 5), relevance=torch.zeros(2, 2))
    with pytest.raises(ValueError, match="takes no references"):
        loss(torch.randn(2, 5), torch.tensor([0, 1]), ref_emb=torch.randn(3, 5), ref_labels=torch.tensor([0, 1, 2]))


@BOTH
def test_impossible_options_are_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match="num_classes"):
        kind(num_classes=0, embed_dim=5)
    with pytest.raises(ValueError, match="lr_factor"):
        kind(num_classes=2, embed_dim=5, lr_factor=0)
