"""Looking around: list, show, doctor, recipes, schema."""

from __future__ import annotations

import json

import pytest

from fashreg.interfaces import KINDS


def test_list_json_is_a_list_of_objects_with_kind_name_plugin_version(fashreg) -> None:
    rows = json.loads(fashreg("list", "--json").out)
    assert {r["kind"] for r in rows} == set(KINDS)
    assert all({"kind", "name", "plugin", "version"} <= set(r) for r in rows)
    only = json.loads(fashreg("list", "loss", "--json").out)
    assert {r["kind"] for r in only} == {"loss"}


@pytest.mark.parametrize("arguments", [("list",), ("list", "memory"), ("recipes",)])
def test_tables_are_for_people(fashreg, arguments) -> None:
    done = fashreg(*arguments)
    assert done.status == 0
    assert done.out.strip()


def test_show_gives_types_defaults_meaning_and_paper(fashreg) -> None:
    shown = json.loads(fashreg("show", "loss", "proxy-anchor", "--json").out)
    assert shown["sources"]
    assert all(o["meaning"] and o["type"] for o in shown["options"])
    text = fashreg("show", "memory", "xbm").out
    assert "capacity" in text
    assert "Source:" in text


def test_doctor_is_well_on_a_sound_installation(fashreg) -> None:
    report = json.loads(fashreg("doctor", "--json").out)
    assert [c for c in report["components"] if c["problem"]] == []
    assert report["healthy"] is True
    assert report["libraries"]["torch"]


def test_doctor_names_what_is_broken_and_leaves_status_1(fashreg, fake_plugin) -> None:
    fake_plugin("fashreg-bad", {"fashreg.loss": {"bad": "fashreg_bad:Bad"}}, "import missing_library")
    fake_plugin("fashreg-hook", {"fashreg": {"hooks": "fashreg_hook"}}, "1 / 0")
    done = fashreg("doctor")
    assert done.status == 1
    assert "missing_library" in done.out
    assert "ZeroDivisionError" in done.out


def test_two_plugins_with_one_name_are_listed_by_their_qualified_spelling(fashreg, fake_plugin) -> None:
    for name in ("fashreg-a", "fashreg-b"):
        fake_plugin(name, {"fashreg.loss": {"same": f"{name.replace('-', '_')}:X"}}, "class X: pass")
    out = fashreg("list", "loss").out
    assert "fashreg-a:same" in out
    assert "fashreg-b:same" in out


def test_schema_is_json_schema_of_the_recipe(fashreg) -> None:
    schema = json.loads(fashreg("schema").out)
    assert {"data", "backbone", "trainer"} <= set(schema["properties"])


def test_plugins_option_narrows_what_is_seen(fashreg, fake_plugin, monkeypatch) -> None:
    monkeypatch.setenv("FASHREG_PLUGINS", "")  # restored at the end of the test
    fake_plugin("fashreg-a", {"fashreg.loss": {"mine": "fashreg_a:X"}}, "class X: pass")
    assert "mine" not in fashreg("--plugins", "", "list", "loss").out
    assert "mine" in fashreg("--plugins", "fashreg-a", "list", "loss").out
