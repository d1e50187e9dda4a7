"""What a repository was: versions and tags."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_folders import small_folder

from fashreg.errors import HubError
from fashreg.hub.push import push
from fashreg.hub.revisions import create_tag, delete_tag, versions
from fashreg.testing.local_hub import LocalHub, Status

REPO = "ann/shirts"


@pytest.fixture
def commits(hub: LocalHub, token: str, tmp_path: Path) -> list[str]:
    """Two pushes, oldest first."""
    folder = tmp_path / "model"
    made = (push(small_folder(folder, value=v), REPO, token=token, commit_message=f"model {v}") for v in (1.0, 2.0))
    return [done.commit for done in made]


def test_versions_come_newest_first_with_their_names(hub: LocalHub, token: str, commits: list[str]) -> None:
    create_tag(REPO, "v1", revision=commits[0], token=token)
    create_tag(REPO, "first", revision="v1", token=token)
    found = versions(REPO)
    assert [v.title for v in found] == ["model 2.0", "model 1.0", "initial commit"]
    assert [v.commit for v in found[:2]] == commits[::-1]
    assert [v.tags for v in found] == [(), ("first", "v1"), ()]
    assert [v.branches for v in found] == [("main",), (), ()]
    assert found[0].date >= found[1].date


def test_versions_of_a_tag_end_there(hub: LocalHub, token: str, commits: list[str]) -> None:
    create_tag(REPO, "v1", revision=commits[0], token=token)
    assert [v.commit for v in versions(f"{REPO}@v1")][:1] == commits[:1]


def test_many_versions_are_all_listed(hub: LocalHub, token: str, commits: list[str]) -> None:
    hub.page_size = 2
    for number in range(5):
        hub.repo(REPO).put({"note.txt": str(number)})
    assert len(versions(REPO, token=token)) == 8


def test_titles_that_would_write_into_a_terminal_are_made_plain(hub: LocalHub, commits: list[str]) -> None:
    hub.repo(REPO).put({"a.txt": "a"}, title="good\x1b[2J\nbad " + "x" * 500)
    (title,) = [v.title for v in versions(REPO)[:1]]
    assert title.isprintable()
    assert len(title) <= 203


def test_a_tag_names_the_commit_that_main_is_at(hub: LocalHub, token: str, commits: list[str]) -> None:
    assert create_tag(REPO, "v2", token=token, message="why") == commits[1]
    assert hub.repo(REPO).tags == {"v2": commits[1]}


def test_a_tag_is_never_moved(hub: LocalHub, token: str, commits: list[str]) -> None:
    create_tag(REPO, "v1", revision=commits[0], token=token)
    with pytest.raises(HubError, match=f"has a tag 'v1' already, at {commits[0][:12]}; .* --delete"):
        create_tag(REPO, "v1", token=token)
    assert hub.repo(REPO).tags == {"v1": commits[0]}
    assert create_tag(REPO, "v1", revision=commits[0], token=token) == commits[0]


def test_a_tag_whose_answer_was_lost_is_there(
    hub: LocalHub, token: str, commits: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fashreg.hub.client.time.sleep", lambda seconds: None)
    hub.faults.add(Status(503, done=True), "*/tag/*")
    assert create_tag(REPO, "v1", token=token) == commits[1]


def test_a_deleted_tag_is_gone_and_its_commit_stays(hub: LocalHub, token: str, commits: list[str]) -> None:
    create_tag(REPO, "v1", revision=commits[0], token=token)
    delete_tag(REPO, "v1", token=token)
    assert hub.repo(REPO).tags == {}
    assert commits[0] in [v.commit for v in versions(REPO)]
    with pytest.raises(HubError, match="has no tag 'v1'; its tags: none"):
        delete_tag(REPO, "v1", token=token)


@pytest.mark.parametrize(
    "tag", ["", "-x", "a b", "a..b", "v1.lock", "v1/", "main", "refs/tags/v1", "a" * 40, "é", "a@{1}"]
)
def test_names_that_cannot_be_tags_are_refused_before_the_hub_is_asked(hub: LocalHub, tag: str) -> None:
    with pytest.raises(HubError, match="cannot be the name of a tag"):
        create_tag(REPO, tag)
    assert hub.requests == []


def test_what_is_not_there_is_said(hub: LocalHub, token: str, commits: list[str]) -> None:
    with pytest.raises(HubError, match="has no model ann/nothing"):
        versions("ann/nothing", token=token)
    with pytest.raises(HubError, match="has no revision v9; fashreg versions ann/shirts lists"):
        versions(f"{REPO}@v9", token=token)
    with pytest.raises(HubError, match="has no revision v9"):
        create_tag(REPO, "v10", revision="v9", token=token)


def test_who_may_only_read_tags_nothing(hub: LocalHub, commits: list[str]) -> None:
    with pytest.raises(HubError, match="write permission"):
        create_tag(REPO, "v1", token=hub.token("ann", write=False))
    assert hub.repo(REPO).tags == {}
