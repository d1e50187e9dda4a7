"""Seeded faults: backbones of pictures and texts that are wrong in one way each, and the contract test that notices."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from seeded_faults import failing_tests
from torch import Tensor, nn

from fashreg.testing.backbone import BackboneContract
from fashreg.testing.backbone_texts import TextBackboneContract
from fashreg.testing.tiny_texts import KINDS, TinyTextBackbone

FOUR = {kind: kind for kind in KINDS}


class Sound(TinyTextBackbone):
    """The backbone that every fault below is seeded into: a task of each kind."""

    def __init__(self, kinds: dict[str, str] | None = None, width: int = 12, seed: int = 0) -> None:
        super().__init__(FOUR if kinds is None else kinds, width, seed)


def test_the_toy_keeps_both_contracts() -> None:
    assert failing_tests(TextBackboneContract, "backbone", Sound) == set()
    assert failing_tests(BackboneContract, "backbone", Sound) == set()


@pytest.mark.parametrize("kinds", [{}, {"match": "cross-modal"}, {"tell": "captioning", "edit": "composed"}], ids=len)
def test_the_toy_keeps_them_with_fewer_tasks(kinds: dict[str, str]) -> None:
    assert failing_tests(TextBackboneContract, "backbone", lambda: TinyTextBackbone(kinds)) == set()
    assert failing_tests(BackboneContract, "backbone", lambda: TinyTextBackbone(kinds)) == set()


class KindsOfOthers(Sound):
    """A kind that nobody knows."""

    def __init__(self) -> None:
        super().__init__({**FOUR, "more": "segmentation"})


class NarrowTexts(Sound):
    """Texts are half as wide as pictures."""

    def encode_text(self, texts: Any, task: str | None = None) -> Tensor:
        return super().encode_text(texts, task)[:, :6]


class LatinOnly(Sound):
    """Letters beyond ASCII end in an error."""

    def encode_text(self, texts: Any, task: str | None = None) -> Tensor:
        return super().encode_text([text.encode("ascii").decode() for text in texts], task)


class NeedsATextAtLeast(Sound):
    """No texts end in an error."""

    def _read(self, texts: Any) -> Tensor:
        return super()._read(texts) if texts else torch.stack([])


class CentresTheTexts(Sound):
    """Features of texts are centred over the batch."""

    def encode_text(self, texts: Any, task: str | None = None) -> Tensor:
        found = super().encode_text(texts, task)
        return found - found.mean(0) if len(found) > 1 else found


class SortsTheTexts(Sound):
    """Texts come back in the order of their length."""

    def encode_text(self, texts: Any, task: str | None = None) -> Tensor:
        return super().encode_text(sorted(texts, key=len), task)


class DeafWhereItComposes(Sound):
    """The text is left out beside a picture."""

    def compose(self, images: Tensor, texts: Any, task: str | None = None) -> Tensor:
        return super().compose(images, [""] * len(texts), task)


class BlindWhereItComposes(Sound):
    """The picture is left out beside a text."""

    def compose(self, images: Tensor, texts: Any, task: str | None = None) -> Tensor:
        return super().compose(torch.zeros_like(images), texts, task)


class DropsOutAlways(Sound):
    """Dropout over texts in evaluation."""

    def encode_text(self, texts: Any, task: str | None = None) -> Tensor:
        return nn.functional.dropout(super().encode_text(texts, task), 0.1)


class TakesAnyTask(Sound):
    """An unknown task is answered by the first one."""

    def _adapters(self, task: str | None) -> Any:
        return super()._adapters(task if task in self.kinds else self.tasks[0])


class GuessesTheTask(Sound):
    """Without a task, the first of several answers."""

    def _adapters(self, task: str | None) -> Any:
        return super()._adapters(self.tasks[0] if task is None else task)


class StartsAnew(Sound):
    """A new task draws the first weights of all of them again."""

    def add_task(self, name: str, kind: str) -> None:
        for made in self.adapters.values():
            for part in made.modules():
                if hasattr(part, "reset_parameters"):
                    part.reset_parameters()
        super().add_task(name, kind)


class AddsInTraining(Sound):
    """A new task is in training mode."""

    def add_task(self, name: str, kind: str) -> None:
        super().add_task(name, kind)
        self.adapters[f"task_{name.replace('.', '%2E')}"].train()

    def eval(self) -> Any:
        return self.train(False)


class NamesTwice(Sound):
    """A task that is there already is made anew."""

    def add_task(self, name: str, kind: str) -> None:
        self.kinds.pop(name, None)
        super().add_task(name, kind)


class OwnsTheTrunk(Sound):
    """Every task calls the block its own, so none is left out of another's fingerprint, or all of it is."""

    def modules_of(self, task: str) -> list[Any]:
        return [*super().modules_of(task), *([self.block] if task == "captioning" else [])]


class OwnsNothingThatWorks(Sound):
    """A task names modules that nobody uses."""

    def __init__(self, kinds: dict[str, str] | None = None) -> None:
        super().__init__(kinds)
        self.spare = nn.ModuleDict({f"spare_{task}": nn.Linear(2, 2) for task in self.kinds})

    def modules_of(self, task: str) -> list[Any]:
        return [self.spare[f"spare_{task}"]] if f"spare_{task}" in self.spare else []


class AllTasksLearn(Sound):
    """A pass of one task sends gradients through the adapters of all."""

    def encode_text(self, texts: Any, task: str | None = None) -> Tensor:
        found = super().encode_text(texts, task)
        return found + 0.1 * sum(made["text"](found) for made in self.adapters.values())  # type: ignore[index, operator]

    def modules_of(self, task: str) -> list[Any]:
        return super().modules_of(task)


class SharedBetweenCopies(Sound):
    """Copies read texts with the weights of the original."""

    def __init__(self, kinds: dict[str, str] | None = None) -> None:
        super().__init__(kinds)
        self.read = lambda texts, task: TinyTextBackbone.encode_text(self, texts, task)

    def encode_text(self, texts: Any, task: str | None = None) -> Tensor:
        found: Tensor = self.read(texts, task)
        return found


class OverflowsInHalf(Sound):
    """A step over texts that only full precision survives."""

    def encode_text(self, texts: Any, task: str | None = None) -> Tensor:
        half = torch.is_autocast_enabled("cpu")
        return (512.0 + super().encode_text(texts, task).to(torch.bfloat16 if half else torch.float32)) - 512.0


class OneCaptionForAll(Sound):
    """Every picture gets the caption of the first."""

    def captions(self, images: Tensor, words: Any, task: str | None = None, **how: Any) -> list[str]:
        return super().captions(images[:1], words, task, **how) * len(images)


class NeverEnds(Sound):
    """The length is not looked at."""

    def captions(self, images: Tensor, words: Any, task: str | None = None, **how: Any) -> list[str]:
        return super().captions(images, words, task, **{**how, "length": 2 if how.get("length", 9) > 2 else 9})


FAULTS: dict[type[Sound], str] = {
    KindsOfOthers: "test_it_says_what_it_knows_and_what_its_tasks_are_for",
    NarrowTexts: "test_texts_and_pictures_with_texts_are_as_wide_as_pictures",
    LatinOnly: "test_whatever_is_typed_is_a_text_and_no_texts_give_no_rows",
    NeedsATextAtLeast: "test_whatever_is_typed_is_a_text_and_no_texts_give_no_rows",
    CentresTheTexts: "test_a_row_does_not_see_the_others_and_keeps_its_place",
    SortsTheTexts: "test_a_row_does_not_see_the_others_and_keeps_its_place",
    DeafWhereItComposes: "test_both_the_picture_and_the_text_count_where_they_go_together",
    BlindWhereItComposes: "test_both_the_picture_and_the_text_count_where_they_go_together",
    DropsOutAlways: "test_evaluation_is_repeatable_and_leaves_no_trace",
    TakesAnyTask: "test_an_unknown_task_is_refused_and_none_means_the_only_one",
    GuessesTheTask: "test_an_unknown_task_is_refused_and_none_means_the_only_one",
    StartsAnew: "test_a_task_that_is_added_answers_and_leaves_the_others_as_they_are",
    AddsInTraining: "test_a_task_that_is_added_answers_and_leaves_the_others_as_they_are",
    NamesTwice: "test_a_task_that_is_added_answers_and_leaves_the_others_as_they_are",
    OwnsTheTrunk: "test_what_one_task_alone_uses_does_not_move_another",
    OwnsNothingThatWorks: "test_what_a_task_uses_is_among_its_modules_or_every_tasks",
    AllTasksLearn: "test_a_gradient_reaches_the_task_that_was_asked_and_no_other",
    SharedBetweenCopies: "test_a_saved_state_and_a_copy_give_the_same_answers_bit_for_bit",
    OverflowsInHalf: "test_half_precision_gives_nearly_the_same_direction",
    OneCaptionForAll: "test_a_caption_belongs_to_its_picture_and_ends",
    NeverEnds: "test_a_caption_belongs_to_its_picture_and_ends",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_contract_notices(fault: type[Sound]) -> None:
    assert FAULTS[fault] in failing_tests(TextBackboneContract, "backbone", fault)


def test_every_test_of_the_contract_notices_some_fault() -> None:
    tests = {name for name in vars(TextBackboneContract) if name.startswith("test_")}
    assert tests == set(FAULTS.values())
