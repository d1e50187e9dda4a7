"""What the published code does otherwise than its paper, or than anybody would want: each is avoided, and proven here.

The numbers are those of the list in docs/famevil.md. Those of training (1, 2, 9, 10, 12, 15, 17) are proven with the
learner, those of measuring (5, 6, 7, 16) with the evaluators of the core.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from famevil_small import KINDS, move, small_backbone, small_clip, small_encoder, small_head
from fashreg_famevil.backbone import FameViLBackbone
from fashreg_famevil.beams import beam
from fashreg_famevil.model import AdaptedCLIP
from torch import Tensor, nn

from fashreg.encoder import Encoder
from fashreg.storage import load_encoder, save_encoder

TEXTS = ["a red dress", "but with long sleeves", "stripes"]


def telling_encoder() -> Encoder:
    """One whose captions differ from picture to picture."""
    encoder = small_encoder(moved=True)
    with torch.no_grad():
        for across in encoder.backbone.trunk.cross["text"]:
            across.value.weight.mul_(6.0)
            across.adapter.up.weight.mul_(6.0)
        words = encoder.head.head_of("tell").weight
        words.normal_(0.0, 0.5, generator=torch.Generator().manual_seed(1))
    return encoder


def test_3_the_length_of_a_caption_is_no_matter_of_what_else_is_written(pictures: Tensor) -> None:
    encoder = telling_encoder()
    together = encoder.caption(pictures)
    assert len(set(together)) == 3
    assert together == [encoder.caption(picture[None])[0] for picture in pictures]
    assert together == encoder.caption(pictures, batch_size=2)


def test_3_a_caption_is_as_long_as_it_may_be_and_ends_where_it_ends(pictures: Tensor) -> None:
    encoder = small_encoder(moved=True)
    words: nn.Linear = encoder.head.head_of("tell")
    with torch.no_grad():
        words.bias[encoder.backbone.ends.end] = -1e4
    places: list[int] = []
    counted = words.register_forward_hook(lambda *_: places.append(1))
    for length, most in ((5, 5), (None, 22)):  # 24 places, less start and end
        places.clear()
        encoder.caption(pictures, length=length)
        assert len(places) == most
    counted.remove()
    with torch.no_grad():
        words.bias[encoder.backbone.ends.end] = 1e4
    assert encoder.caption(pictures) == ["", "", ""]


def test_4_the_adapters_of_the_way_across_have_a_width_of_their_own() -> None:
    backbone = small_backbone(bottleneck=8, cross_bottleneck=24)
    widths = {a.adapter.bottleneck for layers in backbone.trunk.cross.values() for a in layers}
    assert widths == {24}
    assert {a.bottleneck for side in backbone.trunk.adapters_of("find").values() for a in side} == {8}
    assert {a.adapter.bottleneck for layers in small_backbone().trunk.cross.values() for a in layers} == {64}


def test_8_several_beams_of_several_pictures_write_what_each_would_alone(pictures: Tensor) -> None:
    encoder = telling_encoder()
    trunk, words, ends = encoder.backbone.trunk, encoder.head.words, encoder.backbone.ends
    memory = trunk.memory(pictures, "tell")
    together = beam(trunk, words, memory, "tell", ends, beams=3, length=6)
    for row in range(3):
        alone = trunk.memory(pictures[row : row + 1], "tell")
        assert beam(trunk, words, alone, "tell", ends, beams=3, length=6) == [together[row]]
    assert len({tuple(row) for row in together}) == 3


@pytest.mark.parametrize("width", [48, 64])
def test_11_towers_are_told_apart_by_what_they_are_and_not_by_their_width(pictures: Tensor, width: int) -> None:
    """Both towers of one width, and the text tower wider than the other's: neither is 512 and 768."""
    clip = small_clip(image={"width": 64}, text={"width": width, "heads": 4})
    model = AdaptedCLIP(clip, ("itc",)).eval()
    tokens = torch.tensor([[98, 5, 6, 99, *[0] * 8]] * 3)
    with torch.no_grad():
        for side, moves in (("image", (True, False)), ("text", (False, True))):
            before = model.image(pictures, "itc"), model.text(tokens, "itc")
            for adapter in model.adapters_of("itc")[side]:
                nn.init.normal_(adapter.up.weight)
            after = model.image(pictures, "itc"), model.text(tokens, "itc")
            assert tuple(not torch.equal(a, b) for a, b in zip(before, after, strict=True)) == moves


def test_13_fusion_asks_the_stream_before_the_mlp_and_a_caption_the_one_after(pictures: Tensor) -> None:
    """With the MLP of the last picture block moved, the words of a query do not change in that block; captions do."""
    backbone = small_backbone(moved=True)
    trunk, tokens = backbone.trunk, backbone.tokenize(TEXTS)

    def said() -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            text = trunk.fused(pictures, tokens, "edit")[1]
            return text, trunk.hidden(tokens, trunk.contexts(trunk.memory(pictures, "tell")), "tell")

    before = said()
    with torch.no_grad():
        for parameter in trunk.clip.visual.transformer.resblocks[-1].mlp.parameters():
            parameter.add_(0.5)
    after = said()
    assert torch.equal(after[0], before[0])
    assert not torch.equal(after[1], before[1])


def test_14_the_features_of_both_towers_are_added_as_they_come(pictures: Tensor) -> None:
    encoder = small_encoder(moved=True)
    image, text = encoder.backbone.trunk.fused(pictures, encoder.backbone.tokenize(TEXTS), "edit")
    assert torch.allclose(encoder.backbone.compose(pictures, TEXTS, "edit"), image + text)
    assert not torch.allclose(image.norm(dim=1), text.norm(dim=1), rtol=0.01)
    wanted = nn.functional.normalize(image + text, dim=1)
    assert torch.allclose(encoder.forward_composed(pictures, TEXTS, "edit"), wanted, atol=1e-6)


def test_18_what_adapters_begin_with_and_have_learnt_is_the_same_after_loading(
    tmp_path: Path, pictures: Tensor
) -> None:
    fresh = load_encoder(save_encoder(small_encoder(), tmp_path / "fresh"))
    assert torch.equal(fresh.backbone(pictures, "edit"), fresh.backbone.trunk.clip.encode_image(pictures))
    for name, parameter in fresh.backbone.trunk.named_parameters():
        if name.endswith(".scale"):
            assert parameter.tolist() == [1.0], name
    learnt = telling_encoder()
    again = load_encoder(save_encoder(learnt, tmp_path / "learnt"))
    for task in KINDS:
        assert torch.equal(again.embed(pictures, task=task), learnt.embed(pictures, task=task))
    assert torch.equal(again.embed(pictures, texts=TEXTS), learnt.embed(pictures, texts=TEXTS))
    assert again.caption(pictures) == learnt.caption(pictures)
    assert again.classify(pictures, texts=TEXTS) == learnt.classify(pictures, texts=TEXTS)


# ---- golden checks that need the whole component ----


def test_texts_after_their_end_and_batch_mates_do_not_matter(pictures: Tensor) -> None:
    backbone = small_backbone(moved=True)
    together = backbone.compose(pictures, TEXTS, "edit")
    for row in range(3):
        alone = backbone.compose(pictures[row : row + 1], TEXTS[row : row + 1], "edit")
        assert torch.allclose(alone[0], together[row], atol=1e-5)


def test_only_the_side_that_was_moved_changes() -> None:
    backbone, pictures = small_backbone(), torch.randn(2, 3, 32, 32)
    tokens = backbone.tokenize(TEXTS[:2])
    with torch.no_grad():
        for across in backbone.trunk.cross["image"]:
            nn.init.normal_(across.adapter.up.weight)
        image, text = backbone.trunk.fused(pictures, tokens, "edit")
        assert not torch.equal(image, backbone.trunk.clip.encode_image(pictures))
        assert torch.equal(text, backbone.trunk.clip.encode_text(tokens))


def test_training_a_task_with_the_clip_and_the_way_across_frozen_leaves_the_others_bit_identical(
    pictures: Tensor,
) -> None:
    encoder = small_encoder(moved=True)
    encoder.backbone.trunk.clip.requires_grad_(False)
    encoder.backbone.trunk.cross.requires_grad_(False)

    def answers() -> list[Tensor]:
        with torch.no_grad():
            return [encoder(pictures, "find"), encoder.forward_text(TEXTS, "find"), encoder.logits(pictures)]

    before, written = answers(), encoder.caption(pictures)
    optimizer = torch.optim.AdamW([p for p in encoder.parameters() if p.requires_grad], lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        encoder.features(pictures, TEXTS, "edit").square().sum().backward()
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(answers(), before, strict=True))
    assert encoder.caption(pictures) == written
    changed = small_encoder(moved=True).forward_composed(pictures, TEXTS, "edit")
    assert not torch.equal(encoder.forward_composed(pictures, TEXTS, "edit"), changed)


def test_the_gradient_goes_only_where_the_task_walks(pictures: Tensor) -> None:
    walked = {"find": "image adapters", "edit": "both and across", "tell": "caption"}
    for task in walked:
        backbone, head = small_backbone(moved=True).train(), small_head()
        if task == "find":
            loss = backbone(pictures, task).sum() + backbone.encode_text(TEXTS, task).sum()
        elif task == "edit":
            loss = backbone.compose(pictures, TEXTS, task).sum()
        else:
            trunk = backbone.trunk
            hidden = trunk.hidden(backbone.tokenize(TEXTS), trunk.contexts(trunk.memory(pictures, task)), task)
            loss = head.words(hidden, task).logsumexp(-1).sum()
        loss.backward()
        touched = {name.split(".")[2] for name, p in backbone.named_parameters() if p.grad is not None}
        adapters = {name for name in touched if name.startswith("task_")}
        assert adapters == {f"task_{task}"}
        assert touched & {"image", "text"} == {"find": set(), "edit": {"image", "text"}, "tell": {"text"}}[task]


def test_a_fresh_backbone_learns_its_up_projections_first(pictures: Tensor) -> None:
    backbone = FameViLBackbone("tiny", None, kinds={"edit": "composed"}).train()
    backbone.compose(pictures, TEXTS).square().sum().backward()
    for name, parameter in backbone.trunk.named_parameters():
        if not name.startswith("clip."):
            moved = parameter.grad is not None and bool(parameter.grad.any())
            assert moved == (".up." in name), name
    move(backbone.trunk)
