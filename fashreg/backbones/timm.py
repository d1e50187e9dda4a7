"""Any network of timm as a backbone. The only file of fashreg that imports timm (and only when a backbone is made)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fashreg.backbones import stages as rows
from fashreg.backbones.weights import load_strictly, read_state
from fashreg.errors import ModelError, OptionError
from fashreg.values import InputSpec


class TimmBackbone(nn.Module):
    """Any network of timm, by its name, without its classifier.

    forward(images (B, 3, H, W)) gives what timm gives before the classifier, (B, F), bit for bit; `to_map` gives the
    spatial map (B, C, h, w) behind it. Networks whose structure is known (ResNet, EfficientNet, MobileNet, ConvNeXt,
    RegNet, ViT, Swin and kin) are cut into stages, each cut proven at construction on one random picture; any other
    network is one stage, "all". Random weights come from `seed` alone; the global random state is left as it was.
    Nothing is ever unpickled: weights are safetensors, from the Hub or a file, and fit to the last tensor.

    Source: Wightman, "PyTorch Image Models", 2019, https://github.com/huggingface/pytorch-image-models
    See also: lite0 (plugin fashreg-lite0), ImageNet weights without a network connection.

    Args:
        model: timm's name, `arch` or `arch.tag` (the tag names one set of weights and its preprocessing).
        weights: "hub" for the pretrained weights from the Hugging Face Hub (HF_ENDPOINT and HF_HUB_OFFLINE are
            honoured), None for random ones (also when a saved state is loaded next), else a .safetensors file.
        image_size: height and width of the pictures in pixels; None keeps what the weights were trained with.
        crop: share of the shorter side that the centre crop keeps; None keeps what the weights were trained with.
        pooling: "native" is the network's own pooling (class token, attention, average); "avg" and "max" pool the map.
        last_stage: name of the last stage to keep, e.g. "layer3"; what follows is removed, and "native" pooling is
            then the average of the map. None keeps the whole network.
        seed: of the random weights.
    """

    modalities: frozenset[str] = frozenset({"image"})

    def __init__(
        self,
        model: str = "resnet50.a1_in1k",
        weights: str | Path | None = "hub",
        *,
        image_size: Annotated[int, Field(gt=0, le=4096)] | None = None,
        crop: Annotated[float, Field(gt=0, le=1)] | None = None,
        pooling: Literal["native", "avg", "max"] = "native",
        last_stage: str | None = None,
        seed: Annotated[int, Field(ge=0, lt=2**63)] = 0,
    ) -> None:
        if pooling not in ("native", "avg", "max"):
            raise ValueError(f'pooling is "native", "avg" or "max", not {pooling!r}')
        if (image_size is not None and not 1 <= image_size <= 4096) or (crop is not None and not 0 < crop <= 1):
            raise ValueError(
                f"image_size must be at least 1 and at most 4096, crop in (0, 1], not {image_size} and {crop}"
            )
        super().__init__()
        self.model, self.weights, self.image_size, self.crop = model, weights, image_size, crop
        self.pooling, self.last_stage, self.seed = pooling, last_stage, seed
        _check_name(model)
        self.net = _network(model, image_size, seed)
        if weights is not None:
            load_strictly(self.net, _hub_state(self.net, model) if weights == "hub" else read_state(Path(weights)))
        self.input_spec = _input_spec(self.net, image_size, crop)
        self._one_size = bool(self.net.pretrained_cfg.get("fixed_input_size"))
        self._cut()

    @torch.no_grad()
    def _cut(self) -> None:
        """Find the stages, drop what `last_stage` and `pooling` leave unused, and measure both widths."""
        height, width = self.input_spec.size
        size = (height, width) if self._one_size else (min(height, 96), min(width, 96))
        noise = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
        self.net.eval()
        row = rows.cut(self.net, noise)
        self._stages = row[: self._stop(row)]
        self._native = self.pooling == "native" and len(self._stages) == len(row)
        if row != rows.WHOLE and not self._native:
            rows.drop(self.net, rows.uncalled(self.net, row))
            rows.drop(self.net, (s for stage in row[len(self._stages) :] for s in stage.steps if not s.endswith("()")))
        features = rows.run(self.net, self._stages, noise)
        self.out_dim = self.pool(features).shape[1]
        try:
            self.map_dim = self.to_map(features).shape[1]
        except ValueError:
            self.map_dim = 0  # a few networks have no spatial map; to_map then says so
        self.net.train()

    def _stop(self, row: tuple[rows.Stage, ...]) -> int:
        names = [stage.name for stage in row]
        if self.last_stage is None:
            return len(row)
        if self.last_stage not in names:
            raise OptionError(
                f"{self.model} has no stage {self.last_stage!r}; its stages are {', '.join(names)}", field="last_stage"
            )
        return names.index(self.last_stage) + 1

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages, first to last."""
        return tuple(stage.name for stage in self._stages)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, F)."""
        return self.pool(self.run_stages(images))

    def run_stages(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Stages start..stop-1, in timm's own layout between them: (B, C, h, w), (B, h, w, C) or tokens (B, N, C).

        start = 0 takes images; stop = None runs to the end.
        """
        if start == 0 and self._one_size and x.shape[-2:] != self.input_spec.size:
            asked, have = "x".join(map(str, x.shape[-2:])), "x".join(map(str, self.input_spec.size))
            raise ValueError(f"{self.model} was made for pictures of {have}, not {asked}; set image_size")
        return rows.run(self.net, self._stages[start:stop], x)

    def pool(self, features: Tensor) -> Tensor:
        """Output of the last stage -> (B, F)."""
        if self._native:
            pooled: Tensor = self.net.forward_head(features, pre_logits=True)
            return pooled
        spatial = self.to_map(features)
        return spatial.amax((2, 3)) if self.pooling == "max" else spatial.mean((2, 3))

    def to_map(self, features: Tensor) -> Tensor:
        """Output of the last stage -> spatial map (B, C, h, w); class and register tokens are left out."""
        if features.ndim == 4:
            return features.permute(0, 3, 1, 2) if getattr(self.net, "output_fmt", "") == "NHWC" else features
        tokens = features[:, int(getattr(self.net, "num_prefix_tokens", 0)) :]
        height, width = self.input_spec.size
        h = round((tokens.shape[1] * height / width) ** 0.5)
        if features.ndim != 3 or h == 0 or tokens.shape[1] % h:
            raise ValueError(f"{self.model} has no spatial map: its features are {tuple(features.shape)}")
        return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], h, -1)

    def stage_modules(self, index: int) -> list[Any]:
        """The modules whose parameters belong to stage `index`; over all stages, every parameter exactly once."""
        return rows.modules_of(self.net, self._stages, range(len(self._stages))[index])


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _check_name(model: str) -> None:
    import timm

    arch, _, tag = model.partition(".")
    if not timm.is_model(arch):
        near = get_close_matches(arch, timm.list_models(), n=3, cutoff=0.6)
        raise OptionError(
            f"timm has no model {arch!r}"
            + (f"; did you mean {', '.join(near)}?" if near else "; see timm.list_models()"),
            field="model",
        )
    tags = [name.partition(".")[2] for name in timm.list_models(f"{arch}.*", pretrained=True)]
    if tag not in tags and "." in model:
        near = get_close_matches(tag, tags, n=1, cutoff=0.4) or tags
        hint = f"did you mean {arch}.{near[0]}?" if near else f"it has none: write {arch} and weights=None"
        raise OptionError(f"timm knows no weights {tag!r} of {arch}; {hint}", field="model")


def _network(model: str, image_size: int | None, seed: int) -> Any:
    import timm

    sized: dict[str, Any] = {}
    cfg = timm.get_pretrained_cfg(model)
    if image_size is not None and cfg is not None and cfg.fixed_input_size:
        sized = {"img_size": image_size}
    with _seeded(seed):
        try:
            return timm.create_model(model, pretrained=False, num_classes=0, **sized)
        except (AssertionError, TypeError, ValueError, RuntimeError) as error:
            raise OptionError(
                f"timm cannot make {model} with image_size={image_size}: {error}", field="model"
            ) from error


def _hub_state(network: Any, model: str) -> dict[str, Tensor]:
    from timm.models import load_state_dict_from_hf

    repo = network.pretrained_cfg.get("hf_hub_id")
    offered = network.pretrained_cfg.get("hf_hub_filename") or ""
    way_out = "give weights a .safetensors file, or None (null) for random weights"
    if not repo:
        raise ModelError(f"timm has no weights of {model} as safetensors on the Hub; {way_out}")
    name = "open_clip_model.safetensors" if offered.startswith("open_clip") else "model.safetensors"
    try:
        state: dict[str, Tensor] = load_state_dict_from_hf(repo, filename=name)  # no fallback to a pickle: named file
    except Exception as error:  # connection, permission, missing file: many types over the versions of the client
        offline = os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE")
        why = (
            "the Hub is switched off (HF_HUB_OFFLINE) and they are not in the cache"
            if offline
            else f"{type(error).__name__}: {error}".split("\n")[0]
        )
        raise ModelError(
            f"the weights of {model} could not be had from the Hub ({repo}/{name}): {why}; {way_out}"
        ) from error
    return state


def _input_spec(network: Any, image_size: int | None, crop: float | None) -> InputSpec:
    from timm.data.config import resolve_model_data_config

    data: dict[str, Any] = resolve_model_data_config(network)  # type: ignore[no-untyped-call]
    height, width = data["input_size"][1:]
    return InputSpec(
        size=(image_size, image_size) if image_size else (int(height), int(width)),
        mean=tuple(data["mean"]),
        std=tuple(data["std"]),
        interpolation=data["interpolation"] if data["interpolation"] in ("bilinear", "nearest") else "bicubic",
        crop=float(data["crop_pct"] if crop is None else crop),
    )
