"""Learning on: a new attribute on a trained model, what it knew before equal to the bit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from learning_on import RECIPE

import fashreg
from fashreg.encoder import Encoder
from fashreg.errors import ModelError, RecipeError
from fashreg.jobs.continuing import CONTINUED, ContinuedRun, continue_training
from fashreg.jobs.stream_record import read_record
from fashreg.storage import load_encoder, read_provenance, save_encoder


def vectors(model: Path | Encoder, task: str, table: Path) -> torch.Tensor:
    encoder = model if isinstance(model, Encoder) else load_encoder(model)
    return encoder.embed(fashreg.read_table(table), task=task)


def test_a_new_attribute_is_learned_and_the_old_stay_equal_to_the_bit(
    shop: Path, table: Path, second: ContinuedRun
) -> None:
    assert second.added == ("pattern",)
    assert second.encoder.head.tasks == ("category", "colour", "pattern")
    assert second.kept is not None
    assert second.kept.equal == {"category": True, "colour": True}
    assert "kept to the bit: category, colour" in second.summary()
    before, after = load_encoder(shop / "first/model"), load_encoder(shop / "second/model")
    for task in ("category", "colour"):
        assert torch.equal(vectors(before, task, table), vectors(after, task, table))
        assert before.fingerprint(task) == after.fingerprint(task)
    before.head.add_task("pattern")
    untrained = vectors(before, "pattern", table)
    assert not torch.equal(untrained, vectors(after, "pattern", table)), "the new head has learned nothing"


def test_the_recipe_is_what_it_was_but_for_what_is_learned_and_frozen(shop: Path, second: ContinuedRun) -> None:
    was, now = (fashreg.read_recipe(shop / name / "recipe.yaml") for name in ("first", "second"))
    assert now.data.attributes == ["pattern", "category", "colour"]
    assert now.stream is not None
    assert now.stream.order == ["pattern"]
    assert (was.trainer.freeze, now.trainer.freeze) == ("none", "backbone")
    same = {"data", "stream", "trainer"}
    assert was.model_dump(exclude=same) == now.model_dump(exclude=same)
    assert was.trainer.model_dump(exclude={"freeze"}) == now.trainer.model_dump(exclude={"freeze"})


def test_the_matrix_goes_on_where_it_was_measured_on_the_same_pictures(shop: Path, second: ContinuedRun) -> None:
    was, now = (read_record(shop / name / "stream.json") for name in ("first", "second"))
    assert now.experiences == ("category", "colour", "pattern")
    assert now.columns == ("category", "colour", "pattern")
    assert [row[:2] for row in now.map[:2]] == list(was.map)
    assert now.map[0][2] is None
    assert now.map[1][2] is not None, "forward transfer was not measured"
    assert now.map[2][:2] == now.map[1][:2], "the old attributes are equal to the bit"
    assert now.cost[:2] == was.cost
    assert now.summary["forgetting/max"] is not None
    page = (shop / "second").joinpath("stream.json").read_text()
    assert json.loads(page)["experiences"] == ["category", "colour", "pattern"]


def test_on_other_pictures_the_matrix_starts_anew_and_says_so(
    shop: Path, first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pd.read_csv(shop / "table.csv", dtype=str, keep_default_na=False)
    frame = frame[frame.product != "p00023"] if "product" in frame else frame[frame.label != "p00023"]
    kept = frame[(frame.split != "test") | (frame.view != "0")]
    kept.to_csv(shop / "other.csv", index=False)
    run = continue_training(first, add="pattern", table=shop / "other.csv", out=tmp_path / "run")
    assert run.stream is not None
    record = run.stream.record
    assert record.experiences == ("before", "pattern")
    assert set(record.columns) == {"category", "colour", "pattern"}
    assert "other pictures" in capsys.readouterr().out


def test_the_card_and_config_say_what_was_learned_on_from(shop: Path, second: ContinuedRun) -> None:
    said = read_provenance(shop / "second/model")["continued_from"]
    old = load_encoder(shop / "first/model")
    assert said["fingerprint"] == old.fingerprint()
    assert said["tasks"] == ["category", "colour"]
    assert said["data"]["train"]["pictures"] == 48
    assert said["freeze"] == "none"
    assert str(shop) not in json.dumps(said)
    assert old.fingerprint()[:12] in (shop / "second/model/README.md").read_text()
    kept = json.loads((shop / "second" / CONTINUED).read_text())
    assert kept["continued_from"]["fingerprint"] == old.fingerprint()
    assert kept["kept"]["equal"] == {"category": True, "colour": True}


def test_it_goes_on_and_on(shop: Path, second: ContinuedRun, table: Path, tmp_path: Path) -> None:
    third = continue_training(shop / "second", add=["material", "fit"], table=table, out=tmp_path / "third", quiet=True)
    assert third.encoder.head.tasks == ("category", "colour", "pattern", "material", "fit")
    assert third.kept is not None
    assert third.kept.whole
    assert third.stream is not None
    assert third.stream.record.experiences == ("category", "colour", "pattern", "material", "fit")
    assert third.continued_from["continued_from"]["tasks"] == ["category", "colour"]


def test_an_encoder_that_learns_on_moves_what_it_knew_and_that_is_measured(
    shop: Path, second: ContinuedRun, table: Path
) -> None:
    run = continue_training(shop / "second", add="material", table=table, train_encoder=True, quiet=True)
    assert run.kept is not None
    assert run.kept.equal == {"category": False, "colour": False, "pattern": False}
    assert all(-1.0 <= value < 1.0 for value in run.kept.alike.values())
    assert "moved: category (" in run.summary()
    assert run.folder is None


def test_an_encoder_in_memory_needs_a_recipe_and_stays_as_it_is(first: Path, table: Path) -> None:
    encoder = load_encoder(first / "model")
    print_before = encoder.fingerprint()
    with pytest.raises(RecipeError, match=r"the encoder keeps no recipe.*--recipe FILE"):
        continue_training(encoder, add="pattern", table=table)
    run = continue_training(encoder, add="pattern", table=pd.read_csv(table).assign(
        image=lambda frame: str(table.parent) + "/" + frame.image), recipe=RECIPE, quiet=True)  # fmt: skip
    assert run.encoder.head.tasks == ("category", "colour", "pattern")
    assert encoder.head.tasks == ("category", "colour")
    assert encoder.fingerprint() == print_before


def test_attributes_that_the_table_lacks_are_kept_without_being_measured(
    first: Path, table: Path, tmp_path: Path
) -> None:
    frame = pd.read_csv(table, dtype=str, keep_default_na=False).drop(columns=["category", "label"])
    frame.to_csv(table.parent / "narrow.csv", index=False)
    run = continue_training(first, add="pattern", table=table.parent / "narrow.csv", quiet=True)
    assert run.stream is not None
    assert set(run.stream.record.columns) == {"colour", "pattern"}
    assert run.kept is not None
    assert run.kept.equal == {"category": True, "colour": True}


def test_an_interrupted_run_goes_on_to_the_same_end(
    first: Path, table: Path, second: ContinuedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fashreg.learners.standard import StandardLearner

    def crash(self: StandardLearner, step: int) -> None:
        raise KeyboardInterrupt

    how: dict[str, Any] = {"add": "pattern", "table": table, "out": tmp_path / "run", "quiet": True}
    how["overrides"] = ["trainer.checkpoint_steps=1", "trainer.max_steps=2"]
    whole = continue_training(first, **{**how, "out": tmp_path / "whole"})
    with monkeypatch.context() as patch:
        patch.setattr(StandardLearner, "_evaluate", lambda self, run: crash(self, 0))
        with pytest.raises(KeyboardInterrupt):
            continue_training(first, **how)
    with pytest.raises(RecipeError, match="--resume"):
        continue_training(first, **how)
    resumed = continue_training(first, **how, resume=True)
    assert resumed.encoder.fingerprint() == whole.encoder.fingerprint()


def test_a_run_that_stopped_in_its_second_attribute_keeps_its_rows(
    first: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fashreg.learners.standard import StandardLearner

    how: dict[str, Any] = {"add": ["pattern", "material"], "table": table, "quiet": True}
    how["overrides"] = ["trainer.checkpoint_steps=1", "trainer.max_steps=2"]
    whole = continue_training(first, **how, out=tmp_path / "whole")
    evaluate = StandardLearner._evaluate

    def stops(self: StandardLearner, run: Any) -> None:
        if run.experience.name == "material":
            raise KeyboardInterrupt
        evaluate(self, run)

    with monkeypatch.context() as patch:
        patch.setattr(StandardLearner, "_evaluate", stops)
        with pytest.raises(KeyboardInterrupt):
            continue_training(first, **how, out=tmp_path / "run")
    stopped = read_record(tmp_path / "run/stream.json")
    assert len(stopped.map) == 3
    resumed = continue_training(first, **how, out=tmp_path / "run", resume=True)
    assert resumed.encoder.fingerprint() == whole.encoder.fingerprint()
    record, other = (read_record(tmp_path / name / "stream.json") for name in ("run", "whole"))
    assert record.experiences == ("category", "colour", "pattern", "material")
    assert (record.map, record.recall, record.data) == (other.map, other.recall, other.data)
    assert resumed.kept is not None
    assert resumed.kept.whole


def test_another_model_cannot_finish_a_run(
    shop: Path, first: Path, table: Path, second: ContinuedRun, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(shop / "second", out)
    encoder = load_encoder(first / "model")
    with torch.no_grad():
        next(encoder.parameters()).add_(1.0)
    recipe = read_provenance(first / "model")["recipe"]
    save_encoder(encoder, tmp_path / "other", recipe=recipe)
    with pytest.raises(ModelError, match=r"learns on from the model \w{12}, and this one is \w{12}"):
        continue_training(tmp_path / "other", add="pattern", table=table, out=out, resume=True, quiet=True)
