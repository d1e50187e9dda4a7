import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fashreg import folder_swap
from fashreg import manifest as m
from fashreg.errors import BusyError, ModelError
from fashreg.folder_lock import lock_folder
from fashreg.formats import newer_format_hint
from fashreg.strict_json import read_json, write_json


def write(folder, **files):
    with m.write_folder_atomically(folder, kind="model") as fresh:
        for name, text in files.items():
            (fresh / name).write_text(text)


def content(folder):
    return {p.name: p.read_text() for p in folder.iterdir() if p.name != m.MANIFEST}


def siblings(folder):
    return [p.name for p in folder.parent.iterdir() if p != folder]


def test_a_written_folder_is_verified_and_gives_its_files(tmp_path):
    write(tmp_path / "deep" / "a", x="1", y="22")
    found = m.verify_folder(tmp_path / "deep" / "a", kind="model")
    assert found.files["y"].bytes == 2
    assert found.path("x").read_text() == "1"
    assert siblings(tmp_path / "deep" / "a") == []


def test_sub_folders_are_listed_with_forward_slashes(tmp_path):
    with m.write_folder_atomically(tmp_path / "a", kind="run") as fresh:
        (fresh / "sub").mkdir()
        (fresh / "sub" / "x").write_bytes(b"")
    assert list(m.verify_folder(tmp_path / "a").files) == ["sub/x"]


def test_replacing_gives_exactly_the_new_files(tmp_path):
    write(tmp_path / "a", x="1", old="o")
    write(tmp_path / "a", x="2")
    assert content(tmp_path / "a") == {"x": "2"}
    assert siblings(tmp_path / "a") == []


def test_replacing_works_where_the_system_has_no_exchange(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_swap, "_exchange", lambda one, other: False)
    write(tmp_path / "a", x="1")
    write(tmp_path / "a", x="2")
    assert content(tmp_path / "a") == {"x": "2"}
    assert siblings(tmp_path / "a") == []


def test_a_symbolic_link_is_followed_and_stays_a_link(tmp_path):
    write(tmp_path / "real", x="1")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write(tmp_path / "link", x="2")
    assert (tmp_path / "link").is_symlink()
    assert content(tmp_path / "real") == {"x": "2"}


def test_an_exception_leaves_the_old_folder(tmp_path):
    write(tmp_path / "a", x="1")
    with pytest.raises(TypeError):
        write(tmp_path / "a", x="2", y=None)
    assert content(tmp_path / "a") == {"x": "1"}
    assert siblings(tmp_path / "a") == []
    m.verify_folder(tmp_path / "a")


KILLED = """
import os, signal, sys
from pathlib import Path
from fashreg import manifest as m
def stop(*_): os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] != "inside":
    setattr(m, sys.argv[2], stop)
with m.write_folder_atomically(Path(sys.argv[1]), kind="model") as fresh:
    (fresh / "x").write_text("2")
    if sys.argv[2] == "inside":
        stop()
"""


@pytest.mark.parametrize("moment", ["inside", "write_manifest", "sync_tree", "swap_in"])
def test_kill_9_at_any_moment_leaves_the_old_folder_whole(tmp_path, moment):
    write(tmp_path / "a", x="1")
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "a"), moment])
    assert done.returncode == -signal.SIGKILL
    assert content(tmp_path / "a") == {"x": "1"}
    m.verify_folder(tmp_path / "a")
    write(tmp_path / "a", x="3")  # the next writer is not hindered and clears away what was left
    assert content(tmp_path / "a") == {"x": "3"}
    assert siblings(tmp_path / "a") == []


def test_a_writer_killed_between_two_renames_loses_nothing(tmp_path):
    write(tmp_path / "a", x="1")
    (tmp_path / "a").rename(tmp_path / ".a.old-1234")
    with pytest.raises(ModelError, match=r"rename it back"):
        m.verify_folder(tmp_path / "a")
    with pytest.raises(KeyError), m.write_folder_atomically(tmp_path / "a", kind="model"):
        raise KeyError
    assert content(tmp_path / "a") == {"x": "1"}


def test_a_failing_second_rename_puts_the_old_folder_back(tmp_path, monkeypatch):
    write(tmp_path / "a", x="1")
    monkeypatch.setattr(folder_swap, "_exchange", lambda one, other: False)
    rename = m.Path.rename

    def fails(self, target):
        if ".new-" in self.name:
            raise OSError("no")
        return rename(self, target)

    monkeypatch.setattr(m.Path, "rename", fails)
    with pytest.raises(OSError, match="no"):
        write(tmp_path / "a", x="2")
    assert content(tmp_path / "a") == {"x": "1"}


def test_two_writers_of_one_folder_are_told(tmp_path):
    with m.write_folder_atomically(tmp_path / "a", kind="model") as fresh:
        (fresh / "x").write_text("1")
        with pytest.raises(BusyError, match="another process"):
            write(tmp_path / "a", x="2")
    assert content(tmp_path / "a") == {"x": "1"}


def test_the_lock_ends_with_its_holder_and_leaves_no_file(tmp_path):
    with lock_folder(tmp_path / "a"), lock_folder(tmp_path / "b"):
        pass
    with lock_folder(tmp_path / "a"):
        assert os.listdir(tmp_path) == [".a.lock"]
    assert os.listdir(tmp_path) == []


def test_a_folder_of_somebody_else_is_never_replaced(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").write_text("dear")
    with pytest.raises(ModelError, match="not written by fashreg"):
        write(tmp_path / "photos", x="1")
    assert content(tmp_path / "photos") == {"me.jpg": "dear"}
    with pytest.raises(ModelError, match="is a file"):
        write(tmp_path / "photos" / "me.jpg", x="1")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="file/a cannot be written"):
        write(tmp_path / "file" / "a", x="1")
    with pytest.raises(ModelError, match="cannot be written"), lock_folder(tmp_path / "nowhere" / "a"):
        pass


def test_a_strange_file_in_our_folder_is_never_lost(tmp_path):
    write(tmp_path / "a", x="1")
    (tmp_path / "a" / "notes.txt").write_text("mine")
    with pytest.raises(ModelError, match=r"notes\.txt"):
        write(tmp_path / "a", x="2")
    assert content(tmp_path / "a") == {"x": "1", "notes.txt": "mine"}


def test_an_empty_folder_is_taken_and_replace_false_keeps_a_full_one(tmp_path):
    (tmp_path / "a").mkdir()
    write(tmp_path / "a", x="1")
    with pytest.raises(ModelError, match="exists"), m.write_folder_atomically(tmp_path / "a", kind="m", replace=False):
        pass
    assert content(tmp_path / "a") == {"x": "1"}


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda a: (a / "x").unlink(), "x is missing"),
        (lambda a: (a / "x").write_text("123"), "3 bytes and .* 4"),
        (lambda a: (a / "x").write_text("1235"), "changed after"),
        (lambda a: (a / m.MANIFEST).unlink(), "has no manifest"),
        (lambda a: (a / m.MANIFEST).write_text("{"), "cannot be read"),
        (lambda a: (a / m.MANIFEST).write_text("[]"), "not a manifest"),
        (lambda a: (a / m.MANIFEST).write_text('{"format": "other/9"}'), "other/9"),
        (lambda a: (a / m.MANIFEST).write_bytes(b"\xff\xfe"), "cannot be read"),
    ],
)
def test_every_damage_is_named(tmp_path, harm, says):
    write(tmp_path / "a", x="1234")
    harm(tmp_path / "a")
    with pytest.raises(ModelError, match=says) as caught:
        m.verify_folder(tmp_path / "a")
    assert str(tmp_path / "a") in str(caught.value)


def test_another_kind_and_an_unlisted_file_are_refused(tmp_path):
    write(tmp_path / "a", x="1")
    with pytest.raises(ModelError, match="'model', and a 'index'"):
        m.verify_folder(tmp_path / "a", kind="index")
    (tmp_path / "a" / "extra").write_text("")
    with pytest.raises(ModelError, match="holds no extra"):
        m.verify_folder(tmp_path / "a").path("extra")
    with pytest.raises(ModelError, match="no folder"):
        m.verify_folder(tmp_path / "nowhere")


BAD = ["", ".", "..", "../x", "a/../x", "/x", "a//b", "a/", "C:x", "C:\\x", "\\\\host\\x", "a\\b", "a\x00b", "a\nb",
       "x.", "x ", "con", "NUL.txt", "a/COM1", "a*", "x" * 256, None, 3]  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_names_that_leave_the_folder_or_no_system_holds_are_refused(name):
    with pytest.raises(ModelError, match="plain path"):
        m.checked_name(name)


@pytest.mark.parametrize("name", ["x", "config.json", "a/b/c.txt", ".hidden", "con2", "größe.txt", "a b"])
def test_plain_names_are_taken(name):
    assert m.checked_name(name) == name


@given(st.text())
def test_a_taken_name_always_stays_inside(name):
    try:
        m.checked_name(name)
    except ModelError:
        return
    inside = os.path.normpath(os.path.join("/folder", name))
    assert inside == "/folder/" + name


@pytest.mark.parametrize("record", [{}, {"bytes": -1, "sha256": "0" * 64}, {"bytes": True, "sha256": "0" * 64}, 3,
                                    {"bytes": 1, "sha256": "G" * 64}, {"bytes": 1.0, "sha256": "0" * 64}])  # fmt: skip
def test_an_impossible_record_is_refused(tmp_path, record):
    write(tmp_path / "a", x="1")
    listed = {"format": "fashreg-folder/1", "kind": "model", "files": {"x": record}}
    (tmp_path / "a" / m.MANIFEST).write_text(json.dumps(listed))
    with pytest.raises(ModelError, match="not a manifest"):
        m.read_manifest(tmp_path / "a")


@pytest.mark.parametrize("names", [["../x"], ["x", "X"], [m.MANIFEST]])
def test_a_manifest_with_hostile_names_is_refused(tmp_path, names):
    write(tmp_path / "a", x="1")
    record = {"bytes": 1, "sha256": "0" * 64}
    listed = {"format": "fashreg-folder/1", "kind": "model", "files": dict.fromkeys(names, record)}
    (tmp_path / "a" / m.MANIFEST).write_text(json.dumps(listed))
    with pytest.raises(ModelError):
        m.read_manifest(tmp_path / "a")


@pytest.mark.parametrize(
    "text", ['{"a": 1, "a": 2}', '{"a": NaN}', '{"a": -Infinity}', '{"a": 1e999}', "", "{} {}", "[" * 99999]
)
def test_json_is_read_strictly(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ModelError, match=r"x\.json cannot be read"):
        read_json(tmp_path / "x.json")


def test_json_survives_the_round_trip_and_has_a_size_limit(tmp_path):
    write_json(tmp_path / "x.json", {"größe": [1, 0.5, None]})
    assert read_json(tmp_path / "x.json") == {"größe": [1, 0.5, None]}
    with pytest.raises(ModelError, match="larger than 4 bytes"):
        read_json(tmp_path / "x.json", max_bytes=4)
    with pytest.raises(ModelError, match="missing"):
        read_json(tmp_path / "y.json")
    with pytest.raises(ValueError):
        write_json(tmp_path / "x.json", float("nan"))


def test_reading_manifests_needs_no_torch():
    code = "import sys, fashreg.manifest; assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_folder_of_another_kind_is_never_replaced(tmp_path):
    write(tmp_path / "a", x="1")
    with (
        pytest.raises(ModelError, match="fashreg model, which the new index must not replace"),
        m.write_folder_atomically(tmp_path / "a", kind="index"),
    ):
        pass
    assert content(tmp_path / "a") == {"x": "1"}


@pytest.mark.parametrize("harm", [lambda p: p.write_text("by hand"), lambda p: p.unlink()])
def test_people_may_edit_the_card_and_nothing_else(tmp_path, harm):
    write(tmp_path / "a", **{"README.md": "made", "x": "1"})
    harm(tmp_path / "a" / "README.md")
    assert set(m.verify_folder(tmp_path / "a").files) == {"README.md", "x"}
    with pytest.raises(ModelError, match=r"README\.md"):
        m.verify_folder(tmp_path / "a", names=("README.md",))
    write(tmp_path / "a", x="2")
    assert content(tmp_path / "a") == {"x": "2"}


def test_a_newer_format_says_what_to_type(tmp_path):
    write(tmp_path / "a", x="1")
    (tmp_path / "a" / m.MANIFEST).write_text('{"format": "fashreg-folder/2", "kind": "model"}')
    with pytest.raises(ModelError, match=r"newer fashreg: pip install --upgrade fashreg$"):
        m.read_manifest(tmp_path / "a")


@pytest.mark.parametrize(
    ("found", "by", "says"),
    [
        ("x/3", "1.2", "; it was written by a newer fashreg: pip install --upgrade 'fashreg>=1.2'"),
        ("x/3", "1.2; rm -rf", "; it was written by a newer fashreg: pip install --upgrade fashreg"),
        ("x/3", None, "; it was written by a newer fashreg: pip install --upgrade fashreg"),
        ("x/2", "9.9", ""),
        ("x/1", "9.9", ""),
        ("y/3", "9.9", ""),
        ("x/three", "9.9", ""),
        (None, "9.9", ""),
    ],
)
def test_only_a_later_number_of_the_same_format_is_called_newer(found, by, says):
    assert newer_format_hint(found, "x/2", by) == says
