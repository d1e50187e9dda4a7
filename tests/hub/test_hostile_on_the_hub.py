"""The hostile folders again, as repositories: fetched, pulled and loaded by name. No refusal leaves a part behind."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile import CASES, manifests
from hostile.opening import open_folder
from hostile.workshop import Hostile, Workshop, pickle_of

from fashreg.errors import FashregError, HubError, ModelError
from fashreg.hub.fetch import fetch
from fashreg.manifest import MANIFEST
from fashreg.storage.loading import load, pull_folder
from fashreg.testing.local_hub import LocalHub, client_of

SERVED = [case for case in CASES if case.name not in manifests.ONLY_HERE][::2]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    """One local Hub for all, as the cases do not meet."""
    with LocalHub() as server, client_of(server, tmp_path_factory.mktemp("home")):
        yield server
    assert server.failures == []


def served(hub: LocalHub, case: Hostile, bases: Path, place: Path, prefix: str = "") -> str:
    """The case as a repository; what its manifest lists is there, under that very name, where the Hub can hold it."""
    shop = Workshop(bases / case.base, place / "made")
    case.change(shop)
    files = {p.relative_to(shop.folder).as_posix(): p.read_bytes() for p in shop.folder.rglob("*") if p.is_file()}
    hub.create("evil/bags", {f"{prefix}{name}": content for name, content in files.items()})
    return "evil/bags"


@pytest.mark.parametrize("case", SERVED, ids=lambda c: ascii(c.name)[1:60])
def test_a_hostile_repository_is_refused_by_name_and_leaves_nothing(
    case: Hostile, hub: LocalHub, bases: Path, tmp_path: Path
) -> None:
    part = {"model": "", "tasks": "", "evaluation": "evaluation"}.get(case.base, "index")
    out, said = tmp_path / "out", ""
    repo = served(hub, case, bases, tmp_path, f"{part}/" if part else "")
    try:
        pull_folder(repo, out, part=part, cache_dir=tmp_path / "cache")
        assert (out / MANIFEST).is_file()
        open_folder(case.base, out)
    except FashregError as error:
        said = str(error)
    finally:
        hub.drop(repo)
    assert bool(said) == bool(case.says), said or "it was opened"
    assert re.search(case.says, said), said
    there = {p.name for p in tmp_path.iterdir()} - {"made", "cache", ".cache.lock"}
    assert there <= {"out"}, there
    assert not out.exists() or (out / MANIFEST).is_file()
    assert "canary_module" not in sys.modules


@pytest.mark.parametrize("case", [c for c in SERVED if c.base in ("model", "tasks")][::4], ids=lambda c: ascii(c.name))
def test_a_hostile_model_is_refused_when_it_is_loaded_by_name(
    case: Hostile, hub: LocalHub, bases: Path, tmp_path: Path
) -> None:
    repo, said = served(hub, case, bases, tmp_path), ""
    try:
        load(repo, cache_dir=tmp_path / "cache")
    except FashregError as error:
        said = str(error)
    finally:
        hub.drop(repo)
    assert bool(said) == (bool(case.says) and not case.name.startswith("recipe")), said or "it was loaded"
    assert re.search(case.says if said else "", said), said


def test_a_model_that_cannot_be_made_is_refused_before_its_weights_come(
    hub: LocalHub, bases: Path, tmp_path: Path
) -> None:
    chosen = [c for c in CASES if c.name in ("a width of a billion", "the head is 'os:system'", "name '../x'")]
    assert len(chosen) == 3
    for case in chosen:
        hub.requests.clear()
        repo = served(hub, case, bases, tmp_path / case.name[:9])
        with pytest.raises(FashregError):
            load(repo, cache_dir=tmp_path / "cache" / case.name[:9])
        hub.drop(repo)
        assert hub.asked(MANIFEST, "GET")
        assert not hub.asked("model.safetensors", "GET")


def test_what_no_manifest_lists_is_never_fetched(hub: LocalHub, bases: Path, tmp_path: Path) -> None:
    strange = {
        "pytorch_model.bin": pickle_of("true"),
        "modeling.py": b"raise SystemExit",
        "../x": b"x",
        "config.py": b"x",
    }
    files = {p.name: p.read_bytes() for p in (bases / "model").iterdir()}
    hub.create("evil/more", {**files, **strange})
    hub.requests.clear()
    load("evil/more", cache_dir=tmp_path)
    asked = {request.path.rpartition("/")[2] for request in hub.asked("/resolve/")}
    assert "model.safetensors" in asked
    assert not asked & {name.rpartition("/")[2] for name in strange}


@pytest.mark.parametrize("part", ["..", "../x", "/etc", "a\\..\\b", "C:", "index/../..", "a//b", "\ud800", "x" * 600])
def test_a_part_that_is_no_folder_of_the_repository_is_refused(part: str, hub: LocalHub, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="part names the file"):
        fetch("evil/bags", part=part, cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    ["../x", "a/b/c", "a/..", "a/.git", "-a/b", "a--b/c", "a/b.git", "https://x/y", "a/b\x00", "a/b@../../x", "a b/c"],
)
def test_a_name_that_the_hub_does_not_have_is_refused_before_anything_is_asked(
    name: str, hub: LocalHub, tmp_path: Path
) -> None:
    hub.requests.clear()
    with pytest.raises((HubError, ModelError)):
        load(name, cache_dir=tmp_path)
    assert hub.requests == []
