"""Cut a network into a row of stages, so that the early ones can be frozen and their output cached.

A stage is a row of steps, plain strings: the path of a submodule to call ("layer1", "blocks.3") or a method of the
network ("_pos_embed()"). Nothing here keeps a reference to the network, so copies of it stay whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Stage(NamedTuple):
    """One stage: its name and its steps, in order."""

    name: str
    steps: tuple[str, ...]


#: Where families of networks may be cut: stem, body, tail. "blocks.*" means each child is a stage of its own.
#: A cut is used only after it has given the network's own features bit for bit, so the order is only a preference.
CUTS: tuple[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]], ...] = (
    (("conv1", "bn1", "act1", "maxpool"), ("layer1", "layer2", "layer3", "layer4"), ()),  # ResNet and kin
    (("conv_stem", "bn1"), ("blocks.*",), ("conv_head", "bn2")),  # EfficientNet, Lite, MixNet, MobileNetV2
    (("conv_stem", "bn1"), ("blocks.*",), ()),  # MobileNetV3, MobileNetV4
    (("stem",), ("s1", "s2", "s3", "s4"), ("final_conv",)),  # RegNet
    (("stem",), ("stages.*",), ("norm_pre",)),  # ConvNeXt
    (("stem",), ("stages.*",), ("final_conv",)),  # RepVGG, FastViT
    (("stem",), ("stages.*",), ("norm",)),  # ResNetV2, MaxViT
    (("stem",), ("stages.*",), ()),  # CSPNet, MetaFormer
    (("patch_embed",), ("layers.*",), ("norm",)),  # Swin
    (("patch_embed", "_pos_embed()", "patch_drop", "norm_pre"), ("blocks.*",), ("norm",)),  # ViT, DeiT
)

#: The cut that fits every timm network: none.
WHOLE = (Stage("all", ("forward_features()",)),)


def cut(network: nn.Module, images: Tensor) -> tuple[Stage, ...]:
    """The finest known row of stages that gives `network.forward_features(images)` bit for bit; else one stage.

    The network must be in eval mode. Run it on one small batch: it costs a forward pass for each cut that fits by name.
    """
    candidates = [row for row in (_row(network, *names) for names in CUTS) if row]
    if not candidates:
        return WHOLE
    with torch.no_grad():
        wanted = network.forward_features(images)  # type: ignore[operator]
        return next((row for row in candidates if _gives(network, row, images, wanted)), WHOLE)


def run(network: nn.Module, stages: Iterable[Stage], x: Tensor) -> Tensor:
    """The stages' steps in order."""
    for stage in stages:
        for step in stage.steps:
            x = getattr(network, step[:-2])(x) if step.endswith("()") else network.get_submodule(step)(x)
    return x


def modules_of(network: nn.Module, stages: tuple[Stage, ...], index: int) -> list[nn.Module]:
    """The modules whose parameters belong to stage `index`; over all stages, every parameter exactly once.

    Parameters that the network holds outside any submodule (class token, position table) belong to the first stage;
    modules that no stage calls (what follows pooling) to the last.
    """
    if stages == WHOLE:
        return [network]
    found = [network.get_submodule(step) for step in stages[index].steps if not step.endswith("()")]
    if index == 0 and (loose := list(network.parameters(recurse=False))):
        found.append(nn.ParameterList(loose))  # the same Parameter objects, wrapped so that they can be frozen
    if index == len(stages) - 1:
        found += [network.get_submodule(name) for name in uncalled(network, stages)]
    return found


def uncalled(network: nn.Module, stages: tuple[Stage, ...]) -> list[str]:
    """Names of the direct children with parameters or buffers that no stage calls."""
    called = {step.partition(".")[0] for stage in stages for step in stage.steps}
    return [name for name, child in network.named_children() if name not in called and child.state_dict()]


def drop(network: nn.Module, names: Iterable[str]) -> None:
    """Replace these submodules by nothing, so that the network holds no parameter that it does not use."""
    for name in names:
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, nn.Identity())


def _row(network: nn.Module, stem: tuple[str, ...], body: tuple[str, ...], tail: tuple[str, ...]) -> tuple[Stage, ...]:
    """The row of stages of one cut, or () when the network lacks one of its parts."""
    if not all(hasattr(network, part.removesuffix(".*").removesuffix("()")) for part in stem + body + tail):
        return ()
    loose = next(network.parameters(recurse=False), None) is not None
    if loose and "_pos_embed()" not in stem:
        return ()
    row = [Stage("stem", stem)]
    for part in body:
        name = part.removesuffix(".*")
        children = network.get_submodule(name).named_children() if part != name else ()
        row += [Stage(f"{name}.{child}", (f"{name}.{child}",)) for child, _ in children] or [Stage(name, (name,))]
    working = tuple(name for name in tail if not isinstance(network.get_submodule(name), nn.Identity))
    return (*row, Stage(working[0], working)) if working else tuple(row)


def _gives(network: nn.Module, stages: tuple[Stage, ...], images: Tensor, wanted: Tensor) -> bool:
    try:
        return torch.equal(run(network, stages, images), wanted)
    except Exception:  # a network of another family with the same names: whatever it raises, this cut is not its own
        return False
