"""Recall at several depths and its mean: what evaluators with texts say of one gallery."""

from __future__ import annotations

import torch
from torch import Tensor

from fashreg.functional import metrics as m
from fashreg.functional.judged import Judged
from fashreg.values import Rankings, Relevance


class MeanOfRecalls:
    """recall@k for each of `ks`, 1 when one of the first k is right, else 0; and mean_recall, the mean over ks."""

    ks: tuple[int, ...]
    primary = "mean_recall"

    def depth(self, relevance: Relevance) -> int:
        """The deepest cut-off."""
        return max(self.ks)

    def from_judged(self, judged: Judged, relevance: Relevance) -> dict[str, Tensor]:
        """Of one gallery, before the mean, (Q,) float64 by name; NaN where a query has no right answer in it."""
        values = {f"recall@{k}": m.recall_at_k(judged, k) for k in self.ks}
        return {**values, "mean_recall": torch.stack(list(values.values())).mean(0)}

    def per_query(self, rankings: Rankings, relevance: Relevance) -> dict[str, Tensor]:
        """The same, from rankings."""
        return self.from_judged(m.judge(rankings, relevance), relevance)

    def __call__(self, rankings: Rankings, relevance: Relevance) -> dict[str, float]:
        """The numbers of one gallery: the means over queries."""
        return {name: m.average(values) for name, values in self.per_query(rankings, relevance).items()}
