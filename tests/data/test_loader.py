from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fashreg.config_data import AugmentConfig
from fashreg.data.loader import TableDataset, evaluation_batches, training_batches
from fashreg.data.prefetch import default_workers, in_order
from fashreg.data.table import Table, read_table
from fashreg.data.transforms import evaluation_transform, training_transform
from fashreg.errors import DataError
from fashreg.values import InputSpec, TrainingBatch

Shop = Callable[..., pd.DataFrame]
SPEC = InputSpec(size=(16, 16))
BATCHES = [[3, 1, 2, 0], [5, 4], [11, 10, 9, 8, 7, 6]]


@pytest.fixture
def dataset(table: Table) -> TableDataset:
    return TableDataset(table, training_transform(SPEC, AugmentConfig.model_validate({"name": "street"})), seed=7)


def ours() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("fashreg-pictures")]


def test_a_batch_carries_what_the_table_says(shop: Shop, tmp_path: Path) -> None:
    frame = shop()
    frame["colour"] = ["red", "blue", "", "red"] * 3
    frame["words"] = [f"picture {row}" for row in range(12)]
    table = read_table(frame, {"root": str(tmp_path), "attributes": ["colour"], "text": "words"})
    dataset = TableDataset(table, training_transform(SPEC), views=2)
    batch = next(training_batches(dataset, [[4, 2, 9]], workers=0))
    assert isinstance(batch, TrainingBatch)
    assert batch.images.shape == (3, 3, 16, 16)
    assert batch.images.dtype == torch.float32
    assert batch.second_view is not None
    assert batch.second_view.shape == batch.images.shape
    assert not torch.equal(batch.second_view, batch.images)
    assert batch.labels.tolist() == [1, 0, 2]
    assert batch.ids.tolist() == batch.positions.tolist() == [4, 2, 9]
    assert batch.attributes is not None
    assert batch.attributes["colour"].tolist() == [1, -1, 0]
    assert batch.texts == ["picture 4", "picture 2", "picture 9"]


def test_what_a_table_does_not_have_is_none(dataset: TableDataset) -> None:
    batch = next(training_batches(dataset, [[0, 1]]))
    assert (batch.attributes, batch.texts, batch.second_view, batch.task) == (None, None, None, None)


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("prefetch", [1, 4])
def test_neither_threads_nor_prefetching_change_a_picture(dataset: TableDataset, workers: int, prefetch: int) -> None:
    alone = list(training_batches(dataset, BATCHES, epoch=3, workers=0))
    together = list(training_batches(dataset, BATCHES, epoch=3, workers=workers, prefetch=prefetch))
    assert [batch.positions.tolist() for batch in together] == BATCHES
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one.images, other.images)


def test_an_interrupted_epoch_goes_on_with_the_same_pictures(dataset: TableDataset) -> None:
    whole = list(training_batches(dataset, BATCHES, epoch=2))
    resumed = list(training_batches(dataset, BATCHES[1:], epoch=2))
    assert torch.equal(whole[2].images, resumed[1].images)


def test_epochs_and_seeds_vary_the_pictures(dataset: TableDataset, table: Table) -> None:
    first = next(training_batches(dataset, BATCHES)).images
    assert not torch.equal(first, next(training_batches(dataset, BATCHES, epoch=1)).images)
    other = TableDataset(table, dataset.transform, seed=8)
    assert not torch.equal(first, next(training_batches(other, BATCHES)).images)


def test_a_picture_is_varied_alike_wherever_it_stands_in_a_batch(dataset: TableDataset) -> None:
    one = next(training_batches(dataset, [[3, 8]])).images
    other = next(training_batches(dataset, [[8, 3]])).images
    assert torch.equal(one.flip(0), other)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_picture_is_named_by_the_loader(table: Table, workers: int) -> None:
    os.truncate(table.paths[9], 90)
    dataset = TableDataset(table, training_transform(SPEC))
    batches = training_batches(dataset, BATCHES, workers=workers, prefetch=1)
    assert len(next(batches)) == 4
    with pytest.raises(DataError, match=r"pictures/009.png is damaged"):
        list(batches)
    assert not ours()


def test_leaving_early_ends_the_threads(dataset: TableDataset) -> None:
    for _ in training_batches(dataset, [list(range(12))] * 50, workers=3):
        assert ours()
        break
    assert not ours()


def test_ctrl_c_ends_the_threads(dataset: TableDataset) -> None:
    def interrupted() -> Iterator[list[int]]:
        yield [0, 1]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(training_batches(dataset, interrupted(), workers=2))
    assert not ours()


def test_batches_are_asked_for_only_so_far_ahead(dataset: TableDataset) -> None:
    asked: list[int] = []

    def counted() -> Iterator[list[int]]:
        for number in range(20):
            asked.append(number)
            yield [number % 12]

    batches = training_batches(dataset, counted(), workers=2, prefetch=3)
    next(batches)
    assert len(asked) == 3
    next(batches)
    assert len(asked) == 4
    batches.close()  # type: ignore[attr-defined]


def test_a_process_forked_while_threads_run_can_load_too(dataset: TableDataset) -> None:
    batches = training_batches(dataset, BATCHES * 5, workers=2)
    next(batches)
    child = os.fork()
    if child == 0:
        loaded = len(list(training_batches(dataset, BATCHES, workers=2)))
        os._exit(0 if loaded == 3 else 1)
    end = time.monotonic() + 20
    done, status = os.waitpid(child, os.WNOHANG)
    while not done and time.monotonic() < end:
        time.sleep(0.02)
        done, status = os.waitpid(child, os.WNOHANG)
    assert done, "the child hangs"
    assert status == 0
    assert len(list(batches)) == 14


def test_boxes_cut_the_picture_before_it_is_transformed(shop: Shop, tmp_path: Path) -> None:
    frame = shop()
    frame[["x_1", "y_1", "x_2", "y_2"]] = [4, 5, 24, 25]
    table = read_table(frame, {"root": str(tmp_path)})
    transform = evaluation_transform(SPEC)
    with Image.open(table.paths[0]) as picture:
        expected = transform(picture.convert("RGB").crop((4, 5, 24, 25)))
    assert torch.equal(next(evaluation_batches(table.paths, transform, boxes=table.boxes))[0], expected)
    assert torch.equal(next(training_batches(TableDataset(table, transform), [[0]])).images[0], expected)
    outside = np.array([[500, 0, 510, 9]] * 12)
    with pytest.raises(DataError, match=r"the box \[500, 0, 510, 9\].*lies outside its 40 x 30"):
        list(evaluation_batches(table.paths, transform, boxes=outside))


def test_evaluation_takes_paths_bytes_and_pictures_in_order(table: Table) -> None:
    transform = evaluation_transform(SPEC)
    picture = Image.open(table.paths[2])
    mixed = [table.paths[0], Path(table.paths[1]).read_bytes(), picture, Path(table.paths[3])]
    batches = list(evaluation_batches(mixed, transform, batch_size=3, workers=2))
    assert [len(batch) for batch in batches] == [3, 1]
    expected = torch.cat(list(evaluation_batches(table.paths[:4], transform, workers=0)))
    assert torch.equal(torch.cat(batches), expected)
    assert list(evaluation_batches([], transform)) == []


def test_a_bad_picture_without_a_path_is_told_by_its_number(table: Table) -> None:
    with pytest.raises(DataError, match="picture 1 of the list is not a picture"):
        list(evaluation_batches([table.paths[0], b"nonsense"], evaluation_transform(SPEC)))


def test_large_jpegs_are_seen_exactly_as_at_evaluation(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((400, 400)).save(tmp_path / "large.jpg")
    table = read_table(pd.DataFrame({"image": ["large.jpg"], "label": ["a"]}), {"root": str(tmp_path)})
    plain = evaluation_transform(SPEC)
    expected = next(evaluation_batches(table.paths, plain))
    assert torch.equal(next(training_batches(TableDataset(table, plain), [[0]])).images, expected)


def test_cached_features_travel_as_a_batch_too(dataset: TableDataset) -> None:
    batch = dataset.batch([3, 1], torch.zeros(2, 7), stage=4)
    assert (batch.stage, batch.images.shape, batch.labels.tolist()) == (4, (2, 7), [0, 0])


def test_impossible_settings_are_refused(dataset: TableDataset, table: Table) -> None:
    for wrong in ({"seed": -1}, {"views": 3}):
        with pytest.raises(ValueError, match="must be"):
            TableDataset(table, dataset.transform, **wrong)
    with pytest.raises(ValueError, match="batch_size"):
        next(evaluation_batches([], dataset.transform, batch_size=0))
    with pytest.raises(ValueError, match="workers"):
        next(training_batches(dataset, BATCHES, workers=-1))


def test_pieces_run_at_the_same_time() -> None:
    meeting = threading.Barrier(2, timeout=10)
    done = list(in_order([("a", [meeting.wait, meeting.wait])], workers=2, ahead=1))  # type: ignore[list-item]
    assert done == ["a"]


def test_local_ranks_share_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = default_workers()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1000")
    assert default_workers() == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    assert 1 <= default_workers() == alone <= 8
