"""Of a folder of several indexes: the one of the task that is named, or the only one that is asked so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from index_shop import picture

from fashreg.errors import ModelError
from fashreg.jobs.index_changes import describe_index
from fashreg.jobs.indexing import build_index, build_indexes, load_index
from fashreg.jobs.searching import search_folder
from fashreg.storage import save_encoder
from fashreg.testing.tiny_run import tiny_encoder_of_tasks
from fashreg.testing.tiny_texts import ENTRY_POINTS, tiny_text_encoder

QUIET: dict[str, Any] = {"progress": False}


@pytest.fixture
def several(tmp_path: Path, fake_plugin: Any) -> Path:
    """A table of pictures; a model that knows texts, and an index of each of its tasks that finds pictures."""
    fake_plugin("fashreg-tiny-text", ENTRY_POINTS)
    save_encoder(tiny_text_encoder(), tmp_path / "model")
    names = [picture(tmp_path / f"{i}.png", i).name for i in range(6)]
    pd.DataFrame({"image": names}).to_csv(tmp_path / "t.csv", index=False)
    build_indexes(tmp_path / "model", tmp_path / "t.csv", tmp_path / "out", **QUIET)
    return tmp_path / "out"


def test_words_ask_the_index_of_words_and_a_picture_with_words_the_one_that_composes(several: Path) -> None:
    query = several.parent / "3.png"
    for place, asked in (
        ("cross-modal", {"texts": ["red"]}),
        ("composed", {"texts": ["red"], "pictures": [query]}),
        ("composed", {"texts": ["red"], "ids": [2]}),
    ):
        assert search_folder(several, **asked)[1] == search_folder(several / place, **asked)[1]


def test_a_named_task_answers_and_so_it_does_in_python(several: Path) -> None:
    query = [several.parent / "3.png"]
    for task in ("cross-modal", "composed"):
        assert load_index(several, task=task).task == describe_index(several, task)["task"] == task
        assert search_folder(several, task=task, pictures=query)[1] == search_folder(several / task, pictures=query)[1]
        assert load_index(several / task, task=task).task == task
    with pytest.raises(ModelError, match="out/composed is an index of the task 'composed', and --task asks for 'fit'"):
        load_index(several / "composed", task="fit")


def test_a_task_that_answers_otherwise_says_how_it_is_asked(several: Path) -> None:
    with pytest.raises(ModelError, match="'composed', which is not asked with a text alone"):
        search_folder(several, task="composed", texts=["red"])


@pytest.mark.parametrize("asked", [{}, {"ids": [1]}, {"pictures": ["3.png"]}])
def test_where_several_could_answer_they_are_named_with_what_to_type(several: Path, asked: Any) -> None:
    with pytest.raises(ModelError) as told:
        search_folder(several, **asked)
    assert str(told.value) == (
        f"{several} holds an index for each of several tasks: say which, --task NAME, one of: "
        "composed (asked with a picture and a text), cross-modal (asked with a text)"
    )
    with pytest.raises(ModelError, match="say which, --task NAME"):
        load_index(several)


def test_a_task_that_is_not_there_is_told_with_its_nearest(several: Path) -> None:
    with pytest.raises(ModelError, match=r"no index of the task 'cross'; did you mean 'cross-modal'\? it holds"):
        load_index(several, task="cross")


def test_of_two_that_words_can_ask_the_third_is_not_named(several: Path) -> None:
    encoder = tiny_text_encoder({"a": "cross-modal", "b": "cross-modal", "c": "composed"})
    build_indexes(encoder, several.parent / "t.csv", several.parent / "more", **QUIET)
    with pytest.raises(ModelError, match=r"several indexes that are asked so: say which, .*one of: a \(.*, b \([^,]*$"):
        search_folder(several.parent / "more", texts=["red"])


def test_words_where_no_index_is_asked_with_words_name_the_kind_to_build(several: Path) -> None:
    encoder = tiny_text_encoder({"b": "composed", "c": "composed"})
    build_indexes(encoder, several.parent / "t.csv", several.parent / "more", **QUIET)
    with pytest.raises(ModelError, match=r"no index of .*more is asked with a text alone; it holds b .* kind cross-m"):
        search_folder(several.parent / "more", texts=["red"])


def test_a_picture_may_ask_the_index_of_any_task(several: Path) -> None:
    build_indexes(
        several.parent / "model", several.parent / "t.csv", several.parent / "c", tasks=["classification"], **QUIET
    )
    query = [several.parent / "3.png"]
    assert len(search_folder(several.parent / "c", pictures=query, k=2)[1][0]) == 2
    with pytest.raises(ModelError, match=r"no index of .* is asked with a picture and a text together; it holds class"):
        search_folder(several.parent / "c", pictures=query, texts=["red"])


def test_one_index_alone_in_a_folder_is_the_one_that_is_meant(several: Path) -> None:
    encoder = tiny_encoder_of_tasks("colour", "cut/fit")
    made = build_indexes(encoder, several.parent / "t.csv", several.parent / "alone", tasks=["cut/fit"], **QUIET)
    assert load_index(several.parent / "alone", model=encoder).task == "cut/fit" == next(iter(made))
    assert load_index(several.parent / "alone", task="cut/fit", model=encoder).task == "cut/fit"


def test_two_indexes_of_one_task_are_told_apart_by_their_folders(several: Path) -> None:
    for name in ("spring", "autumn"):
        build_index(several.parent / "model", several.parent / "t.csv", several / name, task="composed", **QUIET)
    with pytest.raises(ModelError, match=r"name one of them: .*autumn, .*composed, .*spring$"):
        load_index(several, task="composed")
    assert load_index(several, task="cross-modal").task == "cross-modal"


def test_a_damaged_neighbour_does_not_hide_the_index_that_is_named(several: Path) -> None:
    (several / "composed/index.json").write_text("{")
    assert load_index(several, task="cross-modal").task == "cross-modal"
    with pytest.raises(ModelError, match=r"composed/index\.json"):
        load_index(several, task="composed")
