"""Hundreds of hostile folders: nothing in them is run, nothing crashes, and every refusal names what is wrong."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from far_index import FAR_INDEX
from hostile import CASES
from hostile.bases import BASES
from hostile.opening import open_folder
from hostile.watching import bounded, watched
from hostile.workshop import Hostile, Workshop, pickle_of

from fashreg.cli import run
from fashreg.errors import FashregError, ModelError
from fashreg.jobs.indexing import load_index
from fashreg.storage import load_encoder


@pytest.mark.parametrize("case", CASES, ids=lambda c: ascii(c.name)[1:60])
def test_a_hostile_folder_is_refused_by_name_and_does_nothing(case: Hostile, bases: Path, tmp_path: Path) -> None:
    shop = Workshop(bases / case.base, tmp_path / "repository")
    case.change(shop)
    said = ""
    with bounded(), watched() as seen:
        try:
            open_folder(case.base, shop.folder)
        except FashregError as error:
            said = str(error)
    assert seen == []
    assert [p.name for p in tmp_path.iterdir()] == ["repository"]
    assert "canary_module" not in sys.modules
    assert bool(said) == bool(case.says), said or "it was opened"
    assert re.search(case.says, said), said
    assert all(letter.isprintable() or letter in "\n\t" for letter in said)
    assert len(said) < 11_000


@pytest.mark.parametrize(
    "model",
    [7, ["x"], {"x": 1}, True, "/nowhere", "../..", "\x00", "a" * 10_000, "a" * 9999 + "/b", "os:system", "file:///x"],
)
def test_the_model_that_an_index_names_is_a_folder_or_a_repository(model: object, bases: Path, tmp_path: Path) -> None:
    shop = Workshop(bases / "exact", tmp_path / "repository")
    shop.json("index.json", lambda about: about["extra"].update(model=model))
    with bounded(), watched() as seen, pytest.raises(FashregError, match=r"model|manifest|repository"):
        load_index(shop.folder)
    assert seen == []


@pytest.mark.parametrize(
    ("allowed", "opens"),
    [("", False), ("http://a:1,db/x.db", True), ("db/*", True), ("*", False), ("http://a:*", False), ("db/x", False)],
)
def test_what_a_folder_would_reach_outside_needs_the_consent_of_the_person(
    allowed: str, opens: bool, bases: Path, tmp_path: Path, fake_plugin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_plugin("fashreg-far", {"fashreg.index": {"far": "fashreg_far:FarIndex"}}, FAR_INDEX)
    shop = Workshop(bases / "exact", tmp_path / "repository")
    spec = {"name": "far", "plugin": "fashreg-far", "version": "1.0", "config": {"uri": "db/x.db", "embed_dim": 4}}
    shop.json("index.json", lambda about: about.update(spec=spec))
    monkeypatch.setenv("FASHREG_REACH", allowed)
    if opens:
        assert open_folder("exact", shop.folder).uri == "db/x.db"
        return
    with pytest.raises(ModelError, match=r"uri='db/x.db', outside of itself.*FASHREG_REACH=db/x.db"):
        open_folder("exact", shop.folder)


def test_the_corpus_is_large_and_touches_every_kind_of_folder() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 500
    assert set(Counter(case.base for case in CASES)) == set(BASES)


def test_the_watch_sees_what_it_is_there_to_see(tmp_path: Path) -> None:
    import pickle
    import socket
    import subprocess

    with watched() as seen:
        pickle.loads(pickle_of("true"))
    assert [s.split()[0] for s in seen] == ["pickle.find_class", "os.system"]
    with watched() as seen:
        (tmp_path / "x").write_text("")
        subprocess.run(["true"], check=True)
        with socket.socket() as one, pytest.raises(OSError):
            one.connect(("127.0.0.1", 9))
        with pytest.raises(ImportError):
            __import__("canary_module")
    assert [s.split()[0] for s in seen] == ["open", "subprocess.Popen", "socket.connect", "import"]


def test_the_bound_on_memory_is_one() -> None:
    with bounded(gibibytes=0.5), pytest.raises(MemoryError):
        bytearray(2**31)


def test_no_letter_of_a_stranger_reaches_the_terminal_that_does_not_show(
    bases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "\x1b[2J\x1b]0;evil\x07\u202egnp.\x9b31m"
    index = Workshop(bases / "exact", tmp_path / "index")
    index.json("index.json", lambda about: about["spec"].update(version=evil))
    own = load_encoder(bases / "model").fingerprint()
    index.json("index.json", lambda about: about.update(model_fingerprint=own, extra={"model": evil}))
    lines = [json.loads(line) for line in (index.folder / "items.jsonl").read_text().splitlines()]
    index.put("items.jsonl", "".join(json.dumps({**line, "label": evil, evil: 1}) + "\n" for line in lines))
    sides = [Workshop(bases / "evaluation", tmp_path / name) for name in ("a", "b")]
    for side in sides:
        side.json("evaluation.json", lambda d: d["metrics"].update({evil: 0.5}))
        side.json("evaluation.json", lambda d: d["protocol"].update(source=evil))
    model = Workshop(bases / "model", tmp_path / "model")
    model.put("README.md", f"---\n{{}}\n---\n{evil}\n")
    model.json("config.json", lambda config: config.update({evil: 1}))
    folder = str(index.folder)
    for command in (
        ["index", "info", folder],
        ["search", folder, "--id", "3", "--model", str(bases / "model")],
        ["compare", str(sides[0].folder), str(sides[1].folder)],
        ["card", str(model.folder)],
        ["evaluate", str(model.folder), "--table", "x.csv"],
        ["search", folder, "--image", "x.jpg"],
    ):
        run(command)
        told = capsys.readouterr()
        strange = {c for c in told.out + told.err if not (c.isprintable() or c in "\n\t")}
        assert strange == set(), command
        assert "\\x1b" in told.out + told.err, command
