"""What learns of a backbone and head fame-vil, and at which rate; the rest rests."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import nn

from fashreg.config_trainer import TrainerConfig
from fashreg.encoder import Encoder
from fashreg.errors import RecipeError
from fashreg.training.optimisation import Group, module_groups


def resting(encoder: Encoder, tasks: Collection[str], *, clip: bool, across: bool) -> list[nn.Module]:
    """Modules that do not learn while these tasks are learnt: adapters and heads that serve none of them, and what
    rests anyway. clip, across: whether the CLIP, the way across learn.
    """
    backbone: Any = encoder.backbone
    head: Any = encoder.head
    trunk = backbone.trunk
    used = {id(module) for task in tasks for module in trunk.own_of(task)}
    others = [task for task in backbone.kinds if task not in tasks]
    own = [module for task in others for module in trunk.own_of(task) if id(module) not in used]
    shared = [module for module, learns in ((trunk.clip, clip), (trunk.cross, across)) if not learns]
    return [*shared, *own, *(head.head_of(task) for task in others)]


def learning_groups(encoder: Encoder, trainer: TrainerConfig, clip_lr_factor: float) -> list[Group]:
    """What the optimiser takes: the CLIP at its own rate, adapters and way across, the head.

    Only matrices have weight decay: norms, biases and scalars (of adapters, of temperatures) have none.
    """
    backbone: Any = encoder.backbone
    trunk, rate, decay = backbone.trunk, trainer.backbone_lr_factor, trainer.weight_decay
    groups = [
        *module_groups(trunk.clip, "clip", rate * clip_lr_factor, decay),
        *module_groups(nn.ModuleList([trunk.task_adapters, trunk.cross, trunk.writers]), "adapters", rate, decay),
        *module_groups(encoder.head, "head", trainer.head_lr_factor, decay),
    ]
    if not groups:
        raise RecipeError("nothing is trained: the whole encoder is frozen", field="trainer.freeze")
    return groups
