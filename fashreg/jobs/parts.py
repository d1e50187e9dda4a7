"""From a checked recipe to the parts of a run: components built, what they need of one another checked."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fashreg.assembly import build, check_recipe, spec_of
from fashreg.config import Recipe
from fashreg.data.table import Table
from fashreg.encoder import Encoder
from fashreg.errors import RecipeError
from fashreg.interfaces import Evaluator, Reranker, Sampler
from fashreg.jobs.evaluation import Asking, evaluate_table
from fashreg.jobs.tables import Tables, read_tables
from fashreg.own_paths import public
from fashreg.training.checkpoint import seed_everything
from fashreg.training.processes import Processes
from fashreg.training.run_folder import versions
from fashreg.training.schedule import total_steps
from fashreg.training.session import Session
from fashreg.training.source import table_source
from fashreg.values import Experience

__all__ = ["Parts", "Tables", "assemble", "read_tables"]


@dataclass
class Parts:
    """Everything that was built. replaced: recipe fields that objects or classes were given for, as specs. data: what
    the model will be trained and chosen on, for its card. provenance: what else the card tells.
    """

    encoder: Encoder
    loss: Any
    memory: Any | None
    learner: Any
    evaluators: list[Evaluator]
    sampler: Any
    facts: dict[str, Any]
    batches: int
    rerankers: list[Reranker] = field(default_factory=list)
    replaced: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def needs(self) -> frozenset[str]:
        """What the loss or the learner must find in every batch."""
        return frozenset(self.loss.needs) | frozenset(getattr(self.learner, "needs", ()))

    def make_sampler(self, experience: Experience, processes: Processes) -> Sampler:
        """The sampler of an experience for this process."""
        return self.sampler_of(experience, rank=processes.rank, world_size=processes.size)

    def sampler_of(self, experience: Experience, *, rank: int = 0, world_size: int = 1) -> Sampler:
        """The same for one of several processes."""
        facts = {**self.facts, **_table_facts(experience.train), "rank": rank, "world_size": world_size}
        sampler: Sampler = build("sampler", self.sampler, facts=facts)
        return sampler

    def session(self, recipe: Recipe, document: Mapping[str, Any], folder: Any, *, quiet: bool = False) -> Session:
        """What the learner is bound to."""
        views = 2 if "second_view" in self.needs else 1

        def evaluate(encoder: Encoder, experience: Experience) -> Mapping[str, float]:
            if experience.parts:
                return _mean_of([evaluate(encoder, part) for part in experience.parts])
            if experience.validation is None:
                return {}
            found = evaluate_table(
                encoder,
                experience.validation,
                self.evaluators,
                config=recipe.data,
                task=experience.task,
                trainer=recipe.trainer,
                asking=Asking(details=False),
            )
            return found.metrics

        return Session(
            encoder=self.encoder,
            loss=self.loss,
            memory=self.memory,
            source=table_source(
                self.make_sampler,
                recipe.data,
                self.encoder,
                recipe.trainer,
                seed=recipe.seed,
                views=views,
                announce=None if quiet else partial(print, file=sys.stderr),
            ),
            trainer=recipe.trainer,
            evaluate=evaluate,
            primary=self.evaluators[0].primary,
            folder=folder,
            seed=recipe.seed,
            recipe=document,
            provenance=self._provenance(),
            quiet=quiet,
        )

    def _provenance(self) -> dict[str, Any]:
        encoder = self.encoder
        named = {"loss": self.loss, "memory": self.memory, "learner": self.learner}
        specs = {name: spec_of(part, registered=False) for name, part in named.items() if part is not None}
        parts = [*specs.values(), *(spec_of(part, registered=False) for part in (encoder.backbone, encoder.head))]
        environment = versions(str(spec["plugin"]) for spec in parts)
        return {"data": self.data, **specs, "environment": environment, **self.provenance}


def assemble(recipe: Recipe, tables: Tables, objects: Mapping[str, Any]) -> Parts:
    """Build every part. objects: ready objects or classes by recipe field; the rest comes from the recipe by name."""
    check_recipe(recipe, replaced=frozenset(objects))
    seed_everything(recipe.seed)
    facts = {
        **_table_facts(tables.experiences[0].train),
        "batch_size": recipe.trainer.batch_size,
        "seed": recipe.seed,
        "rank": 0,
        "world_size": 1,
    }

    def made(name: str) -> Any:
        return build(name, objects.get(name, getattr(recipe, name)), facts=facts)

    backbone = made("backbone")
    facts["in_dim"] = backbone.out_dim
    head = _head(objects.get("head", recipe.head), backbone, facts)
    encoder = Encoder(backbone, head)
    facts["embed_dim"] = encoder.embed_dim
    loss = made("loss")
    memory = None if recipe.memory is None and "memory" not in objects else made("memory")
    chosen = objects.get("evaluators", recipe.evaluators)
    parts = Parts(
        encoder=encoder,
        loss=loss,
        memory=memory,
        learner=made("learner"),
        evaluators=[build("evaluator", item, facts=facts) for item in chosen],
        sampler=objects.get("sampler", recipe.sampler),
        facts=facts,
        batches=len(made("sampler")),
        rerankers=[build("reranker", item, facts=facts) for item in objects.get("rerankers", recipe.rerankers)],
        data=_data_facts(tables),
    )
    built = {"backbone": backbone, "head": head, "loss": loss, "memory": memory, "learner": parts.learner}
    for name in objects:
        if name in built:
            parts.replaced[name] = _written(built[name])
        elif name == "sampler":
            parts.replaced[name] = _written(made("sampler"))
    for name, several in (("evaluators", parts.evaluators), ("rerankers", parts.rerankers)):
        if name in objects:
            parts.replaced[name] = [_written(one) for one in several]
    _check_together(recipe, tables, parts)
    return parts


def _head(spec: Any, backbone: Any, facts: Mapping[str, Any]) -> Any:
    """The head, made for pooled features; when it turns out to take maps, made again for those."""
    head = build("head", spec, facts=facts)
    if head.takes == "map" and head.in_dim != backbone.map_dim:
        head = build("head", spec, facts={**facts, "in_dim": backbone.map_dim})
    return head


def _mean_of(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Metrics of several parts: what all have, averaged; what one alone has, as it is. Empty ones do not count."""
    known = [metrics for metrics in found if metrics]
    names = dict.fromkeys(name for metrics in known for name in metrics)
    several = {name: [metrics[name] for metrics in known if name in metrics] for name in names}
    return {n: sum(v) / len(v) for n, v in several.items() if len(v) == len(known) or len(v) == 1}


def _table_facts(table: Table) -> dict[str, Any]:
    return {
        "num_classes": table.num_classes,
        "labels": table.labels,
        "num_images": len(table),
        "attributes": {name: len(attribute.names) for name, attribute in table.attributes.items()},
    }


def _data_facts(tables: Tables) -> dict[str, Any]:
    """The tables by size and fingerprint, and by the name of their file alone."""
    facts: dict[str, Any] = {"table": public(tables.train.source)}
    for name, table in (("train", tables.train), ("validation", tables.validation)):
        if table is not None:
            facts[name] = {"pictures": len(table), "classes": table.num_classes, "sha256": table.fingerprint}
    return facts


def _written(component: Any) -> dict[str, Any]:
    spec = spec_of(component, registered=False)
    return {"name": spec["name"], **spec["config"]}


def _check_together(recipe: Recipe, tables: Tables, parts: Parts) -> None:
    """What the parts need of one another and of the data, before the first step."""
    has = {
        "second_view": True,
        "texts": tables.train.texts is not None,
        "attributes": bool(tables.train.attributes),
    }
    for need in sorted(parts.needs):
        if not has.get(need, False):
            who = "loss" if need in parts.loss.needs else "learner"
            column = {"texts": "data.text=COLUMN", "attributes": "data.attributes=[COLUMN, ...]"}.get(need, need)
            raise RecipeError(
                f"{who} {getattr(recipe, who).name!r} needs {need}, and the recipe names none: --set {column}",
                field=who,
            )
    if not getattr(parts.loss, "moves_batch", True):
        raise RecipeError(
            f"loss {recipe.loss.name!r} moves its own parameters only, so the encoder would learn nothing: name it as"
            " a part of a loss that takes parts, or choose another",
            field="loss",
        )
    if parts.memory is None:
        return
    if not parts.loss.accepts_references:
        raise RecipeError(
            f"loss {recipe.loss.name!r} compares with its own proxies only and cannot use a memory: --set memory=null, "
            "or choose a loss over pairs",
            field="memory",
        )
    steps = total_steps(recipe.trainer, parts.batches)
    start = parts.memory.start_step
    if start >= steps:
        raise RecipeError(
            f"memory.start_step is {start} and the run has {steps} steps, so the memory would never be used: "
            f"--set memory.start_step={steps // 10}, or --set memory=null",
            field="memory.start_step",
        )
