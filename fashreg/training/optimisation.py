"""From a loss to changed weights: parameter groups, backward, accumulation, clipping, loss scaling, the step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fashreg.config_trainer import TrainerConfig
from fashreg.encoder import Encoder
from fashreg.errors import RecipeError

Group = dict[str, Any]


def parameter_groups(encoder: Encoder, loss: nn.Module, config: TrainerConfig) -> list[Group]:
    """Everything that is trained, with its learning-rate factor: backbone, head, and the loss's own parameters.

    Weight decay applies to matrices and filters only; vectors (norms, biases) and the loss's parameters have none.
    """
    groups = [
        *module_groups(encoder.backbone, "backbone", config.backbone_lr_factor, config.weight_decay),
        *module_groups(encoder.head, "head", config.head_lr_factor, config.weight_decay),
        *module_groups(loss, "loss", float(getattr(loss, "lr_factor", 1.0)), 0.0),
    ]
    if not groups:
        raise RecipeError("nothing is trained: the whole encoder is frozen and the loss has no parameters of its own")
    return groups


def module_groups(module: nn.Module, name: str, lr_factor: float, weight_decay: float) -> list[Group]:
    """The trained parameters of one module as one or two groups (with and without weight decay), in module order."""
    trained = [p for p in module.parameters() if p.requires_grad]
    decayed = [p for p in trained if p.ndim > 1 and weight_decay > 0.0]
    plain = [p for p in trained if p.ndim <= 1 or weight_decay == 0.0]
    parts = ((f"{name}.decayed", decayed, weight_decay), (f"{name}.plain", plain, 0.0))
    return [
        {"name": label, "params": params, "lr_factor": lr_factor, "weight_decay": decay}
        for label, params, decay in parts
        if params
    ]


class Optimisation:
    """The optimiser with everything around it. `backward` for each batch, then `step` once `accumulate` are done."""

    def __init__(self, groups: Iterable[Group], config: TrainerConfig, device: torch.device) -> None:
        self.config = config
        self.optimizer = _optimizer(list(groups), config)
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Everything that is trained, in a fixed order."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    @property
    def lr(self) -> float:
        """The learning rate of the first group, as it stands."""
        return float(self.optimizer.param_groups[0]["lr"])

    def backward(self, loss: Tensor, share: float) -> None:
        """Add the gradient of one batch; share: its part of this step, 1 / accumulated batches."""
        scaled: Tensor = self.scaler.scale(loss * share if share != 1.0 else loss)
        scaled.backward()  # type: ignore[no-untyped-call]

    def step(self, lr_factor: float, average: Callable[[list[nn.Parameter]], None]) -> None:
        """Average the gradients over processes, clip, change the weights, clear the gradients."""
        average(self.parameters)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * group["lr_factor"] * lr_factor
        if self.config.clip_norm is not None or self.config.clip_value is not None:
            self.scaler.unscale_(self.optimizer)
            if self.config.clip_value is not None:
                nn.utils.clip_grad_value_(self.parameters, self.config.clip_value)
            if self.config.clip_norm is not None:
                nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """Optimiser and loss scaling."""
        return {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()` of the same parameters."""
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])


def _optimizer(groups: list[Group], config: TrainerConfig) -> torch.optim.Optimizer:
    for group in groups:
        group["lr"] = config.lr * group["lr_factor"]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0.0)
    return torch.optim.AdamW(groups, lr=config.lr)
