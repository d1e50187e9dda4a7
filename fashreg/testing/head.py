"""The contract of a head: true widths, unit rows, tasks that leave one another alone."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fashreg.testing.head_answers import answers, backward, same
from fashreg.testing.state import same_state, shaken, state_of


def features_for(head: Any, count: int = 4, seed: int = 0) -> Tensor:
    """Random features (count, F), or a map (count, C, 3, 5) for a head on maps."""
    shape = (count, head.in_dim) if head.takes == "pooled" else (count, head.in_dim, 3, 5)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def tasks_of(head: Any) -> tuple[str | None, ...]:
    """Every task to ask for; None for a head that gives every task the same vector."""
    return tuple(head.tasks) or (None,)


def train_step(head: Any, task: str | None, seed: int = 3) -> None:
    """One step of plain gradient descent on that task."""
    head.train()
    head.zero_grad()
    backward(answers(head, features_for(head, seed=seed), task), seed)
    with torch.no_grad():
        for parameter in head.parameters():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad, alpha=0.1)


class HeadContract:
    """Override `head` with a fresh one. Heads with tasks: see also MultiTaskHeadContract."""

    @pytest.fixture
    def head(self) -> Any:
        """A fresh head."""
        raise NotImplementedError("override the fixture `head`")

    def test_it_says_what_it_takes_and_gives(self, head: Any) -> None:
        assert issubclass(type(head), nn.Module)
        assert head.takes in ("pooled", "map")
        assert isinstance(head.unit, bool)
        assert isinstance(head.tasks, tuple)
        assert len(set(head.tasks)) == len(head.tasks)
        assert min(head.in_dim, head.out_dim) > 0

    def test_every_constructor_parameter_is_kept_as_an_attribute(self, head: Any) -> None:
        for name in inspect.signature(type(head)).parameters:
            assert hasattr(head, name), f"self.{name} is missing"

    def test_the_output_has_the_width_it_says(self, head: Any) -> None:
        head.eval()
        for task in tasks_of(head):
            vectors = head(features_for(head), task)
            assert vectors.shape == (4, head.out_dim)
            assert vectors.dtype == torch.float32
            assert torch.isfinite(vectors).all()

    @pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
    def test_rows_have_length_one_if_it_says_so(self, head: Any, scale: float) -> None:
        shaken(head)
        for training in (False, True):
            head.train(training)
            for task in tasks_of(head):
                lengths = head(features_for(head) * scale, task).norm(dim=1)
                unit = bool((lengths - 1).abs().max() < 1e-4)
                assert unit or not head.unit, "rows are not of length 1, although head.unit says so"
                assert head.unit or not unit, "rows are of length 1, although head.unit denies it"

    def test_zero_features_give_finite_rows_and_gradients(self, head: Any) -> None:
        for training in (False, True):
            head.train(training)
            for task in tasks_of(head):
                head.zero_grad()
                features = torch.zeros_like(features_for(head)).requires_grad_()
                vectors = head(features, task)
                vectors.sum().backward()
                assert torch.isfinite(vectors).all()
                assert features.grad is not None
                assert torch.isfinite(features.grad).all()
                assert all(torch.isfinite(p.grad).all() for p in head.parameters() if p.grad is not None)

    def test_half_precision_gives_nearly_the_same_direction_and_still_unit_rows(self, head: Any) -> None:
        head.eval()
        with torch.no_grad():
            for task in tasks_of(head):
                wanted = head(features_for(head), task)
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    rough = head(features_for(head), task)
                assert torch.nn.functional.cosine_similarity(rough.float(), wanted).min() > 0.98
                if head.unit:
                    assert (rough.float().norm(dim=1) - 1).abs().max() < 1e-3, "make rows unit in full precision"

    def test_evaluation_is_repeatable_and_leaves_no_trace(self, head: Any) -> None:
        head.eval()
        features, state, random = features_for(head), state_of(head), torch.get_rng_state()
        kept = features.clone()
        first = [head(features, task) for task in tasks_of(head)]
        again = [head(features, task) for task in tasks_of(head)]
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        assert torch.equal(features, kept), "the features were changed in place"
        assert same_state(state_of(head), state), "evaluation changed parameters or buffers"
        assert torch.equal(torch.get_rng_state(), random), "evaluation used the global random state"

    def test_rows_do_not_see_one_another_in_evaluation(self, head: Any) -> None:
        head.eval()
        shaken(head)
        features = features_for(head)
        for task in tasks_of(head):
            together = head(features, task)
            assert torch.allclose(head(features[:1], task), together[:1], atol=1e-5)
            assert torch.allclose(head(features.flip(0), task), together.flip(0), atol=1e-5)

    def test_gradients_reach_the_features_and_every_parameter_of_the_task(self, head: Any) -> None:
        head.train()
        features = features_for(head).requires_grad_()
        for task in tasks_of(head):
            backward(answers(head, features, task), 2)
        assert features.grad is not None
        assert features.grad.abs().sum() > 0
        parameters = list(head.parameters())
        assert not parameters or any(p.requires_grad for p in parameters), "a fresh head has nothing to train"
        for name, parameter in head.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None, f"no gradient reaches {name}"
                assert torch.isfinite(parameter.grad).all(), name

    def test_a_saved_state_gives_the_same_rows_bit_for_bit(self, head: Any) -> None:
        other = copy.deepcopy(head)
        shaken(head)
        train_step(head, tasks_of(head)[0])
        other.load_state_dict(state_of(head), strict=True)
        for task in tasks_of(head):
            assert same(answers(other.eval(), features_for(head), task), answers(head.eval(), features_for(head), task))

    def test_a_copy_lives_its_own_life(self, head: Any) -> None:
        head.eval()
        other, task = copy.deepcopy(head), tasks_of(head)[0]
        first = answers(head, features_for(head), task)
        assert same(answers(other, features_for(head), task), first)
        train_step(other, task)
        assert same(answers(head, features_for(head), task), first), "training the copy changed the original"
        learns = any(True for _ in head.parameters())
        assert same(answers(other.eval(), features_for(head), task), first) != learns, "the copy learns nothing"

    def test_training_mode_is_entered_and_left_as_asked(self, head: Any) -> None:
        assert all(module.training for module in head.train().modules())
        assert not any(module.training for module in head.eval().modules())


class MultiTaskHeadContract(HeadContract):
    """Override `head` with a fresh one that serves at least two tasks and has `add_task(name)`."""

    def test_it_serves_several_tasks_each_with_a_vector_of_its_own(self, head: Any) -> None:
        head.eval()
        assert len(head.tasks) >= 2
        rows = [head(features_for(head), task) for task in head.tasks]
        assert all(not torch.allclose(a, b) for i, a in enumerate(rows) for b in rows[:i])

    def test_an_unknown_task_is_refused_by_name_and_the_known_ones_are_said(self, head: Any) -> None:
        with pytest.raises(ValueError, match="no-such-task"):
            head(features_for(head), "no-such-task")
        with pytest.raises(ValueError, match=head.tasks[0]):
            head(features_for(head))

    def test_training_one_task_leaves_the_others_bit_identical(self, head: Any) -> None:
        for task in head.tasks:
            others = [t for t in head.tasks if t != task]
            before = [answers(head.eval(), features_for(head), t) for t in others]
            own = answers(head, features_for(head), task)
            train_step(head, task)
            after = [answers(head.eval(), features_for(head), t) for t in others]
            assert all(same(a, b) for a, b in zip(before, after, strict=True)), f"training {task} moved others"
            assert not same(answers(head, features_for(head), task), own), f"training {task} changed nothing"

    @pytest.mark.parametrize("name", ["new", "type", "collar.design", "ärmel länge/1"])
    def test_a_task_added_later_leaves_the_others_bit_identical(self, head: Any, name: str) -> None:
        train_step(head, head.tasks[0])
        head.eval()
        old, state, random = head.tasks, state_of(head), torch.get_rng_state()
        owners = {key: id(parameter) for key, parameter in head.named_parameters()}
        said = [answers(head, features_for(head), task) for task in old]
        head.add_task(name)
        assert head.tasks == (*old, name)
        assert all(same(answers(head, features_for(head), t), s) for t, s in zip(old, said, strict=True))
        now = state_of(head)
        assert same_state({key: now[key] for key in state}, state), "parameters or buffers of old tasks moved"
        kept = {key: id(parameter) for key, parameter in head.named_parameters() if key in owners}
        assert kept == owners, "an optimiser that holds the old parameters would train dead ones"
        assert torch.equal(torch.get_rng_state(), random), "adding a task used the global random state"
        assert head(features_for(head), name).shape == (4, head.out_dim)

    def test_an_added_task_is_as_good_as_the_first(self, head: Any) -> None:
        head.eval()
        head.double()
        head.add_task("new")
        assert not any(module.training for module in head.modules()), "the new task is not in the mode of the others"
        assert {p.dtype for p in head.parameters()} == {torch.float64}, "the new task is not of the others' dtype"
        head.float()
        before = answers(head, features_for(head), "new")
        train_step(head, "new")
        assert not same(answers(head.eval(), features_for(head), "new"), before)

    def test_what_head_of_gives_alone_decides_the_task(self, head: Any) -> None:
        head.eval()
        for task in head.tasks if hasattr(head, "head_of") else ():
            said, alone = answers(head, features_for(head), task), state_of(head.head_of(task))
            shaken(head)
            head.head_of(task).load_state_dict(alone)
            assert same(answers(head, features_for(head), task), said), f"{task} depends on more than head_of says"

    def test_a_known_task_cannot_be_added_again(self, head: Any) -> None:
        state = state_of(head)
        with pytest.raises(ValueError, match=head.tasks[0]):
            head.add_task(head.tasks[0])
        assert same_state(state_of(head), state)

    def test_the_order_of_adding_does_not_matter(self, head: Any) -> None:
        other = copy.deepcopy(head)
        for name in ("one", "two"):
            head.add_task(name)
        torch.rand(3)
        for name in ("two", "one"):
            other.add_task(name)
        assert same_state(state_of(head), state_of(other))

    def test_a_state_loads_by_task_name_and_other_tasks_are_refused(self, head: Any) -> None:
        other = copy.deepcopy(head)
        head.add_task("one")
        train_step(head, "one")
        with pytest.raises(RuntimeError):
            other.load_state_dict(state_of(head), strict=True)
        other.add_task("two")
        with pytest.raises(RuntimeError):
            other.load_state_dict(state_of(head), strict=True)
        whole = copy.deepcopy(head)
        shaken(whole)
        whole.load_state_dict(state_of(head), strict=True)
        for task in head.tasks:
            assert same(answers(whole.eval(), features_for(head), task), answers(head.eval(), features_for(head), task))
