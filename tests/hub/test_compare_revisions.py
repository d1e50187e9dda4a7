"""Two revisions of a model on the Hub are compared by their evaluations alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi

from fashreg.cli import run
from fashreg.errors import FashregError, HubError, ModelError
from fashreg.hub.push import push
from fashreg.jobs.comparison import compare
from fashreg.jobs.evaluation_folder import save_evaluation
from fashreg.jobs.evaluation_result import Evaluation, PerQuery
from fashreg.protocol import Protocol
from fashreg.report.comparing import write_comparison
from fashreg.storage import save_encoder
from fashreg.testing.local_hub import LocalHub
from fashreg.testing.tiny_run import tiny_encoder

REPO = "ann/dresses"
PROTOCOL = Protocol(data="d" * 64, rule="leave-one-out", source="t.csv", label="style")


def result(right: int, **changes: object) -> Evaluation:
    """Of 40 queries the first `right` are answered rightly."""
    hits = (torch.arange(40) < right).double()
    found = Evaluation({"recall@1": right / 40}, "recall@1", PROTOCOL, {"queries": 40, "gallery": 40})
    return replace(found, per_query=PerQuery(torch.arange(40), {"recall@1": hits}), **changes)


@pytest.fixture
def shared(hub: LocalHub, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A model with its evaluation, pushed as v1 (20 of 40 right) and v2 (30 of 40); the commits by tag."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", token)
    commits = {}
    for tag, right in (("v1", 20), ("v2", 30)):
        push(save_encoder(tiny_encoder(seed=right), tmp_path / tag / "model"), REPO, token=token)
        commits[tag] = push(save_evaluation(result(right), tmp_path / tag / "evaluation"), REPO, token=token).commit
        HfApi().create_tag(REPO, tag=tag, token=token)
    return commits


def test_two_tags_are_compared_and_named_by_their_commits(shared: dict[str, str]) -> None:
    found = compare(f"{REPO}@v1", f"{REPO}@v2")
    assert found.differences["recall@1"].difference == pytest.approx(0.25)
    assert found.differences["recall@1"].better == 10
    assert found.first.folders == (f"{REPO}@{shared['v1']}",)
    assert found.second.name == f"{REPO}@v2"
    again = compare(*found.first.folders, *found.second.folders)
    assert again.differences == found.differences


def test_a_revision_is_compared_with_a_folder_of_ones_own(shared: dict[str, str], tmp_path: Path) -> None:
    mine = save_evaluation(result(35), tmp_path / "mine")
    assert compare(REPO, mine).differences["recall@1"].difference == pytest.approx(5 / 40)


def test_several_revisions_make_one_side(shared: dict[str, str], tmp_path: Path) -> None:
    mine = save_evaluation(result(35), tmp_path / "mine")
    found = compare(f"{REPO}@v1,{REPO}@v2", mine)
    assert found.first.mean("recall@1") == pytest.approx(25 / 40)


def test_no_weights_are_fetched(shared: dict[str, str], hf_home: Path) -> None:
    compare(f"{REPO}@v1", f"{REPO}@v2")
    names = {path.name for path in hf_home.rglob("snapshots/*/*/*") if path.is_file()}
    assert "per_query.safetensors" in names
    assert not list(hf_home.rglob("model.safetensors"))


def test_what_was_compared_once_is_compared_offline(shared: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = [f"{REPO}@{commit}" for commit in shared.values()]
    online = compare(*pinned)
    monkeypatch.setattr("socket.socket.connect", lambda *a: pytest.fail("the network was used"))
    assert compare(*pinned).differences == online.differences


def test_the_command_and_its_page_name_the_revisions(
    shared: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(["compare", f"{REPO}@v1", f"{REPO}@v2", "--json", "--html", str(tmp_path / "page.html")]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["a"] == {"name": f"{REPO}@v1", "folders": [f"{REPO}@{shared['v1']}"]}
    assert f"{REPO}@v2" in (tmp_path / "page.html").read_text()
    assert write_comparison(compare(f"{REPO}@v1", f"{REPO}@v2"), tmp_path / "again.html").is_file()


def test_another_protocol_is_refused(shared: dict[str, str], token: str, tmp_path: Path) -> None:
    other = result(30, protocol=replace(PROTOCOL, data="e" * 64))
    push(save_evaluation(other, tmp_path / "other"), REPO, token=token)
    with pytest.raises(ModelError, match=f"{REPO}@.* not measured by the same protocol: data"):
        compare(f"{REPO}@v1", REPO)


def test_a_model_without_evaluation_says_what_is_missing(hub: LocalHub, token: str, tmp_path: Path) -> None:
    push(save_encoder(tiny_encoder(), tmp_path / "model"), "ann/bare", token=token)
    with pytest.raises(HubError, match=r"ann/bare.*no folder evaluation"):
        compare("ann/bare", "ann/bare")


@pytest.mark.parametrize(("name", "said"), [(f"{REPO}@v9", f"{REPO} has no revision v9"), ("ann/nobody", "ann/nobody")])
def test_what_is_not_there_is_named(shared: dict[str, str], name: str, said: str) -> None:
    with pytest.raises(FashregError, match=said):
        compare(f"{REPO}@v1", name)


def test_a_folder_of_that_name_wins(shared: dict[str, str], tmp_path: Path) -> None:
    save_evaluation(result(40), tmp_path / "ann" / "dresses")
    found = compare(REPO, REPO)
    assert found.first.folders == (REPO,)
    assert found.first.mean("recall@1") == 1.0


def test_tasks_beside_a_model_are_named(hub: LocalHub, token: str, tmp_path: Path) -> None:
    for name, hits in (("wishes", 20), ("words", 30)):
        save_evaluation(result(hits), tmp_path / f"run/evaluation-{name}")
    save_encoder(tiny_encoder(), tmp_path / "run/model")
    push(tmp_path / "run", "ann/tasks", token=token)
    mine = save_evaluation(result(30), tmp_path / "mine")
    assert compare("ann/tasks", mine, task="words").differences["recall@1"].difference == 0
    with pytest.raises(ModelError, match=r"ann/tasks was measured on wishes, words: say which to compare, --task"):
        compare("ann/tasks", mine)
