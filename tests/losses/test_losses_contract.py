"""Every built-in loss, in each of its forms, under the contract of a loss."""

from __future__ import annotations

from typing import Any

import pytest

from fashreg.losses.contrastive import ContrastiveLoss
from fashreg.losses.infonce import InfoNCELoss
from fashreg.losses.multi_similarity import MultiSimilarityLoss
from fashreg.losses.normalized_softmax import NormalizedSoftmaxLoss
from fashreg.losses.proxy_anchor import ProxyAnchorLoss
from fashreg.losses.triplet import TripletLoss
from fashreg.testing.loss import LossContract

FORMS = {
    "contrastive": lambda: ContrastiveLoss(),
    "contrastive, hinge over pairs": lambda: ContrastiveLoss(0.95, 0.2, "hinge", "pairs"),
    "multi-similarity": lambda: MultiSimilarityLoss(),
    "multi-similarity, mined": lambda: MultiSimilarityLoss(epsilon=0.1),
    "multi-similarity, whole anchors": lambda: MultiSimilarityLoss(skip_empty=True),
    "multi-similarity, steep": lambda: MultiSimilarityLoss(alpha=20, beta=300),
    "triplet": lambda: TripletLoss(),
    "triplet, hard and soft": lambda: TripletLoss(0.3, "hard", soft=True),
    "triplet, semi-hard": lambda: TripletLoss(0.3, "semi-hard"),
    "triplet, hard": lambda: TripletLoss(0.3, "hard"),
    "infonce": lambda: InfoNCELoss(),
    "infonce, against negatives": lambda: InfoNCELoss(denominator="negatives"),
    "infonce, learnt temperature": lambda: InfoNCELoss(temperature=0.2, learnable=True),
    "infonce, cold": lambda: InfoNCELoss(temperature=0.01),
    "proxy-anchor": lambda: ProxyAnchorLoss(num_classes=5, embed_dim=8),
    "proxy-anchor, steep": lambda: ProxyAnchorLoss(num_classes=5, embed_dim=8, alpha=200),
    "normalized-softmax": lambda: NormalizedSoftmaxLoss(num_classes=5, embed_dim=8),
    "normalized-softmax, cold": lambda: NormalizedSoftmaxLoss(num_classes=5, embed_dim=8, temperature=0.01),
}


class TestEveryBuiltInLoss(LossContract):
    @pytest.fixture(params=FORMS)
    def loss(self, request: pytest.FixtureRequest) -> Any:
        return FORMS[request.param]()
