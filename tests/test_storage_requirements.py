"""What a model needs that is not installed: one line, with what to type, before any weight."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fashreg import registry
from fashreg.encoder import Encoder
from fashreg.errors import FashregError, ModelError, OptionError, RequirementError
from fashreg.manifest import write_manifest
from fashreg.storage import load_encoder, save_encoder
from fashreg.testing.tiny_run import SIDE, tiny_encoder

OWN = """
from fashreg.heads.projection import ProjectionHead

class Own(ProjectionHead):
    '''A head.'''
"""
ENTRY = {"fashreg.head": {"own": "fashreg_own:Own"}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_encoder(tiny_encoder(seed=3), tmp_path / "model")


def with_head(folder: Path, **changes: Any) -> Path:
    config = json.loads((folder / "config.json").read_text())
    config["head"].update(changes)
    (folder / "config.json").write_text(json.dumps(config))
    write_manifest(folder, "model")
    return folder


def refusal(folder: Path) -> RequirementError:
    (folder / "model.safetensors").write_bytes(b"never looked at")
    write_manifest(folder, "model")
    with pytest.raises(RequirementError) as caught:
        load_encoder_of(folder)
    return caught.value


def load_encoder_of(folder: Path) -> Encoder:
    """As a repository is opened: what is needed is asked before the weights are read."""
    from fashreg.manifest import read_manifest
    from fashreg.storage import untrained_from

    return untrained_from(read_manifest(folder)).encoder


def test_a_missing_plugin_is_named_with_its_pip_install(folder: Path) -> None:
    error = refusal(with_head(folder, name="own", plugin="fashreg-own", version="1.2.3"))
    assert (
        "needs head 'own' of fashreg-own 1.2.3, which is not installed: pip install --upgrade 'fashreg-own>=1.2'"
        in str(error)
    )
    assert error.needs == ("fashreg-own>=1.2",)


def test_a_stranger_is_not_recommended_and_a_known_plugin_is(folder: Path) -> None:
    assert "look who publishes it first" in str(refusal(with_head(folder, plugin="fashreg-own")))
    config = json.loads((folder / "config.json").read_text())
    config["head"].update(plugin="fashreg")
    config["backbone"].update(name="lite0", plugin="fashreg-lite0", version="0.1.0", config={})
    (folder / "config.json").write_text(json.dumps(config))
    with registry.only([]):
        said = str(refusal(folder))
    assert said.endswith("pip install --upgrade 'fashreg-lite0>=0.1'")


@pytest.mark.parametrize("version", ["1.1.0", "1.2.0", "2.0"])
def test_a_plugin_older_than_the_series_that_made_the_model_is_too_old(fake_plugin, folder: Path, version: str) -> None:
    fake_plugin("fashreg-own", ENTRY, OWN, version="1.0.5")
    error = refusal(with_head(folder, name="own", plugin="fashreg-own", version=version))
    assert f"fashreg-own {version}, and 1.0.5 is installed: pip install --upgrade 'fashreg-own>=" in str(error)
    assert "publishes" not in str(error)


@pytest.mark.parametrize("version", ["1.0.5", "1.0.9", "1.0.0", "0.3", "1.0.dev1", "no version"])
def test_models_of_the_same_or_an_earlier_series_are_read(fake_plugin, folder: Path, version: str) -> None:
    fake_plugin("fashreg-own", ENTRY, OWN, version="1.0.5")
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    vectors = load_encoder(folder).embed(images)
    assert torch.equal(
        load_encoder(with_head(folder, name="own", plugin="fashreg-own", version=version)).embed(images), vectors
    )


def test_a_model_of_a_later_fashreg_names_fashreg(folder: Path) -> None:
    error = refusal(with_head(folder, version="7.3.1"))
    assert str(error).endswith("pip install --upgrade 'fashreg>=7.3'")


def test_a_component_that_came_with_a_later_release_of_the_series_is_named(fake_plugin, folder: Path) -> None:
    fake_plugin("fashreg-own", ENTRY, OWN, version="1.0.5")
    error = refusal(with_head(folder, name="newer", plugin="fashreg-own", version="1.0.7"))
    assert "1.0.5, which is installed, has no such head: pip install --upgrade 'fashreg-own>=1.0.7'" in str(error)


def test_a_plugin_that_does_not_fit_this_core_is_named(fake_plugin, folder: Path) -> None:
    fake_plugin("fashreg-own", ENTRY, OWN, requires="fashreg>=99")
    error = refusal(with_head(folder, name="own", plugin="fashreg-own", version="1.0"))
    assert "cannot be used: it needs fashreg >=99" in str(error)


def test_all_that_is_missing_is_said_at_once(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["backbone"].update(plugin="fashreg-one", version="0.2")
    config["head"].update(plugin="fashreg-two", version="3.4.5")
    (folder / "config.json").write_text(json.dumps(config))
    error = refusal(folder)
    assert "pip install --upgrade 'fashreg-one>=0.2' 'fashreg-two>=3.4'" in str(error)


def test_components_within_components_are_asked_for_too(folder: Path) -> None:
    inner = {"name": "deep", "plugin": "fashreg-deep", "version": "0.5", "config": {}}
    error = refusal(with_head(folder, config={"parts": [{"one": inner}]}))
    assert "needs component 'deep' of fashreg-deep 0.5" in str(error)
    with pytest.raises(ModelError, match="component within a component"):
        load_encoder_of(with_head(folder, config={"parts": [{**inner, "plugin": "$(evil)"}]}))


def test_a_later_release_that_dropped_an_option_says_which_one_reads_it(fake_plugin, folder: Path) -> None:
    fake_plugin("fashreg-own", ENTRY, OWN, version="2.0")
    config = {"out_dim": 8, "in_dim": 256, "sharpness": 3}
    with pytest.raises(OptionError, match=r"no option 'sharpness'.*pip install 'fashreg-own==1\.4\.\*'"):
        load_encoder(with_head(folder, name="own", plugin="fashreg-own", version="1.4.2", config=config))


def test_a_name_that_the_same_release_does_not_have_is_a_mistake_and_not_a_need(folder: Path) -> None:
    with pytest.raises(FashregError, match="did you mean 'projection'"):
        load_encoder(with_head(folder, name="projektion"))


def test_plugins_that_the_environment_hides_are_mentioned(
    fake_plugin, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_plugin("fashreg-own", ENTRY, OWN, version="1.0")
    monkeypatch.setenv("FASHREG_PLUGINS", "")
    assert "FASHREG_PLUGINS='' narrows" in str(refusal(with_head(folder, name="own", plugin="fashreg-own")))


@pytest.mark.parametrize("evil", ["x; rm -rf /", "-r https://evil", "a b", "Fashreg", "../x", "x>=1", "", 3, None])
def test_no_name_of_a_stranger_gets_into_a_line_to_type(folder: Path, evil: Any) -> None:
    with pytest.raises(ModelError, match=r"head\.plugin"):
        load_encoder(with_head(folder, plugin=evil))


@pytest.mark.parametrize("evil", ["1.0; rm -rf /", "1.0'", "$(x)", "\x1b[2J"])
def test_no_version_of_a_stranger_gets_into_a_line_to_type(folder: Path, evil: str) -> None:
    said = str(refusal(with_head(folder, plugin="fashreg-own", version=evil)))
    assert "pip install --upgrade fashreg-own (" in said
