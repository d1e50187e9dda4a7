from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fashreg.data.picture_check import fault_of
from fashreg.data.pictures import max_pixels, open_picture
from fashreg.errors import DataError

SIZE = (36, 24)


@pytest.fixture
def scene() -> Image.Image:
    """A gradient with a corner that shows which way up it is."""
    pixels = np.zeros((SIZE[1], SIZE[0], 3), dtype=np.uint8)
    pixels[..., 0] = np.arange(SIZE[0]) * 7
    pixels[..., 1] = np.arange(SIZE[1])[:, None] * 10
    pixels[:4, :6] = 255
    return Image.fromarray(pixels)


def pixels_of(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).astype(int)


def png_header(width: int, height: int) -> bytes:
    """The start of a PNG that claims to be enormous."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return start + struct.pack(">I", 1000) + b"IDAT"


def test_a_path_its_bytes_and_the_picture_itself_give_the_same(scene: Image.Image, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    scene.save(path)
    for source in (path, str(path), path.read_bytes(), scene):
        opened = open_picture(source)
        assert opened.mode == "RGB"
        assert (pixels_of(opened) == pixels_of(scene)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(scene: Image.Image, orientation: int) -> None:
    turns = Image.Transpose
    stored = {  # how a camera stores an upright scene under each orientation
        1: scene,
        2: scene.transpose(turns.FLIP_LEFT_RIGHT),
        3: scene.transpose(turns.ROTATE_180),
        4: scene.transpose(turns.FLIP_TOP_BOTTOM),
        5: scene.transpose(turns.TRANSPOSE),
        6: scene.transpose(turns.ROTATE_90),
        7: scene.transpose(turns.TRANSVERSE),
        8: scene.transpose(turns.ROTATE_270),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    stored.save(file, "PNG", exif=exif)
    assert (pixels_of(open_picture(file.getvalue())) == pixels_of(scene)).all()


def test_a_damaged_exif_block_is_no_reason_to_refuse(scene: Image.Image) -> None:
    file = io.BytesIO()
    scene.save(file, "JPEG", exif=b"Exif\x00\x00MM\x00*\x00\x00\xff\xffnonsense")
    with pytest.warns(UserWarning, match="EXIF"):
        opened = open_picture(file.getvalue())
    assert opened.size == SIZE


def test_cmyk_becomes_rgb(scene: Image.Image) -> None:
    file = io.BytesIO()
    scene.convert("CMYK").save(file, "JPEG", quality=98)
    assert np.abs(pixels_of(open_picture(file.getvalue())) - pixels_of(scene)).mean() < 6


def test_palette_grey_and_one_bit_pictures_become_rgb(scene: Image.Image) -> None:
    for mode in ("P", "L", "1"):
        file = io.BytesIO()
        scene.convert(mode).save(file, "PNG")
        opened = open_picture(file.getvalue())
        assert opened.mode == "RGB"
        assert (pixels_of(opened) == pixels_of(scene.convert(mode).convert("RGB"))).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_becomes_white(mode: str) -> None:
    clear = Image.new("RGBA", (8, 8), (200, 30, 30, 0))
    clear.paste((10, 20, 30, 255), (4, 0, 8, 8))
    file = io.BytesIO()
    clear.convert(mode).save(file, "PNG")
    opened = pixels_of(open_picture(file.getvalue()))
    assert (opened[:, :4] == 255).all()
    assert (opened[:, 4:] < 60).all()


def test_sixteen_bit_greys_are_scaled_and_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    file = io.BytesIO()
    Image.fromarray(ramp).save(file, "PNG")
    opened = pixels_of(open_picture(file.getvalue()))
    assert opened.max() == 255
    assert opened.min() == 0
    assert (opened[..., 0] == np.rint(ramp / 257)).all()


def test_of_an_animation_the_first_frame_counts() -> None:
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "PNG"):
        file = io.BytesIO()
        frames[0].save(file, kind, save_all=True, append_images=frames[1:])
        assert pixels_of(open_picture(file.getvalue()))[4, 4].tolist() == [255, 0, 0]


def test_a_single_pixel_is_a_picture(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), "red").save(tmp_path / "one.png")
    assert open_picture(tmp_path / "one.png").size == (1, 1)
    assert fault_of(str(tmp_path / "one.png")) is None


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif"])
def test_a_truncated_picture_is_refused_by_name(scene: Image.Image, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut.{suffix}"
    scene.resize((200, 200)).save(path)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(DataError, match=f"{path} is damaged or cut short"):
        open_picture(path)
    assert fault_of(str(path)) == "damaged or truncated pictures"


def test_what_is_no_picture_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("<html>")
    (tmp_path / "b.jpg").write_bytes(b"")
    for name, fault in (("a.jpg", "files that are not pictures"), ("b.jpg", "empty files")):
        with pytest.raises(DataError, match=f"{name} is not a picture"):
            open_picture(tmp_path / name)
        assert fault_of(str(tmp_path / name)) == fault
    with pytest.raises(DataError, match=r"no.jpg does not exist"):
        open_picture(tmp_path / "no.jpg")
    assert fault_of(str(tmp_path / "no.jpg"), False) == "missing files"
    assert fault_of(str(tmp_path)) == "a folder, not a picture"


def test_an_array_is_no_picture_and_what_makes_one_of_it_is_said() -> None:
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    with pytest.raises(DataError, match=r"not ndarray; of an array of RGB: PIL\.Image\.fromarray"):
        open_picture(pixels)  # type: ignore[arg-type]
    assert open_picture(Image.fromarray(pixels)).size == (8, 8)


def test_an_enormous_picture_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(9_000, 9_000))  # no pixels follow: decoding could only fail otherwise
    with pytest.raises(DataError, match=r"bomb.png has 9000 x 9000 pixels.*FASHREG_MAX_PIXELS=NUMBER"):
        open_picture(path, limit=None)
    path.write_bytes(png_header(100_000, 100_000))
    with pytest.raises(DataError, match="larger than Pillow decodes"):
        open_picture(path)
    assert fault_of(str(path)) == "pictures too large to decode"
    path.write_bytes(png_header(300, 300))
    monkeypatch.setenv("FASHREG_MAX_PIXELS", "1000")
    assert max_pixels() == 1000
    assert "more than 1,000 pixels" in str(fault_of(str(path)))
    with pytest.raises(DataError, match="300 x 300"):
        open_picture(path)
    with pytest.raises(DataError, match="300 x 300"):
        open_picture(Image.new("RGB", (300, 300)))
    monkeypatch.setenv("FASHREG_MAX_PIXELS", "many")
    with pytest.raises(DataError, match="must be a whole number"):
        max_pixels()


def test_no_file_stays_open(scene: Image.Image, tmp_path: Path) -> None:
    scene.save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    (tmp_path / "c.gif").write_bytes(b"GIF89a")
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    kept = [open_picture(tmp_path / "a.png") for _ in range(5)]
    for name in ("b.png", "c.gif"):
        with pytest.raises(DataError):
            open_picture(tmp_path / name)
        fault_of(str(tmp_path / name))
    if before:
        assert len(os.listdir("/proc/self/fd")) == before
    assert len(kept) == 5


def test_the_given_picture_is_never_changed(scene: Image.Image) -> None:
    opened = open_picture(scene)
    opened.paste((1, 2, 3), (0, 0, 36, 24))
    assert pixels_of(scene)[0, 0].tolist() == [255, 255, 255]


def test_a_jpeg_is_decoded_smaller_only_while_it_stays_large_enough(tmp_path: Path) -> None:
    Image.new("RGB", (800, 400), "red").save(tmp_path / "large.jpg")
    assert open_picture(tmp_path / "large.jpg").size == (800, 400)
    assert open_picture(tmp_path / "large.jpg", at_least=100).size == (200, 100)
    assert open_picture(tmp_path / "large.jpg", at_least=101).size == (400, 200)
    assert open_picture(tmp_path / "large.jpg", at_least=300).size == (800, 400)


def test_bytes_after_the_end_of_a_jpeg_do_no_harm(scene: Image.Image, tmp_path: Path) -> None:
    scene.save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole + b"\0" * 9000)
    assert fault_of(str(tmp_path / "a.jpg")) is None
