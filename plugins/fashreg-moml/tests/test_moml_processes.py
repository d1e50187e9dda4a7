"""Two processes, and runs that are broken off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fashreg_moml.contribution import measure
from moml_plain import random_batch
from moml_ranks import RULES, made, opposed, train
from safetensors.torch import load_file

from fashreg.learners.standard import StandardLearner
from fashreg.memories.xbm import XBMMemory
from fashreg.testing.ranks import in_two_processes
from fashreg.testing.tiny_run import DIM, CrashError, difference, run_folder, tiny_experience, tiny_session, weights_of
from fashreg.training.session import Session


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, torch.Tensor]]:
    folder = tmp_path_factory.mktemp("ranks")
    in_two_processes(Path(__file__).with_name("moml_ranks.py"), folder)
    return [load_file(folder / f"{rank}.safetensors") for rank in range(2)]


def test_two_processes_end_where_one_does(ranks: list[dict[str, torch.Tensor]]) -> None:
    alone = train()
    assert int(alone["loss.steps"]) == 9
    assert float(alone["loss.weighing.kept"][0]) != 1
    for name, value in alone.items():
        assert torch.equal(ranks[0][name], ranks[1][name]), name
        scale = 2**0.5 if name.split(".")[-1] in ("means", "latest") else 1  # sums over two equal processes
        assert torch.allclose(ranks[0][name].double(), scale * value.double(), rtol=1e-6, atol=1e-6), name


@pytest.mark.parametrize("rule", RULES)
def test_processes_with_batches_of_their_own_agree_on_the_weights(
    rule: str, ranks: list[dict[str, torch.Tensor]]
) -> None:
    names = [name for name in ranks[0] if name.startswith(f"{rule}.")]
    assert f"{rule}.weights" in names
    for name in names:
        assert torch.equal(ranks[0][name], ranks[1][name]), name


def test_norms_are_those_of_both_batches_together(ranks: list[dict[str, torch.Tensor]]) -> None:
    squares = torch.zeros(4, dtype=torch.float64)
    loss = made(rule="balanced")
    with torch.no_grad():
        loss.proxies.copy_(ranks[0]["balanced.proxy.proxies"])
    for rank in range(2):
        batch = random_batch(12, DIM, 6, 40 + rank)
        batch = replace(batch, vectors=batch.vectors.clone().requires_grad_())
        squares += measure(loss._values(batch), batch.vectors, loss.proxies)[0] ** 2
    assert torch.allclose(ranks[0]["balanced.contribution.latest"], squares.sqrt(), rtol=1e-10)


def test_what_is_opposed_is_taken_away_by_the_pull_of_both_batches_together(
    ranks: list[dict[str, torch.Tensor]],
) -> None:
    pulls = []
    for rank in range(2):
        loss, batch = opposed(rank)
        values = loss._values(batch)
        pulls.append([torch.autograd.grad(values[name], batch.vectors)[0] for name in ("pair", "proxy")])
    along = sum(float((pair * proxy).sum()) for pair, proxy in pulls)
    square = sum(float((proxy * proxy).sum()) for _, proxy in pulls)
    assert along < 0
    for rank, (pair, proxy) in enumerate(pulls):
        assert torch.allclose(ranks[rank]["opposed"], pair + proxy * (1 - along / square), rtol=1e-9, atol=1e-12)


def learn(folder: Any, fails_at: int | None = None, memory: Any = None, **options: Any) -> Session:
    loss, trainer = made(**options).float(), {"epochs": 3, "checkpoint_steps": 2}
    session = tiny_session(run_folder(folder), fails_at=fails_at, memory=memory, loss=loss, trainer=trainer)
    StandardLearner().bind(session).learn(tiny_experience())
    return session


@pytest.mark.parametrize("rule", RULES)
def test_a_resumed_run_ends_where_an_uninterrupted_one_does_to_the_bit(
    rule: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda handle: None)
    options = {"rule": rule, "init": "class-means", "num_images": 36, "batch_size": 12}
    whole = learn(tmp_path / "whole", **options)
    with pytest.raises(CrashError):
        learn(tmp_path / "died", fails_at=5, **options)
    again = learn(tmp_path / "died", **options)
    assert bool(whole.loss.met.all())
    assert difference(weights_of(whole), weights_of(again)) == []


def test_a_resumed_run_knows_what_remembered_pairs_contribute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda handle: None)
    whole = learn(tmp_path / "whole", memory=XBMMemory(20, embed_dim=DIM, start_step=1))
    with pytest.raises(CrashError):
        learn(tmp_path / "died", fails_at=5, memory=XBMMemory(20, embed_dim=DIM, start_step=1))
    again = learn(tmp_path / "died", memory=XBMMemory(20, embed_dim=DIM, start_step=1))
    assert int(whole.loss.remembered.seen) > 1
    assert difference(weights_of(whole), weights_of(again)) == []
