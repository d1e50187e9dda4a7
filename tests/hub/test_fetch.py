from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import scan_cache_dir
from shelf import FILES, WEIGHTS, content_of, fetched_paths, folder_of, published

from fashreg.errors import HubError, ModelError
from fashreg.hub.fetch import fetch
from fashreg.manifest import MANIFEST, Manifest, verify_folder, write_manifest
from fashreg.testing.local_hub import LocalHub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "model")


def cached(hf_home: Path) -> set[str]:
    """Names of the files that the cache shows."""
    return {p.name for p in hf_home.rglob("snapshots/*/**/*") if p.is_file()}


def with_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    said = json.loads((folder / MANIFEST).read_text())
    change(said)
    (folder / MANIFEST).write_text(json.dumps(said))


# ---- what comes ----


def test_a_folder_comes_as_it_was_pushed(hub: LocalHub, folder: Path) -> None:
    repo = published(hub, folder)
    found = fetch("ann/bags")
    assert content_of(found.folder) == content_of(folder)
    assert (found.repo, found.revision, found.commit) == ("ann/bags", None, repo.head)
    assert found.manifest.files == verify_folder(found.folder, kind="model").files
    assert found.origin.endpoint == hub.endpoint


def test_only_what_the_manifest_lists_is_fetched(hub: LocalHub, folder: Path) -> None:
    published(hub, folder)
    hub.repo("ann/bags").put({"pytorch_model.bin": b"\x80\x04.", "index/vectors.bin": b"x"})
    fetch("ann/bags")
    assert set(fetched_paths(hub)) == {MANIFEST, *FILES}


def test_the_weights_come_last_and_after_the_callers_own_check(hub: LocalHub, folder: Path) -> None:
    published(hub, folder)
    seen: list[tuple[set[str], int]] = []

    def check(place: Path, manifest: Manifest) -> None:
        seen.append(({p.name for p in place.iterdir()}, manifest.files["model.safetensors"].bytes))

    fetch("ann/bags", check=check)
    assert seen == [({MANIFEST, "config.json", "recipe.yaml", "README.md"}, len(WEIGHTS))]
    assert fetched_paths(hub)[0] == MANIFEST
    assert fetched_paths(hub)[-1] == "model.safetensors"


def test_what_the_check_refuses_costs_no_weights_and_is_not_remembered(
    hub: LocalHub, folder: Path, hf_home: Path
) -> None:
    published(hub, folder)

    def check(place: Path, manifest: Manifest) -> None:
        raise ModelError("pip install fashreg-other")

    with pytest.raises(ModelError, match="pip install fashreg-other"):
        fetch("ann/bags", check=check)
    assert "model.safetensors" not in fetched_paths(hub)
    assert not list(hf_home.rglob("refs/main"))


def test_what_is_cached_is_not_fetched_again(hub: LocalHub, folder: Path) -> None:
    published(hub, folder)
    fetch("ann/bags")
    before = len(hub.requests)
    fetch("ann/bags")
    assert [(r.method, r.path) for r, _ in hub.requests[before:]] == [("HEAD", "/ann/bags/resolve/main/manifest.json")]


def test_a_new_version_fetches_only_what_changed(hub: LocalHub, folder: Path, tmp_path: Path) -> None:
    repo = published(hub, folder)
    first = fetch("ann/bags")
    repo.put(content_of(folder_of(tmp_path / "next", {**FILES, "config.json": b'{"small": 2}\n'})))
    before = len(hub.requests)
    second = fetch("ann/bags")
    assert second.commit != first.commit
    got = {r.path.rpartition("/")[2] for r, _ in hub.requests[before:] if r.method == "GET"}
    assert got == {MANIFEST, "config.json"}
    assert (first.folder / "config.json").read_bytes() == FILES["config.json"]


def test_the_cache_is_one_that_other_tools_understand(hub: LocalHub, folder: Path, hf_home: Path) -> None:
    repo = published(hub, folder)
    fetch("ann/bags")
    (known,) = scan_cache_dir(hf_home / "hub").repos
    assert known.repo_id == "ann/bags"
    assert {r.commit_hash: set(r.refs) for r in known.revisions} == {repo.head: {"main"}}


def test_another_cache_may_be_named(hub: LocalHub, folder: Path, tmp_path: Path, hf_home: Path) -> None:
    published(hub, folder)
    found = fetch("ann/bags", cache_dir=tmp_path / "elsewhere")
    assert found.folder.is_relative_to(tmp_path / "elsewhere")
    assert cached(hf_home) == set()


def test_a_part_is_a_folder_of_its_own_with_its_own_kind(hub: LocalHub, folder: Path, tmp_path: Path) -> None:
    index = folder_of(tmp_path / "index", {"index.json": b"{}", "vectors.safetensors": b"v" * 99}, kind="index")
    hub.create("ann/bags", {**content_of(folder), **content_of(index, "index/")})
    found = fetch("ann/bags", part="index")
    assert content_of(found.folder) == content_of(index)
    assert found.manifest.kind == "index"
    assert "config.json" not in fetched_paths(hub)
    assert fetch("ann/bags").manifest.kind == "model"


@pytest.mark.parametrize("part", ["..", "/etc", "a/../..", "a\\b", "."])
def test_a_part_is_a_plain_folder_name(hub: LocalHub, part: str) -> None:
    with pytest.raises(ModelError, match="not a plain path"):
        fetch("ann/bags", part=part)
    assert hub.requests == []


# ---- which revision ----


@pytest.mark.parametrize("kind", ["branch", "tag", "commit", "pull request"])
def test_a_revision_is_resolved_and_recorded(hub: LocalHub, folder: Path, tmp_path: Path, kind: str) -> None:
    repo = published(hub, folder)
    old = repo.head
    repo.branches["dev/one"], repo.tags["v1"], repo.pulls["refs/pr/1"] = old, old, old
    repo.put(content_of(folder_of(tmp_path / "next", {**FILES, "config.json": b"{}"})))
    revision = {"branch": "dev/one", "tag": "v1", "commit": old, "pull request": "refs/pr/1"}[kind]
    found = fetch(f"ann/bags@{revision}")
    assert (found.commit, found.revision) == (old, revision)
    assert (found.folder / "config.json").read_bytes() == FILES["config.json"]
    assert fetch("ann/bags", local_files_only=True, revision=revision).commit == old


def test_a_branch_that_moves_meanwhile_mixes_nothing(hub: LocalHub, folder: Path, tmp_path: Path) -> None:
    repo = published(hub, folder)
    old = repo.head
    other = folder_of(tmp_path / "next", {**FILES, "config.json": b"{}", "model.safetensors": b"other"})

    def check(place: Path, manifest: Manifest) -> None:
        repo.put(content_of(other))

    found = fetch("ann/bags", check=check)
    assert found.commit == old != repo.head
    assert content_of(found.folder) == content_of(folder)


def test_a_commit_that_is_cached_needs_no_network(hub: LocalHub, folder: Path) -> None:
    commit = published(hub, folder).head
    fetch("ann/bags")
    before = len(hub.requests)
    fetch("ann/bags", commit)
    assert len(hub.requests) == before


# ---- who may ----


def test_a_private_repository_needs_a_token(hub: LocalHub, folder: Path, token: str) -> None:
    published(hub, folder, private=True)
    for other in (None, False, hub.token("bob")):
        with pytest.raises(HubError, match=r"has no model ann/bags, or it is private.*hf auth login") as said:
            fetch("ann/bags", token=other)
        assert said.value.status in (401, 404)
    assert fetch("ann/bags", token=hub.token("ann", write=False)).commit
    assert token not in "".join(r.path + r.query for r, _ in hub.requests)


def test_a_gated_repository_says_where_to_ask(hub: LocalHub, folder: Path) -> None:
    published(hub, folder, gated=True)
    bob = hub.token("bob")
    with pytest.raises(HubError, match=f"gated: ask for access at {hub.endpoint}/ann/bags") as said:
        fetch("ann/bags", token=bob)
    assert said.value.status == 403
    hub.repo("ann/bags").granted.add("bob")
    assert fetch("ann/bags", token=bob).commit


def test_a_token_that_is_none_is_said(hub: LocalHub, folder: Path) -> None:
    published(hub, folder)
    with pytest.raises(HubError, match="log in") as said:
        fetch("ann/bags", token="hf_" + "x" * 34)
    assert said.value.status == 401
    assert "xxxx" not in str(said.value)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ann/nothing", "has no model ann/nothing, or it is private"),
        ("ann/bags@v9", "has no revision v9; fashreg versions ann/bags"),
        ("ann/bags@" + "0" * 40, "has no revision 0000"),
    ],
)
def test_what_is_not_there_is_said_with_what_to_type(hub: LocalHub, folder: Path, address: str, said: str) -> None:
    published(hub, folder)
    with pytest.raises(HubError, match=said) as error:
        fetch(address)
    assert error.value.repo == address.partition("@")[0]


def test_a_repository_of_another_library_is_said_so(hub: LocalHub) -> None:
    hub.create("ann/bert", {"config.json": "{}", "pytorch_model.bin": b"\x80"})
    with pytest.raises(HubError, match=r"ann/bert holds no manifest\.json: fashreg never pushed it"):
        fetch("ann/bert")
    with pytest.raises(HubError, match="holds no folder index/ of fashreg"):
        fetch("ann/bert", part="index")


# ---- what is not what it says ----


def test_a_file_that_was_changed_on_the_hub_is_refused_before_the_weights(hub: LocalHub, folder: Path) -> None:
    published(hub, folder).put({"config.json": b'{"small": 7}\n'})
    with pytest.raises(HubError, match=r"config\.json is not the file that manifest\.json lists.*push again"):
        fetch("ann/bags")
    assert "model.safetensors" not in fetched_paths(hub)


@pytest.mark.parametrize("content", [b"longer" + WEIGHTS, WEIGHTS[:-1] + b"!"])
def test_weights_that_the_manifest_does_not_list_are_never_fetched(hub: LocalHub, folder: Path, content: bytes) -> None:
    published(hub, folder).put({"model.safetensors": content})
    with pytest.raises(HubError, match=r"model\.safetensors is not the file that manifest\.json lists"):
        fetch("ann/bags")
    assert fetched_paths(hub) == [MANIFEST]


def test_a_listed_file_that_is_missing_is_named(hub: LocalHub, folder: Path) -> None:
    published(hub, folder).put({"recipe.yaml": None})
    with pytest.raises(HubError, match=r"recipe\.yaml is listed in manifest\.json and is not there.*push again"):
        fetch("ann/bags")


def test_a_card_may_be_edited_or_deleted_on_the_website(hub: LocalHub, folder: Path) -> None:
    repo = published(hub, folder)
    repo.put({"README.md": "# My own words\n"})
    found = fetch("ann/bags")
    assert (found.folder / "README.md").read_text() == "# My own words\n"
    assert found.manifest.files["README.md"].sha256 == hashlib.sha256(b"# My own words\n").hexdigest()
    repo.put({"README.md": None})
    assert "README.md" not in fetch("ann/bags").manifest.files


def test_a_folder_of_another_kind_is_refused(hub: LocalHub, folder: Path, tmp_path: Path) -> None:
    hub.create("ann/index", content_of(folder_of(tmp_path / "index", {"index.json": b"{}"}, kind="index")))
    with pytest.raises(ModelError, match="kind 'index', and a 'model' was asked for"):
        fetch("ann/index")


MANIFESTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a path that leads out": (lambda m: m["files"].update({"../evil": m["files"]["config.json"]}), "not a plain path"),
    "an absolute path": (lambda m: m["files"].update({"/etc/x": m["files"]["config.json"]}), "not a plain path"),
    "one file under two names": (
        lambda m: m["files"].update({"CONFIG.json": m["files"]["config.json"]}),
        "one file on systems that ignore case",
    ),
    "itself": (lambda m: m["files"].update({MANIFEST: m["files"]["config.json"]}), "one file on systems"),
    "a negative size": (lambda m: m["files"]["config.json"].update(bytes=-1), "not a manifest"),
    "another size": (lambda m: m["files"]["config.json"].update(bytes=5), "is not the file that"),
    "another hash": (lambda m: m["files"]["model.safetensors"].update(sha256="0" * 64), "is not the file that"),
    "another hash of a small file": (
        lambda m: m["files"]["config.json"].update(sha256="0" * 64),
        "is not the file that",
    ),
    "a config without end": (lambda m: m["files"]["config.json"].update(bytes=10**12), "which no text has"),
    "files without end": (
        lambda m: m["files"].update({f"f{n}": m["files"]["config.json"] for n in range(10_001)}),
        "10,005 files",
    ),
    "another format": (lambda m: m.update(format="fashreg-folder/9"), "has the format"),
    "no list": (lambda m: m.update(files=[]), "not a manifest"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_that_lies_is_refused_before_the_weights(hub: LocalHub, folder: Path, name: str) -> None:
    change, said = MANIFESTS[name]
    with_manifest(folder, change)
    published(hub, folder)
    with pytest.raises((HubError, ModelError), match=said):
        fetch("ann/bags")
    assert "model.safetensors" not in fetched_paths(hub)


def test_a_manifest_of_megabytes_is_not_fetched(hub: LocalHub, folder: Path) -> None:
    published(hub, folder).put({MANIFEST: b" " * (5 * 2**20)})
    with pytest.raises(HubError, match="5,242,880 bytes, which no manifest has"):
        fetch("ann/bags")
    assert fetched_paths(hub) == []


def test_weights_that_do_not_fit_on_the_disk_are_not_begun(
    hub: LocalHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(hub, folder)
    monkeypatch.setattr("fashreg.hub.fetch.shutil.disk_usage", lambda p: type("D", (), {"free": 1000}))
    with pytest.raises(HubError, match=r"needs 300,000 bytes more and .* has 1,000 left"):
        fetch("ann/bags")
    assert "model.safetensors" not in fetched_paths(hub)


def test_a_link_of_git_comes_as_the_text_that_it_is(hub: LocalHub, folder: Path) -> None:
    (folder / "recipe.yaml").write_bytes(b"../../../../etc/passwd")
    write_manifest(folder, "model")
    published(hub, folder)
    assert (fetch("ann/bags").folder / "recipe.yaml").read_bytes() == b"../../../../etc/passwd"
