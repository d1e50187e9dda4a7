"""A model's folder: there and back to the bit, what it says, what is not saved, and a person's README."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fashreg.backbones.timm import TimmBackbone
from fashreg.encoder import Encoder
from fashreg.errors import ComponentError, ModelError
from fashreg.heads.multi_task import MultiTaskHead
from fashreg.heads.projection import ProjectionHead
from fashreg.manifest import write_manifest
from fashreg.storage import load_encoder, load_weights, read_provenance, save_encoder
from fashreg.testing.tiny_run import DIM, SIDE, tiny_encoder


def images(count: int = 3) -> torch.Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


# ---- there and back ----


def test_a_loaded_model_embeds_to_the_same_bits(folder: Path, tmp_path: Path) -> None:
    encoder = tiny_encoder()
    load_weights(encoder, folder)
    loaded = load_encoder(folder)
    assert torch.equal(loaded.embed(images()), encoder.embed(images()))
    assert loaded.fingerprint() == encoder.fingerprint()
    assert not loaded.training
    assert loaded.input_spec == encoder.input_spec
    save_encoder(loaded, tmp_path / "again")
    assert load_encoder(tmp_path / "again").fingerprint() == encoder.fingerprint()


def test_a_new_process_gives_the_same_bits(folder: Path) -> None:
    code = (
        "import sys, torch, hashlib\nimport fashreg\ntorch.set_num_threads(1)\n"
        "encoder = fashreg.load(sys.argv[1])\n"
        f"images = torch.randn(3, 3, {SIDE}, {SIDE}, generator=torch.Generator().manual_seed(1))\n"
        "print(encoder.embed(images).numpy().tobytes().hex())"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == load_encoder(folder).embed(images()).numpy().tobytes().hex()


def test_tasks_that_were_added_later_are_saved_and_loaded(tmp_path: Path) -> None:
    backbone = TimmBackbone("test_efficientnet", weights=None, image_size=SIDE)
    head = MultiTaskHead(("colour",), out_dim=4, in_dim=backbone.out_dim)
    head.add_task("sleeve length")
    encoder = Encoder(backbone, head)
    loaded = load_encoder(save_encoder(encoder, tmp_path / "model"))
    for task in ("colour", "sleeve length"):
        assert torch.equal(loaded.embed(images(), task=task), encoder.embed(images(), task=task))


def test_no_weights_are_fetched_and_their_source_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = tiny_encoder()
    encoder.backbone.weights = "hub"
    save_encoder(encoder, tmp_path / "model")
    monkeypatch.setattr("fashreg.backbones.timm._hub_state", lambda *a: pytest.fail("weights were fetched"))
    assert load_encoder(tmp_path / "model").backbone.weights == "hub"


def test_a_local_weights_file_is_named_without_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "secret place" / "first.safetensors"
    file.parent.mkdir()
    file.write_bytes(b"")
    encoder = tiny_encoder()
    encoder.backbone.weights = str(file)
    save_encoder(encoder, tmp_path / "model")
    texts = "".join(p.read_text(errors="replace") for p in (tmp_path / "model").iterdir())
    assert "first.safetensors" in texts
    assert "secret place" not in texts


def test_loading_leaves_the_global_random_state_alone(folder: Path) -> None:
    torch.manual_seed(4)
    before = torch.get_rng_state()
    load_encoder(folder)
    assert torch.equal(torch.get_rng_state(), before)


# ---- what the folder says ----


def test_the_folder_names_components_and_no_import_paths(folder: Path) -> None:
    assert {p.name for p in folder.iterdir()} == {
        "config.json", "model.safetensors", "README.md", "recipe.yaml", "manifest.json",
    }  # fmt: skip
    config = json.loads((folder / "config.json").read_text())
    assert config["backbone"]["name"] == "timm"
    assert config["head"]["config"] == {"out_dim": 8, "batch_norm": False, "unit": True, "in_dim": 256, "seed": 3}
    text = (folder / "config.json").read_text() + (folder / "README.md").read_text()
    assert "fashreg." not in text.replace("fashreg.load", "")
    assert "TimmBackbone" not in text


def test_the_card_says_what_was_measured_and_on_what(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    for said in (
        "small things",
        "| recall@1 | 0.6123 |",
        "| data.fingerprint | abc |",
        "test_efficientnet",
        "8 numbers",
    ):
        assert said in card
    assert card.startswith("---\nlibrary_name: fashreg\n")


def test_the_card_of_an_unmeasured_model_says_so(tmp_path: Path) -> None:
    save_encoder(tiny_encoder(), tmp_path / "model")
    assert "Nothing was measured" in (tmp_path / "model" / "README.md").read_text()


def test_provenance_comes_back_with_the_recipe(folder: Path) -> None:
    assert read_provenance(folder) == {
        "data": {"fingerprint": "abc", "images": 36},
        "metrics": {"recall@1": 0.61234},
        "recipe": {"description": "small things", "seed": 3},
    }


# ---- what is refused to be saved ----


def test_a_class_that_no_plugin_offers_is_refused(tmp_path: Path) -> None:
    class Own(ProjectionHead):
        pass

    encoder = tiny_encoder()
    encoder.head = Own(DIM, in_dim=encoder.backbone.out_dim)
    with pytest.raises(ComponentError, match="Own is not offered by any installed plugin"):
        save_encoder(encoder, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("how", ["nan", "half"])
def test_weights_that_could_not_be_loaded_are_not_saved(tmp_path: Path, how: str) -> None:
    encoder = tiny_encoder()
    if how == "half":
        encoder.head.half()
    else:
        with torch.no_grad():
            encoder.head.linear.bias[1] = float("nan")
    with pytest.raises(ModelError, match=r"head\.linear"):
        save_encoder(encoder, tmp_path / "model")
    assert not (tmp_path / "model").exists()


# ---- a person's README ----


def test_what_a_person_wrote_into_the_readme_outlives_a_new_training(folder: Path) -> None:
    card = folder / "README.md"
    text = card.read_text().replace("---\n\n", "---\n\n# Our bags\n\nBy hand.\n\n", 1)
    card.write_text(text.replace("library_name: fashreg\n", "library_name: fashreg\nlicense: mit\n", 1))
    encoder = load_encoder(folder)
    save_encoder(encoder, folder, metrics={"recall@1": 0.75})
    renewed = card.read_text()
    assert "# Our bags\n\nBy hand." in renewed
    assert "license: mit\n" in renewed
    assert "| recall@1 | 0.7500 |" in renewed
    assert "0.6123" not in renewed
    assert load_encoder(folder).fingerprint() == encoder.fingerprint()


def test_a_model_is_not_saved_over_an_index(folder: Path, tmp_path: Path) -> None:
    write_manifest(folder, "index")
    with pytest.raises(ModelError, match="holds the fashreg index"):
        save_encoder(tiny_encoder(), folder)


@pytest.mark.parametrize(("given", "recipe", "kept"), [("MIT", "CC-BY-4.0", "MIT"), (None, "CC-BY-4.0", "CC-BY-4.0")])
def test_the_licence_is_kept(tmp_path: Path, given: str | None, recipe: str, kept: str) -> None:
    save_encoder(tiny_encoder(), tmp_path / "m", licence=given, recipe={"licence": recipe})
    assert json.loads((tmp_path / "m" / "config.json").read_text())["licence"] == kept
    with pytest.raises(ModelError, match="licence"):
        save_encoder(tiny_encoder(), tmp_path / "m", licence="free\nfor all")


# ---- killed while writing ----

KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from fashreg.manifest import verify_folder
from fashreg.storage import load_encoder, save_encoder
from fashreg.strict_tensors import read_tensors
from fashreg.testing.tiny_run import SIDE, tiny_encoder
torch.set_num_threads(1)
os.fsync = lambda handle: None  # a process is killed here, not the machine
folder, encoder = Path(sys.argv[1]), tiny_encoder()

def save(number):
    with torch.no_grad():
        encoder.head.linear.bias.fill_(float(number))
    save_encoder(encoder, folder, provenance={"number": number})

save(1)
started = time.monotonic()
save(1)
one = time.monotonic() - started
card = folder / "README.md"
card.write_text(card.read_text() + "by hand")
last, turn = 1, 0
while turn < 110 or last < 4 and turn < 1100:  # on a busy machine until the children have really written
    turn += 1
    child = os.fork()
    if child == 0:
        number = last
        while True:
            number += 1
            save(number)
    time.sleep(random.uniform(0.0, 2 * one))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    manifest = verify_folder(folder, kind="model")  # every file is what the list says
    assert card.read_text().rstrip().endswith("by hand")
    found = read_tensors(manifest.path("model.safetensors"))["head.linear.bias"]
    assert bool((found == found[0]).all()) and int(found[0]) >= last
    last = int(found[0])
save(last + 1)
assert bool((load_encoder(folder).head.linear.bias == last + 1).all())
print(last, *(path.name for path in folder.parent.iterdir()))
"""


def test_kill_9_while_saving_a_hundred_times_always_leaves_a_whole_model(tmp_path: Path) -> None:
    target = tmp_path / "place" / "model"
    done = subprocess.run([sys.executable, "-c", KILLED, str(target)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    last, *names = done.stdout.split()
    assert int(last) > 3
    assert names == ["model"]
    shutil.rmtree(target)
