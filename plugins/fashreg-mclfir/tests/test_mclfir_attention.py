"""Head attribute-attention: golden numbers, the plain reference, and defects of the release that it must not have."""

from __future__ import annotations

import math

import pytest
import torch
from fashreg_mclfir.attention import AttributeAttentionHead
from mclfir_plain import plain_head
from torch import Tensor, nn

from fashreg.assembly import build, spec_of
from fashreg.heads.multi_task import MultiTaskHead
from fashreg.testing.state import same_state, shaken, state_of


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def maps(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).relu()


@pytest.mark.parametrize(("vector", "added"), [("text", 246_528), ("learnt", 180_992)])
def test_a_new_attribute_adds_so_many_parameters_and_no_more(vector: str, added: int) -> None:
    heads = MultiTaskHead(("first",), AttributeAttentionHead(128, in_dim=1024, vector=vector))
    before = count(heads)
    assert before == added
    heads.add_task("second")
    assert count(heads) - before == added


@pytest.mark.parametrize("side", [14, 7, 3, 1])
def test_attention_sums_to_one_over_the_places_of_a_map_of_any_size(side: int) -> None:
    head = AttributeAttentionHead(16, in_dim=32).eval()
    features = maps(2, 32, side, side)
    places = head.attention(features)
    assert places.shape == (2, side, side)
    assert torch.allclose(places.flatten(1).sum(1), torch.ones(2), atol=1e-5)
    assert places.min() > 0
    assert torch.allclose(head(features).norm(dim=1), torch.ones(2), atol=1e-5)


@pytest.mark.parametrize("vector", ["learnt", "text"])
def test_it_equals_the_plain_reference(vector: str) -> None:
    head = AttributeAttentionHead(6, in_dim=9, vector=vector, text_dim=4)
    if vector == "text":
        head.tell(torch.tensor([0.5, -1.0, 2.0, 0.1]))
    shaken(head)
    head.eval()
    led = head.attribute if vector == "learnt" else head.project(head.text)
    features = maps(3, 9, 4, 5)
    found = head(features)
    for row, picture in zip(found, features, strict=True):
        assert torch.allclose(row.double(), plain_head(head, picture, led), atol=1e-6)


def test_the_gate_lies_between_zero_and_one_and_one_vector_leads_places_and_channels() -> None:
    head, features = AttributeAttentionHead(6, in_dim=9).eval(), maps(3, 9, 4, 4)
    gates: list[Tensor] = []
    head.gate.register_forward_hook(lambda module, given, out: gates.append(given[0]) or gates.append(out.sigmoid()))
    head(features)
    given, gate = gates
    assert torch.equal(given[:, 6:], head.attribute.expand(3, -1)), "image part first, attribute part second"
    assert gate.min() > 0
    assert gate.max() < 1


def test_pooling_is_of_the_map_before_norm_and_tanh() -> None:
    """Even attention and an open gate leave the direction of the mean of conv1x1(F), whatever the batch norm says."""
    head, features = AttributeAttentionHead(6, in_dim=9).eval(), maps(2, 9, 4, 4)
    with torch.no_grad():
        head.attribute.zero_()
        head.gate[2].weight.zero_()
        head.gate[2].bias.zero_()
        head.norm.bias.fill_(3.0)
    mean = head.reduce(features).mean((2, 3))
    assert torch.allclose(head(features), nn.functional.normalize(mean), atol=1e-6)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e30])
def test_no_row_is_nan_not_even_one_without_length(scale: float) -> None:
    head = AttributeAttentionHead(6, in_dim=9)
    with torch.no_grad():
        head.reduce.bias.zero_()
        head.reduce.weight.mul_(0 if scale == 0 else 1)
    features = (maps(4, 9, 3, 3) * scale).requires_grad_()
    rows = head(features)
    rows.sum().backward()
    assert torch.isfinite(rows).all()
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()


def test_first_weights_come_from_the_seed_alone() -> None:
    before = torch.get_rng_state()
    one, same, other = (AttributeAttentionHead(6, in_dim=9, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert same_state(state_of(one), state_of(same))
    assert not torch.equal(one.attribute, other.attribute)
    bound = 1 / math.sqrt(9)
    assert one.reduce.weight.abs().max() <= bound
    assert not torch.equal(one.reduce.weight, other.reduce.weight)


def test_heads_made_in_another_order_and_loaded_by_name_give_equal_rows() -> None:
    names, features = ("collar", "sleeve", "length"), maps(2, 9, 4, 4)
    heads = MultiTaskHead(names, AttributeAttentionHead(6, in_dim=9)).eval()
    shaken(heads)
    other = MultiTaskHead(names[::-1], AttributeAttentionHead(6, in_dim=9, seed=7)).eval()
    other.load_state_dict(state_of(heads), strict=True)
    for name in names:
        assert torch.equal(other(features, name), heads(features, name))


def test_it_is_written_in_a_recipe_for_every_attribute() -> None:
    recipe = {"name": "multi-task", "tasks": ["a", "b"], "head": {"name": "attribute-attention", "out_dim": 6}}
    heads = build("head", recipe, facts={"in_dim": 9, "seed": 1})
    assert [heads.head_of(name).task for name in heads.tasks] == ["a", "b"]
    assert same_state(state_of(build("head", spec_of(heads))), state_of(heads))
    assert not torch.equal(heads.head_of("a").attribute, heads.head_of("b").attribute)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out_dim": 0, "in_dim": 3}, "1 or more, not 0, 512, 3"),
        ({"in_dim": 3, "vector": "words"}, 'vector is "learnt" or "text", not \'words\''),
    ],
)
def test_impossible_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AttributeAttentionHead(**options)  # type: ignore[arg-type]
