from __future__ import annotations

import pytest
import torch
from torch import nn

from fashreg.config_trainer import TrainerConfig
from fashreg.errors import RecipeError
from fashreg.learners.standard import StandardLearner
from fashreg.losses.infonce import InfoNCELoss
from fashreg.losses.proxy_anchor import ProxyAnchorLoss
from fashreg.testing.tiny_run import difference, tiny_encoder, tiny_experience, tiny_session, weights_of
from fashreg.training.freezing import freeze
from fashreg.training.optimisation import Optimisation, parameter_groups


def alone(changes: dict[str, object]) -> tuple[nn.Linear, Optimisation]:
    layer = nn.Linear(2, 1)
    nn.init.ones_(layer.weight)
    nn.init.zeros_(layer.bias)
    config = TrainerConfig.model_validate({"optimizer": "sgd", "momentum": 0.0, "lr": 0.1, **changes})
    group = {"params": list(layer.parameters()), "lr_factor": 1.0, "weight_decay": 0.0}
    return layer, Optimisation([group], config, torch.device("cpu"))


def nothing(parameters: list[nn.Parameter]) -> None:
    return


def test_factors_and_weight_decay_reach_the_right_parameters() -> None:
    encoder = tiny_encoder()
    loss = ProxyAnchorLoss(num_classes=6, embed_dim=8)
    config = TrainerConfig(lr=0.1, weight_decay=0.01, backbone_lr_factor=0.1, head_lr_factor=10.0)
    groups = parameter_groups(encoder, loss, config)
    found = {id(p): group for group in groups for p in group["params"]}
    assert len(found) == sum(len(list(m.parameters())) for m in (encoder, loss))
    for name, parameter in encoder.named_parameters():
        group = found[id(parameter)]
        assert group["lr_factor"] == (0.1 if name.startswith("backbone") else 10.0)
        assert group["weight_decay"] == (0.01 if parameter.ndim > 1 else 0.0), name
    for parameter in loss.parameters():
        assert found[id(parameter)]["lr_factor"] == loss.lr_factor
        assert found[id(parameter)]["weight_decay"] == 0.0
    optimisation = Optimisation(groups, config, torch.device("cpu"))
    optimisation.step(0.5, nothing)
    assert {round(g["lr"], 9) for g in optimisation.optimizer.param_groups} == {
        0.005,
        0.5,
        round(0.05 * loss.lr_factor, 9),
    }


def test_training_nothing_at_all_is_refused() -> None:
    encoder = tiny_encoder().requires_grad_(False)
    with pytest.raises(RecipeError, match="nothing is trained"):
        parameter_groups(encoder, InfoNCELoss(), TrainerConfig())


def test_gradients_are_clipped_by_value_and_by_norm() -> None:
    for changes, moved in (({}, (4.0, 3.0)), ({"clip_value": 2.0}, (2.0, 2.0)), ({"clip_norm": 1.0}, (0.8, 0.6))):
        layer, optimisation = alone(changes)
        layer.bias.requires_grad_(False)
        optimisation.backward(layer(torch.tensor([4.0, 3.0])).sum(), 1.0)
        optimisation.step(1.0, nothing)
        assert torch.allclose(1.0 - layer.weight, 0.1 * torch.tensor([moved]), atol=1e-6), changes


def test_accumulated_batches_give_the_mean_gradient_also_in_a_short_last_group() -> None:
    """Three batches by two: the second group has one, whose share is then whole; SGD on the loss of each group."""
    steps = []
    for accumulate in (1, 2):
        session = tiny_session(memory=None, trainer={"accumulate": accumulate, "epochs": 1, "optimizer": "sgd"})
        report = StandardLearner().bind(session).learn(tiny_experience())
        steps.append(report.steps)
        assert report.images == 36
    assert steps == [3, 2]
    layer, optimisation = alone({})
    for value in (1.0, 3.0):
        optimisation.backward(layer(torch.full((2,), value)).sum(), 0.5)
    optimisation.step(1.0, nothing)
    assert torch.allclose(layer.weight, torch.full((1, 2), 1.0 - 0.1 * 2.0))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains_and_keeps_the_loss_in_float32(precision: str) -> None:
    session = tiny_session(trainer={"precision": precision})
    dtypes = set()
    own = session.loss.forward

    def look(batch, *rest):  # type: ignore[no-untyped-def]
        dtypes.add(batch.vectors.dtype)
        return own(batch, *rest)

    session.loss.forward = look
    before = weights_of(session)
    StandardLearner().bind(session).learn(tiny_experience())
    assert dtypes == {torch.float32}
    assert difference(before, weights_of(session))
    assert all(bool(torch.isfinite(v).all()) for v in weights_of(session).values())


def test_fp16_keeps_its_loss_scale_in_the_checkpoint() -> None:
    layer, optimisation = alone({"precision": "fp16"})
    optimisation.backward(layer(torch.full((2,), float("inf"))).sum(), 1.0)
    optimisation.step(1.0, nothing)
    assert torch.equal(layer.weight, torch.ones(1, 2)), "a step with an infinite gradient must be skipped"
    _, other = alone({"precision": "fp16"})
    assert other.scaler.get_scale() != optimisation.scaler.get_scale()
    other.load_state_dict(optimisation.state_dict())
    assert other.scaler.get_scale() == optimisation.scaler.get_scale()


def test_a_loss_that_is_no_number_ends_the_run_with_a_way_out() -> None:
    session = tiny_session(trainer={"optimizer": "sgd", "lr": 1e30})
    with pytest.raises(RecipeError, match=r"after \d steps; lower trainer.lr"):
        StandardLearner().bind(session).learn(tiny_experience())


def test_parameters_without_gradient_do_not_move() -> None:
    """A head of another task gets no gradient: neither momentum nor weight decay may touch it."""
    session = tiny_session(memory=None, trainer={"weight_decay": 0.5})
    session.encoder.head.other = nn.Linear(3, 3)
    before = session.encoder.head.other.weight.detach().clone()
    StandardLearner().bind(session).learn(tiny_experience())
    assert torch.equal(before, session.encoder.head.other.weight)


def test_a_frozen_part_is_in_no_group() -> None:
    encoder = tiny_encoder()
    freeze(encoder, 3)
    groups = parameter_groups(encoder, InfoNCELoss(), TrainerConfig())
    trained = {id(p) for g in groups for p in g["params"]}
    frozen = {id(p) for i in range(3) for m in encoder.backbone.stage_modules(i) for p in m.parameters()}
    assert trained
    assert not trained & frozen
