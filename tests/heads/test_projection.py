"""ProjectionHead: worked cases, first weights, precision."""

from __future__ import annotations

import pytest
import torch

from fashreg.assembly import build, spec_of
from fashreg.heads.projection import ProjectionHead
from fashreg.testing.state import same_state, state_of


def test_a_row_is_projected_and_divided_by_its_length() -> None:
    head = ProjectionHead(2, in_dim=3)
    with torch.no_grad():
        head.linear.weight.copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]))
        head.linear.bias.copy_(torch.tensor([0.0, 2.0]))
    # (3, 1, 9) -> (3, 2 * 1 + 2) = (3, 4), of length 5
    assert torch.allclose(head(torch.tensor([[3.0, 1.0, 9.0]])), torch.tensor([[0.6, 0.8]]))


def test_without_unit_the_row_keeps_its_length() -> None:
    head = ProjectionHead(4, in_dim=3, unit=False)
    features = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(head(features), head.linear(features))


def test_batch_norm_comes_before_the_length_and_makes_the_bias_needless() -> None:
    head = ProjectionHead(4, in_dim=3, batch_norm=True)
    features = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    raw = features @ head.linear.weight.T
    normed = (raw - raw.mean(0)) / (raw.var(0, unbiased=False) + 1e-5).sqrt()
    assert torch.allclose(head(features), normed / normed.norm(dim=1, keepdim=True), atol=1e-5)
    assert head.linear.bias is None


def test_first_weights_are_orthonormal_rows_from_the_seed_alone() -> None:
    before = torch.get_rng_state()
    head = ProjectionHead(5, in_dim=12, seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    weight = head.linear.weight.detach()
    assert torch.allclose(weight @ weight.T, torch.eye(5), atol=1e-6)
    assert not head.linear.bias.any()
    assert same_state(state_of(head), state_of(ProjectionHead(5, in_dim=12, seed=4)))
    assert not same_state(state_of(head), state_of(ProjectionHead(5, in_dim=12, seed=5)))


def test_every_task_gets_the_same_vector() -> None:
    head, features = ProjectionHead(5, in_dim=7), torch.ones(1, 7)
    assert torch.equal(head(features, "colour"), head(features))


@pytest.mark.parametrize("wrong", [{"out_dim": 0, "in_dim": 3}, {"out_dim": 3, "in_dim": -1}])
def test_impossible_widths_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        ProjectionHead(**wrong)


def test_its_spec_builds_an_equal_head_and_in_dim_is_a_fact_of_the_run() -> None:
    head = build("head", "projection", out_dim=6, facts={"in_dim": 9, "seed": 2})
    assert (head.in_dim, head.out_dim, head.seed) == (9, 6, 2)
    assert same_state(state_of(head), state_of(build("head", spec_of(head))))
