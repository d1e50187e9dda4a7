"""A CLIP of two small towers, with random weights."""

from __future__ import annotations

from typing import Any

import open_clip
import torch
from fashreg_famevil.backbone import FameViLBackbone
from fashreg_famevil.head import FameViLHead
from fashreg_famevil.model import AdaptedCLIP

from fashreg.encoder import Encoder

START, END, WORDS = 98, 99, 100


def small_clip(**changes: Any) -> Any:
    text = {"context_length": 12, "vocab_size": WORDS, "width": 48, "heads": 4, "layers": 2}
    image = {"layers": 2, "width": 64, "head_width": 16, "patch_size": 8, "image_size": 32}
    torch.manual_seed(0)
    return open_clip.CLIP(
        32, {**image, **changes.get("image", {})}, {**text, **changes.get("text", {})}, quick_gelu=True
    )


def small_model(tasks: tuple[str, ...] = ("itc", "cap"), *, moved: bool = False) -> AdaptedCLIP:
    """moved: adapters with weights that change something."""
    model = AdaptedCLIP(small_clip(), tasks).eval()
    if moved:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if not name.startswith("clip."):
                    parameter.normal_(0.0, 0.2)
    return model


def small_pictures() -> torch.Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def small_tokens() -> torch.Tensor:
    """Three texts: 3, 6 and 10 words; after the end there are zeros, as open_clip's tokeniser pads."""
    words = torch.randint(1, START, (3, 12), generator=torch.Generator().manual_seed(2))
    words[:, 0] = START
    for row, end in enumerate((4, 7, 11)):
        words[row, end], words[row, end + 1 :] = END, 0
    return words


KINDS = {"find": "cross-modal", "edit": "composed", "name": "classification", "tell": "captioning"}
CLASSES = {"name": ["dress", "shirt", "skirt"]}


def small_backbone(kinds: dict[str, str] | None = None, *, moved: bool = False, **options: Any) -> FameViLBackbone:
    """The backbone `tiny` with a text tower of 24 places. moved: adapters with weights that change something."""
    made = FameViLBackbone("tiny", None, kinds=KINDS if kinds is None else kinds, context_length=24, **options)
    if moved:
        move(made.trunk)
    return made.eval()


def small_head(kinds: dict[str, str] | None = None, **options: Any) -> FameViLHead:
    chosen = KINDS if kinds is None else kinds
    classes = {task: CLASSES["name"] for task, kind in chosen.items() if kind == "classification"}
    return FameViLHead(kinds=chosen, classes=classes, in_dim=32, text_dim=48, vocabulary=1024, **options)


def small_encoder(kinds: dict[str, str] | None = None, *, moved: bool = False) -> Encoder:
    return Encoder(small_backbone(kinds, moved=moved), small_head(kinds)).eval()


def move(trunk: AdaptedCLIP) -> None:
    """Give adapters weights that change something, the same every time."""
    with torch.no_grad():
        for number, (name, parameter) in enumerate(trunk.named_parameters()):
            if not name.startswith("clip."):
                parameter.normal_(0.0, 0.2, generator=torch.Generator().manual_seed(number))
