"""The contract of a backbone: stages that may be cut anywhere, widths that are true, and no memory of earlier calls."""

from __future__ import annotations

import copy
import inspect
import json
from dataclasses import asdict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fashreg.testing.backbone_ways import forward, only_for_captions, pictures, stages, ways
from fashreg.testing.state import same_state, shaken, state_of
from fashreg.values import InputSpec


def alike(one: Tensor, other: Tensor, tolerance: float) -> bool:
    """True when the largest difference is within `tolerance` of the largest value."""
    return bool((one - other).abs().max() <= tolerance * other.abs().max())


class BackboneContract:
    """Override `backbone` with a fresh one, small enough for a few dozen forward passes; no weights to fetch.

    tolerance: relative difference allowed where only the order of summation differs (batch size, memory layout).
    """

    tolerance = 1e-4

    @pytest.fixture
    def backbone(self) -> Any:
        """A fresh backbone."""
        raise NotImplementedError("override the fixture `backbone`")

    def test_every_constructor_parameter_is_kept_as_an_attribute(self, backbone: Any) -> None:
        for name in inspect.signature(type(backbone)).parameters:
            assert hasattr(backbone, name), f"self.{name} is missing"

    def test_it_says_what_it_takes_in_plain_data(self, backbone: Any) -> None:
        assert issubclass(type(backbone), nn.Module)
        assert "image" in backbone.modalities
        assert ("text" in backbone.modalities) == hasattr(backbone, "encode_text"), "texts are said or made, not both"
        spec: InputSpec = backbone.input_spec
        plain: dict[str, Any] = json.loads(json.dumps(asdict(spec)))
        again: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}
        assert InputSpec(**again) == spec
        assert min(*spec.size, *spec.std) > 0
        assert 0 < spec.crop <= 1
        assert spec.interpolation in ("bicubic", "bilinear", "nearest")

    def test_the_stages_have_names_of_their_own(self, backbone: Any) -> None:
        assert isinstance(backbone.stages, tuple)
        assert backbone.stages
        assert all(isinstance(name, str) and name for name in backbone.stages)
        assert len(set(backbone.stages)) == len(backbone.stages)

    def test_the_widths_are_what_comes_out(self, backbone: Any) -> None:
        backbone.eval()
        features = stages(backbone, pictures(backbone))
        pooled, spatial = backbone.pool(features), backbone.to_map(features)
        assert pooled.shape == (2, backbone.out_dim)
        assert spatial.ndim == 4
        assert spatial.shape[:2] == (2, backbone.map_dim)
        assert torch.isfinite(pooled).all()
        assert pooled.dtype == spatial.dtype == torch.float32

    def test_forward_is_pooling_after_all_stages(self, backbone: Any) -> None:
        backbone.eval()
        shaken(backbone)
        images = pictures(backbone)
        assert torch.equal(forward(backbone, images), backbone.pool(stages(backbone, images)))

    def test_a_cut_anywhere_changes_no_bit(self, backbone: Any) -> None:
        backbone.eval()
        shaken(backbone)
        images, count = pictures(backbone), len(backbone.stages)
        with torch.no_grad():
            whole = stages(backbone, images)
            assert torch.equal(stages(backbone, images, 0, count), whole)
            x = images
            for stage in range(count):
                assert torch.equal(stages(backbone, x, stage, stage), x), f"no stage at all, at {stage}"
                assert torch.equal(stages(backbone, x, stage), whole), f"cut before {backbone.stages[stage]}"
                x = stages(backbone, x, stage, stage + 1)
                assert x.shape[0] == images.shape[0], "what travels between stages is not batch first"
            assert torch.equal(x, whole)

    def test_every_parameter_and_buffer_belongs_to_exactly_one_stage(self, backbone: Any) -> None:
        modules = [m for i in range(len(backbone.stages)) for m in backbone.stage_modules(i)]
        for kind in ("parameters", "buffers"):
            owned = [id(t) for module in modules for t in getattr(module, kind)()]
            assert len(owned) == len(set(owned)), f"{kind} that two stages own"
            assert set(owned) == {id(t) for t in getattr(backbone, kind)()}, f"{kind} that no stage owns"

    def test_what_a_stage_owns_acts_in_that_stage_and_in_no_earlier_one(self, backbone: Any) -> None:
        backbone.eval()
        images = pictures(backbone)
        for stage, name in enumerate(backbone.stages):
            modules = backbone.stage_modules(stage)
            if not any(True for module in modules for _ in module.parameters()):
                continue
            with torch.no_grad():
                before = stages(backbone, images, 0, stage)
                after, pooled = stages(backbone, before, stage, stage + 1), forward(backbone, images)
                for module in modules:
                    shaken(module)
                assert torch.equal(stages(backbone, images, 0, stage), before), f"{name} acts before its turn"
                same = torch.equal(stages(backbone, before, stage, stage + 1), after)
                last = stage == len(backbone.stages) - 1 and not torch.equal(forward(backbone, images), pooled)
                assert not same or last, f"the modules of {name} do nothing"

    def test_gradients_reach_every_parameter_of_the_stages_that_are_not_frozen(self, backbone: Any) -> None:
        half = len(backbone.stages) // 2
        frozen = [p for i in range(half) for m in backbone.stage_modules(i) for p in m.parameters()]
        for parameter in frozen:
            parameter.requires_grad_(False)
        backbone.train()
        weights = torch.rand(backbone.out_dim, generator=torch.Generator().manual_seed(2))
        answers = [way() for way in ways(backbone, pictures(backbone)).values()]
        sum((features * weights).sum() for features in answers).backward()  # type: ignore[union-attr]
        written = only_for_captions(backbone)
        for name, parameter in backbone.named_parameters():
            if parameter.requires_grad and id(parameter) not in written:
                assert parameter.grad is not None, f"no gradient reaches {name}"
                assert torch.isfinite(parameter.grad).all(), name
        assert all(parameter.grad is None for parameter in frozen)

    def test_evaluation_is_repeatable_and_leaves_no_trace(self, backbone: Any) -> None:
        backbone.eval()
        images, state, random = pictures(backbone), state_of(backbone), torch.get_rng_state()
        kept = images.clone()
        first = forward(backbone, images)
        forward(backbone, pictures(backbone, seed=5))
        assert torch.equal(forward(backbone, images), first)
        assert torch.equal(images, kept), "the pictures were changed in place"
        assert same_state(state_of(backbone), state), "evaluation changed parameters or buffers"
        assert torch.equal(torch.get_rng_state(), random), "evaluation used the global random state"

    def test_training_mode_is_entered_and_left_as_asked_and_moves_no_parameter(self, backbone: Any) -> None:
        kept = [parameter.detach().clone() for parameter in backbone.parameters()]
        assert backbone.train().training
        assert all(module.training for module in backbone.modules())
        forward(backbone, pictures(backbone))
        assert all(torch.equal(a, b) for a, b in zip(backbone.parameters(), kept, strict=True))
        backbone.eval()
        assert not any(module.training for module in backbone.modules())

    def test_pictures_do_not_see_one_another_in_evaluation(self, backbone: Any) -> None:
        backbone.eval()
        images = pictures(backbone, count=3)
        together = forward(backbone, images)
        assert alike(forward(backbone, images[:1]), together[:1], self.tolerance)
        assert alike(forward(backbone, images.flip(0)), together.flip(0), self.tolerance)

    def test_the_memory_layout_of_the_pictures_does_not_matter(self, backbone: Any) -> None:
        backbone.eval()
        images = pictures(backbone)
        wanted = forward(backbone, images)
        assert alike(forward(backbone, images.to(memory_format=torch.channels_last)), wanted, self.tolerance)
        assert alike(forward(backbone, images.flip(3).flip(3)), wanted, self.tolerance)

    def test_another_picture_size_works_cut_or_whole_or_is_refused_with_both_sizes(self, backbone: Any) -> None:
        backbone.eval()
        height, width = backbone.input_spec.size
        odd = nn.functional.interpolate(pictures(backbone), size=(height + 5, width + 19))
        half, whole, refused = len(backbone.stages) // 2, None, ""
        try:
            whole = forward(backbone, odd)
        except ValueError as error:
            refused = str(error)
        if whole is None:
            assert str(height) in refused, "the message does not say which size is right"
            assert str(height + 5) in refused, "the message does not say which size was given"
        else:
            assert whole.shape == (2, backbone.out_dim)
            assert torch.equal(backbone.pool(stages(backbone, stages(backbone, odd, 0, half), half)), whole)

    def test_a_saved_state_gives_the_same_features_bit_for_bit(self, backbone: Any) -> None:
        other = copy.deepcopy(backbone)
        shaken(backbone)
        state = state_of(backbone)
        assert all(torch.isfinite(t).all() for t in state.values() if t.is_floating_point())
        other.load_state_dict(state, strict=True)
        images = pictures(backbone)
        assert torch.equal(forward(other.eval(), images), forward(backbone.eval(), images))

    def test_a_copy_lives_its_own_life(self, backbone: Any) -> None:
        backbone.eval()
        other, images = copy.deepcopy(backbone), pictures(backbone)
        first = forward(backbone, images)
        assert torch.equal(forward(other, images), first)
        shaken(other)
        assert torch.equal(forward(backbone, images), first), "changing the copy changed the original"
        assert not torch.equal(forward(other, images), first), "the copy still runs on the original's weights"
        owned = {id(p) for i in range(len(other.stages)) for m in other.stage_modules(i) for p in m.parameters()}
        assert owned == {id(p) for p in other.parameters()}, "the copy's stages name the original's modules"

    def test_half_precision_gives_nearly_the_same_direction(self, backbone: Any) -> None:
        backbone.eval()
        images = pictures(backbone)
        with torch.no_grad():
            wanted = forward(backbone, images)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                rough = forward(backbone, images).float()
        assert torch.isfinite(rough).all()
        assert torch.nn.functional.cosine_similarity(rough, wanted).min() > 0.98
