import pytest
import torch

from fashreg.indexes.exact import ExactIndex
from fashreg.testing.index import IndexContract, rows


class TestExact(IndexContract):
    @pytest.fixture
    def index(self):
        return ExactIndex(embed_dim=8)


class TestExactInnerProduct(IndexContract):
    @pytest.fixture
    def index(self):
        return ExactIndex("inner", embed_dim=8)


def test_cosine_ignores_length_and_inner_product_does_not():
    vectors, ids = torch.tensor([[1.0, 0.0], [5.0, 5.0], [0.0, 0.0]]), torch.arange(3)
    for metric, wanted, scores in (("cosine", [0, 1, 2], [1.0, 0.5**0.5, 0.0]), ("inner", [1, 0, 2], [10.0, 2.0, 0.0])):
        index = ExactIndex(metric, embed_dim=2)
        index.add(vectors, ids)
        found = index.search(torch.tensor([[2.0, 0.0]]), 3)
        assert found.ids.tolist() == [wanted]
        torch.testing.assert_close(found.scores, torch.tensor([scores]))


def test_rows_of_length_one_are_kept_bit_for_bit():
    index = ExactIndex(embed_dim=8)
    index.add(3 * rows(), torch.arange(40))
    again = ExactIndex(embed_dim=8)
    again.add(*index.vectors())
    assert torch.equal(index.vectors()[0], again.vectors()[0])
    assert (torch.linalg.vector_norm(index.vectors()[0].double(), dim=1) - 1).abs().max() < 1e-7


def test_every_id_that_is_taken_is_counted():
    index = ExactIndex(embed_dim=8)
    index.add(rows(9), torch.arange(9))
    with pytest.raises(ValueError, match="0, 1, 2, 3, 4 and 4 more are in the index already; nothing was added"):
        index.add(rows(10), torch.arange(10))


@pytest.mark.parametrize(
    ("options", "says"), [({"embed_dim": 0}, "embed_dim"), ({"metric": "l2", "embed_dim": 8}, "l2")]
)
def test_impossible_options_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        ExactIndex(**options)
