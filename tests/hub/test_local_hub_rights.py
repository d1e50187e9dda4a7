"""What the local Hub shows, and to whom: lists, revisions, private and gated repositories, tokens."""

from __future__ import annotations

import hashlib
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from plain_requests import WEIGHTS, asked, status_of

from fashreg.testing.local_hub import LocalHub, client_of

# --- looking around


def test_trees_are_listed_page_by_page(hf_home: Path) -> None:
    files = {"a": "1", "d/b": "2", "d/e/c": "3", "z.bin": b"\0"}
    with LocalHub(page_size=2) as hub, client_of(hub, hf_home):
        hub.create("ann/x", files)
        api = HfApi()
        assert {e.path for e in api.list_repo_tree("ann/x")} == {".gitattributes", "a", "d", "z.bin"}
        assert {e.path for e in api.list_repo_tree("ann/x", "d")} == {"d/b", "d/e"}
        deep = {e.path: e for e in api.list_repo_tree("ann/x", recursive=True, expand=True)}
        assert set(deep) == {*files, ".gitattributes", "d", "d/e"}
        assert deep["z.bin"].lfs.sha256 == hashlib.sha256(b"\0").hexdigest()
        assert deep["a"].last_commit.title == "put"
        assert sorted(api.list_repo_files("ann/x")) == sorted([*files, ".gitattributes"])
        assert len(api.list_repo_commits("ann/x")) == 2
        with pytest.raises(EntryNotFoundError):
            list(api.list_repo_tree("ann/x", "nowhere"))
        assert hub.failures == []


def test_a_repository_tells_its_files_and_sizes(hub: LocalHub, repo: str) -> None:
    info = HfApi().model_info(repo, files_metadata=True)
    assert (info.sha, info.private, info.gated) == (hub.repo(repo).head, False, False)
    sizes = {s.rfilename: (s.size, s.lfs and s.lfs.sha256) for s in info.siblings}
    assert sizes["config.json"] == (2, None)
    assert sizes["model.safetensors"] == (10240, hashlib.sha256(WEIGHTS).hexdigest())


def test_branches_and_tags_come_and_go(hub: LocalHub, api: HfApi, repo: str) -> None:
    first = hub.repo(repo).head
    api.create_tag(repo, tag="v1/a", tag_message="one")
    api.create_branch(repo, branch="next")
    second = api.upload_file(path_or_fileobj=b"2", path_in_repo="two", repo_id=repo, revision="next").oid
    refs = api.list_repo_refs(repo)
    assert {b.name: b.target_commit for b in refs.branches} == {"main": first, "next": second}
    assert [(t.name, t.ref, t.target_commit) for t in refs.tags] == [("v1/a", "refs/tags/v1/a", first)]
    assert api.model_info(repo, revision="v1/a").sha == api.model_info(repo, revision=first[:8]).sha == first
    assert Path(hf_hub_download(repo, "two", revision="next")).read_bytes() == b"2"
    assert status_of(lambda: api.create_tag(repo, tag="v1/a")) == 409
    assert [c.title for c in api.list_repo_commits(repo, revision="v1/a")] == ["put", "initial commit"]
    api.delete_tag(repo, tag="v1/a")
    api.delete_branch(repo, branch="next")
    for gone in ("v1/a", "next"):
        with pytest.raises(RevisionNotFoundError):
            api.model_info(repo, revision=gone)
    with pytest.raises(RevisionNotFoundError):
        api.delete_tag(repo, tag="v1/a")
    assert status_of(lambda: api.delete_branch(repo, branch="main")) == 403


def test_what_is_missing_is_refused_by_its_kind(hub: LocalHub, api: HfApi, repo: str) -> None:
    with pytest.raises(EntryNotFoundError):
        hf_hub_download(repo, "missing")
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download(repo, "config.json", revision="missing")
    for who in (api, HfApi(token=False)):
        with pytest.raises(RepositoryNotFoundError):
            who.model_info("ann/missing")
    assert asked(f"{hub.endpoint}/nothing")[0] == 404


# --- who may do what


def test_a_private_repository_exists_for_its_owner_only(hub: LocalHub, api: HfApi) -> None:
    hub.create("ann/secret", {"a": "1"}, private=True)
    hub.create("house/secret", {"a": "1"}, private=True)
    for other in (False, hub.token("bob")):
        with pytest.raises(RepositoryNotFoundError):
            HfApi().model_info("ann/secret", token=other)
        with pytest.raises(RepositoryNotFoundError):
            hf_hub_download("ann/secret", "a", token=other)
    assert api.model_info("ann/secret").private
    assert hf_hub_download("ann/secret", "a", token=hub.token("ann", write=False))
    assert hf_hub_download("house/secret", "a", token=hub.token("bob", organizations=("house",)))


def test_a_gated_repository_is_seen_by_all_and_read_by_some(hub: LocalHub, api: HfApi) -> None:
    gated = hub.create("ann/gated", {"a": "1"}, gated=True)
    bob = hub.token("bob")
    for other in (False, bob):
        assert HfApi().model_info("ann/gated", token=other).gated == "auto"
        with pytest.raises(GatedRepoError):
            hf_hub_download("ann/gated", "a", token=other)
        with pytest.raises(GatedRepoError):
            HfApi().auth_check("ann/gated", token=other)
    assert hf_hub_download("ann/gated", "a", token=api.token)
    gated.granted.add("bob")
    assert hf_hub_download("ann/gated", "a", token=bob)


def test_a_token_that_only_reads_cannot_write(hub: LocalHub, repo: str) -> None:
    reader = HfApi(token=hub.token("ann", write=False))
    before = hub.repo(repo).head
    assert status_of(lambda: reader.create_repo("ann/new")) == 403
    assert status_of(lambda: reader.create_tag(repo, tag="t")) == 403
    assert status_of(lambda: reader.upload_file(path_or_fileobj=b"", path_in_repo="a", repo_id=repo)) == 403
    assert (hub.repo(repo).head, hub.repo(repo).tags, hub.has("ann/new")) == (before, {}, False)


def test_others_write_by_pull_request_only(hub: LocalHub, repo: str) -> None:
    bob, before = HfApi(token=hub.token("bob")), hub.repo(repo).head
    assert status_of(lambda: bob.upload_file(path_or_fileobj=b"", path_in_repo="a", repo_id=repo)) == 403
    assert status_of(lambda: bob.create_repo("ann/new")) == 403
    add = [CommitOperationAdd("a.bin", WEIGHTS)]
    done = bob.create_commit(repo, add, commit_message="offer", create_pr=True)
    assert (done.pr_revision, done.pr_num) == ("refs/pr/1", 1)
    assert Path(hf_hub_download(repo, "a.bin", revision="refs/pr/1")).read_bytes() == WEIGHTS
    assert hub.repo(repo).head == before
    pulls = bob.list_repo_refs(repo, include_pull_requests=True).pull_requests
    assert [(p.ref, p.target_commit) for p in pulls] == [("refs/pr/1", done.oid)]


def test_the_storage_takes_signed_addresses_and_no_tokens(hub: LocalHub, token: str, repo: str) -> None:
    head = huggingface_hub.get_hf_file_metadata(huggingface_hub.hf_hub_url(repo, "model.safetensors"))
    assert asked(head.location)[:2] == (200, WEIGHTS)
    assert asked(head.location, Authorization=f"Bearer {token}")[0] == 400
    assert asked(head.location[:-1] + "x")[0] == 403
    assert Path(hf_hub_download(repo, "model.safetensors", token=token)).read_bytes() == WEIGHTS
    assert not any(r.authorized for r in hub.asked("/storage/")[-1:])
