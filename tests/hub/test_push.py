"""Pushing folders: one commit, all of it or nothing, and nothing of anybody else's touched."""

from __future__ import annotations

from pathlib import Path

import pytest
from push_place import MODEL, REPO, names
from small_folders import is_whole, small_folder, small_run, weights

from fashreg.errors import HubError
from fashreg.hub.pull import pull
from fashreg.hub.push import push
from fashreg.testing.local_hub import LocalHub

# ---- what a push is ----


def test_a_push_is_one_commit_that_holds_the_folder(hub: LocalHub, token: str, model: Path, tmp_path: Path) -> None:
    done = push(model, REPO, token=token, commit_message="first", commit_description="why")
    repository = hub.repo(REPO)
    assert [c.title for c in repository.commits()] == ["first", "initial commit"]
    assert repository.commits()[0].message == "why"
    assert names(hub) == MODEL == set(done.written)
    assert repository.files()["model.safetensors"] == (model / "model.safetensors").read_bytes()
    assert is_whole(repository.files(), "", tmp_path / "desk")
    assert (done.repo, done.commit) == (REPO, repository.head)
    assert str(done) == done.url == f"{hub.endpoint}/{REPO}/commit/{done.commit}"


def test_the_commit_says_what_was_pushed_where_nobody_says_it(hub: LocalHub, token: str, tmp_path: Path) -> None:
    push(small_run(tmp_path / "run"), REPO, token=token)
    assert hub.repo(REPO).commits()[0].title.startswith("Model and evaluation, pushed with fashreg ")


def test_the_same_folder_again_makes_no_commit(hub: LocalHub, token: str, model: Path) -> None:
    first = push(model, REPO, token=token)
    hub.requests.clear()
    again = push(model, REPO, token=token)
    assert (again.commit, again.written, again.deleted) == (first.commit, (), ())
    assert len(hub.repo(REPO).commits()) == 2
    assert not any(request.method == "PUT" for request, _ in hub.requests)


def test_only_what_changed_is_written_and_what_is_gone_is_deleted(hub: LocalHub, token: str, tmp_path: Path) -> None:
    push(small_folder(tmp_path / "model", recipe__yaml="a: 1\n"), REPO, token=token)
    done = push(small_folder(tmp_path / "model", value=2.0), REPO, token=token)
    assert set(done.written) == {"config.json", "manifest.json", "model.safetensors"}
    assert done.deleted == ("recipe.yaml",)
    assert names(hub) == MODEL
    assert len(hub.repo(REPO).commits()) == 3


def test_parts_lie_beside_one_another(hub: LocalHub, token: str, tmp_path: Path) -> None:
    push(small_run(tmp_path / "run"), REPO, token=token)
    push(small_folder(tmp_path / "index", "index"), REPO, token=token)
    evaluation = {"evaluation/manifest.json", "evaluation/evaluation.json"}
    assert names(hub) == MODEL | evaluation | {"index/manifest.json", "index/index.json", "index/vectors.safetensors"}
    assert len(hub.repo(REPO).commits()) == 3
    for place in ("", "index", "evaluation"):
        assert is_whole(hub.repo(REPO).files(), place, tmp_path / "desk" / place)


def test_a_part_may_have_a_place_of_its_own(hub: LocalHub, token: str, tmp_path: Path) -> None:
    push(small_folder(tmp_path / "e", "evaluation"), REPO, part="evaluation/street", token=token)
    assert names(hub) == {"evaluation/street/manifest.json", "evaluation/street/evaluation.json"}


def test_another_model_says_which_parts_are_older_than_it(hub: LocalHub, token: str, tmp_path: Path) -> None:
    push(small_folder(tmp_path / "index", "index"), REPO, token=token)
    push(small_run(tmp_path / "run"), REPO, token=token)
    assert push(small_folder(tmp_path / "model", value=3.0), REPO, token=token).older == ("evaluation", "index")


def test_large_files_go_to_the_storage_and_come_back(hub: LocalHub, token: str, tmp_path: Path) -> None:
    big = weights(0.5, 600_000)
    push(small_folder(tmp_path / "model", model__safetensors=big), REPO, token=token)
    out = pull(REPO, tmp_path / "out", token=token)
    assert (out / "model.safetensors").read_bytes() == big


def test_what_was_pulled_is_pushed_back_without_its_origin(
    hub: LocalHub, token: str, model: Path, tmp_path: Path
) -> None:
    first = push(model, REPO, token=token)
    out = pull(REPO, tmp_path / "out", token=token)
    assert (out / "origin.json").is_file()
    assert push(out, REPO, token=token).commit == first.commit
    push(out, "ann/copy", token=token)
    assert hub.repo("ann/copy").files()["manifest.json"] == hub.repo(REPO).files()["manifest.json"]


# ---- repositories, branches, pull requests ----


@pytest.mark.parametrize("private", [None, True, False])
def test_a_repository_is_made_as_asked(hub: LocalHub, token: str, model: Path, private: bool | None) -> None:
    push(model, REPO, token=token, private=private)
    assert hub.repo(REPO).private is bool(private)


def test_a_public_repository_does_not_get_what_was_to_be_private(hub: LocalHub, token: str, model: Path) -> None:
    before = push(model, REPO, token=token).commit
    with pytest.raises(HubError, match="is public and was asked to be private; nothing was pushed"):
        push(small_folder(model, value=2.0), REPO, token=token, private=True)
    assert hub.repo(REPO).head == before


def test_a_repository_that_is_there_can_be_refused(hub: LocalHub, token: str, model: Path) -> None:
    push(model, REPO, token=token, exist_ok=False)
    with pytest.raises(HubError, match="is there already"):
        push(small_folder(model, value=2.0), REPO, token=token, exist_ok=False)


@pytest.mark.parametrize("how", ["revision", "address"])
def test_a_branch_is_made_and_main_stays(hub: LocalHub, token: str, model: Path, how: str) -> None:
    before = push(model, REPO, token=token).commit
    small_folder(model, value=2.0)
    if how == "revision":
        done = push(model, REPO, token=token, revision="try/two")
    else:
        done = push(model, f"{REPO}@try/two", token=token)
    repository = hub.repo(REPO)
    assert (repository.head, repository.resolve("try/two").id) == (before, done.commit)
    assert repository.files("try/two")["model.safetensors"] == weights(2.0)
    assert repository.files()["model.safetensors"] == weights(1.0)


@pytest.mark.parametrize("kind", ["tag", "commit"])
def test_a_tag_or_commit_is_no_place_to_push_to(hub: LocalHub, token: str, model: Path, kind: str) -> None:
    done = push(model, REPO, token=token)
    hub.repo(REPO).tags["v1"] = done.commit
    with pytest.raises(HubError, match="is a tag or a commit, which never change"):
        push(small_folder(model, value=2.0), REPO, token=token, revision="v1" if kind == "tag" else done.commit)


def test_a_pull_request_leaves_main_as_it_is(hub: LocalHub, token: str, model: Path) -> None:
    before = push(model, REPO, token=token).commit
    reader = hub.token("bob", write=True)
    done = push(small_folder(model, value=2.0), REPO, token=reader, create_pr=True)
    repository = hub.repo(REPO)
    assert repository.head == before
    assert repository.pulls == {"refs/pr/1": done.commit}
    assert "discussions/1" in done.url
    assert repository.files("refs/pr/1")["model.safetensors"] == weights(2.0)


def test_a_pull_request_goes_on(hub: LocalHub, token: str, model: Path) -> None:
    push(model, REPO, token=token)
    push(small_folder(model, value=2.0), REPO, token=token, create_pr=True)
    done = push(small_folder(model, value=3.0), REPO, token=token, revision="refs/pr/1")
    assert hub.repo(REPO).pulls == {"refs/pr/1": done.commit}


def test_a_pull_request_to_a_branch_is_refused(hub: LocalHub, token: str, model: Path) -> None:
    with pytest.raises(HubError, match="goes to main"):
        push(model, REPO, token=token, create_pr=True, revision="try")


def test_a_pull_request_to_nothing_makes_nothing(hub: LocalHub, token: str, model: Path) -> None:
    with pytest.raises(HubError, match="has no model ann/shirts"):
        push(model, REPO, token=token, create_pr=True)
    assert not any(request.path.endswith("/repos/create") for request, _ in hub.requests)


# ---- who may ----


def test_a_token_that_may_only_read_is_told_so(hub: LocalHub, token: str, model: Path) -> None:
    before = push(model, REPO, token=token).commit
    with pytest.raises(HubError, match="write permission") as caught:
        push(small_folder(model, value=2.0), REPO, token=hub.token("ann", write=False))
    assert caught.value.status == 403
    assert hub.repo(REPO).head == before


@pytest.mark.parametrize("whose", ["nobody's", "a wrong one"])
def test_without_a_good_token_nothing_is_pushed(hub: LocalHub, model: Path, whose: str) -> None:
    secret = "hf_wrongwrongwrongwrong"
    with pytest.raises(HubError) as caught:
        push(model, REPO, token=False if whose == "nobody's" else secret)
    assert secret not in str(caught.value)
    assert "log in" in str(caught.value)


def test_somebody_elses_place_is_refused(hub: LocalHub, model: Path) -> None:
    with pytest.raises(HubError, match="403"):
        push(model, REPO, token=hub.token("bob", write=True))
