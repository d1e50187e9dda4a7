"""Seeded faults: losses that are wrong in one way each, and the contract test that notices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from seeded_faults import failing_tests
from torch import Tensor, nn

from fashreg.losses.contrastive import ContrastiveLoss
from fashreg.losses.proxy_anchor import ProxyAnchorLoss
from fashreg.testing.loss import LossContract
from fashreg.values import AffineEmbedded, Embedded


class Sound(ContrastiveLoss):
    """The pair loss that every fault below is seeded into; a fault changes what goes in or what comes out."""

    def before(self, batch: Embedded, references: Embedded | None, relevance: Tensor | None) -> tuple[Any, Any, Any]:
        return batch, references, relevance

    def after(self, value: Tensor, batch: Embedded) -> Tensor:
        return value

    def forward(self, batch: Embedded, references: Any = None, relevance: Any = None) -> Tensor:
        return self.after(super().forward(*self.before(batch, references, relevance)), batch)


def both(change: Any, batch: Embedded, references: Embedded | None) -> tuple[Embedded, Embedded | None]:
    return change(batch), None if references is None else change(references)


class LabelsAsFloats(Sound):
    """Labels pass through float32, as in pytorch-metric-learning's evaluation."""

    def before(self, batch: Embedded, references: Any, relevance: Any) -> Any:
        return *both(lambda e: replace(e, labels=e.labels.float().long()), batch, references), relevance


class LabelZeroIsNobody(Sound):
    """Label 0 means "no label"."""

    def before(self, batch: Embedded, references: Any, relevance: Any) -> Any:
        def change(e: Embedded) -> Embedded:
            return replace(e, labels=torch.where(e.labels == 0, 10**6 + torch.arange(len(e)), e.labels))

        return *both(change, batch, references), relevance


class MeetsItself(Sound):
    """Ids are not looked at."""

    def before(self, batch: Embedded, references: Any, relevance: Any) -> Any:
        return *both(lambda e: replace(e, ids=torch.full_like(e.ids, -1)), batch, references), relevance


class NobodyIsSomebody(Sound):
    """Negative ids equal one another."""

    def before(self, batch: Embedded, references: Any, relevance: Any) -> Any:
        return *both(lambda e: replace(e, ids=e.ids + 10), batch, references), relevance


class MeanOverNothing(Sound):
    """The mean over pairs is 0 / 0 where there are none."""

    def after(self, value: Tensor, batch: Embedded) -> Tensor:
        return value + 0 * (value / value.detach()).log()


class LosesTheGraph(Sound):
    """Without a pair it returns a plain 0."""

    def after(self, value: Tensor, batch: Embedded) -> Tensor:
        return value if bool(value) else torch.zeros(())


class IgnoresRelevance(Sound):
    """The relevance matrix is taken and not looked at."""

    def before(self, batch: Embedded, references: Any, relevance: Any) -> Any:
        return batch, references, None


class NoPairIsANegative(Sound):
    """A negative relevance is read as 0."""

    def before(self, batch: Embedded, references: Any, relevance: Any) -> Any:
        return batch, references, None if relevance is None else relevance.clamp_min(0)


class OnlyOnesAreRelevant(Sound):
    """Relevance is compared with 1."""

    def before(self, batch: Embedded, references: Any, relevance: Any) -> Any:
        return batch, references, None if relevance is None else (relevance == 1).long() - (relevance < 0).long()


class SumsInHalf(Sound):
    """Exponentials are taken in the type of the input."""

    def after(self, value: Tensor, batch: Embedded) -> Tensor:
        return value + (30 * batch.vectors).exp().mean().log() * 0.01


class ProductsUnderAutocast(Sound):
    """Its own product follows autocast."""

    def after(self, value: Tensor, batch: Embedded) -> Tensor:
        return value + (batch.vectors @ batch.vectors.T).float().sum() * 1e-3


class TwiceTheGradient(Sound):
    """The derivative that it gives is not that of its value."""

    def after(self, value: Tensor, batch: Embedded) -> Tensor:
        return 2 * value - value.detach()


class AnchorsDetached(Sound):
    """Against references no gradient reaches the batch."""

    def before(self, batch: Embedded, references: Any, relevance: Any) -> Any:
        return batch if references is None else replace(batch, vectors=batch.vectors.detach() + 0 * batch.vectors), \
            references, relevance  # fmt: skip


class TrainsItsReferences(Sound):
    """References are asked for a gradient."""

    def before(self, batch: Embedded, references: Any, relevance: Any) -> Any:
        if references is not None:
            references.vectors.requires_grad_()
        return batch, references, relevance


class ComparesWithItself(Sound):
    """References are taken and ignored."""

    def before(self, batch: Embedded, references: Any, relevance: Any) -> Any:
        return batch, None, relevance if relevance is None or relevance.shape == (len(batch),) * 2 else None


class ReadsTheFirstThousand(Sound):
    """Of many references only some are scored."""

    def before(self, batch: Embedded, references: Any, relevance: Any) -> Any:
        few = references if references is None or len(references) < 1000 else Embedded(
            references.vectors[:1000], references.labels[:1000], references.ids[:1000])  # fmt: skip
        return batch, few, relevance


class ReadsRowsAsStored(Sound):
    """The map from stored rows to present ones is left out."""

    def before(self, batch: Embedded, references: Any, relevance: Any) -> Any:
        if isinstance(references, AffineEmbedded):
            references = Embedded(references.stored, references.labels, references.ids, unit=references.unit)
        return batch, references, relevance


class NormalisesInPlace(Sound):
    """The batch is made unit where it lies."""

    def before(self, batch: Embedded, references: Any, relevance: Any) -> Any:
        with torch.no_grad():
            batch.vectors.div_(batch.vectors.norm(dim=1, keepdim=True).clamp_min(1e-12))
        return batch, references, relevance


class SortsTheBatch(Sound):
    """Rows weigh by their place."""

    def after(self, value: Tensor, batch: Embedded) -> Tensor:
        return value + (batch.vectors[0] * batch.vectors[-1]).sum() * (len(batch) > 6) * 1e-2


class RollsDice(Sound):
    """Pairs are sampled."""

    def after(self, value: Tensor, batch: Embedded) -> Tensor:
        return value * (1 + torch.rand(()))


class PartsHoldTheGraph(Sound):
    """Parts are not detached, so logging them keeps every step's graph."""

    def after(self, value: Tensor, batch: Embedded) -> Tensor:
        self.parts = {"loss": value}
        return value


class NoParts(Sound):
    """There is nothing to log."""

    def after(self, value: Tensor, batch: Embedded) -> Tensor:
        self.parts = {}
        return value


class LearnsOutsideItsState(Sound):
    """A running scale is a plain attribute, which a checkpoint loses."""

    scale = 1.0

    def after(self, value: Tensor, batch: Embedded) -> Tensor:
        if self.training:
            self.scale += 0.1
        return value * self.scale


class SoundProxies(ProxyAnchorLoss):
    """The proxy loss that the faults below are seeded into."""

    def __init__(self) -> None:
        super().__init__(num_classes=5, embed_dim=8)


class HiddenProxies(SoundProxies):
    """Proxies are a plain tensor: neither trained nor saved."""

    def __init__(self) -> None:
        super().__init__()
        proxies = self.proxies.detach().clone().requires_grad_()
        del self.proxies
        self.proxies = proxies


class DeadProxies(SoundProxies):
    """No gradient reaches the proxies."""

    def forward(self, batch: Embedded, references: Any = None, relevance: Any = None) -> Tensor:
        self.proxies.requires_grad_(False)
        value = super().forward(batch, references, relevance)
        self.proxies.requires_grad_(True)
        return value


class SoundApart(SoundProxies):
    """A loss that pushes proxies apart and says that no row is moved."""

    moves_batch = False

    def forward(self, batch: Embedded, references: Any = None, relevance: Any = None) -> Tensor:
        super().forward(batch, references, relevance)
        if relevance is not None:
            raise ValueError("no relevance here")
        p = torch.nn.functional.normalize(self.proxies)[batch.labels.unique()]
        value = (p[:, None] * p[None]).sum(2).square().sum()
        self.parts = {"loss": value.detach()}
        return value + (0 * batch.vectors).sum()


class MovesWhatItSaysNot(SoundApart):
    """Rows are moved all the same."""

    def forward(self, batch: Embedded, references: Any = None, relevance: Any = None) -> Tensor:
        return super().forward(batch, references, relevance) + batch.vectors.sum()


class WrapsLabels(SoundProxies):
    """A label that is no class is folded into one that is."""

    def forward(self, batch: Embedded, references: Any = None, relevance: Any = None) -> Tensor:
        return super().forward(replace(batch, labels=batch.labels % 5), references, relevance)


class SwallowsReferences(SoundProxies):
    """References are ignored without a word."""

    def forward(self, batch: Embedded, references: Any = None, relevance: Any = None) -> Tensor:
        return super().forward(batch, None, relevance)


class KeepsNoOptions(nn.Module):
    """An option is not kept, so nobody can tell how the loss was built."""

    accepts_references, needs, lr_factor = True, frozenset[str](), 1.0

    def __init__(self, margin: float = 0.4) -> None:
        super().__init__()
        self.inner = ContrastiveLoss(neg_margin=margin)

    @property
    def parts(self) -> Any:
        return self.inner.parts

    def forward(self, batch: Embedded, references: Any = None, relevance: Any = None) -> Any:
        return self.inner(batch, references, relevance)


FAULTS = {
    LabelsAsFloats: "test_labels_above_two_to_the_24_stay_apart",
    LabelZeroIsNobody: "test_label_zero_is_a_label_like_any_other",
    MeetsItself: "test_equal_ids_are_never_a_pair",
    NobodyIsSomebody: "test_negative_ids_equal_nothing",
    MeanOverNothing: "test_without_any_pair_the_loss_is_zero_with_zero_gradient",
    LosesTheGraph: "test_without_any_pair_the_loss_is_zero_with_zero_gradient",
    IgnoresRelevance: "test_relevance_overrides_labels",
    NoPairIsANegative: "test_a_pair_of_negative_relevance_is_no_pair",
    OnlyOnesAreRelevant: "test_relevance_overrides_labels",
    SumsInHalf: "test_half_precision_costs_no_more_than_the_rounding_of_its_inputs",
    ProductsUnderAutocast: "test_autocast_changes_nothing",
    TwiceTheGradient: "test_the_gradient_is_the_derivative",
    AnchorsDetached: "test_references_are_compared_or_refused",
    TrainsItsReferences: "test_no_gradient_is_left_in_references",
    ComparesWithItself: "test_references_are_compared_or_refused",
    ReadsTheFirstThousand: "test_the_order_of_references_does_not_matter",
    ReadsRowsAsStored: "test_references_may_be_an_affine_image_of_stored_rows",
    NormalisesInPlace: "test_it_changes_none_of_its_inputs",
    SortsTheBatch: "test_the_order_of_the_batch_does_not_matter",
    RollsDice: "test_equal_input_gives_equal_bits_and_no_global_random_state_moves",
    PartsHoldTheGraph: "test_parts_are_detached_numbers_of_the_last_call",
    NoParts: "test_parts_are_detached_numbers_of_the_last_call",
    LearnsOutsideItsState: "test_a_value_depends_on_nothing_that_a_checkpoint_loses",
    HiddenProxies: "test_what_it_learns_is_registered_and_gets_a_gradient",
    DeadProxies: "test_what_it_learns_is_registered_and_gets_a_gradient",
    MovesWhatItSaysNot: "test_a_batch_gives_a_finite_scalar_and_every_class_a_gradient",
    WrapsLabels: "test_a_label_that_is_no_class_is_refused",
    SwallowsReferences: "test_references_are_compared_or_refused",
    KeepsNoOptions: "test_every_constructor_parameter_is_kept_as_an_attribute",
}


@pytest.mark.parametrize("sound", [Sound, SoundProxies, SoundApart])
def test_the_losses_that_faults_are_seeded_into_are_sound(sound: Any) -> None:
    assert failing_tests(LossContract, "loss", sound) == set()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_contract_notices(fault: Any) -> None:
    assert FAULTS[fault] in failing_tests(LossContract, "loss", fault)
