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
from fashreg.errors import FashregError
from fashreg.interfaces import Evaluator, Reranker, Sampler
from fashreg.jobs.evaluation import Asking, evaluate_table
from fashreg.jobs.own_parts import completed
from fashreg.jobs.parts_check import check_together
from fashreg.jobs.tables import Tables, read_tables
from fashreg.jobs.task_parts import MEAN, TaskPart, check_able, evaluate_parts, task_facts, task_parts
from fashreg.jobs.task_tables import TaskTables
from fashreg.own_paths import public
from fashreg.training.checkpoint import seed_everything
from fashreg.training.interleaved import InterleavedSampler
from fashreg.training.new_tasks import add_heads
from fashreg.training.own_loss import OwnLoss
from fashreg.training.processes import Processes
from fashreg.training.run_folder import versions
from fashreg.training.session import Session
from fashreg.training.source import table_source
from fashreg.values import Experience

__all__ = ["Parts", "Tables", "assemble", "read_tables"]


@dataclass
class Parts:
    """Everything that was built. replaced: recipe fields that objects or classes were given for, as specs. data: what
    the model will be trained and chosen on, for its card. provenance: what else the card tells. tasks: of a recipe with
    tasks, what belongs to each.
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
    tasks: Mapping[str, TaskPart] = field(default_factory=dict)

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
        task = self.tasks.get(experience.task or "")
        spec = self.sampler if task is None or task.sampler is None else task.sampler
        facts |= {} if task is None else {"batch_size": task.batch_size}
        try:
            sampler: Sampler = build("sampler", spec, facts=facts)
        except FashregError as error:
            if task is not None:
                own = "" if task.sampler is not None else f" (another sampler: --set tasks.{task.name}.sampler=random)"
                error.args = (f"task {task.name!r}: {error}{own}",)
            raise
        return sampler

    def count_batches(self, experience: Experience) -> int:
        """Batches of one epoch, over all tasks."""
        if not experience.parts:
            return len(self.sampler_of(experience))
        names = [part.name for part in experience.parts]
        samplers = [self.sampler_of(part) for part in experience.parts]
        return len(InterleavedSampler(samplers, self.facts["seed"], names, getattr(self.learner, "turns", None)))

    def session(self, recipe: Recipe, document: Mapping[str, Any], folder: Any, *, quiet: bool = False) -> Session:
        """What the learner is bound to."""
        views = 2 if "second_view" in self.needs else 1

        def evaluate(encoder: Encoder, experience: Experience) -> Mapping[str, float]:
            if self.tasks:
                return evaluate_parts(encoder, experience, self.tasks, recipe.trainer)
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
                targets="targets" in self.needs,
                tasks={name: task.data for name, task in self.tasks.items()},
                turns=getattr(self.learner, "turns", None),
                announce=None if quiet else partial(print, file=sys.stderr),
            ),
            trainer=recipe.trainer,
            evaluate=evaluate,
            primary=MEAN if self.tasks else self.evaluators[0].primary,
            folder=folder,
            seed=recipe.seed,
            recipe=document,
            provenance=self._provenance(),
            quiet=quiet,
        )

    def _provenance(self) -> dict[str, Any]:
        encoder = self.encoder
        loss = None if isinstance(self.loss, OwnLoss) else self.loss
        named = {"loss": loss, "memory": self.memory, "learner": self.learner}
        specs = {name: spec_of(part, registered=False) for name, part in named.items() if part is not None}
        parts = [*specs.values(), *(spec_of(part, registered=False) for part in (encoder.backbone, encoder.head))]
        environment = versions(str(spec["plugin"]) for spec in parts)
        return {"data": self.data, **specs, "environment": environment, **self.provenance}


def assemble(recipe: Recipe, tables: Tables, objects: Mapping[str, Any]) -> Parts:
    """Build every part. objects: ready objects or classes by recipe field; the rest comes from the recipe by name."""
    check_recipe(recipe, replaced=frozenset(objects))
    seed_everything(recipe.seed)
    facts = {
        **(
            {} if tables.tasks else _table_facts(tables.train if recipe.stream is None else tables.experiences[0].train)
        ),
        **task_facts(tables.tasks),
        "batch_size": recipe.trainer.batch_size,
        "seed": recipe.seed,
        "rank": 0,
        "world_size": 1,
    }

    def made(name: str) -> Any:
        return build(name, objects.get(name, getattr(recipe, name)), facts=facts)

    backbone = made("backbone")
    check_able(tables.tasks, "backbone", backbone)
    facts["in_dim"] = backbone.out_dim
    facts |= {name: getattr(backbone, name) for name in ("text_dim", "vocabulary") if hasattr(backbone, name)}
    head = _head(objects.get("head", recipe.head), backbone, facts)
    check_able(tables.tasks, "head", head)
    encoder = Encoder(backbone, head)
    if tables.tasks:
        add_heads(encoder, tables.experiences[0])
    facts["embed_dim"] = encoder.embed_dim
    loss = OwnLoss() if recipe.loss is None and "loss" not in objects else completed(made("loss"))
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
        batches=0,
        rerankers=[build("reranker", item, facts=facts) for item in objects.get("rerankers", recipe.rerankers)],
        data=_data_facts(tables),
        tasks=task_parts(recipe, tables.tasks, facts),
    )
    parts.batches = parts.count_batches(tables.experiences[0])
    built = {"backbone": backbone, "head": head, "loss": loss, "memory": memory, "learner": parts.learner}
    for name in objects:
        if name in built:
            parts.replaced[name] = _written(built[name])
        elif name == "sampler":
            first = tables.experiences[0]
            parts.replaced[name] = _written(parts.sampler_of(first.parts[0] if first.parts else first))
    for name, several in (("evaluators", parts.evaluators), ("rerankers", parts.rerankers)):
        if name in objects:
            parts.replaced[name] = [_written(one) for one in several]
    check_together(recipe, tables, parts)
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
    if tables.tasks:
        return {name: {"kind": task.kind, **_split_facts(task)} for name, task in tables.tasks.items()}
    return _split_facts(tables)


def _split_facts(tables: Tables | TaskTables) -> dict[str, Any]:
    facts: dict[str, Any] = {"table": public(tables.train.source)}
    for name, table in (("train", tables.train), ("validation", tables.validation)):
        if table is not None:
            facts[name] = {"pictures": len(table), "classes": table.num_classes, "sha256": table.fingerprint}
    return facts


def _written(component: Any) -> dict[str, Any]:
    spec = spec_of(component, registered=False)
    return {"name": spec["name"], **spec["config"]}
