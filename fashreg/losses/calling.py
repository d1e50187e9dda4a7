"""One way in for every loss: our call, and the call that users of pytorch-metric-learning know.

    loss(batch, references, relevance)                                   # Embedded, Embedded | None, Tensor | None
    loss(embeddings, labels, ref_emb=..., ref_labels=..., relevance=...) # tensors

The second form is turned into the first: ids are 0 .. B - 1 for the rows and B .. B + M - 1 for the references, so
every row is another image. `ref_emb` and `ref_labels` that are the very tensors `embeddings` and `labels` mean "against
itself". Mined index tuples are refused: mining is an option of our losses, other pairs are said by `relevance`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fashreg.functional.similarity import full_precision
from fashreg.values import Embedded

Forward = Callable[[Any, Embedded, Embedded | None, Tensor | None], Tensor]


def loss_call(forward: Forward) -> Callable[..., Tensor]:
    """Let a forward(self, batch, references, relevance) be called in both ways, checked, and in full precision."""

    @functools.wraps(forward)
    def call(
        self: Any,
        batch: Embedded | Tensor,
        references: Embedded | Tensor | None = None,
        relevance: Tensor | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        indices_tuple: Any = None,
    ) -> Tensor:
        if isinstance(batch, Tensor):
            _refuse_tuple(indices_tuple, relevance)
            unlabelled = relevance is not None or not getattr(self, "labels_needed", True)
            own, others = _embedded(batch, references if labels is None else labels, ref_emb, ref_labels, unlabelled)
            others = _references(self, own, others)
        else:
            if not (labels is None and ref_emb is None and ref_labels is None and indices_tuple is None):
                raise ValueError(
                    "a batch given as Embedded brings its own labels; give references as a second Embedded "
                    "(labels, ref_emb, ref_labels and indices_tuple belong to the call with plain tensors)"
                )
            own, others = batch, _references(self, batch, references)
        with full_precision(own.vectors):
            return forward(self, own, others, relevance)

    return call


def _refuse_tuple(*given: Any) -> None:
    if any(isinstance(value, tuple | list) for value in given) or given[0] is not None:
        raise ValueError(
            "indices_tuple is not taken: mining is an option of the loss itself, and any choice of pairs can be given "
            "as relevance=(B, N) with > 0 positive, 0 negative, < 0 not a pair"
        )


def _embedded(
    embeddings: Tensor, labels: Any, ref_emb: Tensor | None, ref_labels: Tensor | None, unlabelled: bool
) -> tuple[Embedded, Embedded | None]:
    b = len(embeddings)
    if labels is None:
        if not unlabelled:
            raise ValueError("labels are needed: loss(embeddings, labels); or say the pairs with relevance=(B, N)")
        labels = embeddings.new_zeros(b, dtype=torch.long)
    ids = torch.arange(b, device=embeddings.device)
    batch = Embedded(embeddings, labels.to(embeddings.device), ids)
    if ref_emb is None:
        if ref_labels is not None:
            raise ValueError("ref_labels without ref_emb; give both, or neither")
        return batch, None
    if ref_emb is embeddings and (ref_labels is None or ref_labels is labels):
        return batch, None
    if ref_labels is None:
        if not unlabelled:
            raise ValueError("ref_emb without ref_labels; give both, or say the pairs with relevance=(B, N)")
        ref_labels = ref_emb.new_zeros(len(ref_emb), dtype=torch.long)
    ref_ids = torch.arange(b, b + len(ref_emb), device=ref_emb.device)
    return batch, Embedded(ref_emb, ref_labels.to(ref_emb.device), ref_ids)


def _references(loss: Any, batch: Embedded, references: Embedded | Tensor | None) -> Embedded | None:
    if references is None:
        return None
    name = type(loss).__name__
    if not isinstance(references, Embedded):
        raise ValueError(f"{name}: references must be an Embedded, got {type(references).__name__}")
    if not loss.accepts_references:
        raise ValueError(f"{name} compares the batch with its own proxies only and takes no references (no memory)")
    if references.width != batch.width:
        widths = f"{batch.width} dimensions and the references {references.width}"
        raise ValueError(f"{name}: the batch has {widths}; both must come from the same head")
    return references
