"""Replay: which pictures are kept, whose turn it is, and runs on real tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fashreg_mclfir.exemplars import Turns, kept_part, read, size_of, written
from fashreg_mclfir.herding import allotted, herd, in_order, share
from fashreg_mclfir.replay import ReplayLearner
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mclfir_run import NAMES, experience, learn, shared, stream_session

from fashreg.config_data import DataConfig
from fashreg.config_trainer import TrainerConfig
from fashreg.data.table import Table, read_table
from fashreg.errors import ModelError, RecipeError
from fashreg.samplers.pairs import PairsSampler
from fashreg.training.session import Session
from fashreg.training.source import table_source
from fashreg.values import Experience

RANDOM = np.random.default_rng(0)


def test_herding_takes_the_row_that_brings_the_mean_nearest_each_time() -> None:
    rows = torch.nn.functional.normalize(torch.randn(12, 3, dtype=torch.float64), dim=1)
    mean, chosen = rows.mean(0), herd(rows, 5)
    for k in range(1, 6):
        before = chosen[: k - 1]
        gaps = {i: (rows[[*before, i]].mean(0) - mean).norm().item() for i in range(12) if i not in before}
        assert gaps[chosen[k - 1]] == pytest.approx(min(gaps.values()), abs=1e-12)
    assert len(set(chosen)) == 5


def test_herding_everything_takes_everything_once() -> None:
    assert sorted(herd(torch.randn(6, 2), 10)) == list(range(6))


@settings(max_examples=200, deadline=None)
@example(sizes=[2, 2, 3], budget=6)
@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=8), budget=st.integers(2, 120))
def test_shares_keep_the_budget_and_no_value_has_a_single_picture(sizes: list[int], budget: int) -> None:
    taken = allotted(sizes, budget)
    assert sum(taken) <= budget
    assert all(n == 0 or 2 <= n <= size for n, size in zip(taken, sizes, strict=True))
    paired = [size for size in sizes if size > 1]
    if 2 * len(paired) <= budget:
        assert sum(taken) == min(budget, sum(paired))
        short = [n for n, size in zip(taken, sizes, strict=True) if n and n < size]
        assert not short or max(short) - min(short) <= 1
    smaller = allotted(sizes, max(2, budget // 2))
    assert all(less <= more for less, more in zip(smaller, taken, strict=True))


def test_a_smaller_budget_keeps_the_first_of_those_that_were_chosen() -> None:
    labels = np.repeat(np.arange(3), [10, 8, 1])
    ordered = in_order(labels, 12, torch.randn(19, 4), RANDOM)
    assert [len(rows) for rows in ordered] == [6, 6, 0]
    assert share(ordered, 12) == [*ordered[0], *ordered[1]]
    assert share(ordered, 5) == [*ordered[0][:3], *ordered[1][:2]]
    assert all(labels[row] == value for value, rows in enumerate(ordered) for row in rows)


# ---- on a table ----


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Table]:
    data = DataConfig(table="atelier:products=24,views=2,seed=0,size=48", attributes=["colour", "pattern"])
    whole = read_table(data.table, data)
    return {name: whole.labelled_by(name) for name in ("colour", "pattern")}


def table_session(**parts: Any) -> Session:
    encoder = shared()
    trainer = TrainerConfig.model_validate(
        {"epochs": 1, "batch_size": 8, "lr": 0.01, "max_steps": 3, **parts.pop("trainer", {})}
    )

    def sampler(experience: Experience, processes: Any) -> PairsSampler:
        return PairsSampler(experience.train.labels, batch_size=8, anchors="balanced", seed=1)

    data = DataConfig(table="unused", workers=0)
    source = table_source(sampler, data, encoder, trainer)
    return stream_session(encoder=encoder, source=source, trainer=trainer, **parts)


def test_pictures_of_old_tables_are_shown_again_and_their_bytes_counted(tables: dict[str, Table]) -> None:
    session = table_session()
    learner = ReplayLearner(images=16).bind(session)
    for name in ("colour", "pattern"):
        learner.learn(Experience(name, tables[name], task=name))
    kept = {one.name: one for one in learner._kept()}
    assert {name: len(one.train) for name, one in kept.items()} == {"colour": 8, "pattern": 8}
    for name, one in kept.items():
        assert set(one.train.paths) <= set(tables[name].paths)
        counts = np.bincount(one.train.labels)
        assert counts[counts > 0].min() >= 2
    assert session.cost.snapshot().exemplar_bytes == sum(size_of(one) for one in kept.values()) > 0
    spent = session.cost.of("pattern")
    assert spent.tuples == 2 * 3 * 4
    herding = len(tables["pattern"])
    assert spent.image_passes == 2 * 3 * 8 * 3 + herding


def test_too_few_pictures_for_a_batch_say_how_many_it_takes(tables: dict[str, Table]) -> None:
    learner = ReplayLearner(images=4).bind(table_session())
    learner.learn(Experience("colour", tables["colour"], task="colour"))
    with pytest.raises(RecipeError, match=r"learner\.images=8"):
        learner.learn(Experience("pattern", tables["pattern"], task="pattern"))


def test_kept_pictures_go_over_to_a_later_run_in_the_order_of_their_worth(tables: dict[str, Table]) -> None:
    learner = ReplayLearner(images=10).bind(table_session())
    learner.learn(Experience("colour", tables["colour"], task="colour"))
    later = ReplayLearner(images=10).bind(table_session())
    later.take_up(learner.carry())
    first, again = learner._kept()[0].train, later._kept()[0].train
    assert first.paths == again.paths
    assert [first.label_names[code] for code in first.labels] == [again.label_names[code] for code in again.labels]
    assert later.seen == ["colour"]


def test_a_kept_picture_that_is_gone_is_told(tables: dict[str, Table], tmp_path: Path) -> None:
    said = written(kept_part(Experience("colour", tables["colour"], task="colour"), [0, 1]))
    assert read("colour", said).train.paths == said["images"]
    with pytest.raises(ModelError, match="1 of them are gone"):
        read("colour", {**said, "images": [said["images"][0], str(tmp_path / "no.png")]})


# ---- turns ----


def turns(done: int = 0) -> Turns:
    session = stream_session()
    learner = ReplayLearner().bind(session)
    made = Turns(session, learner.frozen, [experience(name) for name in NAMES], seed=0)
    made.done = done
    return made


def test_old_tasks_come_in_rounds_and_batch_k_depends_on_k_alone() -> None:
    whole = turns()
    first = [whole.next() for _ in range(12)]
    for start in range(0, 12, 3):
        assert {batch.task for batch in first[start : start + 3]} == set(NAMES)
    for done in (1, 5, 10):
        again = turns(done)
        for batch in first[done:]:
            same = again.next()
            assert same.task == batch.task
            assert torch.equal(same.images, batch.images)
    whole.close()


def test_the_replayed_loss_goes_through_the_old_tasks_head() -> None:
    session = stream_session(trainer={"max_steps": 2})
    learner = ReplayLearner()
    seen: list[Any] = []
    own = learner.terms

    def terms(batch: Any, passed: Any) -> Any:
        made = own(batch, passed)
        seen.append((batch.task, set(made)))
        return made

    learner.terms = terms  # type: ignore[method-assign]
    learn(learner, session, *NAMES[:2])
    assert seen == [(NAMES[0], set())] * 2 + [(NAMES[1], {"replay"})] * 2


@pytest.mark.parametrize("old_heads", ["frozen", "trained"])
def test_old_heads_learn_on_when_they_are_to(old_heads: Any) -> None:
    session = stream_session(trainer={"max_steps": 2})
    learner = ReplayLearner(old_heads=old_heads).bind(session)
    learner.learn(experience(NAMES[0]))
    before = {n: v.clone() for n, v in session.encoder.head.head_of(NAMES[0]).state_dict().items()}
    learner.learn(experience(NAMES[1]))
    now = session.encoder.head.head_of(NAMES[0]).state_dict()
    assert any(not torch.equal(now[n], v) for n, v in before.items()) == (old_heads == "trained")


@pytest.mark.parametrize("options", [{"images": 0}, {"selection": "best"}, {"old_heads": "some"}])
def test_impossible_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        ReplayLearner(**options)
