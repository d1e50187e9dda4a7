"""Several who push at once, readers meanwhile, and whoever is killed: what Hub and disk hold is always whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from small_folders import is_whole, small_folder, weights

from fashreg.errors import HubConflictError
from fashreg.hub import push as pushing
from fashreg.hub.pull import pull
from fashreg.hub.push import Pushed, push
from fashreg.testing.local_hub import LocalHub

REPO = "ann/shirts"


def value_of(files: dict[str, bytes]) -> float:
    """The value that config and weights agree on."""
    value = float(json.loads(files["config.json"])["value"])
    assert files["model.safetensors"] == weights(value)
    return value


def all_at_once(monkeypatch: pytest.MonkeyPatch, folders: list[Path], token: str) -> list[Pushed | Exception]:
    """Push every folder from a thread of its own; all of them have seen the same commit before the first one writes."""
    seen, listed = threading.Barrier(len(folders), timeout=30), pushing.list_files
    first = threading.local()

    def together(*arguments: object) -> object:
        found = listed(*arguments)  # type: ignore[arg-type]
        if not hasattr(first, "done"):
            first.done = True
            seen.wait()
        return found

    def one(folder: Path) -> Pushed | Exception:
        try:
            return push(folder, REPO, token=token)
        except HubConflictError as error:
            return error

    with monkeypatch.context() as patch, ThreadPoolExecutor(len(folders)) as pool:
        patch.setattr(pushing, "list_files", together)
        return list(pool.map(one, folders))


def test_of_those_who_push_at_once_one_wins_and_the_others_are_told(
    hub: LocalHub, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(small_folder(tmp_path / "0"), REPO, token=token)
    folders = [small_folder(tmp_path / str(n), value=float(n)) for n in range(2, 7)]
    results = all_at_once(monkeypatch, folders, token)
    (winner,) = [n for n, done in enumerate(results) if isinstance(done, Pushed)]
    for lost in (done for done in results if isinstance(done, HubConflictError)):
        assert "somebody else pushed meanwhile. Nothing was written" in str(lost)
        assert (lost.repo, lost.status) == (REPO, 412)
    assert len(hub.repo(REPO).commits()) == 3
    assert value_of(hub.repo(REPO).files()) == winner + 2


def test_whoever_lost_pushes_again(hub: LocalHub, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    push(small_folder(tmp_path / "0"), REPO, token=token)
    folders = [small_folder(tmp_path / "a", value=2.0), small_folder(tmp_path / "i", "index")]
    results = all_at_once(monkeypatch, folders, token)
    assert sum(isinstance(done, Pushed) for done in results) == 1
    for folder, done in zip(folders, results, strict=True):
        if not isinstance(done, Pushed):
            push(folder, REPO, token=token)
    files = hub.repo(REPO).files()
    assert value_of(files) == 2.0
    assert is_whole(files, "index", tmp_path / "desk")


def test_two_who_push_the_same_both_succeed(
    hub: LocalHub, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(small_folder(tmp_path / "0"), REPO, token=token)
    folders = [small_folder(tmp_path / str(n), value=5.0) for n in (1, 2)]
    results = all_at_once(monkeypatch, folders, token)
    assert {done.commit for done in results if isinstance(done, Pushed)} == {hub.repo(REPO).head}
    assert len(hub.repo(REPO).commits()) == 3


def test_two_who_make_the_repository_at_once_leave_it_whole(
    hub: LocalHub, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [small_folder(tmp_path / str(n), value=float(n)) for n in (1, 2)]
    results = all_at_once(monkeypatch, folders, token)
    assert sum(isinstance(done, Pushed) for done in results) == 1
    assert is_whole(hub.repo(REPO).files(), "", tmp_path / "desk")


def test_who_pulls_while_others_push_gets_one_whole_version(hub: LocalHub, token: str, tmp_path: Path) -> None:
    push(small_folder(tmp_path / "0"), REPO, token=token)
    done, found = threading.Event(), []

    def read() -> None:
        while not done.is_set():
            out = pull(REPO, tmp_path / "out", token=token)
            found.append(value_of({path.name: path.read_bytes() for path in out.iterdir()}))

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        try:
            for number in range(2, 14):
                push(small_folder(tmp_path / "m", value=float(number)), REPO, token=token)
        finally:
            done.set()
        reader.result(timeout=30)
    assert found == sorted(found)
    assert len(set(found)) > 1


# ---- kill -9 ----

KILLED = """
import os, random, shutil, signal, sys, time
from pathlib import Path
from fashreg.hub.pull import pull
from fashreg.hub.push import push
from fashreg.manifest import verify_folder
from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_url, try_to_load_from_cache
from small_folders import small_folder, weights
desk, kills = Path(sys.argv[1]), int(sys.argv[2])
heard, ready = os.pipe()

def kill_one(work, moment):
    \"\"\"Kill a process at work, up to 1.6 times `moment` after it began; None: it does two rounds.\"\"\"
    child = os.fork()
    if child == 0:
        try:
            HfApi().whoami()
            os.write(ready, b"x")
            rounds = 0
            while moment or rounds < 2:
                work(rounds)
                rounds += 1
        except BaseException as error:
            print(type(error).__name__, error, file=sys.stderr, flush=True)
        os._exit(1)
    os.read(heard, 1)
    began = time.monotonic()
    if moment:
        time.sleep(random.uniform(0.0, 1.6 * moment))
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or not moment, "what was to be killed failed by itself"
    return (time.monotonic() - began) / 2
"""

PUSHING = (
    KILLED
    + """
folders = [small_folder(desk / str(n), value=float(n)) for n in range(20)]

def work(number):
    push(folders[(turn + number) % 20], "ann/shirts")

turn = 0
lasts = kill_one(work, None)
for turn in range(kills):
    kill_one(work, lasts)
push(small_folder(desk / "last", value=-1.0), "ann/shirts")
"""
)

PULLING = (
    KILLED
    + """
out, cache = desk / "place" / "out", desk / "cache"

def work(number):
    pull(f"ann/shirts@v{number % 2 + 1}", out, cache_dir=cache)

lasts = kill_one(work, None)
for turn in range(kills):
    if turn % 3 == 0:
        shutil.rmtree(cache, ignore_errors=True)
    kill_one(work, lasts)
    verify_folder(out, kind="model")
    assert (out / "model.safetensors").read_bytes() in (weights(1.0, 50_000), weights(2.0, 50_000))
work(0)
assert (out / "model.safetensors").read_bytes() == weights(1.0, 50_000)
print(*sorted(path.name for path in out.parent.iterdir()))
"""
)


def killing(code: str, desk: Path, monkeypatch: pytest.MonkeyPatch, token: str, kills: int) -> str:
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    command = [sys.executable, "-c", code, str(desk), str(kills)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_kill_9_while_pushing_leaves_every_revision_whole_a_hundred_times(
    hub: LocalHub, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killing(PUSHING, tmp_path / "desk", monkeypatch, token, 100)
    commits = [commit.id for commit in hub.repo(REPO).commits()][:-1]  # the Hub made the first one itself
    for commit in commits:
        assert is_whole(hub.repo(REPO).files(commit), "", tmp_path / "look")
        value_of(hub.repo(REPO).files(commit))
    assert value_of(hub.repo(REPO).files()) == -1.0
    begun = sum(request.path.endswith("/preupload/main") for request, _ in hub.requests)
    assert begun > len(commits) > 5, "some were killed between their first word and their commit"


def test_kill_9_while_pulling_leaves_a_whole_folder_a_hundred_times(
    hub: LocalHub, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        folder = small_folder(tmp_path / "m", value=float(number), model__safetensors=weights(float(number), 50_000))
        hub.repo(REPO).tags[f"v{number}"] = push(folder, REPO, token=token).commit
    assert killing(PULLING, tmp_path / "desk", monkeypatch, token, 100).split() == ["out"]
