"""Discovery: metadata only, broken plugins kept apart, names never replaced."""

from __future__ import annotations

import pytest

from fashreg import installed, registry
from fashreg.errors import AmbiguousNameError, ComponentError, PluginError, UnknownComponentError

GOOD = "class Good:\n    '''A loss.'''\n    def __init__(self, margin: float = 0.5):\n        self.margin = margin\n"


def loss(target: str, name: str = "good") -> dict[str, dict[str, str]]:
    return {"fashreg.loss": {name: target}}


def test_builtins_come_through_the_same_door_as_plugins() -> None:
    entry = registry.find("loss", "contrastive")
    assert (entry.plugin, entry.target) == ("fashreg", "fashreg.losses.contrastive:ContrastiveLoss")


def test_an_installed_plugin_is_found_and_its_class_loaded(fake_plugin) -> None:
    fake_plugin("fashreg-a", loss("fashreg_a:Good"), GOOD)
    assert registry.find_class("loss", "good").__name__ == "Good"
    assert registry.find_class("loss", "fashreg-a:good") is registry.find_class("loss", "good")
    assert registry.find_class("loss", "Fashreg_A:good").__name__ == "Good"


def test_listing_imports_no_plugin_and_no_torch(fake_plugin, python) -> None:
    fake_plugin("fashreg-a", loss("fashreg_a:Good"), "raise SystemExit('imported')")
    done = python("import sys, fashreg.registry as r; print(len(r.entries('loss')), sorted(sys.modules))")
    assert done.returncode == 0, done.stderr
    assert "fashreg_a" not in done.stdout
    for heavy in ("'torch'", "'pydantic'", "'timm'", "'pandas'"):
        assert heavy not in done.stdout


def test_a_misspelt_name_gets_the_nearest_one() -> None:
    with pytest.raises(UnknownComponentError, match="did you mean 'contrastive'") as caught:
        registry.find("loss", "contrastve")
    assert caught.value.near[0] == "contrastive"


def test_a_misspelt_kind_gets_the_nearest_one() -> None:
    with pytest.raises(UnknownComponentError, match="did you mean 'loss'"):
        registry.entries("los")


def test_a_known_plugin_that_is_not_installed_is_named_with_its_pip_command(monkeypatch) -> None:
    monkeypatch.setenv("FASHREG_PLUGINS", "")
    with pytest.raises(UnknownComponentError, match="pip install fashreg-lite0"):
        registry.find("backbone", "lite0")


def test_a_name_of_another_kind_says_so() -> None:
    with pytest.raises(UnknownComponentError, match="'xbm' is a memory"):
        registry.find("loss", "xbm")


def test_two_plugins_with_one_name_are_refused_bare_and_work_qualified(fake_plugin) -> None:
    fake_plugin("fashreg-a", loss("fashreg_a:Good"), GOOD)
    fake_plugin("fashreg-b", loss("fashreg_b:Good"), GOOD)
    with pytest.raises(AmbiguousNameError, match="fashreg-a:good, fashreg-b:good"):
        registry.find("loss", "good")
    assert registry.find_class("loss", "fashreg-b:good").__module__ == "fashreg_b"


def test_a_plugin_cannot_replace_a_builtin(fake_plugin) -> None:
    fake_plugin("fashreg-a", loss("fashreg_a:Good", "contrastive"), GOOD)
    with pytest.raises(AmbiguousNameError, match="fashreg-a:contrastive"):
        registry.find("loss", "contrastive")
    assert registry.find("loss", "fashreg:contrastive").plugin == "fashreg"


@pytest.mark.parametrize(
    ("code", "target", "requires", "cause"),
    [
        ("import no_such_module", "{m}:Good", "fashreg>=0.1", "No module named 'no_such_module'"),
        ("raise SystemExit(3)", "{m}:Good", "fashreg>=0.1", "SystemExit"),
        ("1/0", "{m}:Good", "fashreg>=0.1", "ZeroDivisionError"),
        (GOOD, "{m}:Better", "fashreg>=0.1", "no class 'Better'"),
        (GOOD, "{m}", "fashreg>=0.1", "not of the form package.module:Class"),
        (GOOD, "{m}:Good", "fashreg>=7", "it needs fashreg >=7"),
        (GOOD, "{m}:Good", "fashreg>=>7", "cannot be read"),
    ],
)
def test_a_broken_plugin_is_named_with_its_cause(fake_plugin, code, target, requires, cause) -> None:
    fake_plugin("fashreg-bad", loss(target.format(m="fashreg_bad"), "bad"), code, requires=requires)
    with pytest.raises(PluginError, match=cause) as caught:
        registry.find_class("loss", "bad")
    assert caught.value.plugin == "fashreg-bad"


def test_an_unfit_plugin_is_refused_before_it_is_imported(fake_plugin, python) -> None:
    fake_plugin("fashreg-old", loss("fashreg_old:Good"), "print('imported')\n" + GOOD, requires="fashreg<0.1")
    done = python("import fashreg.registry as r; r.find_class('loss', 'good')")
    assert "imported" not in done.stdout
    assert "it needs fashreg <0.1" in done.stderr


def test_a_kind_this_core_does_not_know_is_a_problem_of_that_plugin_alone(fake_plugin) -> None:
    fake_plugin("fashreg-future", {"fashreg.tokenizer": {"x": "fashreg_future:X"}})
    problems = [e.problem for e in registry.entries() if e.plugin == "fashreg-future"]
    assert problems == ["there is no kind 'tokenizer' in this core"]
    assert registry.find("loss", "contrastive")


def test_the_first_of_two_equal_distributions_on_the_path_counts(fake_plugin, tmp_path, monkeypatch) -> None:
    fake_plugin("fashreg-a", loss("fashreg_a:Good"), GOOD, version="2.0")
    second = tmp_path / "later" / "fashreg_a-1.0.dist-info"
    second.mkdir(parents=True)
    (second / "METADATA").write_text("Metadata-Version: 2.1\nName: fashreg-a\nVersion: 1.0\n")
    (second / "entry_points.txt").write_text("[fashreg.loss]\ngood = fashreg_a:Good\n")
    import sys

    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "later")])
    installed.scan.cache_clear()
    assert registry.find("loss", "good").version == "2.0"


def test_the_environment_narrows_what_is_seen(fake_plugin, monkeypatch) -> None:
    fake_plugin("fashreg-a", loss("fashreg_a:Good"), GOOD)
    fake_plugin("fashreg-b", loss("fashreg_b:Good"), GOOD)
    monkeypatch.setenv("FASHREG_PLUGINS", "fashreg-b")
    assert registry.find("loss", "good").plugin == "fashreg-b"
    monkeypatch.setenv("FASHREG_PLUGINS", "")
    with pytest.raises(UnknownComponentError, match="narrows what is seen"):
        registry.find("loss", "good")
    assert registry.find("loss", "contrastive").plugin == "fashreg"


def test_a_recipe_narrows_what_is_seen_and_names_what_is_not_installed(fake_plugin) -> None:
    fake_plugin("fashreg-a", loss("fashreg_a:Good"), GOOD)
    with registry.only([]), pytest.raises(UnknownComponentError):
        registry.find("loss", "good")
    with registry.only(["fashreg-a"]):
        assert registry.find("loss", "good")
    with pytest.raises(ComponentError, match="pip install fashreg-z"), registry.only(["fashreg-z"]):
        pass


def test_with_a_hundred_plugins_some_broken_the_rest_work_and_each_is_explained(fake_plugin, python) -> None:
    faults = {
        3: ("import nothing_there", "fashreg>=0.1", "nothing_there"),
        17: (GOOD, "fashreg>=9", "it needs fashreg"),
        42: ("class Other: pass", "fashreg>=0.1", "no class"),
        77: ("class Good:\n    def __init__(self, *args): pass", "fashreg>=0.1", "cannot be a schema"),
    }
    for i in range(100):
        code, requires, _ = faults.get(i, (GOOD, "fashreg>=0.1", ""))
        name = "twin" if i in (50, 51) else f"good-{i}"
        fake_plugin(f"fashreg-p{i}", loss(f"fashreg_p{i}:Good", name), code, requires=requires)
    done = python(
        "import json; from fashreg.doctor import examine; print(json.dumps(examine().as_dict()))",
    )
    assert done.returncode == 0, done.stderr
    import json

    report = json.loads(done.stdout)
    by_plugin = {c["plugin"]: c["problem"] for c in report["components"] if c["plugin"].startswith("fashreg-p")}
    assert len(by_plugin) == 100
    for i in range(100):
        cause = faults.get(i, ("", "", ""))[2]
        assert (cause in by_plugin[f"fashreg-p{i}"]) if cause else by_plugin[f"fashreg-p{i}"] == ""
    assert report["conflicts"] == {"loss twin": ["fashreg-p50:twin", "fashreg-p51:twin"]}
    assert report["healthy"] is False
