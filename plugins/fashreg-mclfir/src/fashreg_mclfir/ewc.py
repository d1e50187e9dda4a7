"""Elastic weight consolidation: weights that mattered for old tasks are held where they were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fashreg.errors import ModelError
from fashreg.values import Experience, TrainingBatch
from fashreg_mclfir.fine_tune import FineTuneLearner, When
from fashreg_mclfir.fisher import fisher_diagonal
from fashreg_mclfir.passing import Passed


class EWCLearner(FineTuneLearner):
    """Fine-tuning with a spring on each shared weight, as stiff as the weight mattered for what was learned before.

    After each experience the diagonal F of the loss's empirical Fisher information is taken; from the second one on

        value = loss(batch) + weight / 2 * sum_k F_k (theta_k - theta*_k)^2
        F <- decay F + F of the experience just learned,   theta* = the weights at its end

    Shared weights are those of the trunk (and of a head that serves all tasks). Old heads rest. No old picture is kept;
    F takes as many numbers as the trunk.

    Source: Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", PNAS 2017,
        https://arxiv.org/abs/1612.00796; online form: Schwarz et al., "Progress & Compress", ICML 2018,
        https://arxiv.org/abs/1805.06370
    Differs: there F is that of class probabilities, sample by sample; here of the retrieval loss, whose value for a
        picture depends on its batch, through each picture's row. Much-used code squares gradients of batch means,
        which is smaller by about the batch size; "batch" here is scaled to be alike.
    See also: lwf (holds answers instead of weights), replay, fine-tune.

    Args:
        weight: lambda, of the spring; 0 is fine-tuning.
        decay: of F with each further experience (gamma in the online form).
        tuples: training tuples that F is taken from, over all processes; at most an epoch's.
        per: "sample" takes squares picture by picture, each alone through the network; "batch" batch by batch, a few
            times faster and coarser.
        encoder: when the trunk learns: "trained" in every experience, in the "first" alone, "frozen" never.
        batch_norm: when the trunk's batch norms follow the batches' statistics; as in fine-tune.
    """

    def __init__(
        self,
        weight: Annotated[float, Field(ge=0.0)] = 1000.0,
        decay: Annotated[float, Field(ge=0.0, le=1.0)] = 0.9,
        tuples: Annotated[int, Field(gt=0)] = 2000,
        per: Literal["sample", "batch"] = "sample",
        encoder: When = "trained",
        batch_norm: When = "first",
    ) -> None:
        if weight < 0.0 or not 0.0 <= decay <= 1.0 or tuples < 1:
            raise ValueError(
                f"weight >= 0, decay within 0..1 and tuples >= 1 are needed, got {weight}, {decay} and {tuples}"
            )
        if per not in ("sample", "batch"):
            raise ValueError(f'per must be "sample" or "batch", got {per!r}')
        super().__init__(encoder, batch_norm)
        self.weight, self.decay, self.tuples, self.per = weight, decay, tuples, per
        self.fisher: dict[str, Tensor] = {}
        self.anchor: dict[str, Tensor] = {}

    def terms(self, batch: TrainingBatch, passed: Passed) -> dict[str, Tensor]:
        """weight / 2 * sum F (theta - theta*)^2."""
        if not self.fisher or not self.trunk_learns or self.weight == 0.0:
            return {}
        now = self._shared()
        names = [name for name in self.fisher if name in now]
        parameters = [now[name] for name in names]
        fisher, anchor = ([kept[name] for name in names] for kept in (self.fisher, self.anchor))
        spring: Tensor = _Spring.apply(fisher, anchor, *parameters)
        return {"spring": self.weight * spring}

    def after(self, experience: Experience) -> None:
        """Take F, with the weights that were kept."""
        if self.encoder != "trained" or not self.trunk_learns or self.weight == 0.0:
            return
        shared = self._shared()
        with self.session.cost.timed():
            found = fisher_diagonal(self.session, self.source, list(shared.values()), self.tuples, self.per)
        for name, value in zip(shared, found, strict=True):
            before = self.fisher.get(name)
            self.fisher[name] = value if before is None else self.decay * before + value
        self.anchor = {name: parameter.detach().clone() for name, parameter in shared.items()}
        self.session.cost.keeps("fisher", parameters=sum(value.numel() for value in self.fisher.values()))

    def _shared(self) -> dict[str, nn.Parameter]:
        """What is trained now and was before or will be later."""
        one_head = not self.session.encoder.head.tasks
        return {
            name: parameter
            for name, parameter in self.session.encoder.named_parameters()
            if parameter.requires_grad and (one_head or name.startswith("backbone."))
        }

    def state_dict(self) -> dict[str, Any]:
        """F and theta*."""
        return {"fisher": dict(self.fisher), "anchor": dict(self.anchor)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`."""
        device = self.session.processes.device
        self.fisher = {name: value.to(device) for name, value in state["fisher"].items()}
        self.anchor = {name: value.to(device) for name, value in state["anchor"].items()}

    def carry(self) -> dict[str, Any]:
        """Which experiences there were, and F; theta* is the model."""
        return {**super().carry(), "fisher": dict(self.fisher)}

    def take_up(self, state: Mapping[str, Any] | None) -> None:
        """Go on with F; it cannot be taken afterwards without the old pictures."""
        super().take_up(state)
        moves = self.encoder == "trained" and self.frozen.cut < self.session.encoder.cuts and self.weight > 0.0
        if not moves:
            return
        if state is None or "fisher" not in state:
            raise ModelError(
                "learner ewc needs to know which weights mattered before, and a model alone does not tell: learn on "
                "from its run folder (fashreg continue RUN), with the encoder frozen, or by --set learner=lwf"
            )
        now = dict(self.session.encoder.named_parameters())
        if any(name not in now or now[name].shape != value.shape for name, value in state["fisher"].items()):
            raise ModelError("what learner ewc kept of the earlier run belongs to another network")
        self.load_state_dict(
            {"fisher": state["fisher"], "anchor": {n: now[n].detach().clone() for n in state["fisher"]}}
        )


class _Spring(torch.autograd.Function):
    """1/2 sum F (theta - theta*)^2 over many tensors, with its derivative F (theta - theta*)."""

    @staticmethod
    def forward(ctx: Any, fisher: list[Tensor], anchor: list[Tensor], *parameters: Tensor) -> Tensor:
        away = torch._foreach_sub([parameter.detach() for parameter in parameters], anchor)
        pull = torch._foreach_mul(away, fisher)
        ctx.pull = pull
        products = torch._foreach_mul(away, pull)
        return 0.5 * torch.stack([product.sum() for product in products]).sum()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return (None, None, *(grad * pull for pull in ctx.pull))
