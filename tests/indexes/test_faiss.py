import subprocess
import sys

import pytest
import torch

from fashreg.indexes.exact import ExactIndex
from fashreg.indexes.faiss import FaissIndex
from fashreg.testing.index import IndexContract
from fashreg.testing.rows import unit_rows


class TestFlat(IndexContract):
    @pytest.fixture
    def index(self):
        return FaissIndex(embed_dim=8)


class TestGraph(IndexContract):
    @pytest.fixture
    def index(self):
        return FaissIndex("HNSW16", embed_dim=8)


class TestListsTrainedOnTheWay(IndexContract):
    """Trained within the suite's few rows, every list visited, so nothing may be missed."""

    @pytest.fixture
    def index(self):
        return FaissIndex("IVF2,Flat", train_min=10, nprobe=2, embed_dim=8)


class TestCoarseCodes(IndexContract):
    @pytest.fixture
    def index(self):
        return FaissIndex("SQ8", metric="inner", embed_dim=8)


class TestNotYetTrained(IndexContract):
    @pytest.fixture
    def index(self):
        return FaissIndex("IVF16,PQ4", embed_dim=8)


def clustered(n, seed=0, d=16):
    made = torch.Generator().manual_seed(seed)
    centres = unit_rows(30, d, seed=99)
    return centres[torch.randint(0, 30, (n,), generator=made)] + 0.2 * torch.randn(n, d, generator=made)


@pytest.mark.parametrize(
    ("factory", "least"),
    [("Flat", 1.0), ("HNSW32", 0.97), ("SQ8", 0.99), ("IVF16,Flat", 0.9), ("PQ8x4", 0.7), ("PCA8,IVF16,SQ8", 0.7)],
)
def test_a_structure_trains_itself_and_finds_most_neighbours(factory, least):
    index, exact = FaissIndex(factory, embed_dim=16), ExactIndex(embed_dim=16)
    vectors, ids = clustered(1500), torch.randperm(1500)
    for part in (slice(0, 1000), slice(1000, 1500)):
        index.add(vectors[part], ids[part])
        exact.add(vectors[part], ids[part])
    queries = clustered(100, seed=1)
    assert index.trained == (factory != "Flat")
    assert index.recall(queries, 10) >= least
    found, true = index.search(queries, 10), exact.search(queries, 10)
    assert (found.scores <= true.scores).all()
    both = found.ids == true.ids
    assert torch.equal(found.scores[both], true.scores[both])
    assert (found.scores.diff() <= 0).all()


def test_flat_equals_exact_search_to_the_last_bit_even_among_crowds_of_equals():
    vectors = torch.cat([clustered(200), clustered(3).repeat(100, 1)])
    ids = torch.randperm(500)
    index, exact = FaissIndex(embed_dim=16), ExactIndex(embed_dim=16)
    for one in (index, exact):
        one.add(vectors, ids)
    for k in (1, 5, 60):
        found, true = index.search(vectors, k, query_ids=ids), exact.search(vectors, k, query_ids=ids)
        assert torch.equal(found.ids, true.ids)
        assert torch.equal(found.scores, true.scores)


@pytest.mark.parametrize("factory", ["Flat", "HNSW16", "IVF16,Flat"])
@pytest.mark.parametrize("allowed", [1, 7, 300, 1450])
def test_filters_of_any_selectivity_lose_nothing(factory, allowed):
    index, exact = FaissIndex(factory, embed_dim=16), ExactIndex(embed_dim=16)
    vectors, ids = clustered(1500), torch.randperm(1500)
    for one in (index, exact):
        one.add(vectors, ids)
    some, queries = ids[torch.randperm(1500)[:allowed]], clustered(20, seed=2)
    found, true = index.search(queries, 5, allowed=some), exact.search(queries, 5, allowed=some)
    assert torch.isin(found.ids[found.ids >= 0], some).all()
    assert torch.equal((found.ids >= 0).sum(1), (true.ids >= 0).sum(1))
    assert (found.ids == true.ids).float().mean() > (0.999 if factory == "Flat" else 0.85)


def test_visiting_more_finds_more():
    found = []
    for options in ({"nprobe": 1}, {"nprobe": 4}, {"nprobe": 32}):
        index = FaissIndex("IVF32,Flat", embed_dim=16, **options)
        index.add(clustered(1500), torch.arange(1500))
        found.append(index.recall(clustered(50, seed=3), 10))
    assert found[0] < found[1] < found[2] == 1.0


def test_refining_finds_more_where_codes_are_coarse():
    found = []
    for refine in (1, 8):
        index = FaissIndex("PQ4x4", refine=refine, embed_dim=16)
        index.add(clustered(1500), torch.arange(1500))
        found.append(index.recall(clustered(50, seed=3), 20))
    assert found[0] < found[1]


def test_searching_before_training_is_exact():
    index = FaissIndex("IVF16,Flat", embed_dim=16)
    index.add(clustered(100), torch.arange(100))
    assert not index.trained
    assert index.recall(clustered(10, seed=4), 10) == 1.0


def test_the_threads_of_faiss_follow_torch_and_are_given_back():
    import faiss

    before, seen = faiss.omp_get_max_threads(), []
    index = FaissIndex("Flat", threads=1, embed_dim=16)
    index.add(clustered(50), torch.arange(50))
    knn = faiss.knn
    faiss.knn = lambda *args, **options: (seen.append(faiss.omp_get_max_threads()), knn(*args, **options))[1]
    try:
        index.search(clustered(2), 1)
        index.threads = None
        index.search(clustered(2), 1)
    finally:
        faiss.knn = knn
    assert seen == [1, torch.get_num_threads()]
    assert faiss.omp_get_max_threads() == before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"factory": "Fast"}, "FAISS cannot make 'Fast' for vectors of width 16: could not parse"),
        ({"factory": "PQ7"}, "multiple of the number of subquantizers"),
        ({"factory": "IDMap,Flat"}, "leave out IDMap"),
        ({"nprobe": 4}, "nprobe does not apply to factory 'Flat'"),
        ({"factory": "HNSW16", "nprobe": 4}, "nprobe does not apply"),
        ({"factory": "IVF4,Flat", "ef_search": 4}, "ef_search does not apply"),
        ({"factory": "HNSW16", "train_min": 4}, "train_min does not apply"),
        ({"refine": 0}, "at least 1"),
        ({"factory": "IVF4,Flat", "nprobe": 0}, "at least 1"),
        ({"metric": "l2"}, "metric"),
    ],
)
def test_impossible_options_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        FaissIndex(**options, embed_dim=16)


def test_faiss_is_imported_only_when_an_index_is_made():
    code = "import sys, fashreg.indexes.faiss, fashreg.indexes.exact; assert 'faiss' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
