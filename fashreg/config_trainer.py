"""What a recipe says about optimisation. Only pydantic: reading a recipe imports no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0.0)]
Factor = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(gt=0)]
CountOrNone = Annotated[int, Field(ge=0)]


class TrainerConfig(BaseModel):
    """Optimisation, precision, schedule, freezing and what is kept on the way."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: Count = Field(10, description="Passes over the training split.")
    max_steps: Count | None = Field(
        None, description="Optimiser steps after which training ends, also within an epoch. Unset: epochs alone decide."
    )
    batch_size: Annotated[int, Field(ge=2)] = Field(
        64, description="Pictures that one loss sees, over all processes together."
    )
    accumulate: Count = Field(
        1, description="Batches whose gradients are averaged before each optimiser step; a memory counts batches."
    )
    optimizer: Literal["adamw", "sgd"] = Field(
        "adamw", description="adamw: Adam with decoupled weight decay; sgd: Nesterov momentum."
    )
    lr: Positive = Field(3e-4, description="Learning rate; factors below and the loss's own factor multiply it.")
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(0.9, description="Momentum of sgd.")
    weight_decay: Factor = Field(
        1e-4, description="Weight decay of matrices and filters; norms, biases and the loss's parameters have none."
    )
    backbone_lr_factor: Factor = Field(1.0, description="Multiplies lr for the backbone; 0 keeps it as it is.")
    head_lr_factor: Factor = Field(1.0, description="Multiplies lr for the head.")
    schedule: Literal["constant", "cosine", "step"] = Field(
        "cosine", description="The learning rate after warm-up: constant, cosine to zero at the end, or in steps."
    )
    warmup_steps: CountOrNone = Field(0, description="Optimiser steps over which the learning rate rises to lr.")
    warmup_share: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.0, description="The same as a share of all optimiser steps; give one of the two."
    )
    warmup_from: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.0, description="Where the warm-up starts, as a share of lr."
    )
    step_epochs: Count | None = Field(
        None, description="schedule: step: epochs between two steps of the learning rate."
    )
    step_at: list[Count] = Field(
        default_factory=list,
        description="schedule: step: instead of step_epochs, the optimiser steps after which the learning rate steps.",
    )
    step_factor: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        0.1, description="schedule: step: what the learning rate is multiplied with at each step."
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32", description="Arithmetic of the network (autocast; losses stay in fp32; fp16 with loss scaling)."
    )
    clip_norm: Positive | None = Field(None, description="Largest norm of the whole gradient. Unset: no limit.")
    clip_value: Positive | None = Field(None, description="Largest size of each gradient entry. Unset: no limit.")
    ema_decay: Annotated[float, Field(gt=0.0, lt=1.0)] | None = Field(
        None,
        description="Keep an exponential moving average of the weights with this decay per step; the average is what "
        "is evaluated and saved. Unset: no average.",
    )
    freeze: Literal["none", "backbone"] | Annotated[int, Field(ge=0, strict=True)] = Field(
        "none", description="What is not trained: none, backbone (the head alone learns), or the first N stages."
    )
    freeze_batch_norm: bool = Field(
        False,
        description="Batch-norm layers of the trained part keep their running statistics too (frozen parts always do).",
    )
    cache: Literal["none", "features"] = Field(
        "none", description="features: what is frozen runs once per picture, its output is kept on disk; needs freeze."
    )
    cache_views: Count = Field(
        1,
        description="Augmented views per picture in the cache; 1: the picture as at evaluation, without augmentation.",
    )
    cache_dtype: Literal["fp32", "bf16", "fp16"] = Field("fp16", description="Numbers in the cache.")
    evaluate_every: CountOrNone = Field(
        1, description="Epochs between two evaluations on the validation split; 0: only after the last epoch."
    )
    patience: Count | None = Field(
        None, description="Evaluations without a better primary metric after which training stops. Unset: never."
    )
    checkpoint_every: CountOrNone = Field(
        1, description="Epochs between two checkpoints; 0: none (an interrupted run always writes one)."
    )
    checkpoint_steps: Count | None = Field(
        None, description="Optimiser steps between two checkpoints, beside those of checkpoint_every. Unset: none."
    )
    log_every: Count = Field(10, description="Optimiser steps between two lines of the log.")
    keep_freed_memory: bool = Field(
        True,
        description="Tell the C allocator (glibc) to keep freed memory instead of giving it back to the system after "
        "every layer; FASHREG_KEEP_FREED_MEMORY=0 turns it off everywhere.",
    )
    trackers: list[str] = Field(
        default_factory=list, description="Experiment trackers that accelerate knows, by name: tensorboard, wandb, ..."
    )

    @property
    def freezes(self) -> bool:
        """Whether any part of the encoder is not trained."""
        return self.freeze not in ("none", 0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.warmup_steps and self.warmup_share:
            raise ValueError("warmup_steps and warmup_share say the same thing twice; give one of them")
        if self.cache == "features" and not self.freezes:
            raise ValueError(
                "cache: features keeps the output of what is frozen; set freeze: backbone or freeze: N too"
            )
        if self.warmup_from and not (self.warmup_steps or self.warmup_share):
            raise ValueError("warmup_from says where a warm-up starts; set warmup_steps or warmup_share too")
        if self.schedule == "step" and (self.step_epochs is None) == (not self.step_at):
            raise ValueError(
                "schedule: step needs step_epochs, the epochs between two steps, or step_at, where: one of them"
            )
        if sorted(set(self.step_at)) != self.step_at:
            raise ValueError(f"step_at: give rising optimiser steps, got {self.step_at}")
        if self.backbone_lr_factor == 0.0 and self.freeze != "backbone":
            raise ValueError("backbone_lr_factor: 0 trains nothing of the backbone; say freeze: backbone instead")
        self._refuse_idle("momentum", self.optimizer == "sgd", "optimizer: sgd")
        self._refuse_idle("step_epochs", self.schedule == "step", "schedule: step")
        self._refuse_idle("step_at", self.schedule == "step", "schedule: step")
        self._refuse_idle("step_factor", self.schedule == "step", "schedule: step")
        self._refuse_idle("cache_views", self.cache == "features", "cache: features")
        self._refuse_idle("cache_dtype", self.cache == "features", "cache: features")
        return self

    def _refuse_idle(self, field: str, applies: bool, where: str) -> None:
        """A setting that would be ignored is refused; its default may always stand there."""
        default: Any = type(self).model_fields[field].get_default(call_default_factory=True, validated_data={})
        if not applies and getattr(self, field) != default:
            raise ValueError(f"{field} applies to {where} only; remove it or set {where}")
