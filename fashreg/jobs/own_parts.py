"""Parts that were given as classes or objects of one's own: what a loss may leave out, and what a folder can name."""

from __future__ import annotations

from typing import Any

from torch import nn

from fashreg.assembly import spec_of
from fashreg.encoder import Encoder
from fashreg.errors import OptionError

#: What a loss says of itself (`fashreg.interfaces.Loss`), where it says nothing.
_SAID: dict[str, Any] = {"accepts_references": False, "needs": frozenset(), "lr_factor": 1.0}


def completed(loss: Any) -> Any:
    """The loss with what it leaves out said for it; OptionError for something that cannot be one."""
    if not isinstance(loss, nn.Module):
        raise OptionError(
            f"a loss is a torch.nn.Module that is called with an Embedded, and {type(loss).__name__} is none: give a "
            "name, a class or an object of one (docs/write-a-plugin.md)",
            field="loss",
        )
    for name, value in {**_SAID, "parts": {}}.items():
        if not hasattr(loss, name):
            setattr(loss, name, value)
    return loss


def check_storable(encoder: Encoder) -> None:
    """ComponentError where the model's folder could not name its parts: said before training, not after."""
    for part in (encoder.backbone, encoder.head):
        spec_of(part)
