from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fashreg.errors import HubError
from fashreg.hub.address import Address, hub_hint, is_address, is_commit, parse_address


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "repo", "revision"),
    [
        ("ann/bags", "ann/bags", None),
        ("ann/bags@v1", "ann/bags", "v1"),
        ("ann/bags@refs/pr/3", "ann/bags", "refs/pr/3"),
        ("ann/bags@feature/a+b=c,d", "ann/bags", "feature/a+b=c,d"),
        ("hf://Ann-1/bags_v1.0@" + "0a" * 20, "Ann-1/bags_v1.0", "0a" * 20),
    ],
)
def test_an_address_is_a_repository_and_perhaps_a_revision(text: str, repo: str, revision: str | None) -> None:
    assert is_address(text)
    assert parse_address(text) == Address(repo, revision)
    assert str(parse_address(text)) == text.removeprefix("hf://")


@pytest.mark.parametrize(
    "text", ["bags", "/ann/bags", "./ann/bags", "../bags", "~/bags", "a/b/c", "a\\b/c", "", "ann/"]
)
def test_what_does_not_look_like_user_and_name_is_a_path(text: str) -> None:
    assert not is_address(text)


def test_a_path_object_is_never_an_address() -> None:
    assert not is_address(Path("ann/bags"))


def test_a_local_folder_of_that_name_wins(elsewhere: Path) -> None:
    assert is_address("ann/bags")
    (elsewhere / "ann" / "bags").mkdir(parents=True)
    assert not is_address("ann/bags")
    assert not is_address("ann/bags@v1")
    assert is_address("hf://ann/bags")


def test_a_mistyped_path_below_an_existing_folder_is_not_asked_of_the_hub(elsewhere: Path) -> None:
    (elsewhere / "runs").mkdir()
    assert not is_address("runs/modle")
    assert hub_hint("runs/modle") == "; for the Hub's runs/modle write hf://runs/modle"
    assert hub_hint("/somewhere/else") == ""


def test_the_revision_may_stand_beside_the_address_once() -> None:
    assert parse_address("ann/bags", revision="v1") == Address("ann/bags", "v1")
    assert parse_address("ann/bags@v1", revision="v1") == Address("ann/bags", "v1")
    with pytest.raises(HubError, match="asks for v1 and revision says v2"):
        parse_address("ann/bags@v1", revision="v2")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bags", "whose is it"),
        ("ann/bags@", "ends in @"),
        ("a--b/c", "no name of a repository"),
        ("ann/bags.git", "no name of a repository"),
        ("ann/" + "x" * 100, "no name of a repository"),
        ("ann/../bags", "no name of a repository"),
        ("ann/bags@../../../etc", "no branch, tag or commit"),
        ("ann/bags@a..b", "no branch, tag or commit"),
        ("ann/bags@/etc", "no branch, tag or commit"),
        ("ann/bags@-x", "no branch, tag or commit"),
        ("ann/bags@a\\b", "no branch, tag or commit"),
        ("ann/bags@a b", "no branch, tag or commit"),
        ("ann/bags@a\nb", "no branch, tag or commit"),
        ("ann/bags@a.lock", "no branch, tag or commit"),
        ("ann/bags@" + "x" * 300, "no branch, tag or commit"),
    ],
)
def test_names_that_the_hub_or_git_do_not_allow_are_refused(text: str, said: str) -> None:
    with pytest.raises(HubError, match=said):
        parse_address(text)


@given(st.text(max_size=60))
def test_a_revision_that_is_accepted_stays_below_its_folder(text: str) -> None:
    try:
        revision = parse_address("ann/bags", revision=text).revision or ""
    except HubError:
        return
    parts = revision.split("/")
    assert ".." not in parts
    assert "" not in parts[:-1] + parts[-1:]
    assert not Path(revision).is_absolute()
    assert "\\" not in revision
    assert revision.isprintable()


def test_only_a_whole_hash_is_a_commit() -> None:
    assert is_commit("0a" * 20)
    assert not is_commit("0a" * 19)
    assert not is_commit("main")
    assert not is_commit(None)
