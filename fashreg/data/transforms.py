"""From a picture to what a backbone takes: exact for evaluation, varied and repeatable for training.

Pixels are moved by Pillow through torchvision's v2 functions and stay 8 bits until they are normalised.
A uint8 tensor goes the same way, so both kinds of input give the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as move

from fashreg.config_data import AugmentConfig
from fashreg.values import InputSpec

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Input = Image.Image | Tensor | Pixels

_LONGEST = 8.0  # pictures longer than 8 : 1 are cut to their middle before they are resized


class PictureTransform(Protocol):
    """What the loaders ask of a transform.

    at_least: a large JPEG may be decoded smaller while both its sides stay this long; None: every pixel counts.
    """

    spec: InputSpec
    at_least: int | None

    def pixels(self, picture: Input, key: Sequence[int] | None = None) -> Pixels:
        """The picture as (H, W, 3) uint8; equal keys give equal variations, None gives none."""


class EvaluationTransform:
    """Short side to round(size / crop), antialiased, then the centre crop: torchvision's Resize and CenterCrop.

    Pictures longer than 8 : 1 are cut to their middle first.

    Args:
        spec: the input a backbone wants.
    """

    def __init__(self, spec: InputSpec) -> None:
        self.spec = spec
        self.at_least: int | None = None
        self._interpolation = InterpolationMode(spec.interpolation)

    def pixels(self, picture: Input, key: Sequence[int] | None = None) -> Pixels:
        """(H, W, 3) uint8; the key changes nothing."""
        image = _middle(_as_pil(picture))
        (height, width), crop = self.spec.size, self.spec.crop
        tall, wide = round(height / crop), round(width / crop)
        if tall * image.width >= wide * image.height:  # the height binds
            resized = [tall, max(wide, int(tall * image.width / image.height))]
        else:
            resized = [max(tall, int(wide * image.height / image.width)), wide]
        image = move.resize(image, resized, self._interpolation, antialias=True)
        return _array(move.center_crop(image, [height, width]))

    def __call__(self, picture: Input) -> Tensor:
        """(3, H, W) float, normalised."""
        return torch.from_numpy(normalised(self.pixels(picture), self.spec))


class TrainingTransform:
    """Random resized crop, flip, colours and erasing, in that order; one key gives one variation on any machine.

    See also: `EvaluationTransform`, which name "none" equals.

    Args:
        spec: the input a backbone wants; its crop share is not used.
        augment: which variations, and how strong.
    """

    def __init__(self, spec: InputSpec, augment: AugmentConfig) -> None:
        self.spec, self.augment = spec, augment
        self._interpolation = InterpolationMode(spec.interpolation)
        self._plain = EvaluationTransform(spec)
        self.at_least = None if augment.name == "none" else 2 * max(spec.size)

    def pixels(self, picture: Input, key: Sequence[int] | None = None) -> Pixels:
        """(H, W, 3) uint8, varied by the key (whole numbers >= 0); without a key as at evaluation."""
        if key is None or self.augment.name == "none":
            return self._plain.pixels(picture)
        chance = np.random.Generator(np.random.PCG64(list(key)))
        image = _as_pil(picture)
        top, left, height, width = crop_box(image.height, image.width, self.augment, chance)
        image = move.resized_crop(image, top, left, height, width, list(self.spec.size), self._interpolation)
        if chance.random() < self.augment.flip:
            image = move.horizontal_flip(image)
        return self._erased(_array(self._recoloured(image, chance)), chance)

    def __call__(self, picture: Input, key: Sequence[int] = (0,)) -> Tensor:
        """(3, H, W) float, normalised."""
        return torch.from_numpy(normalised(self.pixels(picture, key), self.spec))

    def _recoloured(self, image: Image.Image, chance: np.random.Generator) -> Image.Image:
        strength = self.augment.color_jitter
        if strength:
            changes = [move.adjust_brightness, move.adjust_contrast, move.adjust_saturation]
            for which in chance.permutation(3):
                image = changes[which](image, 1.0 + strength * chance.uniform(-1.0, 1.0))
        if chance.random() < self.augment.grayscale:
            image = move.rgb_to_grayscale(image, num_output_channels=3)
        return image

    def _erased(self, pixels: Pixels, chance: np.random.Generator) -> Pixels:
        if chance.random() >= self.augment.erasing:
            return pixels
        height, width = self.spec.size
        area = chance.uniform(0.02, 0.25) * height * width
        aspect = math.exp(chance.uniform(math.log(0.3), math.log(3.3)))
        tall = min(height, max(1, round(math.sqrt(area / aspect))))
        wide = min(width, max(1, round(math.sqrt(area * aspect))))
        top, left = chance.integers(height - tall, endpoint=True), chance.integers(width - wide, endpoint=True)
        pixels[top : top + tall, left : left + wide] = np.rint(255 * np.array(self.spec.mean)).astype(np.uint8)
        return pixels


def crop_box(height: int, width: int, augment: AugmentConfig, chance: np.random.Generator) -> tuple[int, int, int, int]:
    """Top, left, height, width of a random part of a picture: its share of the area within `scale`, width / height
    within `ratio` (drawn evenly in its logarithm). After ten draws that do not fit, the largest middle part that does.
    """
    low, high = (math.log(end) for end in augment.ratio)
    for _ in range(10):
        area = height * width * chance.uniform(*augment.scale)
        aspect = math.exp(chance.uniform(low, high))
        wide, tall = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < wide <= width and 0 < tall <= height:
            top, left = chance.integers(height - tall, endpoint=True), chance.integers(width - wide, endpoint=True)
            return int(top), int(left), tall, wide
    aspect = min(max(width / height, augment.ratio[0]), augment.ratio[1])
    wide, tall = min(width, max(1, round(height * aspect))), min(height, max(1, round(width / aspect)))
    return (height - tall) // 2, (width - wide) // 2, tall, wide


def normalised(pixels: Pixels, spec: InputSpec, out: Floats | None = None) -> Floats:
    """(H, W, 3) uint8 to (3, H, W) float32, into `out` if given: (pixel / 255 - mean) / std per channel."""
    mean, std = (np.array(values, dtype=np.float32).reshape(3, 1, 1) for values in (spec.mean, spec.std))
    made: Floats = np.empty((3, *pixels.shape[:2]), dtype=np.float32) if out is None else out
    made[...] = pixels.transpose(2, 0, 1)
    np.divide(made, np.float32(255), out=made)
    np.subtract(made, mean, out=made)
    np.divide(made, std, out=made)
    return made


def evaluation_transform(spec: InputSpec) -> EvaluationTransform:
    """The one way a picture is seen in evaluation and search."""
    return EvaluationTransform(spec)


def training_transform(spec: InputSpec, augment: AugmentConfig | None = None) -> TrainingTransform:
    """The variations of training; by default mild ones for catalogue pictures."""
    return TrainingTransform(spec, AugmentConfig() if augment is None else augment)


def _as_pil(picture: Input) -> Image.Image:
    if isinstance(picture, Image.Image):
        return picture if picture.mode == "RGB" else picture.convert("RGB")
    pixels: Any = picture
    if isinstance(pixels, Tensor):
        if pixels.dtype != torch.uint8 or pixels.ndim != 3 or pixels.shape[0] != 3:
            raise ValueError(f"a picture tensor must be uint8 (3, H, W), got {pixels.dtype} {tuple(pixels.shape)}")
        pixels = pixels.permute(1, 2, 0).contiguous().cpu().numpy()
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"a picture array must be uint8 (H, W, 3), got {pixels.dtype} {pixels.shape}")
    return Image.fromarray(pixels)


def _array(image: Image.Image) -> Pixels:
    return np.array(image, dtype=np.uint8)


def _middle(image: Image.Image) -> Image.Image:
    width, height = image.size
    if max(width, height) <= _LONGEST * min(width, height):
        return image
    keep = int(_LONGEST * min(width, height))
    middle: Image.Image = move.center_crop(image, [min(height, keep), min(width, keep)])
    return middle
