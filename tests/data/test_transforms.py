from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from fashreg.config_data import AugmentConfig
from fashreg.data.transforms import crop_box, evaluation_transform, normalised, training_transform
from fashreg.values import InputSpec

SPEC = InputSpec(size=(32, 32))


def noisy(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8))


def torchvisions(spec: InputSpec) -> v2.Compose:
    short = round(spec.size[0] / spec.crop)
    return v2.Compose(
        [
            v2.Resize(short, InterpolationMode(spec.interpolation), antialias=True),
            v2.CenterCrop(spec.size),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(spec.mean, spec.std),
        ]
    )


@pytest.mark.parametrize("size", [(40, 40), (37, 61), (90, 33), (20, 25), (1, 1)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "nearest"])
@pytest.mark.parametrize("crop", [1.0, 0.875, 0.95])
def test_evaluation_equals_torchvisions_resize_and_centre_crop(
    size: tuple[int, int], interpolation: str, crop: float
) -> None:
    spec = InputSpec(size=(32, 32), interpolation=interpolation, crop=crop)
    picture = noisy(*size)
    torch.testing.assert_close(evaluation_transform(spec)(picture), torchvisions(spec)(picture), rtol=0, atol=1e-6)


def test_a_picture_a_tensor_and_an_array_give_the_same_numbers() -> None:
    picture = noisy(50, 40)
    array = np.array(picture)
    transform = evaluation_transform(SPEC)
    expected = transform(picture)
    assert torch.equal(transform(array), expected)
    assert torch.equal(transform(torch.from_numpy(array).permute(2, 0, 1)), expected)


def test_inputs_that_are_not_pictures_of_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"uint8 \(3, H, W\), got torch.float32"):
        evaluation_transform(SPEC)(torch.zeros(3, 8, 8))
    with pytest.raises(ValueError, match=r"uint8 \(H, W, 3\)"):
        evaluation_transform(SPEC)(np.zeros((8, 8), dtype=np.uint8))


def test_inputs_need_not_be_square() -> None:
    spec = InputSpec(size=(24, 48), crop=0.8)
    for size in ((50, 40), (200, 30), (30, 200)):
        assert evaluation_transform(spec).pixels(noisy(*size)).shape == (24, 48, 3)
        assert training_transform(spec).pixels(noisy(*size), (1, 2)).shape == (24, 48, 3)


def test_very_long_pictures_are_cut_to_their_middle() -> None:
    ribbon = np.zeros((4, 4000, 3), dtype=np.uint8)
    ribbon[:, 1998:2002] = 255
    seen = evaluation_transform(SPEC).pixels(ribbon)
    assert seen[:, 14:18].min() > 200


def test_normalising_is_mean_and_deviation_per_channel() -> None:
    spec = InputSpec(size=(2, 2), mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0))
    pixels = np.full((2, 2, 3), 255, dtype=np.uint8)
    assert normalised(pixels, spec)[:, 0, 0].tolist() == [1.0, 3.0, 1.0]
    out = np.zeros((3, 2, 2), dtype=np.float32)
    assert normalised(pixels, spec, out) is out
    assert out[:, 1, 1].tolist() == [1.0, 3.0, 1.0]


def test_equal_keys_give_equal_pictures_and_other_keys_others() -> None:
    transform, picture = training_transform(SPEC, AugmentConfig.model_validate({"name": "street"})), noisy(60, 50)
    first = transform.pixels(picture, (0, 1, 2, 0))
    assert (first == transform.pixels(picture, (0, 1, 2, 0))).all()
    for key in ((1, 1, 2, 0), (0, 2, 2, 0), (0, 1, 3, 0), (0, 1, 2, 1)):
        assert (first != transform.pixels(picture, key)).any()


def test_without_a_key_training_pictures_are_seen_as_at_evaluation() -> None:
    picture = noisy(60, 50)
    plain = evaluation_transform(SPEC).pixels(picture)
    assert (training_transform(SPEC).pixels(picture) == plain).all()
    nothing = training_transform(SPEC, AugmentConfig.model_validate({"name": "none"}))
    assert (nothing.pixels(picture, (1, 2)) == plain).all()


def only(**fields: object) -> AugmentConfig:
    """An augmentation that does one thing."""
    return AugmentConfig.model_validate({"scale": (1, 1), "ratio": (1, 1), "flip": 0.0, **fields})


def test_each_variation_does_what_it_says() -> None:
    picture = noisy(32, 32)
    whole = np.asarray(picture)
    assert (training_transform(SPEC, only()).pixels(picture, (5,)) == whole).all()
    assert (training_transform(SPEC, only(flip=1.0)).pixels(picture, (5,)) == whole[:, ::-1]).all()
    grey = training_transform(SPEC, only(grayscale=1.0)).pixels(picture, (5,))
    assert (grey[..., 0] == grey[..., 2]).all()
    coloured = training_transform(SPEC, only(color_jitter=0.5)).pixels(picture, (5,))
    assert (coloured != whole).any()
    erased = training_transform(SPEC, only(erasing=1.0)).pixels(picture, (5,))
    changed = (erased != whole).any(axis=-1)
    assert 0.01 < changed.mean() < 0.3
    assert len(np.unique(erased[changed], axis=0)) == 1


def test_a_flip_comes_about_as_often_as_its_probability() -> None:
    picture = noisy(32, 32)
    transform = training_transform(SPEC, only(flip=0.3))
    flips = [bool((transform.pixels(picture, (0, key)) != np.asarray(picture)).any()) for key in range(300)]
    assert 0.2 < np.mean(flips) < 0.4


@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)).map(sorted),
    st.tuples(st.floats(0.3, 3), st.floats(0.3, 3)).map(sorted),
    st.integers(0, 1000),
)
def test_a_crop_always_lies_inside_the_picture(
    height: int, width: int, scale: list[float], ratio: list[float], seed: int
) -> None:
    augment = AugmentConfig.model_validate({"scale": scale, "ratio": ratio})
    top, left, tall, wide = crop_box(height, width, augment, np.random.Generator(np.random.PCG64(seed)))
    assert 0 <= top < top + tall <= height
    assert 0 <= left < left + wide <= width


def test_crops_keep_the_share_and_shape_that_were_asked_for() -> None:
    augment = AugmentConfig.model_validate({"scale": (0.5, 0.8), "ratio": (0.8, 1.25)})
    chance = np.random.Generator(np.random.PCG64(0))
    boxes = [crop_box(200, 200, augment, chance) for _ in range(300)]
    shares = [tall * wide / 40_000 for _, _, tall, wide in boxes]
    shapes = [wide / tall for _, _, tall, wide in boxes]
    assert min(shares) > 0.49
    assert max(shares) < 0.81
    assert min(shapes) > 0.79
    assert max(shapes) < 1.27
    assert max(shares) - min(shares) > 0.25


def test_one_variation_is_the_same_on_every_machine() -> None:
    """The draws come from PCG64 through uniform, integers and random, whose streams are stable."""
    chance = np.random.Generator(np.random.PCG64([0, 1, 2, 0]))
    assert crop_box(100, 80, AugmentConfig(), chance) == (2, 0, 95, 80)
