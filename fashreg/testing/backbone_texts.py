"""The contract of a backbone that knows texts, or whose work depends on the task; beside `BackboneContract`."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fashreg.testing.backbone import alike
from fashreg.testing.backbone_ways import TEXTS, forward, pictures, tasks_of, told, ways
from fashreg.testing.state import same_state, shaken, state_of

KINDS = ("cross-modal", "composed", "classification", "captioning")
ODD = ("", "x", "ÄÖÜ ß 裙子", "a long dress " * 200)  # texts that a person may type


class Words(nn.Module):
    """A head of words: hidden states (B, text_dim) -> logits (B, vocabulary), and what it was asked with."""

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(backbone.vocabulary, backbone.text_dim, generator=random))
        self.widths: set[int] = set()

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, text_dim) -> (B, vocabulary)."""
        assert hidden.ndim == 2, f"words are asked with {tuple(hidden.shape)}"
        self.widths.add(hidden.shape[1])
        return hidden @ self.weight.T


def answers(backbone: Any, images: Tensor, *tasks: str) -> dict[str, Tensor]:
    """What every way of asking gives, or those of some tasks, without gradient."""
    with torch.no_grad():
        return {name: way() for name, way in ways(backbone, images, tasks=tasks or None).items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """True when all answers are equal bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class TextBackboneContract:
    """Override `backbone` with a fresh one, with a task of each kind that it can have; no weights to fetch.

    tolerance: relative difference allowed where only the order of summation differs (other rows in the batch).
    """

    tolerance = 1e-5

    @pytest.fixture
    def backbone(self) -> Any:
        """A fresh backbone."""
        raise NotImplementedError("override the fixture `backbone`")

    def test_it_says_what_it_knows_and_what_its_tasks_are_for(self, backbone: Any) -> None:
        assert {"image", "text"} <= set(backbone.modalities)
        assert isinstance(backbone.tasks, tuple)
        assert tuple(backbone.kinds) == backbone.tasks
        assert set(backbone.kinds.values()) <= set(KINDS)
        assert min(backbone.text_dim, backbone.vocabulary) > 0

    def test_texts_and_pictures_with_texts_are_as_wide_as_pictures(self, backbone: Any) -> None:
        backbone.eval()
        for name, features in answers(backbone, pictures(backbone, 3)).items():
            assert features.shape == (3, backbone.out_dim), name
            assert features.dtype == torch.float32, name
            assert torch.isfinite(features).all(), name

    def test_whatever_is_typed_is_a_text_and_no_texts_give_no_rows(self, backbone: Any) -> None:
        backbone.eval()
        for task in tasks_of(backbone, "cross-modal"):
            with torch.no_grad():
                found = backbone.encode_text(list(ODD), **told(backbone, task))
                none = backbone.encode_text([], **told(backbone, task))
            assert torch.isfinite(found).all()
            assert found.shape == (len(ODD), backbone.out_dim)
            assert none.shape == (0, backbone.out_dim)

    def test_a_row_does_not_see_the_others_and_keeps_its_place(self, backbone: Any) -> None:
        backbone.eval()
        shaken(backbone)
        images = pictures(backbone, 3)
        with torch.no_grad():
            for task in tasks_of(backbone, "cross-modal"):
                texts = [*TEXTS, ODD[3]]
                together = backbone.encode_text(texts, **told(backbone, task))
                for row, text in enumerate(texts):
                    alone = backbone.encode_text([text], **told(backbone, task))
                    assert alike(alone, together[row : row + 1], self.tolerance), text[:20]
                assert not alike(together[:1], together[1:2], 1e-3), "different texts look the same"
            for task in tasks_of(backbone, "composed", "classification"):
                both = backbone.compose(images, TEXTS, **told(backbone, task))
                turned = backbone.compose(images.flip(0), TEXTS[::-1], **told(backbone, task))
                assert alike(turned.flip(0), both, 10 * self.tolerance)
                assert alike(backbone.compose(images[:1], TEXTS[:1], **told(backbone, task)), both[:1], 1e-4)

    def test_both_the_picture_and_the_text_count_where_they_go_together(self, backbone: Any) -> None:
        backbone.eval()
        shaken(backbone)
        images = pictures(backbone, 2)
        with torch.no_grad():
            for task in tasks_of(backbone, "composed", "classification"):
                both = backbone.compose(images, TEXTS[:2], **told(backbone, task))
                assert not alike(backbone.compose(images, TEXTS[1::-1], **told(backbone, task)), both, 1e-4)
                assert not alike(backbone.compose(images.flip(0), TEXTS[:2], **told(backbone, task)), both, 1e-4)

    def test_evaluation_is_repeatable_and_leaves_no_trace(self, backbone: Any) -> None:
        backbone.eval()
        images, state, random = pictures(backbone, 3), state_of(backbone), torch.get_rng_state()
        kept = images.clone()
        first = answers(backbone, images)
        answers(backbone, pictures(backbone, 2, seed=5))
        assert same(answers(backbone, images), first)
        assert torch.equal(images, kept), "the pictures were changed in place"
        assert same_state(state_of(backbone), state), "evaluation changed parameters or buffers"
        assert torch.equal(torch.get_rng_state(), random), "evaluation used the global random state"

    def test_an_unknown_task_is_refused_and_none_means_the_only_one(self, backbone: Any) -> None:
        backbone.eval()
        images = pictures(backbone)
        asked: dict[str, Any] = {
            "pictures": lambda task: backbone(images, task=task),
            "stages": lambda task: backbone.run_stages(images, 0, 1, task=task),
            "texts": lambda task: backbone.encode_text(TEXTS[:2], task=task),
            "pictures with texts": lambda task: backbone.compose(images, TEXTS[:2], task=task),
        }
        for name, ask in asked.items():
            if backbone.tasks:
                with pytest.raises(ValueError, match=backbone.tasks[0]):
                    ask("no such task")
            if len(backbone.tasks) > 1 and name in ("pictures", "stages"):
                with pytest.raises(ValueError, match=backbone.tasks[1]):
                    ask(None)
        if len(backbone.tasks) == 1:
            assert torch.equal(backbone(images, task=None), backbone(images, task=backbone.tasks[0]))

    def test_a_task_that_is_added_answers_and_leaves_the_others_as_they_are(self, backbone: Any) -> None:
        backbone.eval()
        shaken(backbone)
        images, old, random = pictures(backbone), backbone.tasks, torch.get_rng_state()
        before, state = answers(backbone, images), state_of(backbone)
        for number, kind in enumerate(sorted(set(backbone.kinds.values()))):
            backbone.add_task(f"new.{number}", kind)
            assert backbone.tasks[-1] == f"new.{number}"
            assert backbone.kinds[f"new.{number}"] == kind
            assert forward(backbone, images, f"new.{number}").shape == (2, backbone.out_dim)
        assert not any(module.training for module in backbone.modules()), "the new task is in another mode"
        assert torch.equal(torch.get_rng_state(), random), "adding used the global random state"
        after = state_of(backbone)
        assert all(torch.equal(after[name], tensor) for name, tensor in state.items())
        assert not old or same(answers(backbone, images, *old), before)
        for name in (*old[:1], ""):
            with pytest.raises(ValueError, match=r"."):
                backbone.add_task(name, "cross-modal")

    def test_what_one_task_alone_uses_does_not_move_another(self, backbone: Any) -> None:
        images = pictures(backbone)
        whole = {id(module) for module in backbone.modules()}
        for task in backbone.tasks:
            mine = backbone.modules_of(task)
            for other in backbone.tasks:
                moved = copy.deepcopy(backbone).eval()
                used = {id(p) for module in moved.modules_of(other) for p in module.parameters()}
                for module in moved.modules_of(task):
                    if used.isdisjoint({id(p) for p in module.parameters()}):
                        shaken(module)
                if other != task:
                    unmoved = answers(copy.deepcopy(backbone).eval(), images, other)
                    assert same(answers(moved, images, other), unmoved), f"{other} uses what only {task} says to use"
            assert all(id(part) in whole for module in mine for part in module.children()), "modules of another network"

    def test_what_a_task_uses_is_among_its_modules_or_every_tasks(self, backbone: Any) -> None:
        backbone.eval()
        shaken(backbone)
        images = pictures(backbone)
        for task in backbone.tasks:
            before = answers(backbone, images, task)
            for module in backbone.modules_of(task):
                shaken(module)
            if backbone.modules_of(task):
                assert not same(answers(backbone, images, task), before), f"the modules of {task} do nothing"

    def test_a_gradient_reaches_the_task_that_was_asked_and_no_other(self, backbone: Any) -> None:
        backbone.train()
        images = pictures(backbone)
        weights = torch.rand(backbone.out_dim, generator=torch.Generator().manual_seed(2))
        for task in backbone.tasks:
            backbone.zero_grad()
            for way in ways(backbone, images, tasks=(task,)).values():
                (way() * weights).sum().backward()  # type: ignore[no-untyped-call]
            own = {id(p) for module in backbone.modules_of(task) for p in module.parameters()}
            others = [p for t in backbone.tasks for m in backbone.modules_of(t) for p in m.parameters()]
            for parameter in others:
                if id(parameter) not in own:
                    assert parameter.grad is None or not parameter.grad.any(), f"{task} moves what others alone use"

    def test_a_saved_state_and_a_copy_give_the_same_answers_bit_for_bit(self, backbone: Any) -> None:
        other = copy.deepcopy(backbone)
        shaken(backbone)
        other.load_state_dict(state_of(backbone), strict=True)
        images = pictures(backbone)
        first = answers(backbone.eval(), images)
        assert same(answers(other.eval(), images), first)
        shaken(other)
        assert same(answers(backbone, images), first), "changing the copy changed the original"
        for name, features in answers(other, images).items():
            assert not torch.equal(features, first[name]), f"{name}: the copy still runs on the original's weights"

    def test_half_precision_gives_nearly_the_same_direction(self, backbone: Any) -> None:
        backbone.eval()
        images = pictures(backbone)
        wanted = answers(backbone, images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = answers(backbone, images)
        for name, features in wanted.items():
            assert torch.isfinite(rough[name]).all(), name
            assert nn.functional.cosine_similarity(rough[name].float(), features).min() > 0.98, name

    @pytest.mark.parametrize("beams", [1, 3])
    def test_a_caption_belongs_to_its_picture_and_ends(self, backbone: Any, beams: int) -> None:
        backbone.eval()
        shaken(backbone)
        images, words, random = pictures(backbone, 3), Words(backbone), torch.get_rng_state()
        for task in tasks_of(backbone, "captioning") if backbone.tasks else ():
            ask = {**told(backbone, task), "beams": beams}
            written = backbone.captions(images, words, length=4, **ask)
            assert len(written) == 3
            assert all(isinstance(text, str) for text in written)
            assert written == [backbone.captions(image[None], words, length=4, **ask)[0] for image in images]
            assert all(isinstance(text, str) for text in backbone.captions(images, words, **ask))
            shorter = backbone.captions(images, words, length=1, **ask)
            assert sum(map(len, shorter)) <= sum(map(len, written)), "length does not bound a caption"
            assert words.widths == {backbone.text_dim}
            assert words.weight.grad is None
        assert torch.equal(torch.get_rng_state(), random), "writing used the global random state"
