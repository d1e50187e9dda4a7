"""Whose parameters belong to which stage: a stem, one stage for each pair of blocks, what follows with the last."""

from __future__ import annotations

from torch import nn

from fashreg_famevil.additions import SIDES
from fashreg_famevil.model import AdaptedCLIP


class Loose(nn.Module):
    """Parameters and buffers that a module holds directly, wrapped so that they can be frozen and counted."""

    def __init__(self, owner: nn.Module, taken: set[int]) -> None:
        super().__init__()
        for number, parameter in enumerate(p for p in owner.parameters(recurse=False) if id(p) not in taken):
            self.register_parameter(str(number), parameter)
        kept = owner.state_dict(keep_vars=True)
        for name, buffer in owner.named_buffers(recurse=False):
            if id(buffer) not in taken:
                self.register_buffer(f"buffer_{name}", buffer, persistent=name in kept)


def stage_modules(trunk: AdaptedCLIP, index: int) -> list[nn.Module]:
    """The modules of stage `index`: 0 = what makes tokens, l = block l of both towers with all that is beside it."""
    clip, last = trunk.clip, len(trunk.clip.visual.transformer.resblocks)
    stem = [clip.visual.conv1, clip.visual.ln_pre, clip.token_embedding, _first(trunk)]
    if index == 0:
        return stem
    layer = index - 1
    made = [clip.visual.transformer.resblocks[layer], clip.transformer.resblocks[layer]]
    for adapters in trunk.task_adapters.values():
        made += [adapters[side][layer] for side in SIDES]  # type: ignore[index]
    made += [across[layer] for across in trunk.cross.values()]  # type: ignore[index]
    if index == last:
        taken = {id(t) for module in stem for t in (*module.parameters(), *module.buffers())}
        made += [clip.visual.ln_post, clip.ln_final, Loose(clip.visual, taken), Loose(clip, taken)]
        made += list(trunk.writers.values())
        if isinstance(clip.text_projection, nn.Module):
            made.append(clip.text_projection)
    return made


def _first(trunk: AdaptedCLIP) -> nn.Module:
    """What the stem holds directly: class token, both tables of positions, the mask of texts."""
    clip, made = trunk.clip, nn.Module()
    places = (clip.visual.class_embedding, clip.visual.positional_embedding, clip.positional_embedding)
    for number, parameter in enumerate(places):
        made.register_parameter(str(number), parameter)
    made.register_buffer("mask", clip.attn_mask, persistent=False)
    return made
