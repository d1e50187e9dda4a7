"""An encoder pushed from Python, with the argument names that people know, and read back."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi, ModelHubMixin

import fashreg
from fashreg.encoder import Encoder
from fashreg.errors import HubConflictError, HubError, ModelError
from fashreg.storage import save_encoder
from fashreg.testing.local_hub import LocalHub
from fashreg.testing.tiny_run import SIDE, tiny_encoder

REPO = "ann/shirts"


def pictures() -> torch.Tensor:
    return torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def test_a_pushed_encoder_embeds_to_the_same_bits_wherever_it_is_loaded(
    hub: LocalHub, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = tiny_encoder(seed=3)
    done = encoder.push_to_hub(REPO, token=token, commit_message="by hand", private=True)
    assert hub.repo(REPO).private
    assert hub.repo(REPO).commits()[0].title == "by hand"
    loaded = fashreg.load(REPO, token=token)
    assert torch.equal(loaded.embed(pictures()), encoder.embed(pictures()))
    assert loaded.fingerprint() == encoder.fingerprint()
    monkeypatch.setenv("HF_TOKEN", token)
    code = (
        "import sys, torch, fashreg\ntorch.set_num_threads(1)\n"
        f"images = torch.randn(3, 3, {SIDE}, {SIDE}, generator=torch.Generator().manual_seed(1))\n"
        "print(fashreg.load(sys.argv[1]).embed(images).numpy().tobytes().hex())"
    )
    new = subprocess.run(
        [sys.executable, "-c", code, f"{REPO}@{done.commit}"], capture_output=True, text=True, check=True
    )
    assert new.stdout.strip() == encoder.embed(pictures()).numpy().tobytes().hex()


def test_the_repository_loads_itself_and_knows_its_tags_and_licence(hub: LocalHub, token: str) -> None:
    encoder = tiny_encoder()
    encoder.push_to_hub(REPO, token=token, tags=["dresses", "fashreg"], licence="apache-2.0", metrics={"recall@1": 0.5})
    card = hub.repo(REPO).files()["README.md"].decode()
    assert f'fashreg.load("{REPO}")' in card
    assert "license: apache-2.0" in card
    front = card.split("---")[1]
    assert "- dresses" in front
    assert front.count("- fashreg\n") == 1
    assert "recall@1" in card
    encoder.push_to_hub(REPO, token=token, metrics={"recall@1": 0.6})
    assert "- dresses" in hub.repo(REPO).files()["README.md"].decode().split("---")[1]


def test_pushing_again_keeps_what_people_wrote_on_the_hub(hub: LocalHub, token: str) -> None:
    tiny_encoder().push_to_hub(REPO, token=token)
    card = hub.repo(REPO).files()["README.md"].decode()
    hub.repo(REPO).put({"README.md": card + "\nAsk ann about the shop.\n"})
    tiny_encoder(seed=4).push_to_hub(REPO, token=token)
    assert "Ask ann about the shop." in hub.repo(REPO).files()["README.md"].decode()
    assert fashreg.load(REPO, token=token).fingerprint() == tiny_encoder(seed=4).fingerprint()


def test_branches_pull_requests_and_parents(hub: LocalHub, token: str) -> None:
    first = tiny_encoder().push_to_hub(REPO, token=token).commit
    second = tiny_encoder(seed=1).push_to_hub(REPO, token=token, revision="try", commit_description="why")
    assert hub.repo(REPO).resolve("try").id == second.commit
    asked = tiny_encoder(seed=2).push_to_hub(REPO, token=token, create_pr=True)
    assert "discussions" in asked.url
    assert hub.repo(REPO).head == first
    tiny_encoder(seed=2).push_to_hub(REPO, token=token)
    with pytest.raises(HubConflictError):
        tiny_encoder(seed=3).push_to_hub(REPO, token=token, parent_commit=first)
    with pytest.raises(HubError, match="is there already"):
        tiny_encoder(seed=3).push_to_hub(REPO, token=token, exist_ok=False)


def test_only_what_differs_from_a_base_is_pushed(hub: LocalHub, token: str) -> None:
    base = tiny_encoder()
    pinned = base.push_to_hub("ann/base", token=token).commit
    other = tiny_encoder()
    with torch.no_grad():
        other.head.linear.weight.add_(1.0)
    other.push_to_hub(REPO, token=token, base="ann/base")
    whole, part = (len(hub.repo(name).files()["model.safetensors"]) for name in ("ann/base", REPO))
    assert part < whole / 10
    assert pinned in hub.repo(REPO).files()["config.json"].decode()
    assert torch.equal(fashreg.load(REPO, token=token).embed(pictures()), other.embed(pictures()))


def test_a_model_folder_and_its_encoder_push_the_same_weights(hub: LocalHub, token: str, tmp_path: Path) -> None:
    encoder = tiny_encoder()
    from fashreg.hub.push import push

    push(save_encoder(encoder, tmp_path / "model"), "ann/one", token=token)
    encoder.push_to_hub("ann/two", token=token)
    one, two = (hub.repo(name).files() for name in ("ann/one", "ann/two"))
    assert one["model.safetensors"] == two["model.safetensors"]
    assert one["config.json"] == two["config.json"]


@pytest.mark.parametrize("repo", ["shirts", "ann/../x", "ann/shirts@", "ann/sh irts"])
def test_an_impossible_name_is_refused_before_anything_is_saved(hub: LocalHub, repo: str) -> None:
    with pytest.raises(HubError):
        tiny_encoder().push_to_hub(repo)
    assert hub.requests == []


def test_weights_that_are_no_numbers_and_tags_that_are_none_are_not_pushed(hub: LocalHub, token: str) -> None:
    encoder = tiny_encoder()
    with pytest.raises(ValueError, match="cannot be a tag"):
        encoder.push_to_hub(REPO, token=token, tags=["a\nb"])
    with torch.no_grad():
        encoder.head.linear.bias[0] = float("nan")
    with pytest.raises(ModelError, match=r"head\.linear\.bias holds NaN"):
        encoder.push_to_hub(REPO, token=token)
    assert hub.requests == []


def test_the_arguments_have_the_names_that_people_know() -> None:
    ours = set(inspect.signature(Encoder.push_to_hub).parameters)
    assert {"repo_id", "commit_message", "private", "token", "create_pr"} <= ours & set(
        inspect.signature(ModelHubMixin.push_to_hub).parameters
    )
    assert {"commit_description", "revision", "parent_commit"} <= ours & set(
        inspect.signature(HfApi.create_commit).parameters
    )
