from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fashreg.config_data import DataConfig
from fashreg.config_trainer import TrainerConfig
from fashreg.data.loader import TableDataset
from fashreg.data.table import Table, read_table
from fashreg.data.transforms import evaluation_transform
from fashreg.encoder import Encoder
from fashreg.errors import RecipeError
from fashreg.interfaces import Sampler
from fashreg.learners.standard import StandardLearner
from fashreg.samplers.class_balanced import ClassBalancedSampler
from fashreg.testing.tiny_run import BATCH, CLASSES, EACH, SIDE, tiny_encoder, tiny_session, tiny_trainer, weights_of
from fashreg.training.features import embed_table
from fashreg.training.freezing import freeze
from fashreg.training.processes import Processes
from fashreg.training.session import Source
from fashreg.training.source import table_source
from fashreg.values import Experience, TrainingBatch

PLAIN = DataConfig.model_validate({"augment": {"name": "none"}, "workers": 0})


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASHREG_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def table(tmp_path: Path) -> Table:
    random = np.random.default_rng(0)
    lines = ["image,label"]
    for label in range(CLASSES):
        kind = random.integers(0, 200, (SIDE, SIDE, 3))
        for number in range(EACH):
            name = f"{label}-{number}.png"
            pixels = kind + random.integers(0, 55, kind.shape)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / name)
            lines.append(f"{name},{label}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    return read_table(tmp_path / "table.csv")


def sampler(experience: Experience, processes: Processes) -> Sampler:
    return ClassBalancedSampler(experience.train.labels, batch_size=BATCH, images_per_class=2, seed=3)


def made(table: Table, encoder: Encoder, trainer: TrainerConfig, data: DataConfig = PLAIN, **more: Any) -> Source:
    make = table_source(sampler, data, encoder, trainer, **more)
    return make(Experience("all", table, task="colour"), freeze(encoder, trainer.freeze), Processes())


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of pictures that passed through the encoder's frozen steps."""
    seen: list[int] = []
    own = Encoder.until

    def until(self: Encoder, images: torch.Tensor, stage: int) -> torch.Tensor:
        seen.append(len(images))
        return own(self, images, stage)

    monkeypatch.setattr(Encoder, "until", until)
    return seen


def test_batches_hold_the_samplers_pictures_with_their_task(table: Table) -> None:
    encoder = tiny_encoder()
    source = made(table, encoder, tiny_trainer())
    dataset = TableDataset(table, evaluation_transform(encoder.input_spec))
    expected = list(sampler(Experience("all", table), Processes()))
    batches = list(source.batches(0))
    assert [batch.positions.tolist() for batch in batches] == expected
    assert len(source) == len(batches) == 3
    for batch in batches:
        assert batch.task == "colour"
        assert batch.labels.tolist() == table.labels[batch.positions.numpy()].tolist()
        assert batch.stage == 0
        assert batch.images.shape == (BATCH, 3, SIDE, SIDE)
    one = dataset.transform(Image.open(table.paths[expected[0][0]]))  # type: ignore[operator]
    assert torch.equal(batches[0].images[0], one)


@pytest.mark.parametrize("cache", ["none", "features"])
def test_batches_go_on_where_the_sampler_stands(table: Table, cache: str) -> None:
    trainer = tiny_trainer(freeze=2, cache=cache)
    source = made(table, tiny_encoder(), trainer)
    whole = [batch.positions.tolist() for batch in source.batches(0)]
    source.sampler.advance_to(1)
    assert [batch.positions.tolist() for batch in source.batches(0)] == whole[1:]


@pytest.mark.parametrize("cache", ["none", "features"])
def test_random_pictures_come_once_each_and_always_the_same(table: Table, cache: str) -> None:
    source = made(table, tiny_encoder(), tiny_trainer(freeze=2, cache=cache))

    def drawn(count: int) -> list[int]:
        return [int(p) for batch in source.sample(count) for p in batch.positions]

    assert len(drawn(20)) == len(set(drawn(20))) == 20
    assert drawn(20) == drawn(20) != sorted(drawn(20))
    assert sorted(drawn(1000)) == list(range(36))


@pytest.mark.parametrize("how", [2, "backbone"])
def test_kept_features_train_the_same_weights_as_running_everything(table: Table, how: int | str) -> None:
    ends = []
    for cache in ("none", "features"):
        trainer = tiny_trainer(
            freeze=how, cache=cache, epochs=1, **({"cache_dtype": "fp32"} if cache != "none" else {})
        )
        encoder = tiny_encoder()
        source = table_source(sampler, PLAIN, encoder, trainer)
        session = tiny_session(encoder=encoder, source=source, trainer=trainer)
        StandardLearner().bind(session).learn(Experience("all", table))
        ends.append(weights_of(session))
    for name, value in ends[0].items():
        assert torch.allclose(value.double(), ends[1][name].double(), atol=1e-3), name


def test_what_is_frozen_runs_once_per_picture_and_not_again_in_the_next_run(table: Table, passes: list[int]) -> None:
    said: list[str] = []
    trainer = tiny_trainer(freeze=3, cache="features")
    for _ in range(2):
        encoder = tiny_encoder()
        source = made(table, encoder, trainer, announce=said.append)
        for epoch in range(3):
            source.sampler.set_epoch(epoch)
            for batch in source.batches(epoch):
                assert batch.stage == 3
    assert sum(passes) == len(table)
    assert len(said) == 1
    assert "36 pictures" in said[0]


def test_changed_weights_below_the_cut_run_again_and_above_it_do_not(table: Table, passes: list[int]) -> None:
    trainer = tiny_trainer(freeze=3, cache="features")
    for change in ("nothing", "head.linear", "backbone.net.conv_stem"):
        encoder = tiny_encoder()
        if change != "nothing":
            with torch.no_grad():
                encoder.get_submodule(change).weight.mul_(1.5)  # type: ignore[operator, union-attr]
        made(table, encoder, trainer)
    assert sum(passes) == 2 * len(table)


def test_epochs_read_their_view(table: Table, passes: list[int]) -> None:
    data = DataConfig.model_validate({"augment": {"name": "catalogue"}, "workers": 0})
    source = made(table, tiny_encoder(), tiny_trainer(freeze=3, cache="features", cache_views=2), data)

    def rows(epoch: int) -> torch.Tensor:
        source.sampler.set_epoch(0)
        return next(source.batches(epoch)).images  # type: ignore[no-any-return]

    assert torch.equal(rows(0), rows(2))
    assert not torch.equal(rows(0), rows(1))
    assert sum(passes) == 2 * len(table)


def test_a_second_view_is_another_view_of_the_cache_or_refused(table: Table) -> None:
    data = DataConfig.model_validate({"augment": {"name": "catalogue"}, "workers": 0})
    source = made(table, tiny_encoder(), tiny_trainer(freeze=3, cache="features", cache_views=3), data, views=2)
    batches: Iterator[TrainingBatch] = source.batches(1)
    batch = next(batches)
    assert batch.second_view is not None
    assert batch.second_view.shape == batch.images.shape
    assert not torch.equal(batch.second_view, batch.images)
    with pytest.raises(RecipeError, match="cache_views=4"):
        made(table, tiny_encoder(), tiny_trainer(freeze=3, cache="features"), data, views=2)


def test_decoded_pictures_are_used_when_asked(table: Table) -> None:
    encoder = tiny_encoder()
    decoded = DataConfig.model_validate({"augment": {"name": "none"}, "workers": 0, "decoded": True})
    plain, kept = (next(iter(made(table, encoder, tiny_trainer(), data).batches(0))) for data in (PLAIN, decoded))
    assert torch.allclose(plain.images, kept.images, atol=0.3)


def test_decoded_targets_are_used_when_asked_and_no_file_is_opened_again(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, asking = tiny_encoder(), replace(table, targets=table.paths[::-1], target_images=table.images[::-1])
    decoded = PLAIN.model_copy(update={"decoded": True})
    files, store = (made(asking, encoder, tiny_trainer(), data, targets=True) for data in (PLAIN, decoded))
    from_files = next(iter(files.batches(0)))
    monkeypatch.setattr("fashreg.data.loader.open_picture", lambda *args, **how: pytest.fail("a file was opened"))
    from_store = next(iter(store.batches(0)))
    assert torch.allclose(from_store.targets, from_files.targets, atol=0.3)
    assert not torch.allclose(from_store.targets, from_store.images, atol=0.3)


@pytest.mark.parametrize("how", ["none", 3, "backbone"])
def test_evaluation_takes_what_is_kept_and_gives_what_embedding_gives(
    table: Table, how: int | str, passes: list[int]
) -> None:
    encoder = tiny_encoder()
    trainer = tiny_trainer(freeze=how, **({"cache": "features"} if how != "none" else {}))
    exact = encoder.embed(table)
    passes.clear()
    for _ in range(2):
        assert torch.allclose(embed_table(encoder, table, trainer, workers=0), exact, atol=5e-3)
    assert sum(passes) == (0 if how == "none" else len(table))
    with torch.no_grad():
        encoder.head.linear.weight.mul_(-1.0)
    assert torch.allclose(embed_table(encoder, table, trainer, workers=0), encoder.embed(table), atol=5e-3)
