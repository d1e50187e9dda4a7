"""Three objectives at once: pairs, proxies, and the proxies among themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fashreg import build
from fashreg.functional.similarity import widen
from fashreg.interfaces import Loss
from fashreg.losses.calling import loss_call
from fashreg.losses.proxies import check_batch
from fashreg.values import Embedded
from fashreg_moml.combination import Rule, made
from fashreg_moml.contribution import Contribution, less_opposed, measure, over_processes
from fashreg_moml.miner import Mining, TwoRelationMiner
from fashreg_moml.objectives import pairs_of_batch, proxies_of_batch
from fashreg_moml.parts import base_weights, check_numbers, join
from fashreg_moml.proxies import class_sums, fill_from_means, grown, meet, set_proxies
from fashreg_moml.remembered import Remembered

NAMES = ("pair", "proxy", "repulsion")


class MultiObjectiveLoss(nn.Module):
    """Pairs of images, images with class proxies, and proxies among themselves: one loss, weighed by contribution.

        L = w_pair L_pair(X) + w_proxy L_proxy(X, W) + w_repulsion L_repulsion(W)

    rule "balanced" (default): w_proxy = 1, and the others such that the pairs' gradient on the rows X is `pair_weight`
    times the proxy objective's, and the repulsion's gradient on the proxies W `repulsion_weight` times (running means
    of norms, measured every `every` steps by the losses alone: never a second pass through the backbone).
    "fixed": the weights as given. "loss-statistics": given weight / running mean of the value. "uncertainty",
    "gradnorm", "dynamic-average": learnt, from no given weight.

    Source: Lee, Roh, "Deep Metric Learning with Multi-Objective Functions", CVFAD workshop at CVPR 2020 (three
        objectives at once, combined by what they contribute, sampled by both relations).
    Source: Kendall, Gal, Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses", CVPR 2018,
        https://arxiv.org/abs/1705.07115 (uncertainty).
    Source: Chen, Badrinarayanan, Lee, Rabinovich, "GradNorm", ICML 2018, https://arxiv.org/abs/1711.02257 (gradnorm).
    Source: Liu, Johns, Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019,
        https://arxiv.org/abs/1803.10704 (dynamic-average).
    Source: Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020, https://arxiv.org/abs/2001.06782
        (project).

    Differs: the paper's formulas were not at hand; only the idea is theirs, every formula and constant here is ours:
    a method after Lee and Roh, not their method.

    Shapes: batch (B, D), proxies (C K, D) owned by the proxy objective and read by all. With references (a memory) the
    weighed pair objective against them is the whole loss; proxies have no part in that call, and it counts as no step.
    Balanced gives it a weight of its own, by its own gradient on the rows; other rules that of the batch's pairs.
    relevance belongs to references, (B, M). Corner cases: no pair leaves the proxy objective; one class is fine.

    See also: proxy-repulsion, multi-similarity, proxy-anchor (the parts), two-relation (a sampler that reads proxies).

    Args:
        num_classes: C; labels must lie in 0..C-1.
        embed_dim: D, width of the rows.
        pair: loss over pairs, by name, with options, or made; None for no such objective.
        proxy: loss with `proxies` (C, D) and `num_classes`.
        repulsion: loss with `between(proxies, labels)`; None for no such objective.
        rule: how the weights come about.
        pair_weight: aim of balanced (contribution relative to the proxy objective), or weight; 0 switches the objective
            off. None is 1; the learnt rules take none.
        repulsion_weight: likewise; None is 0.1 for balanced, else 1.
        project: where pairs and proxies pull the rows against one another, take from the pairs' pull what is against.
        every: steps between two measurements; the weights stay the same in between.
        momentum: of the running means, per measurement.
        mining: hard pairs by rows and proxies together ("joint"), by either or both alone; None takes all pairs.
        eta: weight of the proxies in that, reached at the end of `ramp`.
        epsilon: mining margin in cosine.
        virtual: an image without positive in the batch gets its proxy as one.
        ramp: epochs over which the weights of pairs and repulsion, and eta, rise from 0; none where the length of an
            epoch is unknown.
        proxies_per_class: K; a row's own proxy is then the nearest of its class, the others are left out of its terms.
        init: first values of the proxies: random, or the mean of the first rows of their class.
        num_images: training images, for the length of an epoch; filled by the recipe.
        batch_size: rows a step, for the length of an epoch; filled by the recipe.
    """

    moves_batch: bool = True
    steps: Tensor
    met: Tensor
    _nearest: Tensor | None = None

    def __init__(
        self,
        *,
        num_classes: Annotated[int, Field(gt=0)],
        embed_dim: Annotated[int, Field(gt=0)],
        pair: Loss | str | dict[str, Any] | None = "multi-similarity",
        proxy: Loss | str | dict[str, Any] = "proxy-anchor",
        repulsion: Loss | str | dict[str, Any] | None = "proxy-repulsion",
        rule: Rule = "balanced",
        pair_weight: Annotated[float, Field(ge=0)] | None = None,
        repulsion_weight: Annotated[float, Field(ge=0)] | None = None,
        project: bool = False,
        every: Annotated[int, Field(gt=0)] = 10,
        momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9,
        mining: Mining | None = "joint",
        eta: Annotated[float, Field(ge=0, le=1)] = 0.5,
        epsilon: Annotated[float, Field(ge=0)] = 0.1,
        virtual: bool = True,
        ramp: Annotated[float, Field(ge=0)] = 1.0,
        proxies_per_class: Annotated[int, Field(gt=0)] = 1,
        init: Literal["random", "class-means"] = "random",
        num_images: Annotated[int, Field(gt=0)] | None = None,
        batch_size: Annotated[int, Field(gt=0)] | None = None,
    ) -> None:
        super().__init__()
        base = base_weights(rule, pair_weight, repulsion_weight)
        check_numbers(every=every, momentum=momentum, eta=eta, epsilon=epsilon, ramp=ramp, per_class=proxies_per_class)
        self.num_classes, self.embed_dim, self.proxies_per_class = num_classes, embed_dim, proxies_per_class
        self.rule, self.pair_weight, self.repulsion_weight = rule, pair_weight, repulsion_weight
        self.project, self.every, self.momentum = project, every, momentum
        self.mining, self.eta, self.epsilon, self.virtual = mining, eta, epsilon, virtual
        self.ramp, self.init, self.num_images, self.batch_size = ramp, init, num_images, batch_size
        facts = {"num_classes": num_classes, "embed_dim": embed_dim}
        self.pair: Any = None if pair is None else build("loss", pair, facts=facts)
        self.proxy: Any = build("loss", proxy, facts=facts)
        self.repulsion: Any = None if repulsion is None else build("loss", repulsion, facts=facts)
        join(self.pair, self.proxy, self.repulsion, num_classes, proxies_per_class, embed_dim)
        self.accepts_references = self.pair is not None and bool(self.pair.accepts_references)
        self.lr_factor = float(self.proxy.lr_factor)
        self.needs = frozenset[str]().union(*(term.needs for term in (self.pair, self.proxy, self.repulsion) if term))
        self.there = (self.pair is not None and base[0] > 0, True, self.repulsion is not None and base[2] > 0)
        epoch = math.ceil(num_images / batch_size) if num_images and batch_size else 0
        self._ramp_steps = round(ramp * epoch)
        self._miner = None if mining is None else TwoRelationMiner(mining, epsilon, virtual and self.accepts_references)
        self.weighing = made(rule, base, self.there, momentum, epoch or 100)
        self.contribution, self.remembered = Contribution(momentum), Remembered(every, momentum)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("met", torch.zeros(num_classes, dtype=torch.bool))
        self.parts: dict[str, Tensor] = {}

    @property
    def proxies(self) -> nn.Parameter:
        """The proxies (C K, D), those of a class in a row."""
        found: nn.Parameter = self.proxy.proxies
        return found

    @loss_call
    def forward(self, batch: Embedded, references: Embedded | None, relevance: Tensor | None) -> Tensor:
        """The loss, a scalar; parts: "pair", "proxy", "repulsion", and "weight[...]" and "share[...]" of them."""
        batch = replace(batch, vectors=widen(batch.vectors))
        if references is not None:
            return self._against(batch, references, relevance)
        if relevance is not None:
            raise ValueError("MultiObjectiveLoss takes relevance together with references only, (B, M)")
        check_batch("MultiObjectiveLoss", batch, self.proxies[:: self.proxies_per_class], None)
        if self.init == "class-means" and self.training:
            meet(self.proxies, self.met, batch.vectors, batch.labels.long(), self.proxies_per_class)
        values = self._values(batch)
        weights = self._weigh(values, batch)
        total = torch.stack([weights[i] * values[name] for i, name in enumerate(NAMES) if name in values]).sum()
        if (penalty := self.weighing.penalty()) is not None:
            total = total + penalty
        if self.project and "pair" in values:
            total = total + less_opposed(values["pair"], values["proxy"], weights[0].detach(), batch.vectors)
        self._note(values, weights.detach())
        return total

    def add_classes(self, count: int, means: Tensor | None = None) -> None:
        """Proxies for `count` new classes after the others; make the optimiser anew, `proxies` is another parameter.

        means (count, D): where they shall point; None for random.
        """
        if count < 1 or (means is not None and means.shape != (count, self.embed_dim)):
            shape = None if means is None else tuple(means.shape)
            raise ValueError(f"count must be positive and means (count, {self.embed_dim}); got {count} and {shape}")
        before, self.num_classes = self.num_classes, self.num_classes + count
        set_proxies(self.proxy, grown(self.proxies, self.num_classes * self.proxies_per_class))
        if self.repulsion is not None:
            self.repulsion.num_classes = self.num_classes
        new = torch.arange(before, self.num_classes, device=self.met.device)
        self.met = torch.cat([self.met, torch.full_like(new, means is not None, dtype=torch.bool)])
        if means is not None:
            spread = means[:, None].expand(-1, self.proxies_per_class, -1)
            fill_from_means(self.proxies, spread, new, self.proxies_per_class)

    def set_class_means(self, vectors: Tensor, labels: Tensor) -> None:
        """Point the proxies of all classes among `labels` (n,) at the means of their unit rows (n, D)."""
        sums = class_sums(widen(vectors.detach()), labels.long(), self.num_classes, self.proxies_per_class)
        found = torch.unique(labels.long())
        fill_from_means(self.proxies, sums[found], found, self.proxies_per_class)
        self.met[found] = True

    def eta_now(self) -> float:
        """The weight of the proxies in mining as it stands."""
        return self.eta * self._risen()

    def _values(self, batch: Embedded) -> dict[str, Tensor]:
        """The objectives that take part, each a scalar with gradient; "nearest" is kept for the log."""
        k, own = self.proxies_per_class, self.virtual and self.accepts_references
        found: dict[str, Tensor] = {}
        if self.there[0]:
            found["pair"] = pairs_of_batch(self.pair, batch, self.proxies, k, self._miner, self.eta_now(), own)
        others, self._nearest = proxies_of_batch(self.proxy, self.repulsion if self.there[2] else None, batch, k)
        return found | others

    def _against(self, batch: Embedded, references: Embedded, relevance: Tensor | None) -> Tensor:
        """The pair objective against remembered rows, weighed; balanced by what it contributes itself."""
        value: Tensor = self.pair(batch, references, relevance)
        weights = self._weights().detach()
        weight, balanced = weights[0], self.rule == "balanced" and self.there[0]
        if balanced:
            if self.training and torch.is_grad_enabled():
                self.remembered.learn(value, batch.vectors, self.weighing.base[0], self.contribution)
            weight = self.remembered.weight(self.weighing.weights()[0]) * self._risen()
        self.parts = {"pair": value.detach(), "weight[pair]": weight}
        if balanced:
            self.parts["share[pair]"] = self.remembered.share(weight, self.contribution, weights[1])
        return weight * value

    def _weigh(self, values: Mapping[str, Tensor], batch: Embedded) -> Tensor:
        """The weights (3,); in training the rule learns from this step first."""
        if self.training and torch.is_grad_enabled():
            measured = int(self.steps) % self.every == 0
            if measured:
                self.contribution.take(*measure(values, batch.vectors, self.proxies), self.proxies)
            none = batch.vectors.new_zeros(())
            seen = torch.stack([values.get(name, none).detach() for name in NAMES])
            if self.weighing.reads_values:
                seen = over_processes(seen, mean=True)
            self.weighing.learn(seen, self.contribution, measured)
            self.steps.add_(1)
        return self._weights()

    def _weights(self) -> Tensor:
        """The weights (3,) now, a copy: a graph may still need them when the rule renews its own."""
        weights, risen = self.weighing.weights(), self._risen()
        return weights * weights.new_tensor([risen, 1.0, risen])

    def _risen(self) -> float:
        """How far weights and eta have come up, 0..1: 0 before the first step."""
        return 1.0 if self._ramp_steps == 0 else min(1.0, int(self.steps) / self._ramp_steps)

    def _note(self, values: Mapping[str, Tensor], weights: Tensor) -> None:
        self.parts = {name: value.detach() for name, value in values.items()}
        self.parts |= {f"weight[{name}]": weights[i] for i, name in enumerate(NAMES) if name in values}
        self.parts |= self.contribution.parts(weights, values)
        if self._nearest is not None:
            self.parts["similarity[nearest proxies]"] = self._nearest
