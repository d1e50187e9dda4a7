"""Nothing on the Hub tells where things lie on the machine that pushed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import fashreg
from fashreg.hub.pull import pull
from fashreg.hub.push import push
from fashreg.jobs.evaluation_folder import load_evaluation
from fashreg.testing.local_hub import LocalHub

REPO = "ann/dresses"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run and an index, of a table and pictures in a folder that nobody else should hear of."""
    from fashreg.data.atelier import draw_atelier

    place = tmp_path_factory.mktemp("secret-customer")
    draw_atelier(place / "shop", products=24, views=3, size=40)
    run = fashreg.train(
        backbone={"name": "timm", "model": "test_efficientnet", "weights": None, "image_size": 32},
        table=place / "shop" / "table.csv",
        label="style",
        trainer={"max_steps": 2, "batch_size": 16},
        out=place / "run",
        quiet=True,
    )
    assert run.after is not None
    table = str(place / "shop" / "table.csv")
    fashreg.build_index(str(place / "run" / "model"), table, split="test", out=place / "index")
    return place


def test_no_file_of_a_pushed_run_or_index_names_a_folder_of_this_machine(
    shop: Path, hub: LocalHub, token: str, hf_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    here = b"secret-customer"
    assert any(here in path.read_bytes() for path in shop.rglob("*") if path.is_file())
    push(shop / "run", REPO)
    pushed = push(shop / "index", REPO)
    assert not push(shop / "index", REPO).written  # the same again changes nothing
    places = {part: pull(REPO, tmp_path / (part or "model"), part=part) for part in ("", "evaluation", "index")}
    for path in (path for place in places.values() for path in place.rglob("*") if path.is_file()):
        assert here not in path.read_bytes(), path
    assert pushed.commit
    theirs, mine = load_evaluation(places["evaluation"]), load_evaluation(shop / "run")
    assert theirs.metrics == mine.metrics
    assert theirs.protocol.hash == mine.protocol.hash
    assert fashreg.compare(mine, theirs).differences[mine.primary].difference == 0.0
    gallery = fashreg.load_index(places["index"])  # its model comes from the Hub
    query = next(shop.rglob("*.png"))
    own = fashreg.load_index(shop / "index")
    assert [h["score"] for h in gallery.search([query], k=3)[0]] == [h["score"] for h in own.search([query], k=3)[0]]
    assert torch.equal(fashreg.load(REPO).embed([query]), fashreg.load(shop / "run" / "model").embed([query]))
