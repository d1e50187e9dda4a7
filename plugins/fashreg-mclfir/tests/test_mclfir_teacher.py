"""The teacher: a closed form for its average, no gradient, no place in any module tree."""

from __future__ import annotations

import copy

import pytest
import torch
from fashreg_mclfir.teacher import Average, Teacher
from mclfir_run import DIM, shared
from torch import nn

from fashreg.training.processes import Processes

ALONE = Processes()


def normed(value: float) -> nn.Sequential:
    """A layer and a batch norm whose every floating-point number is `value`."""
    made = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    with torch.no_grad():
        for tensor in made.state_dict().values():
            tensor.fill_(value)
    return made


def values(module: nn.Module) -> list[float]:
    tensors = [tensor for tensor in module.state_dict().values() if tensor.is_floating_point()]
    return [float(tensor.unique()) for tensor in tensors]


@pytest.mark.parametrize(
    ("steps", "left"),
    [(1, 0.999), (10, 0.990045), (100, 0.904792), (693, 0.499900), (1000, 0.367695), (1250, 0.286326)],
)
def test_with_a_constant_student_what_is_left_of_the_start_is_d_to_the_k(steps: int, left: float) -> None:
    """theta_T(k) = d^k theta_T(0) + (1 - d^k) theta*, for weights and batch-norm statistics alike."""
    theirs, mine = normed(1.0), normed(0.0)
    average = Average([(theirs, mine)])
    for _ in range(steps):
        average.update(0.999, ALONE)
    assert values(theirs) == pytest.approx([left] * 6, abs=1e-5)
    assert values(mine) == [0.0] * 6


def test_from_zero_to_a_constant_one() -> None:
    theirs = normed(0.0)
    average = Average([(theirs, normed(1.0))])
    for _ in range(1000):
        average.update(0.999, ALONE)
    assert values(theirs) == pytest.approx([0.632305] * 6, abs=1e-5)


def test_behind_a_student_that_moves_evenly_it_stays_by_the_closed_form() -> None:
    """theta_S(k) = k: theta_T(k) = k - d (1 - d^k) / (1 - d)."""
    theirs, mine, d = nn.Linear(1, 1).double(), nn.Linear(1, 1).double(), 0.9
    with torch.no_grad():
        theirs.weight.zero_()
    average = Average([(theirs, mine)])
    for k in range(1, 21):
        with torch.no_grad():
            mine.weight.fill_(k)
        average.update(d, ALONE)
        assert theirs.weight.item() == pytest.approx(k - d * (1 - d**k) / (1 - d), abs=1e-12)


@pytest.mark.parametrize(("decay", "kept"), [(1.0, 1.0), (0.0, 0.0)])
def test_decay_one_freezes_and_decay_zero_copies(decay: float, kept: float) -> None:
    theirs = normed(1.0)
    Average([(theirs, normed(0.0))]).update(decay, ALONE)
    assert values(theirs) == [kept] * 6


def test_whole_numbers_are_copied_and_what_is_not_trained_is_left_alone() -> None:
    theirs, mine = normed(1.0), normed(0.0)
    mine[1].num_batches_tracked.fill_(7)
    mine[0].requires_grad_(False)
    Average([(theirs, mine)]).update(0.5, ALONE)
    assert int(theirs[1].num_batches_tracked) == 7
    assert values(theirs[0]) == [1.0, 1.0]
    assert values(theirs[1]) == [0.5] * 4


def test_it_follows_tensors_that_are_written_in_place_as_checkpoints_are() -> None:
    theirs, mine = normed(1.0), normed(0.0)
    average = Average([(theirs, mine)])
    mine.load_state_dict(normed(1.0).state_dict())
    theirs.load_state_dict(normed(0.0).state_dict())
    average.update(0.5, ALONE)
    assert values(theirs) == [0.5] * 6


def test_a_copy_is_its_own_and_gives_no_gradient() -> None:
    encoder = shared("colour", "sleeve")
    teacher = Teacher(encoder, ("colour", "sleeve"))
    mine = {tensor.data_ptr() for tensor in encoder.state_dict().values() if tensor.numel()}
    assert not mine & {tensor.data_ptr() for tensor in teacher.state_dict().values() if tensor.numel()}
    images = torch.randn(2, 3, 32, 32)
    features = teacher.features(images, 0)
    assert not features.requires_grad
    assert not teacher.vectors(features, "sleeve").requires_grad
    encoder.eval()
    assert torch.equal(teacher.vectors(features, "sleeve"), encoder(images, "sleeve"))
    assert teacher.vectors(features, "sleeve").shape == (2, DIM)


def test_heads_that_nobody_asks_for_are_not_copied() -> None:
    encoder = shared("colour", "sleeve")
    assert Teacher(encoder).numbers() == sum(p.numel() for p in encoder.backbone.parameters())
    with_one = Teacher(encoder, ("sleeve",))
    assert {name.split(".")[2] for name in with_one.state_dict() if name.startswith("head.heads")} == {"task_sleeve"}


def test_it_begins_where_unchanging_steps_end() -> None:
    encoder = shared("colour").eval()
    teacher, images = Teacher(encoder, ("colour",)), torch.randn(2, 3, 32, 32)
    whole = teacher.features(images, 0)
    for stage in range(1, encoder.cuts + 1):
        assert torch.allclose(teacher.features(encoder.until(images, stage), stage), whole, atol=1e-6)


def test_its_state_can_be_put_back() -> None:
    encoder = shared("colour")
    teacher = Teacher(encoder, ("colour",))
    state = copy.deepcopy(teacher.state_dict())
    Average([(teacher.network.backbone, shared(seed=1).backbone)]).update(0.5, ALONE)
    moved = {name: not torch.equal(value, state[name]) for name, value in teacher.state_dict().items()}
    assert any(moved.values())
    teacher.load_state_dict(state)
    assert all(torch.equal(value, state[name]) for name, value in teacher.state_dict().items())
