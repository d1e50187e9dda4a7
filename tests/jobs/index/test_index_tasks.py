"""An index for each task of a model, and which later models may ask it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from index_shop import N
from torch import nn

from fashreg.encoder import Encoder
from fashreg.errors import ModelError
from fashreg.jobs.embedding import embed_table
from fashreg.jobs.index_changes import add_to_index, delete_from_index, describe_index
from fashreg.jobs.index_tasks import folder_name, folders_for
from fashreg.jobs.indexing import build_index, build_indexes, load_index
from fashreg.jobs.searching import search_folder
from fashreg.manifest import write_manifest
from fashreg.storage import save_encoder
from fashreg.testing.tiny_run import DIM, tiny_encoder, tiny_encoder_of_tasks

ALL = {"progress": False}


def encoder_now() -> Encoder:
    """The model that the indexes of these tests were made with."""
    return tiny_encoder_of_tasks("category", "season")


def moved(module: nn.Module) -> None:
    """A change that no index may overlook."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1)


def later() -> Encoder:
    """The same after an increment that left the encoder alone: a new attribute was learnt, and another learnt on."""
    encoder = encoder_now()
    encoder.head.add_task("colour")
    moved(encoder.head.head_of("colour"))
    moved(encoder.head.head_of("season"))
    return encoder


def trained_on() -> Encoder:
    """The same after an increment in which the encoder learnt on."""
    encoder = later()
    moved(encoder.backbone)
    return encoder


@pytest.fixture(scope="module")
def folders(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two tasks, and an index of each: OUT/category, OUT/season."""
    root = tmp_path_factory.mktemp("tasks")
    save_encoder(encoder_now(), root / "model")
    build_indexes(root / "model", shop / "table.csv", root / "out", keep=["sku"], **ALL)
    return root


@pytest.fixture
def index(folders: Path, tmp_path: Path) -> Path:
    """A copy of the index of `category`."""
    return Path(shutil.copytree(folders / "out" / "category", tmp_path / "index"))


def said(index: Path, **changes: Any) -> None:
    """Write other things into what an index says of itself; None takes a field away."""
    about = json.loads((index / "index.json").read_text())
    about["extra"] = {k: v for k, v in {**about["extra"], **changes}.items() if v is not None}
    (index / "index.json").write_text(json.dumps(about))
    write_manifest(index, "index")


# ---- building ----


def test_one_pass_makes_the_indexes_that_a_pass_for_each_would(
    shop: Path, folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: list[int] = []
    steps = Encoder.steps
    monkeypatch.setattr(Encoder, "steps", lambda self, x, *cut: passed.append(len(x)) or steps(self, x, *cut))
    made = build_indexes(folders / "model", shop / "table.csv", tmp_path / "out", keep=["sku"], **ALL)
    assert (list(made), passed) == (["category", "season"], [N])
    for task, gallery in made.items():
        build_index(folders / "model", shop / "table.csv", tmp_path / task, task=task, keep=["sku"], **ALL)
        for file in ("vectors.safetensors", "index.json", "items.jsonl"):
            assert (tmp_path / "out" / task / file).read_bytes() == (tmp_path / task / file).read_bytes()
        assert torch.equal(gallery.index.vectors()[0], load_index(tmp_path / "out" / task).index.vectors()[0])
        hits = load_index(tmp_path / "out" / task).search([shop / "5.png"], k=4)
        assert [hit["id"] for hit in hits[0]] == [hit["id"] for hit in gallery.search([shop / "5.png"], k=4)[0]]


def test_some_tasks_in_memory_alone(shop: Path, folders: Path) -> None:
    assert list(build_indexes(encoder_now(), shop / "table.csv", tasks=["season"], **ALL)) == ["season"]


def test_what_cannot_be_an_index_for_each_is_refused_before_a_picture_is_read(
    shop: Path, folders: Path, tmp_path: Path
) -> None:
    model = folders / "model"
    for wanted, says, options in (
        (model, "no task 'colour'; it has category, season", {"tasks": ["season", "colour"]}),
        (tiny_encoder(), "one index is enough", {}),
        (model, "is a folder of fashreg itself", {"out": model}),
        (tiny_encoder_of_tasks("a", "A"), "'A' and 'a' are one folder on some disks", {}),
        (tiny_encoder_of_tasks("con"), "not a plain path", {}),
    ):
        with pytest.raises(ModelError, match=says):
            build_indexes(wanted, "nowhere.csv", **{"out": tmp_path / "out", **options, **ALL})
    with pytest.raises(ValueError, match=r"write \['season'\]"):
        build_indexes(model, "nowhere.csv", tasks="season", **ALL)
    with pytest.raises(ValueError, match="holds the vectors of one task"):
        build_indexes(model, "nowhere.csv", index=object(), **ALL)
    with pytest.raises(ModelError, match=r"several tasks .*--task category, or an index for each: --every-task"):
        build_index(model, "nowhere.csv", **ALL)
    assert not (tmp_path / "out").exists()


def test_names_of_tasks_are_names_of_folders_and_stay_inside(tmp_path: Path) -> None:
    assert [folder_name(task) for task in ("sleeve length", "a/b", "50%", "ärmel")] == [
        "sleeve length",
        "a%2Fb",
        "50%25",
        "ärmel",
    ]
    for task in ("..", ".", "a\nb", "x" * 600):
        with pytest.raises(ModelError, match="not a plain path"):
            folders_for(tmp_path, [task])


# ---- who may ask ----


def test_an_index_stays_valid_when_other_tasks_come_and_learn(shop: Path, folders: Path, tmp_path: Path) -> None:
    save_encoder(later(), tmp_path / "later")
    for model in (later(), tmp_path / "later"):
        gallery = load_index(folders / "out" / "category", model=model)
        before = load_index(folders / "out" / "category")
        assert gallery.search([shop / "5.png"], k=N) == before.search([shop / "5.png"], k=N)
        with pytest.raises(ModelError, match="built with another model"):
            load_index(folders / "out" / "season", model=model)  # this one learnt on


@pytest.mark.parametrize("part", ["trunk", "head", "statistics"])
def test_whatever_makes_the_vectors_makes_the_index_another_models(folders: Path, part: str) -> None:
    encoder = encoder_now()
    if part == "statistics":
        next(b for n, b in encoder.named_buffers() if n.endswith("running_var")).mul_(1.5)
    else:
        moved(encoder.backbone if part == "trunk" else encoder.head.head_of("category"))
    with pytest.raises(ModelError, match=r"--across-models.*fashreg compatible OLD .* --task category"):
        load_index(folders / "out" / "category", model=encoder)


def test_an_index_of_the_only_task_is_still_its_when_it_is_no_longer_the_only_one(shop: Path, tmp_path: Path) -> None:
    encoder = tiny_encoder_of_tasks("category")
    build_index(encoder, shop / "table.csv", tmp_path / "index", **ALL)  # no task named
    encoder.head.add_task("colour")
    assert load_index(tmp_path / "index", model=encoder).task == "category"


def test_an_index_without_a_tasks_fingerprint_needs_the_whole_model_and_gets_one_when_it_changes(
    shop: Path, index: Path, folders: Path
) -> None:
    said(index, task_fingerprint=None)  # as fashreg 0.1 wrote it before
    assert len(load_index(index, model=encoder_now())) == N
    with pytest.raises(ModelError, match="built with another model"):
        load_index(index, model=later())
    delete_from_index(index, ids=[3])  # without the model
    with pytest.raises(ModelError, match="built with another model"):
        load_index(index, model=later())
    add_to_index(index, shop / "more.csv", **ALL)
    assert describe_index(index)["task_fingerprint"] == encoder_now().fingerprint("category")
    assert len(load_index(index, model=later())) == N + 4


def test_what_a_stranger_writes_as_fingerprint_opens_nothing(index: Path) -> None:
    about = json.loads((index / "index.json").read_text())
    for forged in (encoder_now().fingerprint("season"), encoder_now().fingerprint(), "", 7, ["x"], {"a": 1}):
        said(index, task_fingerprint=forged)
        with pytest.raises(ModelError, match="built with another model"):
            load_index(index, model=later())
    said(index, task_fingerprint=about["extra"]["task_fingerprint"], task=["category"])
    with pytest.raises(ModelError, match=r"extra\.task is a list"):
        load_index(index, model=later())
    said(index, task="season")  # its vectors are category's
    with pytest.raises(ModelError, match="built with another model"):
        load_index(index, model=later())


def test_a_later_model_adds_pictures_to_an_index_of_a_task_that_is_as_it_was(
    shop: Path, index: Path, tmp_path: Path
) -> None:
    before = json.loads((index / "index.json").read_text())
    add_to_index(index, shop / "more.csv", model=later(), **ALL)
    after = json.loads((index / "index.json").read_text())
    assert after["extra"] == before["extra"]
    assert after["model_fingerprint"] == before["model_fingerprint"]
    made = tiny_encoder_of_tasks("category", "season").embed(shop / "m2.png", task="category")
    assert torch.allclose(load_index(index).vectors_of(torch.tensor([N + 2])), made, atol=1e-6)
    with pytest.raises(ModelError, match="built with another model"):
        add_to_index(index, shop / "more.csv", model=trained_on(), **ALL)


def test_vectors_from_a_file_are_asked_for_their_task(shop: Path, index: Path, tmp_path: Path) -> None:
    for name, model, task in (("same", later(), "category"), ("other", encoder_now(), "season")):
        embed_table(model, shop / "table.csv", tmp_path / f"{name}.safetensors", task=task, **ALL)
    embed_table(trained_on(), shop / "table.csv", tmp_path / "new.safetensors", task="category", **ALL)
    first = search_folder(index, vectors=tmp_path / "same.safetensors", k=1)[1]
    assert [hits[0]["id"] for hits in first] == list(range(N))
    with pytest.raises(ModelError, match=r"vectors of the task 'season', and .* those of 'category'"):
        search_folder(index, vectors=tmp_path / "other.safetensors", across=True, model=later())
    with pytest.raises(ModelError, match=r"made by another model .*--across-models"):
        search_folder(index, vectors=tmp_path / "new.safetensors")
    with pytest.raises(ModelError, match=r"say which, --task category$"):
        embed_table(later(), shop / "table.csv", tmp_path / "none.safetensors", **ALL)


# ---- across models ----


def test_across_models_a_gallery_is_asked_with_another_models_vectors(shop: Path, folders: Path) -> None:
    new, query = trained_on(), [shop / "5.png"]
    gallery = load_index(folders / "out" / "category", model=new, across=True)
    stored = encoder_now().embed([shop / f"{i}.png" for i in range(N)], task="category")
    scores = (new.embed(query, task="category") @ stored.T)[0]
    scores[5] = -torch.inf
    hits = gallery.search(query, k=3)[0]
    assert [hit["id"] for hit in hits] == scores.topk(3).indices.tolist()
    assert search_folder(folders / "out" / "category", pictures=query, k=3, model=None)[1][0] != hits


def test_across_models_needs_the_same_width_the_task_and_a_model(folders: Path) -> None:
    index = folders / "out" / "category"
    wide = tiny_encoder()
    wide = Encoder(wide.backbone, type(wide.head)(2 * DIM, in_dim=wide.backbone.out_dim))
    for model, says in (
        (wide, f"vectors of width {DIM}, and this model makes them {2 * DIM} wide"),
        (tiny_encoder_of_tasks("colour", "season"), "no task 'category'; it has colour, season"),
        (None, "say with which one: --model FOLDER"),
    ):
        with pytest.raises(ModelError, match=says):
            load_index(index, model=model, across=True)
    with pytest.raises(ModelError, match="holds vectors of the task 'category', and this model has colour, season"):
        load_index(index, model=tiny_encoder_of_tasks("colour", "season"))
    assert load_index(index, model=encoder_now(), across=True).task == "category"
