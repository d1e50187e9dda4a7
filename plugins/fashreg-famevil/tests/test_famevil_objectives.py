"""What each kind of task asks of a batch, and what it is worth: closed forms, and what is left alone."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from famevil_run import KINDS, THINGS, batch_of, small_encoder
from fashreg_famevil.losses import (
    caption_loss,
    matching_distillation,
    matching_logits,
    matching_loss,
    published_matching_distillation,
    without_doubles,
)
from fashreg_famevil.objectives import Answers, answers_of
from fashreg_famevil.valuing import Valued, value_of
from torch import Tensor, nn

from fashreg.encoder import Encoder
from fashreg.training.processes import Processes
from fashreg.values import TrainingBatch


@pytest.fixture(scope="module")
def alone() -> Processes:
    return Processes()


@pytest.fixture
def encoder() -> Encoder:
    """Adapters with weights that change something."""
    made = small_encoder()
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in made.backbone.trunk.named_parameters():
            if not name.startswith("clip."):
                parameter.normal_(0.0, 0.2)
    return made


def valued(encoder: Encoder, task: str, alone: Processes, **options: bool) -> Valued:
    batch = batch_of(task)
    return value_of(answers_of(encoder, batch, task), None, batch, KINDS[task], alone, **options)


def test_matching_sets_pictures_against_texts_both_ways(encoder: Encoder, alone: Processes) -> None:
    batch = batch_of("match")
    images, texts = encoder(batch.images, "match"), encoder.forward_text(batch.texts, "match")
    wanted = matching_loss(matching_logits(images, texts, 4.0))
    assert torch.allclose(valued(encoder, "match", alone).own, wanted, atol=1e-6)


def test_an_edit_sets_questions_against_targets_one_way_only(encoder: Encoder, alone: Processes) -> None:
    batch = batch_of("edit")
    questions = encoder.forward_composed(batch.images, batch.texts, "edit")
    targets = encoder(batch.targets, "edit")
    logits = matching_logits(questions, targets, 4.0)
    found = valued(encoder, "edit", alone).own
    assert torch.allclose(found, matching_loss(logits, both_ways=False), atol=1e-6)
    assert not torch.allclose(found, matching_loss(logits), atol=1e-4)


def test_classes_at_zero_logits_cost_their_logarithm(encoder: Encoder, alone: Processes) -> None:
    for parameter in encoder.head.head_of("name").parameters():
        nn.init.zeros_(parameter)
    assert float(valued(encoder, "name", alone).own.detach()) == pytest.approx(math.log(len(THINGS)))
    published = Answers(torch.zeros(2, 4), logits=torch.zeros(2, 121), targets=torch.tensor([5, 120]))
    found = value_of(published, None, batch_of("name", 2), "classification", alone).own
    assert float(found) == pytest.approx(4.795791, abs=1e-6)


@pytest.mark.parametrize("count_padding", [False, True])
def test_captions_cost_what_the_whole_table_of_logits_says(
    encoder: Encoder, alone: Processes, count_padding: bool
) -> None:
    """Only places that count are computed."""
    backbone, batch = encoder.backbone, batch_of("say")
    tokens = backbone.tokenize(batch.texts)
    trunk = backbone.trunk
    hidden = trunk.hidden(tokens, trunk.contexts(trunk.memory(batch.images, "say")), "say")
    wanted = caption_loss(encoder.head.words(hidden, "say"), tokens, count_padding=count_padding)
    said = answers_of(encoder, batch, "say", count_padding=count_padding)
    assert torch.allclose(value_of(said, None, batch, "captioning", alone).own, wanted, atol=1e-5)
    places = tokens.shape[0] * (tokens.shape[1] - 1)
    assert (len(said.targets) == places) == count_padding


def test_a_batch_is_only_read(encoder: Encoder, alone: Processes) -> None:
    """Also where a teacher's soft targets come in: labels stay what they were."""
    for task, kind in KINDS.items():
        batch = batch_of(task)
        before = copy.deepcopy(batch)
        said = answers_of(encoder, batch, task)
        value_of(said, said, batch, kind, alone).own.backward()
        for name in ("images", "labels", "ids", "positions", "targets"):
            one, other = getattr(batch, name), getattr(before, name)
            assert (one is None and other is None) or torch.equal(one, other)
        assert list(batch.texts or ()) == list(before.texts or ())


def touched(encoder: Encoder, task: str, alone: Processes) -> set[str]:
    """Parts that a task's loss gives a gradient to."""
    encoder.zero_grad()
    valued(encoder, task, alone).own.backward()
    moved = {name for name, p in encoder.named_parameters() if p.grad is not None and bool(p.grad.any())}
    return {".".join(name.split(".")[1:4]) for name in moved if ".cross." in name or "task_" in name}


def test_each_kind_of_task_moves_its_own_adapters_and_the_ways_it_walks(encoder: Encoder, alone: Processes) -> None:
    both = {"trunk.cross.image", "trunk.cross.text"}
    wanted = {"match": set(), "edit": both, "name": both, "say": {"trunk.cross.text"}}
    for task, across in wanted.items():
        found = touched(encoder, task, alone)
        assert {part for part in found if "cross" in part} == across, task
        assert {part for part in found if "task_adapters" in part} == {f"trunk.task_adapters.task_{task}"}
        heads = {part for part in found if part.startswith("heads")}
        assert heads
        assert all(f"task_{task}" in part for part in heads)


def test_another_view_of_the_same_product_is_no_wrong_answer(alone: Processes) -> None:
    """Two rows of one product: with them left out, what is left is the loss without the double."""
    rows = nn.functional.normalize(torch.randn(4, 6, generator=torch.Generator().manual_seed(0)), dim=1)
    labels = torch.tensor([7, 8, 7, 9])
    batch = TrainingBatch(torch.zeros(4, 1), labels, torch.arange(4), torch.arange(4))
    said = Answers(rows, rows.flip(1), torch.tensor([2.0]))
    masked = value_of(said, None, batch, "composed", alone).own
    logits = matching_logits(rows, rows.flip(1), 2.0)
    each = []
    for row in range(4):
        kept = [n for n in range(4) if n == row or labels[n] != labels[row]]
        each.append(logits[row, kept].logsumexp(0) - logits[row, row])
    assert torch.allclose(masked, torch.stack(each).mean(), atol=1e-6)
    counted = value_of(said, None, batch, "composed", alone, mask_same_label=False).own
    assert torch.allclose(counted, matching_loss(logits, both_ways=False))
    assert counted > masked


def unit_rows() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(3)
    return tuple(  # type: ignore[return-value]
        nn.functional.normalize(torch.randn(6, 8, dtype=torch.float64, generator=random), dim=1) for _ in range(2)
    )


def test_published_distillation_costs_the_same_where_both_agree_and_still_moves_the_student() -> None:
    """Defect 1 of the published code, behind a flag: the teacher's rows against the student's columns."""
    gradients, losses = [], []
    for published in (False, True):
        rows, columns = (x.clone().requires_grad_() for x in unit_rows())
        theirs = unit_rows()
        logits = matching_logits(rows, columns, 4.0)
        if published:
            loss = published_matching_distillation(logits, (rows, theirs[0]), (columns, theirs[1]), (4.0, 4.0))
        else:
            loss = matching_distillation(logits, matching_logits(*theirs, 4.0))
        loss.backward()
        assert rows.grad is not None
        assert columns.grad is not None
        losses.append(float(loss.detach()))
        gradients.append(float(torch.maximum(rows.grad.abs().max(), columns.grad.abs().max())))
    assert losses[0] == pytest.approx(losses[1])
    assert gradients[0] < 1e-7
    assert 1e-2 < gradients[1] < 1.0


def test_a_teacher_may_have_places_that_cannot_be_chosen() -> None:
    """The mask of equal labels is in both tables of logits; nothing becomes NaN."""
    labels = torch.tensor([1, 1, 2])
    student = without_doubles(torch.randn(3, 3), labels).requires_grad_()
    loss = matching_distillation(student, without_doubles(torch.randn(3, 3), labels))
    loss.backward()
    assert torch.isfinite(loss)
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


def test_published_distillation_leaves_other_views_of_a_product_out_of_its_targets_too(alone: Processes) -> None:
    """Against the sums written out: what is no choice of the student's must have no share in what it should choose."""
    rows, columns = (x.float() for x in unit_rows())
    their_rows, their_columns = columns.flip(0), rows.roll(1, 0)
    labels = torch.tensor([4, 5, 4, 6, 7, 4])
    batch = TrainingBatch(torch.zeros(6, 1), labels, torch.arange(6), torch.arange(6))
    mine, theirs = (
        Answers(r, c, torch.tensor([a])) for r, c, a in ((rows, columns, 2.0), (their_rows, their_columns, 3.0))
    )
    found = value_of(mine, theirs, batch, "cross-modal", alone, published=True).taught
    each = []
    for asking, asked, student in ((their_rows, columns, 4.0 * rows @ columns.T), (their_columns, rows, None)):
        said = 4.0 * columns @ rows.T if student is None else student
        for row in range(6):
            kept = [n for n in range(6) if n == row or labels[n] != labels[row]]
            wanted = (6.0 * asking[row] @ asked[kept].T).softmax(0)
            each.append(-(wanted * said[row, kept].log_softmax(0)).sum())
    assert found is not None
    assert torch.allclose(found, torch.stack(each).mean(), rtol=1e-5)


def test_a_teacher_speaks_with_a_scale_of_its_own(alone: Processes) -> None:
    rows, columns = (x.float() for x in unit_rows())
    labels = torch.arange(6)
    batch = TrainingBatch(torch.zeros(6, 1), labels, labels, labels)
    mine = Answers(rows, columns, torch.tensor([2.0]))
    theirs = Answers(columns, rows.flip(0), torch.tensor([3.0]))
    for kind, both in (("cross-modal", True), ("composed", False)):
        found = value_of(mine, theirs, batch, kind, alone).taught
        wanted = matching_logits(rows, columns, 2.0), matching_logits(columns, rows.flip(0), 3.0)
        assert found is not None
        assert torch.allclose(found, matching_distillation(*wanted, both_ways=both), atol=1e-5)


def test_an_edit_learns_from_its_question_and_from_its_target(encoder: Encoder, alone: Processes) -> None:
    batch = batch_of("edit")
    batch.images.requires_grad_(True)
    batch.targets = (batch.targets if batch.targets is not None else batch.images).clone().requires_grad_(True)
    value_of(answers_of(encoder, batch, "edit"), None, batch, "composed", alone).own.backward()
    for pictures in (batch.images, batch.targets):
        assert pictures.grad is not None
        assert bool(pictures.grad.any())
