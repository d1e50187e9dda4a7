"""MultiTaskHead: tasks by name, one vector for all, nested patterns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fashreg.assembly import build, spec_of
from fashreg.heads.multi_task import MultiTaskHead, fresh_head
from fashreg.heads.projection import ProjectionHead
from fashreg.testing.state import same_state, state_of


def features(count: int = 3, width: int = 7) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(0))


class MapMean(nn.Module):
    """A head on maps with no seed of its own."""

    takes, tasks, unit = "map", (), False

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.in_dim, self.out_dim = in_dim, out_dim
        self.linear = nn.Linear(in_dim, out_dim)

    def forward(self, maps: Tensor, task: str | None = None) -> Tensor:
        out: Tensor = self.linear(maps.mean((2, 3)))
        return out


def test_each_task_answers_with_its_own_head() -> None:
    head = MultiTaskHead(("colour", "season"), in_dim=7, out_dim=4)
    assert torch.equal(head(features(), "season"), head.heads["task_season"](features()))
    assert not torch.equal(head(features(), "season"), head(features(), "colour"))


def test_a_single_task_need_not_be_named() -> None:
    head = MultiTaskHead(in_dim=7)
    assert head.tasks == ("default",)
    assert torch.equal(head(features()), head(features(), "default"))


def test_joined_vectors_have_the_mean_of_the_tasks_similarities() -> None:
    head = MultiTaskHead(("a", "b", "c"), in_dim=7, out_dim=4)
    one = head.joined(features())
    assert one.shape == (3, 12)
    assert torch.allclose(one.norm(dim=1), torch.ones(3))
    mean = sum(head(features(), task) @ head(features(), task).T for task in head.tasks) / 3
    assert torch.allclose(one @ one.T, mean, atol=1e-6)


def test_which_task_is_missing_or_misspelt_is_said() -> None:
    head = MultiTaskHead(("colour", "season"), in_dim=7)
    with pytest.raises(ValueError, match="no task 'color'; did you mean 'colour'"):
        head(features(), "color")
    with pytest.raises(ValueError, match="no task 'zzz'; the tasks are colour, season"):
        head(features(), "zzz")
    with pytest.raises(ValueError, match="several tasks; say which: task=one of colour, season"):
        head(features())


def test_a_head_may_start_with_no_task_and_says_what_to_call() -> None:
    head = MultiTaskHead((), in_dim=7)
    for ask in (lambda: head(features()), lambda: head.joined(features())):
        with pytest.raises(ValueError, match="no task yet: call add_task"):
            ask()
    head.to(torch.float64).add_task("first")
    assert head(features().double()).dtype == torch.float64


def test_first_weights_come_from_the_seed_and_the_name_of_the_task() -> None:
    one, other = (MultiTaskHead(("a", "b"), in_dim=7, seed=seed) for seed in (0, 1))
    late = MultiTaskHead(("b",), in_dim=7)
    assert torch.equal(one(features(), "b"), late(features(), "b"))
    assert not torch.equal(one(features(), "a"), other(features(), "a"))


@pytest.mark.parametrize("names", [("type",), ("keys", "items"), ("a.b", "a%2Eb", "a b", "ä/ö")])
def test_any_name_makes_a_task(names: tuple[str, ...]) -> None:
    head = MultiTaskHead(names, in_dim=7)
    assert head.tasks == names
    assert len(list(head.heads)) == len(names)
    assert same_state(state_of(head), state_of(build("head", spec_of(head))))


def test_the_pattern_is_neither_trained_nor_saved_and_every_task_gets_its_options() -> None:
    head = MultiTaskHead(("a", "b"), ProjectionHead(5, in_dim=7, batch_norm=True, unit=False))
    assert (head.out_dim, head.in_dim, head.unit, head.takes) == (5, 7, False, "pooled")
    assert all(name.startswith("heads.task_") for name in head.state_dict())
    assert {id(p) for p in head.head.parameters()}.isdisjoint({id(p) for p in head.parameters()})


def test_a_pattern_on_maps_without_a_seed_is_seeded_by_task_and_leaves_the_random_state() -> None:
    pattern, before = MapMean(3, 4), torch.get_rng_state()
    one, other = MultiTaskHead(("a", "b"), pattern), MultiTaskHead(("b",), pattern)
    assert torch.equal(torch.get_rng_state(), before)
    assert one.takes == "map"
    maps = torch.rand(2, 3, 5, 5)
    assert torch.equal(one(maps, "b"), other(maps))
    assert not torch.equal(one(maps, "a"), one(maps, "b"))


class Named(MapMean):
    """A head that is told its task, and has a head and a network of its own among its options."""

    def __init__(self, in_dim: int, out_dim: int, network: nn.Module, inner: MapMean, task: str | None = None) -> None:
        super().__init__(in_dim, out_dim)
        self.network, self.inner, self.task = network, inner, task

    @property
    def start_of_tasks(self) -> nn.Module:
        return self.network


def named_heads() -> MultiTaskHead:
    return MultiTaskHead(("a", "b"), Named(3, 4, nn.Linear(3, 3), MapMean(3, 4)))


def test_a_pattern_with_an_option_task_is_told_each_name() -> None:
    head = named_heads()
    assert [head.head_of(task).task for task in head.tasks] == ["a", "b"]
    assert head.head.task is None


def test_heads_within_the_pattern_are_made_anew_and_networks_within_it_are_copied_to_be_trained() -> None:
    head = named_heads()
    one, other = head.head_of("a"), head.head_of("b")
    assert not torch.equal(one.inner.linear.weight, other.inner.linear.weight)
    for mine in (one, other):
        assert torch.equal(mine.network.weight, head.head.network.weight)
        assert mine.network.weight is not head.head.network.weight
        assert mine.network.weight.requires_grad


def test_where_tasks_begin_is_saved_frozen_and_put_back() -> None:
    head, other = named_heads(), named_heads()
    assert not any(parameter.requires_grad for parameter in head.start_of_tasks.parameters())
    assert not same_state(state_of(head), state_of(other))
    other.load_state_dict(state_of(head), strict=True)
    for made in (head, other):
        made.add_task("late")
    assert same_state(state_of(head), state_of(other))


def test_fresh_head_changes_the_options_that_are_named_and_no_others() -> None:
    pattern = ProjectionHead(5, in_dim=7, unit=False)
    made = fresh_head(pattern, seed=3, in_dim=9, task="colour")
    assert (made.out_dim, made.in_dim, made.unit, made.seed) == (5, 9, False, 3)


def test_nested_heads_are_written_in_the_recipe_and_in_the_spec() -> None:
    recipe = {"name": "multi-task", "tasks": ["a"], "head": {"name": "projection", "out_dim": 3, "batch_norm": True}}
    head = build("head", recipe, facts={"in_dim": 7, "seed": 1})
    head.add_task("b")
    spec = spec_of(head)
    assert spec["config"]["tasks"] == ["a", "b"]
    assert spec["config"]["head"]["config"]["batch_norm"] is True
    assert same_state(state_of(head), state_of(build("head", spec)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": "colour", "in_dim": 7}, r"write \['colour'\]"),
        ({"tasks": ("a", "a"), "in_dim": 7}, "a task needs a new name, not 'a'"),
        ({"tasks": ("",), "in_dim": 7}, "a task needs a new name"),
        ({}, "say in_dim"),
        ({"head": ProjectionHead(5, in_dim=7), "out_dim": 6}, "out_dim=6 contradicts the given head"),
    ],
)
def test_contradictions_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultiTaskHead(**options)  # type: ignore[arg-type]
