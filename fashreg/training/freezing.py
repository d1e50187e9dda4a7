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


def freeze(encoder: Encoder, how: str | int, *, batch_norm: bool = False) -> Frozen:
    """Stop the training of a part. how: "none", "backbone", or the number of leading stages.

    Parameters of that part require no gradient any more, so nothing is recorded for it either. Other parameters are
    left as they are. batch_norm: running statistics of the trained part stay as they are, too.
    """
    backbone = encoder.backbone
    count = len(backbone.stages)
    if how == "none" or how == 0:
        return Frozen(encoder, 0, batch_norm)
    if how == "backbone" or how == count:
        backbone.requires_grad_(False)
        return Frozen(encoder, encoder.cuts, batch_norm, [backbone])
    if not isinstance(how, int) or not 0 < how < count:
        names = ", ".join(f"{i + 1} {name}" for i, name in enumerate(backbone.stages))
        raise RecipeError(
            f"freeze: {how}: this backbone has {count} stages ({names}); give a number of stages, backbone, or none",
            field="trainer.freeze",
        )
    modules: list[nn.Module] = [module for index in range(how) for module in backbone.stage_modules(index)]
    for module in modules:
        module.requires_grad_(False)
    return Frozen(encoder, how, batch_norm, modules)
