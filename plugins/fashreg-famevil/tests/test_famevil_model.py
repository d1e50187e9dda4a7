"""Counts, identity at the start, and which path touches what: the golden checks of structure."""

from __future__ import annotations

import copy

import open_clip
import pytest
import torch
from famevil_small import WORDS, small_clip, small_model
from fashreg_famevil.adapter import BottleneckAdapter
from fashreg_famevil.cross_attention import Context, CrossAttentionAdapter
from fashreg_famevil.model import AdaptedCLIP
from torch import Tensor, nn


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def paper_model(tasks: int, bottleneck: int = 64) -> AdaptedCLIP:
    """ViT-B/16 on the meta device: shapes without memory."""
    with torch.device("meta"):
        clip = open_clip.CLIP(
            512,
            {"layers": 12, "width": 768, "head_width": 64, "patch_size": 16, "image_size": 224},
            {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12},
            quick_gelu=True,
        )
        return AdaptedCLIP(clip, tuple("abcdefgh"[:tasks]), bottleneck=bottleneck)


def test_an_adapter_has_2db_b_3d_1_parameters() -> None:
    assert (count(BottleneckAdapter(768)), count(BottleneckAdapter(512))) == (100_673, 67_137)
    assert count(BottleneckAdapter(40, 8)) == 2 * 40 * 8 + 8 + 3 * 40 + 1


def test_a_cross_attention_adapter_has_the_parameters_of_its_formula() -> None:
    assert count(CrossAttentionAdapter(768, 512, 12)) == 1_481_793
    assert count(CrossAttentionAdapter(512, 768, 8)) == 1_119_809


@pytest.mark.parametrize(
    ("bottleneck", "wanted"), [(64, 2_013_720), (128, 3_981_336), (256, 7_916_568), (512, 15_787_032)]
)
def test_the_adapters_of_a_task_in_vit_b_16_are_as_many_as_published(bottleneck: int, wanted: int) -> None:
    assert count(paper_model(1, bottleneck).task_adapters) == wanted


def test_vit_b_16_with_four_tasks_has_the_published_count() -> None:
    model = paper_model(4)
    assert count(model.clip) == 149_620_737
    assert (count(model.cross["image"]), count(model.cross["text"])) == (17_781_516, 13_437_708)
    caption_head, class_head, scales = 512 * 49408 + 49408, 512 * 121 + 121, 2
    assert count(model) + caption_head + class_head + scales == 214_303_220


@pytest.mark.parametrize("gradient", [True, False])
def test_a_fresh_model_gives_the_features_of_plain_clip_bit_for_bit(
    pictures: Tensor, tokens: Tensor, gradient: bool
) -> None:
    model = small_model()
    with torch.set_grad_enabled(gradient):
        for task in model.tasks:
            fused = model.fused(pictures, tokens, task)
            alone = model.fused(pictures, tokens, task, across=False)
            wanted = model.clip.encode_image(pictures), model.clip.encode_text(tokens)
            assert torch.equal(model.image(pictures, task), wanted[0])
            assert torch.equal(model.text(tokens, task), wanted[1])
            assert all(torch.equal(a, b) for a, b in zip(fused, wanted, strict=True))
            assert all(torch.equal(a, b) for a, b in zip(alone, wanted, strict=True))


def test_older_blocks_that_take_tokens_first_are_understood(pictures: Tensor, tokens: Tensor) -> None:
    model = small_model(moved=True)
    wanted = model.fused(pictures, tokens, "itc")
    other = copy.deepcopy(model)
    for tower, transformer in ((other._image, other.clip.visual.transformer), (other._text, other.clip.transformer)):
        tower.batch_first = False
        for block in transformer.resblocks:
            block.attn.batch_first = False
    for got, want in zip(other.fused(pictures, tokens, "itc"), wanted, strict=True):
        assert torch.allclose(got, want, atol=1e-5)


def test_without_the_way_across_its_weights_do_not_matter(pictures: Tensor, tokens: Tensor) -> None:
    model = small_model(moved=True)
    fused = model.fused(pictures, tokens, "itc", across=False)
    assert torch.equal(fused[0], model.image(pictures, "itc"))
    assert torch.equal(fused[1], model.text(tokens, "itc"))


def test_what_pictures_ask_of_words_changes_the_picture_only(pictures: Tensor, tokens: Tensor) -> None:
    model = small_model()
    with torch.no_grad():
        for layer in model.cross["image"]:
            layer.adapter.up.weight.normal_()
    before = model.clip.encode_image(pictures), model.clip.encode_text(tokens)
    after = model.fused(pictures, tokens, "itc")
    assert not torch.allclose(after[0], before[0])
    last = len(model.cross["image"]) - 1
    for layer in model.cross["image"][:last]:
        nn.init.zeros_(layer.adapter.up.weight)
    assert torch.equal(model.fused(pictures, tokens, "itc")[1], before[1])


def test_the_first_gradient_reaches_the_up_projections_alone(pictures: Tensor, tokens: Tensor) -> None:
    model = small_model().train()
    image, text = model.fused(pictures, tokens, "itc")
    (image * torch.randn_like(image) + text * torch.randn_like(text)).sum().backward()
    for name, parameter in model.named_parameters():
        if name.startswith("clip."):
            continue
        active = name.startswith("cross.") or "task_itc" in name
        moved = parameter.grad is not None and bool(parameter.grad.any())
        assert moved == (active and ".up." in name), name
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    model.zero_grad()
    image, text = model.fused(pictures, tokens, "itc")
    (image.square().sum() + text.square().sum()).backward()
    still = {n for n, p in model.named_parameters() if ("cross." in n or "task_itc" in n) and not bool(p.grad.any())}
    assert {name for name in still if not name.endswith("key.bias")} == set()  # a soft-max does not see a key's bias


def test_matching_touches_neither_the_way_across_nor_other_tasks(pictures: Tensor, tokens: Tensor) -> None:
    model = small_model(moved=True).train()
    (model.image(pictures, "itc").sum() + model.text(tokens, "itc").sum()).backward()
    touched = {
        name.split(".")[0] + "." + name.split(".")[1] for name, p in model.named_parameters() if p.grad is not None
    }
    assert not any(name.startswith("cross") for name in touched)
    assert "task_adapters.task_itc" in touched
    assert "task_adapters.task_cap" not in touched


def test_a_caption_never_asks_words_from_the_pictures_side(pictures: Tensor, tokens: Tensor) -> None:
    model = small_model(moved=True).train()
    model.hidden(tokens, model.contexts(model.memory(pictures, "cap")), "cap").sum().backward()
    assert all(p.grad is None for p in model.cross["image"].parameters())
    assert any(p.grad is not None and p.grad.any() for p in model.cross["text"].parameters())


def test_tokens_after_the_end_do_not_matter(pictures: Tensor, tokens: Tensor) -> None:
    model = small_model(moved=True)
    other = tokens.clone()
    for row, end in enumerate((4, 7, 11)):
        other[row, end + 1 :] = 17
    for one, two in zip(model.fused(pictures, tokens, "itc"), model.fused(pictures, other, "itc"), strict=True):
        assert torch.equal(one, two)
    inside = tokens.clone()
    inside[0, 2] = 55 if int(tokens[0, 2]) != 55 else 56
    assert not torch.allclose(model.fused(pictures, inside, "itc")[0][0], model.fused(pictures, tokens, "itc")[0][0])


def test_a_later_token_changes_nothing_before_it(pictures: Tensor, tokens: Tensor) -> None:
    model = small_model(moved=True)
    contexts = model.contexts(model.memory(pictures, "cap"))
    wanted = model.hidden(tokens, contexts, "cap")
    other = tokens.clone()
    other[:, 6] = 33
    changed = model.hidden(other, contexts, "cap")
    assert torch.allclose(changed[:, :6], wanted[:, :6], atol=1e-6)
    assert not torch.allclose(changed[:, 6:], wanted[:, 6:])


def test_one_token_at_a_time_gives_what_the_whole_text_gives(pictures: Tensor, tokens: Tensor) -> None:
    model = small_model(moved=True)
    contexts = model.contexts(model.memory(pictures, "cap"))
    wanted = model.hidden(tokens, contexts, "cap")
    written = model.written(tokens.shape[1])
    for place in range(tokens.shape[1]):
        hidden = model.next_hidden(tokens[:, place, None], contexts, written, "cap")
        assert torch.allclose(hidden[:, 0], wanted[:, place], atol=1e-5)
        written.go_on()
    with pytest.raises(ValueError, match="room for 12 tokens"):
        model.next_hidden(tokens[:, :1], contexts, written, "cap")


def test_texts_of_one_picture_that_part_and_die_each_keep_their_own_past(pictures: Tensor) -> None:
    """Three texts for each of three pictures, each going on from a random one at every place; then a picture goes."""
    model, random = small_model(moved=True), torch.Generator().manual_seed(4)
    contexts = model.contexts(model.memory(pictures, "cap"))
    written, past = model.written(6, beams=3), torch.full((3, 3, 0), 0)
    rows = torch.arange(3)
    for place in range(6):
        tokens = torch.randint(1, WORDS - 2, (len(rows), 3), generator=random)
        past = torch.cat([past, tokens[:, :, None]], dim=2)
        hidden = model.next_hidden(tokens, contexts, written, "cap")
        for number in range(3):
            wanted = model.hidden(past[:, number], contexts, "cap")[:, -1]
            assert torch.allclose(hidden[:, number], wanted, atol=1e-5), (place, number)
        parents = torch.randint(0, 3, (len(rows), 3), generator=random)
        written.go_on(parents)
        past = past.gather(1, parents[:, :, None].expand_as(past))
        if place == 3:
            rows = torch.tensor([2, 0])
            past, contexts = past[rows], [Context(c.keys[rows], c.values[rows]) for c in contexts]
            written.keep(rows)


def test_a_fresh_model_writes_without_looking(pictures: Tensor, tokens: Tensor) -> None:
    fresh, moved = small_model(), small_model(moved=True)
    for model, blind in ((fresh, True), (moved, False)):
        one, two = (
            model.hidden(tokens, model.contexts(model.memory(images, "cap")), "cap") for images in (pictures, -pictures)
        )
        assert torch.equal(one, two) == blind


def test_an_adapter_scaled_by_0_does_nothing_and_by_2_twice_as_much() -> None:
    adapter, x = BottleneckAdapter(16, 4), torch.randn(2, 5, 16)
    nn.init.normal_(adapter.up.weight)
    once = adapter(x)
    assert torch.allclose(adapter(2 * x + 3), once, atol=1e-5)
    with torch.no_grad():
        adapter.scale.fill_(2.0)
        assert torch.allclose(adapter(x), 2 * once)
        adapter.scale.zero_()
        assert not adapter(x).any()


def test_a_row_does_not_depend_on_the_rest_of_the_batch(pictures: Tensor, tokens: Tensor) -> None:
    model = small_model(moved=True)
    whole = model.fused(pictures, tokens, "itc")
    for row in range(3):
        alone = model.fused(pictures[row : row + 1], tokens[row : row + 1], "itc")
        assert all(torch.allclose(a[0], b[row], atol=1e-5) for a, b in zip(alone, whole, strict=True))


def test_training_one_task_with_the_rest_frozen_leaves_the_other_as_it_was(pictures: Tensor, tokens: Tensor) -> None:
    model = small_model(moved=True)
    model.clip.requires_grad_(False)
    model.cross.requires_grad_(False)
    with torch.no_grad():
        before = model.image(pictures, "itc"), model.text(tokens, "itc")
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model.text(tokens, "cap").square().sum().backward()
        optimizer.step()
    with torch.no_grad():
        assert torch.equal(model.image(pictures, "itc"), before[0])
        assert torch.equal(model.text(tokens, "itc"), before[1])
        assert not torch.equal(model.text(tokens, "cap"), small_model(moved=True).text(tokens, "cap"))


def test_a_task_that_is_added_leaves_the_others_as_they_were(pictures: Tensor, tokens: Tensor) -> None:
    model = small_model(moved=True)
    before = model.fused(pictures, tokens, "itc")
    model.add_task("col.our")
    assert model.tasks == ("itc", "cap", "col.our")
    assert all(torch.equal(a, b) for a, b in zip(model.fused(pictures, tokens, "itc"), before, strict=True))
    assert torch.equal(model.image(pictures, "col.our"), model.clip.encode_image(pictures))
    with pytest.raises(ValueError, match="new name"):
        model.add_task("itc")
    with pytest.raises(ValueError, match="did you mean 'itc'"):
        model.image(pictures, "itk")


def test_a_copy_has_towers_of_its_own(pictures: Tensor) -> None:
    model = small_model(moved=True)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.clip.parameters():
            parameter.add_(1.0)
    kept = other.image(pictures, "itc")
    assert not torch.allclose(model.image(pictures, "itc"), kept)
    assert set(other.state_dict()) == set(model.state_dict())


def test_towers_that_the_method_is_not_defined_for_are_refused() -> None:
    with pytest.raises(ValueError, match="equal depth"):
        AdaptedCLIP(small_clip(text={"layers": 3}))
    with pytest.raises(ValueError, match="plain attention"):
        AdaptedCLIP(small_clip(image={"qk_norm": True}))
    with pytest.raises(ValueError, match="causal"):
        AdaptedCLIP(small_clip(text={"no_causal_mask": True}))
