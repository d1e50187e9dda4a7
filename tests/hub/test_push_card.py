"""A push and the card on the Hub: what people wrote into it stays."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from push_place import REPO, names
from small_folders import is_whole, small_folder

from fashreg.errors import HubError
from fashreg.hub.push import push
from fashreg.testing.local_hub import Edit, LocalHub

# ---- README.md ----

CARD = """---
license: mit
---

Written by hand.

<!-- fashreg:begin x -->
Generated {}. fashreg.load("path/to/this/folder")
<!-- fashreg:end -->
"""


def test_what_people_wrote_into_the_card_on_the_hub_stays(
    hub: LocalHub, token: str, model: Path, tmp_path: Path
) -> None:
    small_folder(model, README__md=CARD.format(1).replace("Written by hand.", ""))
    push(model, REPO, token=token)
    there = hub.repo(REPO).files()["README.md"].decode()
    assert 'Generated 1. fashreg.load("ann/shirts")' in there
    hub.repo(REPO).put({"README.md": there.replace("<!-- fashreg:begin", "By a visitor.\n\n<!-- fashreg:begin")})
    assert push(model, REPO, token=token).written == ("README.md", "manifest.json")
    small_folder(model, value=2.0, README__md=CARD.format(2).replace("Written by hand.", ""))
    push(model, REPO, token=token)
    merged = hub.repo(REPO).files()["README.md"].decode()
    assert "By a visitor." in merged
    assert "Generated 2." in merged
    assert "Generated 1." not in merged
    assert is_whole(hub.repo(REPO).files(), "", tmp_path / "desk")


def test_a_card_that_was_edited_in_the_folder_is_pushed(hub: LocalHub, token: str, model: Path, tmp_path: Path) -> None:
    (model / "README.md").write_text("---\nlibrary_name: fashreg\n---\n# All mine\n")
    push(model, REPO, token=token)
    assert "# All mine" in hub.repo(REPO).files()["README.md"].decode()
    assert is_whole(hub.repo(REPO).files(), "", tmp_path / "desk")


def test_a_card_that_the_hub_does_not_take_is_said(hub: LocalHub, token: str, model: Path) -> None:
    said = json.dumps({"errors": [{"message": "license must be one of ..."}], "warnings": []}).encode()
    hub.faults.add(Edit(lambda answer: replace(answer, status=400, content=said)), "*/validate-yaml")
    with pytest.raises(HubError, match=r"does not take this commit: .*license must be one of"):
        push(model, REPO, token=token)
    assert names(hub) == set()
