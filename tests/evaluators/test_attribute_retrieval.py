import pytest
import torch

from fashreg.evaluators.attribute_retrieval import AttributeRetrievalEvaluator
from fashreg.functional.neighbours import nearest
from fashreg.functional.relevance import relevance_from_labels, relevance_from_pairs
from fashreg.functional.similarity import unit_rows
from fashreg.testing.evaluator import EvaluatorContract
from fashreg.values import Rankings

# FashionAI, test: average precision in percent and number of queries of the eight attributes, and their weighted mean.
FASHION_AI = (63.7173, 58.2922, 52.9375, 66.8214, 69.8439, 67.5551, 67.0139, 63.2626)
QUERIES = (422, 623, 535, 422, 341, 289, 703, 265)


class TestAttributeRetrieval(EvaluatorContract):
    @pytest.fixture
    def evaluator(self):
        return AttributeRetrievalEvaluator()


def by_attribute(values):
    return {f"a{i}": {"map": value} for i, value in enumerate(values)}


def test_the_means_over_the_attributes_of_fashion_ai_are_the_published_ones():
    support = {f"a{i}": q for i, q in enumerate(QUERIES)}
    combined = AttributeRetrievalEvaluator().combine(by_attribute(FASHION_AI), support)
    assert combined["map/weighted"] == pytest.approx(63.0390, abs=5e-5)
    assert combined["map/mean"] == pytest.approx(63.68, abs=5e-3)
    assert combined["map"] == combined["map/weighted"]
    assert (
        AttributeRetrievalEvaluator(average="mean").combine(by_attribute(FASHION_AI), support)["map"]
        == combined["map/mean"]
    )


def test_one_attribute_combined_is_itself():
    numbers = {"map": 0.5, "map_random": 0.2, "recall@1": 0.7}
    combined = AttributeRetrievalEvaluator().combine({"colour": numbers}, {"colour": 3})
    assert {name: combined[name] for name in numbers} == pytest.approx(numbers)
    assert AttributeRetrievalEvaluator.primary in combined


def test_chance_is_the_mean_over_queries_of_its_expectation():
    # query 1: 2 of 4 relevant, query 2 (in the gallery itself): 1 of the other 3
    relevance = relevance_from_labels(
        torch.tensor([0, 1]), torch.tensor([9, 3]), torch.tensor([0, 0, 1, 1]), torch.tensor([1, 2, 3, 4])
    )
    rankings = Rankings(torch.tensor([[1, 2, 3, 4], [4, 1, 2, -1]]), torch.zeros(2, 4))
    numbers = AttributeRetrievalEvaluator()(rankings, relevance)
    assert numbers["map"] == 1.0
    assert numbers["map_random"] == pytest.approx((0.680556 + (1 + 1 / 2 + 1 / 3) / 3) / 2, abs=1e-6)


def test_random_vectors_come_close_to_chance():
    made = torch.Generator().manual_seed(0)
    vectors, labels, ids = (
        unit_rows(torch.randn(400, 16, generator=made)),
        torch.randint(0, 5, (400,), generator=made),
        torch.arange(400),
    )
    relevance = relevance_from_labels(labels[:100], ids[:100], labels[100:], ids[100:])
    evaluator = AttributeRetrievalEvaluator()
    numbers = evaluator(nearest(vectors[:100], vectors[100:], ids[100:], evaluator.depth(relevance)), relevance)
    assert numbers["map"] == pytest.approx(numbers["map_random"], abs=0.01)


def test_queries_without_relevant_candidates_are_skipped_or_count_zero():
    relevance = relevance_from_pairs(torch.tensor([7, 8]), [[1], []])
    rankings = Rankings(torch.tensor([[1, 2], [1, 2]]), torch.zeros(2, 2))
    skip, zero = AttributeRetrievalEvaluator(), AttributeRetrievalEvaluator(without_relevant="zero")
    assert (skip(rankings, relevance)["map"], skip.support(relevance)) == (1.0, 1)
    assert (zero(rankings, relevance)["map"], zero.support(relevance)) == (0.5, 2)
    assert zero(rankings, relevance)["map_random"] == pytest.approx(0.75 / 2)


def test_impossible_combinations_and_options_are_refused():
    evaluator = AttributeRetrievalEvaluator()
    with pytest.raises(ValueError, match="needs its support"):
        evaluator.combine({"a": {"map": 1.0}}, {"b": 1})
    with pytest.raises(ValueError, match="needs its support"):
        evaluator.combine({}, {})
    with pytest.raises(ValueError, match="without queries"):
        evaluator.combine({"a": {"map": 1.0}}, {"a": 0})
    for options in ({"average": "median"}, {"ks": (0,)}, {"without_relevant": "count"}):
        with pytest.raises(ValueError, match=next(iter(options))):
            AttributeRetrievalEvaluator(**options)
