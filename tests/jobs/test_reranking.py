"""Searching and re-ranking in one: how deep, in which order, with what left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import fashreg
from fashreg.assembly import check_recipe, components_of
from fashreg.backbones.timm import TimmBackbone
from fashreg.config import read_recipe
from fashreg.errors import RecipeError, UnknownComponentError
from fashreg.indexes.exact import ExactIndex
from fashreg.jobs.reranking import rerankers_of, search_and_rerank
from fashreg.rerankers.k_reciprocal import KReciprocalReranker
from fashreg.rerankers.query_expansion import QueryExpansionReranker
from fashreg.testing.rows import unit_rows
from fashreg.values import Rankings


@pytest.fixture
def index() -> ExactIndex:
    made = ExactIndex(embed_dim=6)
    made.add(unit_rows(30, 6), torch.arange(30))
    return made


class Turning:
    """Turns round what it sees, and writes down how much that was."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.seen: list[tuple[int, Any]] = []

    def __call__(self, queries: Tensor, rankings: Rankings, index: Any, **limits: Any) -> Rankings:
        self.seen.append((rankings.ids.shape[1], limits))
        return Rankings(rankings.ids.flip(1), -rankings.scores.flip(1))


def test_without_rerankers_it_is_a_search(index: ExactIndex) -> None:
    queries = unit_rows(4, 6, seed=1)
    found, wanted = search_and_rerank(index, queries, 5), index.search(queries, 5)
    assert torch.equal(found.ids, wanted.ids)
    assert torch.equal(found.scores, wanted.scores)


@pytest.mark.parametrize(("k", "depths", "width"), [(5, (12, 3), 12), (20, (12,), 20), (5, (99,), 30), (40, (12,), 40)])
def test_the_first_search_is_as_deep_as_the_deepest_wants(
    index: ExactIndex, k: int, depths: tuple[int, ...], width: int
) -> None:
    rerankers = [Turning(depth) for depth in depths]
    own, allowed = torch.tensor([1, 2]), torch.arange(30)
    found = search_and_rerank(index, unit_rows(2, 6), k, rerankers, query_ids=own, allowed=allowed)
    assert found.ids.shape == found.scores.shape == (2, k)
    for reranker in rerankers:
        assert reranker.seen == [(width, {"query_ids": own, "allowed": allowed})]


def test_rerankers_work_one_after_the_other(index: ExactIndex) -> None:
    queries = unit_rows(3, 6, seed=2)
    expansion, mutual = QueryExpansionReranker(n=2), KReciprocalReranker(k1=4, k2=2, depth=10)
    found = search_and_rerank(index, queries, 4, [expansion, mutual])
    wanted = mutual(queries, expansion(queries, index.search(queries, 10), index), index)
    assert torch.equal(found.ids, wanted.ids[:, :4])
    turned = search_and_rerank(index, queries, 4, [mutual, expansion])
    assert not torch.equal(found.scores, turned.scores)


def test_rerankers_are_named_as_every_component_is() -> None:
    assert rerankers_of(None) == rerankers_of([]) == []
    (one,) = rerankers_of("k-reciprocal")
    assert type(one) is KReciprocalReranker
    spec, ready = {"name": "query-expansion", "n": 2, "alpha": 0}, KReciprocalReranker(k1=3)
    two, three, four = rerankers_of([spec, ready, KReciprocalReranker])
    assert isinstance(two, QueryExpansionReranker)
    assert (two.n, two.alpha, two.depth) == (2, 0, 2)
    assert three is ready
    assert isinstance(four, KReciprocalReranker)
    assert isinstance(rerankers_of({"name": "k-reciprocal", "k1": 5})[0], KReciprocalReranker)
    with pytest.raises(UnknownComponentError, match="k-reciprocal"):
        rerankers_of("k-reciprokal")


def test_a_recipe_names_rerankers_and_their_mistakes_are_found_before_anything_is_built() -> None:
    recipe = read_recipe({"data": {}, "backbone": "lite0", "rerankers": ["query-expansion", {"name": "k-reciprocal"}]})
    assert [(field, kind) for field, kind, _ in components_of(recipe)][-2:] == [
        ("rerankers.0", "reranker"),
        ("rerankers.1", "reranker"),
    ]
    wrong = read_recipe(recipe, ["rerankers.1.dept=1"])
    with pytest.raises(RecipeError, match=r"rerankers\.1: .*no option 'dept'; did you mean 'depth'"):
        check_recipe(wrong)


@pytest.mark.parametrize("given", ["k-reciprocal", "an object"])
def test_a_training_judges_with_rerankers_and_writes_them_down(given: str, tmp_path: Path) -> None:
    reranker: Any = {"name": "k-reciprocal", "k1": 3} if given == "k-reciprocal" else KReciprocalReranker(k1=3)
    run = fashreg.train(
        {"data": {"table": "atelier:products=12,views=2,size=32"}, "backbone": "lite0"},
        backbone=TimmBackbone("test_resnet", weights=None, image_size=32, seed=0),
        trainer={"max_steps": 1, "batch_size": 8},
        rerankers=[reranker],
        out=tmp_path / "run",
        quiet=True,
    )
    assert run.after is not None
    assert [(spec["name"], spec["config"]["k1"]) for spec in run.after.protocol.rerankers] == [("k-reciprocal", 3)]
    written = read_recipe(tmp_path / "run" / "recipe.yaml").rerankers
    assert [(r.name, r.options["k1"]) for r in written] == [("k-reciprocal", 3)]
