"""Seeded faults: heads that are wrong in one way each, and the contract test that notices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from seeded_faults import failing_tests
from torch import Tensor, nn

from fashreg.heads.multi_task import MultiTaskHead
from fashreg.heads.projection import ProjectionHead
from fashreg.testing.head import HeadContract, MultiTaskHeadContract


class Sound(ProjectionHead):
    """The head that the first faults below are seeded into."""

    def __init__(self) -> None:
        super().__init__(5, in_dim=7)


class NamesItsTasksInAList(Sound):
    """tasks can be changed by anyone."""

    tasks: Any = []  # noqa: RUF012


class ForgetsAnOption(Sound):
    """A constructor parameter is used and not kept."""

    def __init__(self, width: int = 5) -> None:
        ProjectionHead.__init__(self, width, in_dim=7)


class WrongWidth(Sound):
    """out_dim is not what comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.out_dim = 6


class NotQuiteUnit(Sound):
    """The length gets an additive constant."""

    def forward(self, features: Tensor, task: str | None = None) -> Tensor:
        vectors = self.linear(features)
        return vectors / (vectors.norm(dim=1, keepdim=True) + 1e-2)


class UnitWithoutSayingSo(Sound):
    """Rows are unit, and head.unit denies it."""

    def __init__(self) -> None:
        super().__init__()
        self.unit = False

    def forward(self, features: Tensor, task: str | None = None) -> Tensor:
        return nn.functional.normalize(self.linear(features))


class DividesByZero(Sound):
    """A zero row becomes NaN."""

    def forward(self, features: Tensor, task: str | None = None) -> Tensor:
        vectors = self.linear(features)
        return vectors / vectors.norm(dim=1, keepdim=True)


class SquareRootAtZero(Sound):
    """The row is finite and its gradient is not."""

    def forward(self, features: Tensor, task: str | None = None) -> Tensor:
        vectors = self.linear(features)
        length = vectors.square().sum(1, keepdim=True).sqrt()
        return vectors / length.clamp_min(1e-6)


class UnitInHalf(Sound):
    """The length is computed in bfloat16."""

    def forward(self, features: Tensor, task: str | None = None) -> Tensor:
        vectors = self.linear(features)
        return vectors / vectors.square().sum(1, keepdim=True).to(vectors.dtype).clamp_min(1e-12).sqrt()


class DropsOutAlways(Sound):
    """Dropout in evaluation."""

    def forward(self, features: Tensor, task: str | None = None) -> Tensor:
        return super().forward(nn.functional.dropout(features, 0.2), task)


class InPlace(Sound):
    """The features are changed in place."""

    def forward(self, features: Tensor, task: str | None = None) -> Tensor:
        if not features.requires_grad:
            features.mul_(1.5)
        return super().forward(features, task)


class CentresTheBatch(Sound):
    """Rows are centred over the batch."""

    def forward(self, features: Tensor, task: str | None = None) -> Tensor:
        return super().forward(features - features.mean(0), task)


class Detaches(Sound):
    """No gradient goes to the backbone."""

    def forward(self, features: Tensor, task: str | None = None) -> Tensor:
        return super().forward(features.detach(), task) + 0 * features.sum()


class DeadParameter(Sound):
    """A second layer is made and never used."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Linear(5, 5)


class UnsavedScale(Sound):
    """Part of what was learnt is not in the state."""

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        state = super().state_dict(*args, **kwargs)
        return {name: torch.zeros_like(t) if name.endswith("bias") else t for name, t in state.items()}


class SharedByCopies(Sound):
    """Copies train the same weights."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self


class StaysInTraining(Sound):
    """eval() is not passed on."""

    def train(self, mode: bool = True) -> Any:
        return super().train(True)


class SoundTasks(MultiTaskHead):
    """The head with tasks that the other faults are seeded into."""

    def __init__(self) -> None:
        super().__init__(("a", "b"), ProjectionHead(5, in_dim=7, batch_norm=True))


class OneForAll(SoundTasks):
    """Every task gets the first one's vector."""

    def forward(self, features: Tensor, task: str | None = None) -> Tensor:
        super().forward(features, task)
        return super().forward(features, self.tasks[0])


class TakesAnyTask(SoundTasks):
    """An unknown task is answered by the first."""

    def forward(self, features: Tensor, task: str | None = None) -> Tensor:
        return super().forward(features, task if task in self.tasks else self.tasks[0])


class SharedStatistics(SoundTasks):
    """Batch-norm statistics are kept for all tasks together."""

    def forward(self, features: Tensor, task: str | None = None) -> Tensor:
        if self.training:
            for other in self.tasks:
                super().forward(features, other)
        return super().forward(features, task)


class SharedLayer(SoundTasks):
    """A layer that all tasks share comes before the heads that `head_of` gives."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(7, 7)

    def forward(self, features: Tensor, task: str | None = None) -> Tensor:
        return super().forward(self.shared(features), task)


class NothingLearns(SoundTasks):
    """Heads are made without gradient."""

    def add_task(self, task: str) -> None:
        super().add_task(task)
        self.requires_grad_(False)

    def forward(self, features: Tensor, task: str | None = None) -> Tensor:
        return super().forward(features, task) + 0 * features.new_zeros(1).requires_grad_()


class OneTableForAll(SoundTasks):
    """All tasks lie in one parameter, made again when a task is added."""

    def add_task(self, task: str) -> None:
        super().add_task(task)
        for head in self.heads.values():
            head.linear.weight = nn.Parameter(head.linear.weight.detach().clone())  # type: ignore[union-attr]


class StartsAgain(SoundTasks):
    """Adding a task makes every head anew."""

    def add_task(self, task: str) -> None:
        tasks = (*getattr(self, "tasks", ()), task)
        self.tasks = ()
        for name in tasks:
            super().add_task(name)


class NewTaskInTraining(SoundTasks):
    """A task added in evaluation starts in training mode."""

    def add_task(self, task: str) -> None:
        super().add_task(task)
        list(self.heads.values())[-1].train()


class NewTaskInFloat(SoundTasks):
    """A task added to a converted head keeps float32."""

    def add_task(self, task: str) -> None:
        super().add_task(task)
        list(self.heads.values())[-1].float()


class AddsTwice(SoundTasks):
    """A known task is replaced by a fresh one."""

    def add_task(self, task: str) -> None:
        if task in self.tasks:
            self.tasks = tuple(t for t in self.tasks if t != task)
        super().add_task(task)


class OrderMatters(SoundTasks):
    """First weights come from the number of tasks."""

    def add_task(self, task: str) -> None:
        super().add_task(task)
        generator = torch.Generator().manual_seed(len(self.tasks))
        nn.init.normal_(list(self.heads.values())[-1].linear.weight, generator=generator)  # type: ignore[arg-type, union-attr]


class GlobalRandomness(SoundTasks):
    """First weights come from the global generator."""

    def add_task(self, task: str) -> None:
        super().add_task(task)
        nn.init.normal_(list(self.heads.values())[-1].linear.weight)  # type: ignore[arg-type, union-attr]


class LoadsByPosition(SoundTasks):
    """The state names tasks by number, so that another task's head is loaded without a word."""

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        state = super().state_dict(*args, **kwargs)
        return {f"{i}": tensor for i, tensor in enumerate(state.values())}

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        names = list(super().state_dict())
        return super().load_state_dict(dict(zip(names, state_dict.values(), strict=False)), *args, **kwargs)


class LeavesOutWhatItLacks(SoundTasks):
    """Tasks that are missing here are dropped from the state."""

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        return super().load_state_dict({k: v for k, v in state_dict.items() if k in self.state_dict()}, strict=False)


FAULTS: dict[type[Any], str] = {
    NamesItsTasksInAList: "test_it_says_what_it_takes_and_gives",
    ForgetsAnOption: "test_every_constructor_parameter_is_kept_as_an_attribute",
    WrongWidth: "test_the_output_has_the_width_it_says",
    NotQuiteUnit: "test_rows_have_length_one_if_it_says_so",
    UnitWithoutSayingSo: "test_rows_have_length_one_if_it_says_so",
    DividesByZero: "test_zero_features_give_finite_rows_and_gradients",
    SquareRootAtZero: "test_zero_features_give_finite_rows_and_gradients",
    UnitInHalf: "test_half_precision_gives_nearly_the_same_direction_and_still_unit_rows",
    DropsOutAlways: "test_evaluation_is_repeatable_and_leaves_no_trace",
    InPlace: "test_evaluation_is_repeatable_and_leaves_no_trace",
    CentresTheBatch: "test_rows_do_not_see_one_another_in_evaluation",
    Detaches: "test_gradients_reach_the_features_and_every_parameter_of_the_task",
    DeadParameter: "test_gradients_reach_the_features_and_every_parameter_of_the_task",
    UnsavedScale: "test_a_saved_state_gives_the_same_rows_bit_for_bit",
    SharedByCopies: "test_a_copy_lives_its_own_life",
    StaysInTraining: "test_training_mode_is_entered_and_left_as_asked",
    OneForAll: "test_it_serves_several_tasks_each_with_a_vector_of_its_own",
    TakesAnyTask: "test_an_unknown_task_is_refused_by_name_and_the_known_ones_are_said",
    SharedStatistics: "test_training_one_task_leaves_the_others_bit_identical",
    NothingLearns: "test_gradients_reach_the_features_and_every_parameter_of_the_task",
    OneTableForAll: "test_a_task_added_later_leaves_the_others_bit_identical",
    StartsAgain: "test_a_task_added_later_leaves_the_others_bit_identical",
    GlobalRandomness: "test_a_task_added_later_leaves_the_others_bit_identical",
    SharedLayer: "test_what_head_of_gives_alone_decides_the_task",
    NewTaskInTraining: "test_an_added_task_is_as_good_as_the_first",
    NewTaskInFloat: "test_an_added_task_is_as_good_as_the_first",
    AddsTwice: "test_a_known_task_cannot_be_added_again",
    OrderMatters: "test_the_order_of_adding_does_not_matter",
    LoadsByPosition: "test_a_state_loads_by_task_name_and_other_tasks_are_refused",
    LeavesOutWhatItLacks: "test_a_state_loads_by_task_name_and_other_tasks_are_refused",
}


def contract_of(head: type[Any]) -> type[HeadContract]:
    return MultiTaskHeadContract if issubclass(head, MultiTaskHead) else HeadContract


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_contract_notices(fault: type[Any]) -> None:
    assert FAULTS[fault] in failing_tests(contract_of(fault), "head", fault)


@pytest.mark.parametrize("sound", [Sound, SoundTasks])
def test_the_contract_finds_nothing_wrong_with_the_heads_the_faults_were_seeded_into(sound: type[Any]) -> None:
    assert failing_tests(contract_of(sound), "head", sound) == set()


def test_every_test_of_the_contract_notices_some_fault() -> None:
    tests = {
        name for suite in (HeadContract, MultiTaskHeadContract) for name in vars(suite) if name.startswith("test_")
    }
    assert tests == set(FAULTS.values())
