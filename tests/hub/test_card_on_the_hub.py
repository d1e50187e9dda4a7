"""The card as it lies on the Hub: its code runs against that repository, and people's words stay."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, ModelCard
from PIL import Image

from fashreg.errors import ModelError
from fashreg.hub.pull import pull
from fashreg.hub.push import push
from fashreg.jobs.card import write_card
from fashreg.storage import load_encoder, save_encoder
from fashreg.testing.local_hub import LocalHub
from fashreg.testing.tiny_run import tiny_encoder

REPO = "ann/dresses"


@pytest.fixture
def model(tmp_path: Path, token: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.chdir(tmp_path)
    return save_encoder(tiny_encoder(seed=3), tmp_path / "model", licence="MIT", metrics={"recall@1": 0.5})


def on_the_hub() -> str:
    return Path(HfApi().hf_hub_download(REPO, "README.md")).read_text(encoding="utf-8")


def test_the_code_in_the_card_on_the_hub_runs(model: Path, hub: LocalHub, tmp_path: Path) -> None:
    push(model, REPO)
    for name in ("dress.jpg", "shirt.jpg"):
        Image.new("RGB", (40, 40), "teal").save(tmp_path / name)
    (code,) = re.findall(r"^```python\n(.*?)^```", on_the_hub(), re.M | re.S)
    space: dict[str, Any] = {}
    exec(code, space)
    assert space["encoder"].fingerprint() == load_encoder(model).fingerprint()
    assert space["encoder"].origin.repo == REPO


def test_a_card_edited_on_the_hub_and_renewed_here_keeps_both(model: Path, hub: LocalHub, tmp_path: Path) -> None:
    push(model, REPO)
    text = on_the_hub().replace("license: mit", "license: cc-by-4.0\nlanguage: en") + "\nAsk Ann.\n"
    edit = [CommitOperationAdd("README.md", text.encode())]
    HfApi().create_commit(REPO, edit, commit_message="by hand")
    pulled = pull(REPO, tmp_path / "pulled")
    with pytest.raises(ModelError, match=r"says `license: cc-by-4\.0`, by hand, and Apache-2\.0 was asked for"):
        write_card(pulled, licence="Apache-2.0")
    write_card(pulled)
    push(pulled, REPO)
    card = ModelCard(on_the_hub())
    assert (card.data.license, card.data.language) == ("cc-by-4.0", "en")  # a person's key wins
    assert "Ask Ann." in card.text
    assert "## Licence\n\n`cc-by-4.0`" in card.text
    assert f'fashreg.load("{REPO}")' in card.text
