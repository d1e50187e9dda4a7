"""Head own-network: one network for each attribute, entirely apart, and what is left of it in a folder."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from fashreg_mclfir.attention import AttributeAttentionHead
from fashreg_mclfir.own_network import OwnNetworkHead
from torch import Tensor, nn

import fashreg
from fashreg.assembly import build, spec_of
from fashreg.backbones.timm import TimmBackbone
from fashreg.backbones.truncated import TruncatedBackbone
from fashreg.encoder import Encoder
from fashreg.errors import ModelError, OptionError
from fashreg.heads.multi_task import MultiTaskHead
from fashreg.heads.projection import ProjectionHead
from fashreg.manifest import write_manifest
from fashreg.storage import save_encoder
from fashreg.strict_json import write_json
from fashreg.testing.head import train_step
from fashreg.testing.local_hub import LocalHub, client_of
from fashreg.testing.state import same_state, shaken, state_of

SIDE = 32
SMALL = {"name": "timm", "model": "test_efficientnet", "weights": None, "image_size": SIDE}


def small(model: str = "test_efficientnet", seed: int = 0) -> TimmBackbone:
    return TimmBackbone(model, None, image_size=SIDE, seed=seed)


def encoder(start: int = 0, *tasks: str, seed: int = 0) -> Encoder:
    trunk = TruncatedBackbone(small(seed=seed), start)
    own = OwnNetworkHead(small(seed=seed), AttributeAttentionHead(8, in_dim=1), start, in_dim=trunk.map_dim)
    return Encoder(trunk, MultiTaskHead(tasks or ("colour", "season"), own)).eval()


def pictures() -> Tensor:
    return torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))


def held(module: nn.Module) -> int:
    return sum(tensor.numel() for tensor in module.state_dict().values())


@pytest.mark.parametrize("start", [0, 2, 4])
def test_it_is_the_network_whole_with_a_head_of_its_own(start: int) -> None:
    made, whole = encoder(start), small().eval()
    with torch.no_grad():
        for task in made.head.tasks:
            wanted = made.head.head_of(task).head(whole.to_map(whole.run_stages(pictures())))
            assert torch.allclose(made(pictures(), task), wanted, atol=1e-5)


def test_every_attribute_begins_with_the_same_network_shares_none_of_it_and_has_a_head_of_its_own() -> None:
    head = encoder().head
    one, other = head.head_of("colour"), head.head_of("season")
    assert same_state(state_of(one.backbone), state_of(other.backbone))
    assert same_state(state_of(one.backbone), state_of(head.start_of_tasks))
    assert not torch.equal(one.head.attribute, other.head.attribute)
    places = [t.data_ptr() for net in (one, other, head.start_of_tasks) for t in net.state_dict().values() if t.numel()]
    assert len(places) == len(set(places))
    assert all(parameter.requires_grad for parameter in one.parameters())
    assert not any(parameter.requires_grad for parameter in head.start_of_tasks.parameters())


def test_training_one_attribute_moves_no_bit_of_another_nor_of_where_later_ones_begin() -> None:
    head = encoder().head
    before, rows = state_of(head), head(pictures(), "season")
    train_step(head, "colour")
    moved = {name.split(".")[1] for name, tensor in state_of(head).items() if not torch.equal(tensor, before[name])}
    assert moved == {"task_colour"}
    assert torch.equal(head.eval()(pictures(), "season"), rows)
    head.add_task("late")
    assert same_state(state_of(head.head_of("late").backbone), state_of(head.start_of_tasks))


def test_a_saved_model_holds_one_network_an_attribute_and_one_to_begin_with_each_once(tmp_path: Path) -> None:
    made = encoder(2)
    rest = held(made.head.start_of_tasks)
    head = held(made.head.head_of("colour").head)
    assert held(made) == held(made.backbone) + 3 * rest + 2 * head
    assert held(made.backbone) + rest == held(small()), "shared stages and own stages make one network"
    save_encoder(made, tmp_path / "model")
    size = (tmp_path / "model" / "model.safetensors").stat().st_size
    stored = sum(tensor.numel() * tensor.itemsize for tensor in made.state_dict().values())
    assert stored <= size < stored + 100_000


def test_a_loaded_model_answers_alike_and_a_task_added_to_it_begins_where_the_others_began(tmp_path: Path) -> None:
    made = encoder(0, seed=4)
    for task in made.head.tasks:
        shaken(made.head.head_of(task))
    save_encoder(made, tmp_path / "model")
    found = fashreg.load(tmp_path / "model")
    made.head.add_task("late")
    found.head.add_task("late")
    for task in found.head.tasks:
        assert torch.equal(found(pictures(), task), made(pictures(), task)), task
        assert found.fingerprint(task) == made.fingerprint(task)
    assert found.fingerprint() == made.fingerprint()


def test_a_pushed_model_answers_alike_elsewhere(tmp_path: Path) -> None:
    made = encoder(1)
    with LocalHub() as hub, client_of(hub, tmp_path / "home", token=hub.token("ann")):
        done = made.push_to_hub("ann/apart")
        found = fashreg.load(f"ann/apart@{done.commit}")
    for task in made.head.tasks:
        assert torch.equal(found.embed(pictures(), task=task), made.embed(pictures(), task=task))


def rewritten(folder: Path, change: Any) -> None:
    """A folder whose config says something else, with a manifest that fits."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    change(config)
    write_json(folder / "config.json", config)
    write_manifest(folder, "model")


def test_a_folder_whose_networks_would_be_fetched_is_refused(tmp_path: Path) -> None:
    save_encoder(encoder(), tmp_path / "model")

    def fetch(config: Any) -> None:
        config["head"]["config"]["head"]["config"]["backbone"]["config"]["weights"] = "hub"

    rewritten(tmp_path / "model", fetch)
    with pytest.raises(OptionError, match="reach weights='hub'"):
        fashreg.load(tmp_path / "model")


def test_a_folder_that_lacks_one_network_is_not_loaded(tmp_path: Path) -> None:
    save_encoder(encoder(), tmp_path / "model")
    rewritten(tmp_path / "model", lambda config: config["head"]["config"]["tasks"].append("season2"))
    with pytest.raises(ModelError):
        fashreg.load(tmp_path / "model")


def test_it_is_written_in_a_recipe_and_the_width_of_its_inner_head_is_found() -> None:
    recipe = {
        "name": "multi-task",
        "tasks": ["a"],
        "head": {"name": "own-network", "backbone": SMALL, "head": {"name": "attribute-attention", "out_dim": 6}},
    }
    head = build("head", recipe, facts={"in_dim": 3, "seed": 1})
    assert head.head_of("a").head.in_dim == small().map_dim
    assert head.head_of("a").head.task == "a"
    assert same_state(state_of(build("head", spec_of(head))), state_of(head))


def test_a_head_on_pooled_features_gets_the_networks_own_pooling() -> None:
    own = OwnNetworkHead(small(), ProjectionHead(4, in_dim=1), in_dim=3).eval()
    with torch.no_grad():
        assert torch.allclose(own(pictures()), own.head(small().eval()(pictures())), atol=1e-6)


def test_a_copy_of_the_head_keeps_its_own_beginning() -> None:
    head = encoder().head
    other = copy.deepcopy(head)
    shaken(other.start_of_tasks)
    other.add_task("late")
    head.add_task("late")
    assert not same_state(state_of(head.head_of("late")), state_of(other.head_of("late")))


@pytest.mark.parametrize(
    ("model", "start", "in_dim", "message"),
    [
        ("test_efficientnet", 0, 16, r"16 channels come in, and stage 0 of the network takes 3: .*keep: 0"),
        ("test_efficientnet", 2, 3, r"3 channels come in, and stage 2 of the network takes 16: .*keep: 2"),
        ("test_efficientnet", 7, 3, "the backbone has 7 stages"),
        ("test_vit", 2, 64, "what travels before stage 'blocks.1' is no map"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(model: str, start: int, in_dim: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OwnNetworkHead(small(model), ProjectionHead(4, in_dim=1), start, in_dim=in_dim)
