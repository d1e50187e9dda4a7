"""Seeded faults: backbones that are wrong in one way each, and the contract test that notices."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from seeded_faults import failing_tests
from torch import Tensor, nn

from fashreg.testing.backbone import BackboneContract
from fashreg.values import InputSpec


def layer(width: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(width, out, 3, 2, 1, bias=False), nn.BatchNorm2d(out), nn.SiLU())


class Sound(nn.Module):
    """The backbone that every fault below is seeded into: three small stages and an average."""

    modalities = frozenset({"image"})
    out_dim = map_dim = 8
    input_spec = InputSpec(size=(24, 24))
    stages = ("one", "two", "three")

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.ModuleList([layer(3, 4), layer(4, 6), layer(6, 8)])

    def forward(self, images: Tensor) -> Tensor:
        return self.pool(self.run_stages(images))

    def run_stages(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        for part in list(self.layers)[start:stop]:
            x = part(x)
        return x

    def pool(self, features: Tensor) -> Tensor:
        return features.mean((2, 3))

    def to_map(self, features: Tensor) -> Tensor:
        return features

    def stage_modules(self, index: int) -> list[Any]:
        return [self.layers[index]]


class ForgetsAnOption(Sound):
    """A constructor parameter is used and not kept."""

    def __init__(self, width: int = 3) -> None:
        super().__init__(width)


class CropInPercent(Sound):
    """The crop is not a share."""

    input_spec = InputSpec(size=(24, 24), crop=87.5)


class TwinStages(Sound):
    """Two stages share a name."""

    stages = ("one", "two", "two")


class WrongWidth(Sound):
    """out_dim is the width of a classifier that is not there."""

    out_dim = 1000


class MapOfTokens(Sound):
    """The map is flattened."""

    def to_map(self, features: Tensor) -> Tensor:
        return features.flatten(2)


class OwnForward(Sound):
    """forward does more than its stages and pooling."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).relu()


class StopIsInclusive(Sound):
    """Stage `stop` is run, too."""

    def run_stages(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        return super().run_stages(x, start, None if stop is None else stop + 1)


class NormalisesAtEveryStart(Sound):
    """Every partial run prepares its input once more."""

    def run_stages(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        return super().run_stages(x * 1.01, start, stop)


class ChannelsFirst(Sound):
    """What travels between stages does not have the batch first."""

    def run_stages(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        stop = 3 if stop is None else stop
        x = super().run_stages(x if start == 0 else x.transpose(0, 1) if start < 3 else x, start, stop)
        return x.transpose(0, 1) if start < stop < 3 else x


class ForgetsAStage(Sound):
    """The modules of the last stage are in no stage: it is never frozen."""

    def stage_modules(self, index: int) -> list[Any]:
        return [self.layers[index]] if index < 2 else []


class OwnsTwice(Sound):
    """Each stage names the modules of the stages before it, too."""

    def stage_modules(self, index: int) -> list[Any]:
        return list(self.layers[: index + 1])


class StagesBackwards(Sound):
    """Modules are named from the last stage to the first."""

    def stage_modules(self, index: int) -> list[Any]:
        return [self.layers[2 - index]]


class DeadParameter(Sound):
    """A classifier was left in."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(8, 10)

    def stage_modules(self, index: int) -> list[Any]:
        return [self.layers[index], *([self.classifier] if index == 2 else [])]


class Detaches(Sound):
    """The first stages are cut off from the gradient."""

    def run_stages(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        return super().run_stages(super().run_stages(x, start, 2).detach(), 2, stop) if start == 0 else x


class BatchStatisticsAlways(Sound):
    """Batch norm never uses its running statistics."""

    def __init__(self) -> None:
        super().__init__()
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train = lambda mode=True, m=module: m  # type: ignore[method-assign, assignment, misc]


class DropsOutAlways(Sound):
    """Dropout in evaluation."""

    def pool(self, features: Tensor) -> Tensor:
        return nn.functional.dropout(features.mean((2, 3)), 0.1)


class InPlace(Sound):
    """The pictures are normalised in place."""

    def run_stages(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        return super().run_stages(x.sub_(0.1) if start == 0 and stop != 0 else x, start, stop)


class CentresTheBatch(Sound):
    """Features are centred over the batch."""

    def pool(self, features: Tensor) -> Tensor:
        pooled = features.mean((2, 3))
        return pooled - pooled.mean(0)


class ReadsTheMemory(Sound):
    """Pixels are taken in the order of the memory."""

    def run_stages(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        return super().run_stages(
            x.as_strided(x.shape, torch.empty(x.shape).stride()) if start == 0 else x, start, stop
        )


class OneSizeByAssert(Sound):
    """Another size ends in an AssertionError."""

    def run_stages(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        assert start or x.shape[2:] == (24, 24)
        return super().run_stages(x, start, stop)


class UnsavedState(Sound):
    """A scale that training moves is no part of the state."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(()), persistent=False)

    def pool(self, features: Tensor) -> Tensor:
        return features.mean((2, 3)) * self.scale

    def stage_modules(self, index: int) -> list[Any]:
        return [self.layers[index], *([nn.ParameterList([self.scale])] if index == 2 else [])]

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        state = super().state_dict(*args, **kwargs)
        self.scale += 0.5
        return state


class Closures(Sound):
    """The stages are functions that hold the first network: copies run on it."""

    def __init__(self) -> None:
        super().__init__()
        layers = self.layers
        self.parts = [lambda x, i=i: layers[i](x) for i in range(3)]

    def run_stages(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        for part in self.parts[start:stop]:
            x = part(x)
        return x


class OwnersByReference(Sound):
    """A copy's stages still name the modules of the original."""

    def __init__(self) -> None:
        super().__init__()
        self.owners = tuple(lambda i=i, layers=self.layers: layers[i] for i in range(3))

    def stage_modules(self, index: int) -> list[Any]:
        return [self.owners[index]()]


class OverflowsInHalf(Sound):
    """A step that only full precision survives."""

    def pool(self, features: Tensor) -> Tensor:
        big = 512.0 + features.mean((2, 3)).to(torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32)
        return big - 512.0


class StaysInTraining(Sound):
    """eval() is not passed on."""

    def train(self, mode: bool = True) -> Any:
        return super().train(True)


class MovesWhenRun(Sound):
    """Weights are renormalised by the forward pass in training."""

    def run_stages(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        if self.training:
            with torch.no_grad():
                self.layers[0][0].weight.mul_(0.9)  # type: ignore[index, union-attr]
        return super().run_stages(x, start, stop)


FAULTS: dict[type[Sound], str] = {
    ForgetsAnOption: "test_every_constructor_parameter_is_kept_as_an_attribute",
    CropInPercent: "test_it_says_what_it_takes_in_plain_data",
    TwinStages: "test_the_stages_have_names_of_their_own",
    WrongWidth: "test_the_widths_are_what_comes_out",
    MapOfTokens: "test_the_widths_are_what_comes_out",
    OwnForward: "test_forward_is_pooling_after_all_stages",
    StopIsInclusive: "test_a_cut_anywhere_changes_no_bit",
    NormalisesAtEveryStart: "test_a_cut_anywhere_changes_no_bit",
    ChannelsFirst: "test_a_cut_anywhere_changes_no_bit",
    ForgetsAStage: "test_every_parameter_and_buffer_belongs_to_exactly_one_stage",
    OwnsTwice: "test_every_parameter_and_buffer_belongs_to_exactly_one_stage",
    StagesBackwards: "test_what_a_stage_owns_acts_in_that_stage_and_in_no_earlier_one",
    DeadParameter: "test_gradients_reach_every_parameter_of_the_stages_that_are_not_frozen",
    Detaches: "test_gradients_reach_every_parameter_of_the_stages_that_are_not_frozen",
    BatchStatisticsAlways: "test_evaluation_is_repeatable_and_leaves_no_trace",
    DropsOutAlways: "test_evaluation_is_repeatable_and_leaves_no_trace",
    InPlace: "test_evaluation_is_repeatable_and_leaves_no_trace",
    CentresTheBatch: "test_pictures_do_not_see_one_another_in_evaluation",
    ReadsTheMemory: "test_the_memory_layout_of_the_pictures_does_not_matter",
    OneSizeByAssert: "test_another_picture_size_works_cut_or_whole_or_is_refused_with_both_sizes",
    UnsavedState: "test_a_saved_state_gives_the_same_features_bit_for_bit",
    Closures: "test_a_copy_lives_its_own_life",
    OwnersByReference: "test_a_copy_lives_its_own_life",
    OverflowsInHalf: "test_half_precision_gives_nearly_the_same_direction",
    StaysInTraining: "test_training_mode_is_entered_and_left_as_asked_and_moves_no_parameter",
    MovesWhenRun: "test_training_mode_is_entered_and_left_as_asked_and_moves_no_parameter",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_contract_notices(fault: type[Sound]) -> None:
    assert FAULTS[fault] in failing_tests(BackboneContract, "backbone", fault)


def test_the_contract_finds_nothing_wrong_with_the_backbone_the_faults_were_seeded_into() -> None:
    assert failing_tests(BackboneContract, "backbone", Sound) == set()


def test_every_test_of_the_contract_notices_some_fault() -> None:
    tests = {name for name in vars(BackboneContract) if name.startswith("test_")}
    assert tests == set(FAULTS.values())
