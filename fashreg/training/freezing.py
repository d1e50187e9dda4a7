"""What is not trained: leading stages of the backbone or all of it, and batch-norm statistics."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from fashreg.encoder import Encoder
from fashreg.errors import RecipeError


@dataclass(slots=True)
class Frozen:
    """What `freeze` froze. cut: stages of the encoder's work (`Encoder.cuts`) that never change; 0 = none."""

    encoder: Encoder
    cut: int
    batch_norm: bool
    modules: list[nn.Module] = field(default_factory=list)

    def training_mode(self) -> None:
        """Put the encoder into training mode, frozen parts (and, if asked, all batch norms) into evaluation mode."""
        self.encoder.train()
        for module in self.modules:
            module.eval()
        if self.batch_norm:
            for module in self.encoder.modules():
                if isinstance(module, BatchNorm):
                    module.eval()


def cut_of(encoder: Encoder, how: str | int) -> int:
    """How many leading steps of the encoder are frozen by "none", "backbone", or a number of stages."""
    stages = encoder.backbone.stages
    if how == "none" or how == 0:
        return 0
    if how == "backbone" or how == len(stages):
        return encoder.cuts
    if not isinstance(how, int) or not 0 < how < len(stages):
        names = ", ".join(f"{i + 1} {name}" for i, name in enumerate(stages))
        raise RecipeError(
            f"freeze: {how}: this backbone has {len(stages)} stages ({names}); give a number of stages, backbone, or "
            "none",
            field="trainer.freeze",
        )
    return how


def freeze(encoder: Encoder, how: str | int, *, batch_norm: bool = False) -> Frozen:
    """Stop the training of a part. how: "none", "backbone", or the number of leading stages.

    Parameters of that part require no gradient any more, so nothing is recorded for it either. Other parameters are
    left as they are. batch_norm: running statistics of the trained part stay as they are, too.
    """
    cut, backbone = cut_of(encoder, how), encoder.backbone
    modules: list[nn.Module] = [backbone] if cut == encoder.cuts else []
    if not modules:
        modules = [module for index in range(cut) for module in backbone.stage_modules(index)]
    for module in modules:
        module.requires_grad_(False)
    return Frozen(encoder, cut, batch_norm, modules)
