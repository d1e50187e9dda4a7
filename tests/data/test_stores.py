"""The file of bytes, the decoded pictures and the cached features: whole, old, or nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fashreg.config_data import AugmentConfig
from fashreg.data import blob as blob_module
from fashreg.data.blob import open_blob, write_blob
from fashreg.data.cache_folder import cache_folder
from fashreg.data.decoded import decoded_pictures, short_side_for
from fashreg.data.feature_cache import FeatureCache
from fashreg.data.loader import TableDataset, training_batches
from fashreg.data.pictures import open_picture
from fashreg.data.table import Table, read_table
from fashreg.data.transforms import training_transform
from fashreg.errors import DataError
from fashreg.values import InputSpec

ROWS, SHAPE = 10, (3, 2)


class Frozen:
    """Counts how often it is asked; view v of row p is p + 100 v."""

    def __init__(self, batch: int = 4) -> None:
        self.batch, self.views = batch, []  # type: ignore[var-annotated]

    def __call__(self, view: int) -> Iterator[Tensor]:
        self.views.append(view)
        rows = torch.arange(ROWS, dtype=torch.float32) + 100 * view
        for part in rows.split(self.batch):
            yield part.view(-1, 1, 1).expand(-1, *SHAPE)


def test_a_file_comes_back_with_its_description(tmp_path: Path) -> None:
    write_blob(tmp_path / "a", [b"abc", b"", b"de"], lambda: {"rows": 5})
    found = open_blob(tmp_path / "a")
    assert found is not None
    assert found.data.tobytes() == b"abcde"
    assert found.description == {"rows": 5, "bytes": 5}
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


@pytest.mark.parametrize("cut", [1, 20, 60, 10_000])
def test_a_short_or_longer_file_is_no_file(tmp_path: Path, cut: int) -> None:
    write_blob(tmp_path / "a", [bytes(500)], dict)
    whole = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(whole[:-cut])
    assert open_blob(tmp_path / "a") is None
    (tmp_path / "a").write_bytes(whole[1:])
    assert open_blob(tmp_path / "a") is None
    assert open_blob(tmp_path / "missing") is None


def test_an_error_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    def breaking() -> Iterator[bytes]:
        yield b"new"
        raise RuntimeError("stop")

    write_blob(tmp_path / "a", [b"old"], dict)
    with pytest.raises(RuntimeError):
        write_blob(tmp_path / "a", breaking(), dict)
    found = open_blob(tmp_path / "a")
    assert found is not None
    assert found.data.tobytes() == b"old"
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_a_killed_writer_leaves_the_old_file_and_its_rest_is_removed_later(tmp_path: Path) -> None:
    write_blob(tmp_path / "a", [b"old"], dict)
    code = """
import pathlib, sys, time
from fashreg.data.blob import write_blob
def slow():
    while True:
        yield bytes(100_000)
        print("writing", flush=True)
        time.sleep(0.01)
write_blob(pathlib.Path(sys.argv[1]), slow(), dict)
"""
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "a")], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
    found = open_blob(tmp_path / "a")
    assert found is not None
    assert found.data.tobytes() == b"old"
    (rest,) = tmp_path.glob("*.part")
    write_blob(tmp_path / "a", [b"new"], dict)
    assert rest.exists(), "it may belong to a process that still writes"
    os.utime(rest, (time.time() - 7200, time.time() - 7200))
    write_blob(tmp_path / "a", [b"new"], dict)
    assert not rest.exists()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_features_are_computed_once_and_read_by_position_and_epoch(tmp_path: Path, dtype: str) -> None:
    frozen, cache, said = Frozen(), FeatureCache(tmp_path), []  # type: ignore[var-annotated]
    for _ in range(2):
        features = cache.get_or_compute({"weights": "w"}, ROWS, frozen, views=2, dtype=dtype, announce=said.append)  # type: ignore[arg-type]
        assert (len(features), features.views, features.shape) == (ROWS, 2, SHAPE)
        read = features.read([7, 0, 7], epoch=3)
        assert read.dtype == getattr(torch, dtype)
        assert read.shape == (3, *SHAPE)
        assert read[:, 0, 0].float().tolist() == [107.0, 100.0, 107.0]
        assert features.read(np.array([9]), epoch=0)[0].float().unique().tolist() == [9.0]
    assert frozen.views == [0, 1]
    assert len(said) == 1
    assert "10 pictures in 2 views" in said[0]


def test_what_is_read_is_a_copy(tmp_path: Path) -> None:
    features = FeatureCache(tmp_path).get_or_compute({}, ROWS, Frozen())
    features.read([1]).zero_()
    assert features.read([1]).float().mean() == 1.0
    with pytest.raises(IndexError, match="0 to 9"):
        features.read([-1])


def test_another_key_number_of_views_rows_or_type_is_another_file(tmp_path: Path) -> None:
    cache, frozen = FeatureCache(tmp_path), Frozen()
    cache.get_or_compute({"weights": "a"}, ROWS, frozen)
    cache.get_or_compute({"weights": "b"}, ROWS, frozen)
    cache.get_or_compute({"weights": "a"}, ROWS, frozen, views=2)
    cache.get_or_compute({"weights": "a"}, ROWS, frozen, dtype="float32")
    assert frozen.views == [0, 0, 0, 1, 0]
    assert len(list(tmp_path.iterdir())) == 4


def test_a_damaged_file_is_computed_again(tmp_path: Path) -> None:
    cache, frozen = FeatureCache(tmp_path), Frozen()
    cache.get_or_compute({}, ROWS, frozen)
    (path,) = tmp_path.iterdir()
    os.truncate(path, 50)
    assert cache.get_or_compute({}, ROWS, frozen).read([4]).float().mean() == 4.0
    assert frozen.views == [0, 0]


def test_a_computation_that_stops_leaves_nothing(tmp_path: Path) -> None:
    def stopping(view: int) -> Iterator[Tensor]:
        yield torch.zeros(4, *SHAPE)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FeatureCache(tmp_path).get_or_compute({}, ROWS, stopping)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([torch.zeros(9, 2)], "view 0 has 9 rows, 10 were announced"),
        ([torch.zeros(6, 2), torch.zeros(6, 2)], "10 rows in all"),
        ([torch.zeros(6, 2), torch.zeros(4, 3)], r"\(b, \*\[2\]\)"),
        ([torch.full((10, 2), 1e6)], "do not fit float16; keep bfloat16"),
        ([torch.full((10, 2), float("nan"))], "are not finite"),
    ],
)
def test_batches_that_cannot_be_kept_are_refused(tmp_path: Path, batches: list[Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureCache(tmp_path).get_or_compute({}, 10, lambda view: batches)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(blob_module.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(DataError, match=r"needs 0.0 MB; free some room.*FASHREG_CACHE=FOLDER"):
        FeatureCache(tmp_path).get_or_compute({}, ROWS, Frozen())
    assert not list(tmp_path.iterdir())


def test_impossible_sizes_are_refused(tmp_path: Path) -> None:
    for rows, views in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match=">= 1"):
            FeatureCache(tmp_path).get_or_compute({}, rows, Frozen(), views=views)


def test_the_cache_folder_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASHREG_CACHE", str(tmp_path / "c"))
    assert cache_folder() == tmp_path / "c"
    monkeypatch.delenv("FASHREG_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "fashreg"


def test_decoded_pictures_are_the_pictures(table: Table, tmp_path: Path) -> None:
    store = decoded_pictures(table, 1000, folder=tmp_path / "store")
    assert len(store) == 12
    for position in (0, 5, 11):
        assert (store[position] == np.asarray(open_picture(table.paths[position]))).all()
    small = decoded_pictures(table, 15, folder=tmp_path / "store")
    assert [small[position].shape for position in range(3)] == [(15, 20, 3), (15, 20, 3), (15, 21, 3)]


def test_decoding_happens_once_and_again_when_a_picture_changed(table: Table, tmp_path: Path) -> None:
    said: list[str] = []
    for _ in range(2):
        decoded_pictures(table, 20, folder=tmp_path / "store", announce=said.append)
    assert len(said) == 1
    os.utime(table.paths[3], (1, 1))
    decoded_pictures(table, 20, folder=tmp_path / "store", announce=said.append)
    assert len(said) == 2
    for path in (tmp_path / "store").iterdir():
        os.truncate(path, 40)
    assert decoded_pictures(table, 20, folder=tmp_path / "store", announce=said.append)[0].shape[0] == 20
    assert len(said) == 3


def test_training_from_decoded_pictures_equals_training_from_files(table: Table, tmp_path: Path) -> None:
    transform = training_transform(InputSpec(size=(16, 16)))
    store = decoded_pictures(table, 1000, folder=tmp_path / "store")
    for one, other in zip(
        training_batches(TableDataset(table, transform), [[3, 9, 1]], epoch=2),
        training_batches(TableDataset(table, transform, decoded=store), [[3, 9, 1]], epoch=2),
        strict=True,
    ):
        assert torch.equal(one.images, other.images)


def test_boxes_are_cut_before_pictures_are_kept(table: Table, tmp_path: Path) -> None:
    frame = table.frame.assign(x_1=4, y_1=5, x_2=24, y_2=25)
    boxed = read_table(frame, {"root": str(tmp_path)})
    store = decoded_pictures(boxed, 1000, folder=tmp_path / "store")
    assert (store[2] == np.asarray(open_picture(boxed.paths[2]))[5:25, 4:24]).all()


def test_the_smallest_crop_is_no_smaller_than_the_input() -> None:
    side = short_side_for(InputSpec(size=(128, 128)), AugmentConfig.model_validate({"scale": (0.25, 1)}))
    assert side == 256


def test_a_damaged_picture_is_named_and_nothing_is_kept(table: Table, tmp_path: Path) -> None:
    os.truncate(table.paths[4], 90)
    with pytest.raises(DataError, match=r"004.png is damaged"):
        decoded_pictures(table, 20, folder=tmp_path / "store")
    assert not list((tmp_path / "store").iterdir())
