import math

import pytest
import torch

from fashreg.evaluators.attribute_overlap import AttributeOverlapEvaluator
from fashreg.testing.evaluator import EvaluatorContract
from fashreg.values import Rankings


class TestAttributeOverlap(EvaluatorContract):
    @pytest.fixture
    def evaluator(self):
        return AttributeOverlapEvaluator()


QUERY = torch.tensor([[0, 0, 0, -1]])
GALLERY = torch.tensor([[0, 0, 1, 5], [0, 0, 0, 5], [1, 1, 1, 5], [0, 1, -1, 5]])  # shares 2/3, 1, 0, 1/2
IDS = torch.arange(4)


def scored(evaluator, *order):
    relevance = evaluator.relevance_from_attributes(QUERY, torch.tensor([-1]), GALLERY, IDS)
    return evaluator(Rankings(torch.tensor([order]), torch.zeros(1, len(order))), relevance)


def test_what_shares_more_attributes_should_come_first():
    evaluator = AttributeOverlapEvaluator(ks=(3, 1))
    assert evaluator.primary == "attribute-ndcg@3"
    assert scored(evaluator, 1, 0, 3, 2) == {"attribute-ndcg@3": 1.0, "attribute-ndcg@1": 1.0}
    found = scored(evaluator, 0, 2, 1, 3)
    assert found["attribute-ndcg@1"] == pytest.approx(2 / 3)
    assert found["attribute-ndcg@3"] == pytest.approx((2 / 3 + 1 / 2) / (1 + 2 / 3 / math.log2(3) + 1 / 2 / 2))


def test_below_the_threshold_sharing_is_worth_nothing():
    found = scored(AttributeOverlapEvaluator(ks=(2,), threshold=0.6), 3, 1, 0, 2)
    assert found["attribute-ndcg@2"] == pytest.approx((1 / math.log2(3)) / (1 + 2 / 3 / math.log2(3)))


def test_items_of_the_query_s_own_source_are_left_out():
    evaluator = AttributeOverlapEvaluator(ks=(1,))
    relevance = evaluator.relevance_from_attributes(
        QUERY,
        torch.tensor([-1]),
        GALLERY,
        IDS,
        query_sources=torch.tensor([4]),
        gallery_sources=torch.tensor([0, 4, 0, 0]),
    )
    assert evaluator(Rankings(torch.tensor([[0]]), torch.zeros(1, 1)), relevance) == {"attribute-ndcg@1": 1.0}


@pytest.mark.parametrize(
    ("options", "says"), [({"ks": ()}, "ks"), ({"ks": (0,)}, "ks"), ({"threshold": 1.5}, "threshold")]
)
def test_impossible_options_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        AttributeOverlapEvaluator(**options)
