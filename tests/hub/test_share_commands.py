"""`fashreg push`, `versions`, `tag` and `pull` as a person types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Fashreg, Result
from small_folders import small_folder, small_run

from fashreg.testing.local_hub import LocalHub

REPO = "ann/shirts"


@pytest.fixture
def fashreg(fashreg: Fashreg, hub: LocalHub, token: str, monkeypatch: pytest.MonkeyPatch) -> Fashreg:
    """The command line in this process, with ann logged in."""
    monkeypatch.setenv("HF_TOKEN", token)

    def call(*arguments: object) -> Result:
        done = fashreg(*arguments)
        assert token not in done.out + done.err
        return done

    return call


def test_a_run_is_pushed_and_what_was_done_is_said(fashreg: Fashreg, hub: LocalHub, tmp_path: Path) -> None:
    done = fashreg("push", small_run(tmp_path / "run"), REPO, "--private", "--message", "shirts of spring")
    head = hub.repo(REPO).head
    assert done.status == 0
    assert done.out.splitlines() == [
        f"{REPO}@{head[:12]}: {hub.endpoint}/{REPO}/commit/{head}",
        f"next: fashreg pull {REPO}@{head} --out FOLDER, or fashreg tag {REPO} v1",
    ]
    assert hub.repo(REPO).private
    assert hub.repo(REPO).commits()[0].title == "shirts of spring"
    assert {"model.safetensors", "evaluation/evaluation.json"} <= set(hub.repo(REPO).files())


def test_pushing_again_says_that_all_was_there(fashreg: Fashreg, hub: LocalHub, tmp_path: Path) -> None:
    folder = small_folder(tmp_path / "model")
    fashreg("push", folder, REPO)
    assert "(it was there already)" in fashreg("push", folder, REPO).out


def test_what_was_deleted_and_what_is_older_is_said(fashreg: Fashreg, hub: LocalHub, tmp_path: Path) -> None:
    fashreg("push", small_folder(tmp_path / "index", "index"), REPO)
    fashreg("push", small_folder(tmp_path / "model", recipe__yaml="a: 1\n"), REPO)
    said = fashreg("push", small_folder(tmp_path / "model", value=2.0), REPO).out
    assert f"deleted, because {tmp_path / 'model'} holds them no longer: recipe.yaml" in said
    assert "note: index in ann/shirts came from an earlier model" in said


def test_push_speaks_json(fashreg: Fashreg, hub: LocalHub, tmp_path: Path) -> None:
    said = json.loads(fashreg("push", small_folder(tmp_path / "model"), REPO, "--json").out)
    assert said["commit"] == hub.repo(REPO).head
    assert said["written"] == ["README.md", "config.json", "manifest.json", "model.safetensors"]


def test_included_files_branches_and_pull_requests(fashreg: Fashreg, hub: LocalHub, tmp_path: Path) -> None:
    folder = small_folder(tmp_path / "model")
    (folder / "LICENSE").write_text("mine")
    refused = fashreg("push", folder, REPO)
    assert refused.status == 1
    assert "--include LICENSE" in refused.err
    assert fashreg("push", folder, REPO, "--include", "LICENSE").status == 0
    small_folder(folder.parent / "two", value=2.0)
    assert fashreg("push", folder.parent / "two", REPO, "--revision", "two").status == 0
    asked = fashreg("push", folder.parent / "two", REPO, "--create-pr")
    assert "discussions/1" in asked.out
    assert set(hub.repo(REPO).branches) == {"main", "two"}
    assert hub.repo(REPO).files()["LICENSE"] == b"mine"


def test_versions_and_tags_are_listed_made_and_deleted(fashreg: Fashreg, hub: LocalHub, tmp_path: Path) -> None:
    fashreg("push", small_folder(tmp_path / "model"), REPO, "--message", "one")
    first = hub.repo(REPO).head
    assert fashreg("tag", REPO, "v1").out == f"{REPO}@v1 is {first[:12]}\n"
    fashreg("push", small_folder(tmp_path / "model", value=2.0), REPO, "--message", "two")
    lines = fashreg("versions", REPO).out.splitlines()
    assert [line.split(maxsplit=3)[3] for line in lines] == ["[main] two", "[v1] one", "initial commit"]
    assert lines[1].startswith(first[:12])
    said = json.loads(fashreg("versions", f"{REPO}@v1", "--json").out)
    assert (said[0]["commit"], said[0]["tags"], said[0]["title"]) == (first, ["v1"], "one")
    assert fashreg("tag", REPO, "v1", "--delete").status == 0
    assert hub.repo(REPO).tags == {}


def test_a_tag_on_a_revision(fashreg: Fashreg, hub: LocalHub, tmp_path: Path) -> None:
    fashreg("push", small_folder(tmp_path / "model"), REPO)
    first = hub.repo(REPO).head
    fashreg("push", small_folder(tmp_path / "model", value=2.0), REPO)
    fashreg("tag", REPO, "old", "--revision", first, "--message", "the first")
    fashreg("tag", f"{REPO}@{first}", "older")
    assert hub.repo(REPO).tags == {"old": first, "older": first}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("push", "nothing", REPO), "there is no folder nothing"),
        (("versions", REPO), "has no model ann/shirts"),
        (("tag", REPO, "v1"), "has no model ann/shirts"),
        (("tag", REPO, "v 1"), "cannot be the name of a tag"),
        (("tag", REPO, "v1", "--delete", "--revision", "x"), "leave out --revision"),
        (("versions", "shirts"), "whose is it? Write USER/shirts"),
    ],
)
def test_mistakes_are_one_line(fashreg: Fashreg, arguments: tuple[str, ...], said: str) -> None:
    done = fashreg(*arguments)
    assert done.status == 1
    assert said in done.err
    assert done.err.count("\n") == 1


def test_what_was_pushed_is_pulled_at_its_tag(fashreg: Fashreg, hub: LocalHub, tmp_path: Path) -> None:
    fashreg("push", small_folder(tmp_path / "e", "evaluation"), REPO)
    fashreg("tag", REPO, "v1")
    fashreg("push", small_folder(tmp_path / "e", "evaluation", value=2.0), REPO)
    assert fashreg("pull", f"{REPO}@v1", "--part", "evaluation", "--out", tmp_path / "out").status == 0
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["value"] == 1.0
