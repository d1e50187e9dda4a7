"""The backbone: plain CLIP where nothing was learnt, what each kind of task has, tasks that leave one another alone."""

from __future__ import annotations

import copy
from typing import Any

import open_clip
import pytest
import torch
from famevil_small import KINDS, move, small_backbone, small_encoder, small_head
from fashreg_famevil.backbone import FameViLBackbone
from fashreg_famevil.head import FameViLHead
from fashreg_famevil.models import OWN, config_of
from fashreg_famevil.tokens import tokens_of
from torch import Tensor, nn

from fashreg.assembly import build, spec_of
from fashreg.backbones.truncated import TruncatedBackbone
from fashreg.errors import OptionError
from fashreg.testing.state import same_state, state_of

TEXTS = ["a red dress", "but with long sleeves and in blue", ""]
ALL = {"xmr": "cross-modal", "tgir": "composed", "scr": "classification", "fic": "captioning"}


def count(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def paper_backbone(kinds: dict[str, str], **options: Any) -> FameViLBackbone:
    """ViT-B/16 on the meta device: shapes without memory."""
    with torch.device("meta"):
        return FameViLBackbone(weights=None, kinds=kinds, **options)


def paper_head(kinds: dict[str, str]) -> FameViLHead:
    classes = {task: [str(n) for n in range(121)] for task, kind in kinds.items() if kind == "classification"}
    with torch.device("meta"):
        return FameViLHead(kinds=kinds, classes=classes, in_dim=512, text_dim=512, vocabulary=49408)


# ---- counts of ViT-B/16 ----


def test_the_model_of_four_tasks_has_the_published_count() -> None:
    backbone, head = paper_backbone(ALL), paper_head(ALL)
    assert count(backbone.trunk.clip) == 149_620_737
    assert count(backbone.trunk.task_adapters) == 8_054_880
    assert count(backbone.trunk.cross) == 31_219_224
    assert count(head) == 25_346_304 + 62_073 + 2
    assert count(backbone, head) == 214_303_220


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("cross-modal", 151_634_458),
        ("composed", 182_853_682),
        ("classification", 182_915_754),
        ("captioning", 190_418_469),
    ],
)
def test_a_model_of_one_task_holds_only_what_its_kind_walks(kind: str, wanted: int) -> None:
    assert count(paper_backbone({"one": kind}), paper_head({"one": kind})) == wanted


@pytest.mark.parametrize(("bottleneck", "wanted"), [(128, 222_173_684), (256, 237_914_612), (512, 269_396_468)])
def test_wider_adapters_are_as_many_as_published_with_the_way_across_at_64(bottleneck: int, wanted: int) -> None:
    assert count(paper_backbone(ALL, bottleneck=bottleneck), paper_head(ALL)) == wanted


def test_the_rows_of_the_ablation_are_options() -> None:
    three = {task: kind for task, kind in ALL.items() if kind != "captioning"}
    clip, adapters, across = 149_620_737, 2_013_720, 31_219_224
    assert count(paper_backbone(three, task_adapters="none", cross_attention=False)) == clip
    assert count(paper_backbone(three, cross_attention=False)) == clip + 3 * adapters
    assert count(paper_backbone(ALL, task_adapters="none")) == clip + across
    assert count(paper_backbone(ALL, task_adapters="one")) == clip + adapters + across
    assert count(paper_backbone(ALL, cross_bottleneck=128)) > count(paper_backbone(ALL))


# ---- plain CLIP ----


@pytest.mark.parametrize("options", [{}, {"task_adapters": "one"}, {"task_adapters": "none"}])
def test_a_fresh_model_is_open_clip_bit_for_bit_whatever_the_task(pictures: Tensor, options: dict[str, Any]) -> None:
    backbone = small_backbone(KINDS, **options)
    clip, tokens = backbone.trunk.clip, tokens_of(1024).encode(TEXTS, 24)
    with torch.no_grad():
        image, text = clip.encode_image(pictures), clip.encode_text(tokens)
        for task in KINDS:
            assert torch.equal(backbone(pictures, task), image)
            assert torch.equal(backbone.encode_text(TEXTS, task), text)
            assert torch.equal(backbone.compose(pictures, TEXTS, task), image + text)


def test_without_tasks_it_is_the_clip_itself(pictures: Tensor) -> None:
    backbone = small_backbone({})
    assert backbone.tasks == ()
    assert count(backbone) == count(backbone.trunk.clip)
    with torch.no_grad():
        image, text = backbone(pictures), backbone.encode_text(TEXTS)
        assert torch.equal(image, backbone.trunk.clip.encode_image(pictures))
        assert torch.equal(backbone.compose(pictures, TEXTS), image + text)


def test_the_small_models_are_read_by_open_clip_as_they_are() -> None:
    for name, config in OWN.items():
        torch.manual_seed(0)
        clip = open_clip.CLIP(**config)
        assert count(FameViLBackbone(name, None)) == count(clip)


def test_open_clips_models_are_taken_or_refused_by_their_towers() -> None:
    for fits in ("ViT-B-16-quickgelu", "ViT-B-32", "ViT-S-16", "ViT-B-16-plus-240"):
        assert config_of(fits)["text_cfg"]["layers"] == 12
    for name, why in (
        ("ViT-L-14", "24 for pictures and 12 for texts"),
        ("RN50", "not a ViT"),
        ("ViT-B-16-SigLIP", "not a ViT"),
        ("roberta-ViT-B-32", "not the plain one"),
        ("ViT-B-16-quickgel", "did you mean ViT-B-16-quickgelu"),
    ):
        with pytest.raises(OptionError, match=why):
            config_of(name)


# ---- tasks ----


def test_a_picture_depends_on_the_adapters_of_its_task_alone(pictures: Tensor) -> None:
    backbone = small_backbone(KINDS, moved=True)
    before = {task: backbone(pictures, task).detach() for task in KINDS}
    assert len({tuple(rows.flatten().tolist()) for rows in before.values()}) == 4
    with torch.no_grad():
        for parameter in backbone.trunk.adapters_of("edit").parameters():
            parameter.add_(0.1)
        for parameter in backbone.trunk.cross.parameters():
            parameter.add_(0.1)
    for task in KINDS:
        assert torch.equal(backbone(pictures, task), before[task]) == (task != "edit"), task


def test_what_modules_of_names_is_all_that_a_task_has_beside_the_clip(pictures: Tensor) -> None:
    for task, kind in KINDS.items():
        backbone, alone = small_backbone(KINDS, moved=True), small_backbone({task: kind})
        mine = {id(p) for module in backbone.modules_of(task) for p in module.parameters()}
        names = {name for name, p in backbone.named_parameters() if id(p) in mine or ".clip." in name}
        assert names == {name for name, _ in alone.named_parameters()}
        alone.load_state_dict({name: t for name, t in backbone.state_dict().items() if name in alone.state_dict()})
        with torch.no_grad():
            assert torch.equal(alone(pictures), backbone(pictures, task))
            assert torch.equal(alone.compose(pictures, TEXTS), backbone.compose(pictures, TEXTS, task))


@pytest.mark.parametrize("kind", ["cross-modal", "composed", "classification", "captioning"])
def test_a_task_added_later_leaves_the_others_as_they_were(pictures: Tensor, kind: str) -> None:
    backbone = small_backbone({"find": "cross-modal"})
    move(backbone.trunk)
    state, random = state_of(backbone), torch.get_rng_state()
    with torch.no_grad():
        rows, said = backbone(pictures, "find"), backbone.encode_text(TEXTS, "find")
        backbone.add_task("new", kind)
        assert torch.equal(backbone(pictures, "find"), rows)
        assert torch.equal(backbone.encode_text(TEXTS, "find"), said)
        assert torch.equal(backbone(pictures, "new"), backbone.trunk.clip.encode_image(pictures))
    now = state_of(backbone)
    assert same_state({name: now[name] for name in state}, state)
    assert torch.equal(torch.get_rng_state(), random)
    assert backbone.kinds == {"find": "cross-modal", "new": kind}
    assert not any(module.training for module in backbone.modules())


def test_first_weights_depend_on_the_seed_and_the_names_and_not_on_the_order() -> None:
    one, other = small_backbone({}, seed=3), small_backbone({}, seed=3)
    for names, backbone in ((("edit", "tell"), one), (("tell", "edit"), other)):
        for name in names:
            backbone.add_task(name, KINDS[name])
    assert same_state(state_of(one), state_of(other))
    assert not same_state(state_of(one), state_of(small_backbone({"edit": "composed", "tell": "captioning"}, seed=4)))


def test_one_set_of_adapters_is_shared_and_none_is_none(pictures: Tensor) -> None:
    shared, none = small_backbone(task_adapters="one", moved=True), small_backbone(task_adapters="none", moved=True)
    rows = [shared(pictures, task) for task in KINDS]
    assert all(torch.equal(rows[0], row) for row in rows)
    assert not torch.equal(rows[0], shared.trunk.clip.encode_image(pictures))
    assert all(torch.equal(none(pictures, task), none.trunk.clip.encode_image(pictures)) for task in KINDS)
    assert not torch.equal(none.compose(pictures, TEXTS, "edit"), none.compose(pictures, TEXTS, "find"))


def test_the_task_is_asked_for_where_there_are_several(pictures: Tensor) -> None:
    backbone, head = small_backbone(), small_head()
    with pytest.raises(ValueError, match="say which: task=one of find, edit, name, tell"):
        backbone(pictures)
    with pytest.raises(ValueError, match="did you mean 'find'"):
        backbone(pictures, "fimd")
    with pytest.raises(ValueError, match="'find' is of kind cross-modal and does not write captions"):
        backbone.captions(pictures, head.words, "find")
    with pytest.raises(ValueError, match="new name"):
        backbone.add_task("find", "cross-modal")
    with pytest.raises(ValueError, match="the kinds are cross-modal, composed"):
        backbone.add_task("other", "matching")
    with pytest.raises(ValueError, match="needs cross_attention"):
        small_backbone(cross_attention=False)
    with pytest.raises(ValueError, match="3 pictures and 1 texts"):
        backbone.compose(pictures, ["one"], "edit")
    assert torch.equal(small_backbone({"one": "composed"})(pictures), backbone(pictures, "edit"))


# ---- options ----


def test_sizes_are_options_and_are_said() -> None:
    backbone = FameViLBackbone("tiny", None, image_size=48, context_length=10, vocabulary=600, crop=1.0)
    assert backbone.input_spec.size == (48, 48)
    assert backbone.input_spec.crop == 1.0
    assert (backbone.image_size, backbone.context_length, backbone.vocabulary, backbone.text_dim) == (48, 10, 600, 48)
    assert backbone(torch.randn(1, 3, 48, 48)).shape == (1, 32)
    assert backbone.encode_text(["a long text about a dress"]).shape == (1, 32)
    assert backbone.encode_text([]).shape == (0, 32)
    with pytest.raises(ValueError, match="multiple of 8"):
        FameViLBackbone("tiny", None, image_size=50)
    assert backbone.input_spec.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))


def test_it_is_built_by_name_and_says_its_own_spec() -> None:
    given = {"model": "tiny", "weights": None, "bottleneck": 8, "context_length": 24}
    backbone = build("backbone", "fame-vil", facts={"kinds": KINDS, "seed": 5}, **given)
    again = build("backbone", spec_of(backbone))
    assert same_state(state_of(again), state_of(backbone))
    assert (again.kinds, again.seed) == (KINDS, 5)
    facts = {"kinds": KINDS, "classes": {"name": ["a", "b"]}, "text_dim": 48, "vocabulary": 1024, "in_dim": 32}
    head = build("head", "fame-vil", facts={**facts, "seed": 5})
    again = build("head", spec_of(head))
    assert same_state(state_of(again), state_of(head))
    assert (again.kinds, again.classes) == (KINDS, {"name": ["a", "b"]})


# ---- as an encoder ----


def test_an_encoder_answers_pictures_texts_both_classes_and_captions(pictures: Tensor) -> None:
    encoder = small_encoder(moved=True)
    found, said = encoder.embed(pictures, task="find"), encoder.embed(texts=TEXTS, task="find")
    assert torch.allclose(found.norm(dim=1), torch.ones(3))
    assert torch.allclose(said.norm(dim=1), torch.ones(3))
    both = encoder.embed(pictures, texts=TEXTS)
    wanted = nn.functional.normalize(encoder.backbone.compose(pictures, TEXTS, "edit"), dim=1)
    assert torch.allclose(both, wanted, atol=1e-6)
    named = encoder.classify(pictures, texts=TEXTS, k=2)
    assert [len(row) for row in named] == [2, 2, 2]
    assert {name for row in named for name, _ in row} <= {"dress", "shirt", "skirt"}
    written = encoder.caption(pictures, length=4)
    assert len(written) == 3
    assert written == encoder.backbone.captions(pictures, encoder.head.words, length=4)


def test_a_fingerprint_of_a_task_stays_when_others_come_and_learn() -> None:
    encoder = small_encoder({"find": "cross-modal"}, moved=True)
    before = encoder.fingerprint("find")
    encoder.backbone.add_task("edit", "composed")
    encoder.head.add_task("edit", "composed")
    assert encoder.fingerprint("find") == before
    move(encoder.backbone.trunk)  # the same numbers for the first task's adapters, others for the rest
    edited = encoder.fingerprint("edit")
    with torch.no_grad():
        for parameter in encoder.backbone.trunk.cross.parameters():
            parameter.add_(1.0)
    assert encoder.fingerprint("edit") != edited
    with torch.no_grad():
        next(encoder.backbone.trunk.adapters_of("find").parameters()).add_(1.0)
    assert encoder.fingerprint("find") != before


@pytest.mark.parametrize("keep", [1, 2])
def test_its_first_stages_alone_are_a_trunk_and_can_be_copied(pictures: Tensor, keep: int) -> None:
    whole = small_backbone({})
    first = TruncatedBackbone(copy.deepcopy(whole), keep).eval()
    with torch.no_grad():
        wanted = whole.to_map(whole.run_stages(pictures, 0, keep))
        assert torch.equal(first.to_map(first.run_stages(pictures)), wanted)
        assert torch.equal(copy.deepcopy(first)(pictures), first(pictures))
    assert count(first) < count(whole)


def test_a_copy_and_another_device_have_tokens_of_their_own(pictures: Tensor) -> None:
    backbone = small_backbone(moved=True)
    other = copy.deepcopy(backbone)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(1.0)
        assert not torch.equal(other.encode_text(TEXTS, "find"), backbone.encode_text(TEXTS, "find"))
    assert backbone.double().encode_text(TEXTS, "find").dtype == torch.float64
    assert backbone.tokenize(TEXTS).device == next(backbone.parameters()).device
