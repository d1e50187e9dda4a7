import pytest
import torch

from fashreg.evaluators.retrieval import RetrievalEvaluator
from fashreg.functional.neighbours import WHOLE_RANKING, nearest
from fashreg.functional.relevance import relevance_from_labels, relevance_from_pairs
from fashreg.testing.evaluator import EvaluatorContract
from fashreg.testing.evaluator_cases import leave_one_out, measured
from fashreg.values import Rankings


class TestRetrieval(EvaluatorContract):
    @pytest.fixture
    def evaluator(self):
        return RetrievalEvaluator()


class TestEverythingItKnows(EvaluatorContract):
    @pytest.fixture
    def evaluator(self):
        at_k = ("recall@k", "hit-rate@k", "share-found@k", "precision@k", "mrr@k", "ndcg@k", "binary-ndcg@k")
        metrics = (*at_k, "map@r", "r-precision", "map", "mrr")
        return RetrievalEvaluator(ks=(1, 3, 10, 40), metrics=metrics, primary="map")


def test_the_defaults_carry_the_names_that_papers_use():
    numbers = measured(RetrievalEvaluator(), leave_one_out(0))
    assert list(numbers) == ["recall@1", "recall@10", "map@r", "r-precision", "mrr@10"]


def test_a_name_with_k_stands_for_every_cut_off_and_a_number_for_itself():
    evaluator = RetrievalEvaluator(ks=(2, 4), metrics=("precision@k", "recall@3", "recall@3"), primary="recall@3")
    assert list(measured(evaluator, leave_one_out(0))) == ["precision@2", "precision@4", "recall@3"]


def test_depth_is_what_the_metrics_need_and_no_more():
    ids = torch.arange(20)
    relevance = relevance_from_labels(ids // 7, ids, ids // 7, ids)
    assert RetrievalEvaluator().depth(relevance) == 10
    assert RetrievalEvaluator(ks=(1,), metrics=("recall@k", "map@r")).depth(relevance) == 6
    assert RetrievalEvaluator(ks=(1,), metrics=("recall@k",), primary="recall@1").depth(relevance) == 1
    assert RetrievalEvaluator(metrics=("map",), primary="map").depth(relevance) == WHOLE_RANKING
    assert RetrievalEvaluator(metrics=("mrr",), primary="mrr").depth(relevance) == WHOLE_RANKING


def test_hit_rate_is_another_name_of_recall_and_the_share_found_is_not():
    evaluator = RetrievalEvaluator(ks=(4,), metrics=("recall@k", "hit-rate@k", "share-found@k"), primary="recall@4")
    numbers = measured(evaluator, leave_one_out(0))
    assert numbers["recall@4"] == numbers["hit-rate@4"] > numbers["share-found@4"] > 0


def test_ndcg_weighs_hits_by_their_grades_and_binary_ndcg_does_not():
    relevance = relevance_from_pairs(torch.tensor([9]), [[1, 2]], [[1.0, 3.0]])
    rankings = Rankings(torch.tensor([[1, 2, 3]]), torch.zeros(1, 3))
    evaluator = RetrievalEvaluator(ks=(3,), metrics=("ndcg@k", "binary-ndcg@k"), primary="ndcg@3")
    numbers = evaluator(rankings, relevance)
    assert numbers["ndcg@3"] == pytest.approx((1 + 3 / 1.5849625007211562) / (3 + 1 / 1.5849625007211562))
    assert numbers["binary-ndcg@3"] == 1


def test_numbers_of_each_query_come_before_the_mean():
    relevance = relevance_from_pairs(torch.tensor([1, 2, 3]), [[5], [], [6]])
    rankings = Rankings(torch.tensor([[5, 6]] * 3), torch.tensor([[0.9, 0.1]] * 3))
    evaluator = RetrievalEvaluator(ks=(1,), metrics=("recall@k",), primary="recall@1")
    each = evaluator.per_query(rankings, relevance)["recall@1"]
    assert each[[0, 2]].tolist() == [1.0, 0.0]
    assert each[1].isnan()
    assert evaluator(rankings, relevance) == {"recall@1": 0.5}


def test_a_whole_evaluation_of_small_vectors_by_hand():
    """On a line: a b | a b b. Leave-one-out: nearest others by inner product with unit rows at angles 0, 10, ..."""
    angles = torch.tensor([0.0, 10.0, 25.0, 45.0, 70.0]).deg2rad()
    vectors, labels, ids = torch.stack([angles.cos(), angles.sin()], 1), torch.tensor([0, 1, 0, 1, 1]), torch.arange(5)
    relevance = relevance_from_labels(labels, ids, labels, ids)
    # ranked: 0: b a b b | 1: a a b b | 2: b b a b | 3: a b b a | 4: b a b a
    evaluator = RetrievalEvaluator(ks=(1, 2), metrics=("recall@k", "map@r", "r-precision"))
    numbers = evaluator(nearest(vectors, vectors, ids, evaluator.depth(relevance), ids), relevance)
    assert numbers["recall@1"] == pytest.approx(1 / 5)
    assert numbers["recall@2"] == pytest.approx(3 / 5)
    assert numbers["r-precision"] == pytest.approx((0 + 0 + 0 + 1 / 2 + 1 / 2) / 5)
    assert numbers["map@r"] == pytest.approx((0 + 0 + 0 + 1 / 4 + 1 / 2) / 5)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"metrics": ("recal@1",)}, "no metric 'recal@1'; did you mean 'recall@k'"),
        ({"metrics": ("recall@0",)}, "no metric"),
        ({"metrics": ("recall",)}, "no metric"),
        ({"metrics": ("map@10",)}, "no metric"),
        ({"primary": "recall@5"}, "primary 'recall@5' is not among the reported metrics: recall@1, recall@10"),
        ({"ks": (0,)}, "ks must be 1 or larger"),
        ({"metrics": ()}, "primary"),
    ],
)
def test_impossible_options_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        RetrievalEvaluator(**options)
