import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fashreg.functional import pair_scores
from fashreg.functional.neighbours import WHOLE_RANKING, Gallery, nearest
from fashreg.functional.pair_scores import rank_candidates, score_pairs
from fashreg.functional.similarity import unit_rows


def t(*values):
    return torch.tensor(values, dtype=torch.int64)


def plain(queries, gallery, ids, k, query_ids=None):
    """Every pair scored and sorted by (larger score, smaller id), in Python."""
    rows = []
    for q, query in enumerate(queries.double()):
        own = -1 if query_ids is None else int(query_ids[q])
        scored = [(-float((query * g).sum().float()), int(i)) for g, i in zip(gallery.double(), ids, strict=True)]
        best = sorted(pair for pair in scored if pair[1] != own)[:k]
        rows.append(best + [(torch.inf, -1)] * (k - len(best)))
    shape = (len(queries), k)
    return t(*[i for row in rows for _, i in row]).view(shape), torch.tensor([-s for row in rows for s, _ in row]).view(
        shape
    )


def same(found, ids, scores):
    return torch.equal(found.ids, ids) and torch.equal(found.scores, scores.float())


def random_rows(n, d=8, seed=0):
    return unit_rows(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)))


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 40), st.integers(0, 6), st.integers(1, 3), st.integers(1, 50), st.integers(0, 10**6), st.booleans()
)
def test_neighbours_equal_the_plain_sort_with_many_ties(n, q, d, k, seed, leave_out):
    made = torch.Generator().manual_seed(seed)
    gallery = torch.randint(-1, 2, (n, d), generator=made).float()
    queries = torch.randint(-1, 2, (q, d), generator=made).float()
    ids = torch.randperm(3 * n, generator=made)[:n]
    query_ids = torch.randint(-2, 3 * n, (q,), generator=made) if leave_out else None
    found = nearest(queries, gallery, ids, k, query_ids, block_bytes=1024)
    assert same(found, *plain(queries, gallery, ids, k, query_ids))


@pytest.mark.parametrize("k", [1, 7, 60, 250, 300, 301])
def test_neighbours_of_real_vectors_equal_the_plain_sort(k):
    gallery, ids = random_rows(300, 16), torch.arange(300) * 7
    found = nearest(gallery[:5], gallery, ids, k, ids[:5])
    assert same(found, *plain(gallery[:5], gallery, ids, k, ids[:5]))


def test_nothing_depends_on_the_order_of_the_gallery_or_on_blocks():
    gallery, ids = random_rows(500, 32).repeat(3, 1), torch.randperm(1500)
    first = nearest(gallery[:200], gallery, ids, 10, ids[:200])
    for seed, block_bytes in ((1, 1 << 16), (2, 1 << 19), (3, 1 << 30)):
        order = torch.randperm(1500, generator=torch.Generator().manual_seed(seed))
        again = nearest(gallery[:200], gallery[order], ids[order], 10, ids[:200], block_bytes=block_bytes)
        assert same(again, first.ids, first.scores)
    alone = nearest(gallery[7:8], gallery, ids, 10, ids[7:8])
    assert same(alone, first.ids[7:8], first.scores[7:8])


def test_a_coarse_screening_changes_nothing(monkeypatch):
    gallery, ids = unit_rows(1 + 0.1 * random_rows(900, 8)), torch.arange(900)
    wanted = nearest(gallery[:50], gallery, ids, 5)
    coarse = lambda a, b, out: out.copy_(a.bfloat16().float() @ b.bfloat16().float())  # noqa: E731
    monkeypatch.setattr(torch, "mm", coarse)
    assert not torch.equal(nearest(gallery[:50], gallery, ids, 5).ids, wanted.ids)  # the bound is too small for bf16
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "medium")
    assert same(nearest(gallery[:50], gallery, ids, 5), wanted.ids, wanted.scores)


def test_autocast_changes_nothing():
    gallery, ids = random_rows(400, 8), torch.arange(400)
    wanted = nearest(gallery[:50], gallery, ids, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert same(nearest(gallery[:50], gallery, ids, 5), wanted.ids, wanted.scores)


def test_a_collapsed_embedding_is_ranked_by_id():
    gallery, ids = torch.ones(200, 4), torch.randperm(200)
    found = nearest(gallery, gallery, ids, 3, ids, block_bytes=1 << 14)
    wanted = [[i for i in range(5) if i != own][:3] for own in ids.tolist()]
    assert found.ids.tolist() == wanted


def test_what_is_not_there_is_padded():
    found = nearest(torch.ones(1, 2), torch.ones(2, 2), t(5, 3), 4, t(3))
    assert found.ids.tolist() == [[5, -1, -1, -1]]
    assert found.scores.tolist() == [[2.0, -torch.inf, -torch.inf, -torch.inf]]


def test_the_whole_ranking_is_as_wide_as_the_gallery():
    found = nearest(torch.ones(1, 2), torch.ones(3, 2), t(5, 3, 4), WHOLE_RANKING, t(3))
    assert found.ids.tolist() == [[4, 5, -1]]


def test_zero_has_no_sign():
    found = nearest(torch.tensor([[1.0]]), torch.tensor([[0.0], [-0.0]]), t(9, 2), 2)
    assert found.ids.tolist() == [[2, 9]]


def test_ids_of_any_size_and_queries_of_no_identity_are_taken():
    big = 2**62
    found = nearest(torch.ones(2, 1), torch.ones(2, 1), t(big, big + 1), 2, t(-1, big + 1))
    assert found.ids.tolist() == [[big, big + 1], [big, -1]]
    assert nearest(torch.ones(0, 1), torch.ones(2, 1), t(0, 1), 5).ids.shape == (0, 5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_are_computed_in_fp32_without_gradient(dtype):
    vectors = random_rows(20).to(dtype).requires_grad_()
    found = nearest(vectors, vectors, torch.arange(20), 3)
    assert found.scores.dtype == torch.float32
    assert not found.scores.requires_grad
    assert found.ids[:, 0].tolist() == list(range(20))


def test_tiny_and_large_vectors_are_ranked():
    gallery = torch.tensor([[1e-22], [3e-22], [2e-22]]).repeat(30, 1)
    found = nearest(torch.tensor([[1e-22]]), gallery, torch.arange(90), 1)
    assert found.ids.tolist() == [[1]]
    large = gallery * 1e30 * 1e9
    assert nearest(large, large, torch.arange(90), 1).ids[0].tolist() == [1]


def test_pairs_of_equal_rows_score_the_same_wherever_they_stand(monkeypatch):
    gallery = random_rows(7, 33).repeat(11, 1)
    columns = torch.arange(77).expand(3, 77)
    scores = score_pairs(gallery[:3], gallery, columns)
    assert torch.equal(scores, scores[:, :7].repeat(1, 11))
    monkeypatch.setattr(pair_scores, "_PAIR_BYTES", 5000)
    assert torch.equal(score_pairs(gallery[:3], gallery, columns), scores)


def test_a_gallery_can_be_searched_again_and_again():
    vectors, ids = random_rows(100), torch.randperm(100)
    gallery = Gallery(vectors, ids)
    for k in (1, 7):
        found, wanted = gallery.search(vectors[:9], k, ids[:9]), nearest(vectors[:9], vectors, ids, k, ids[:9])
        assert same(found, wanted.ids, wanted.scores)


def test_candidates_are_ordered_as_in_exact_search():
    gallery = torch.randint(-1, 2, (60, 3), generator=torch.Generator().manual_seed(0)).float()
    ids, columns = torch.randperm(60), torch.stack([torch.randperm(60) for _ in range(9)])
    wanted = nearest(gallery[:9], gallery, ids, 70)
    found = rank_candidates(gallery[:9], gallery, ids, columns, 70)
    assert same(found, wanted.ids, wanted.scores)
    few = rank_candidates(gallery[:1], gallery, ids, torch.tensor([[-1, 5, -1, 6]]), 3)
    assert sorted(few.ids[0].tolist()) == sorted([-1, int(ids[5]), int(ids[6])])
    assert few.scores[0, 2] == -torch.inf


two = torch.ones(2, 2)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: nearest(two, two, t(0, 1), 0), "k must be at least 1, got 0"),
        (lambda: nearest(two, two[:0], t(), 1), "gallery is empty"),
        (lambda: nearest(two, torch.ones(2, 3), t(0, 1), 1), "width 2 and the gallery 3"),
        (lambda: nearest(two * torch.nan, two, t(0, 1), 1), "queries: row 0 holds NaN"),
        (lambda: nearest(two, torch.tensor([[0.0, 1.0], [torch.inf, 1.0]]), t(0, 1), 1), "the gallery: row 1 holds"),
        (lambda: nearest(two, two * 1e30, t(0, 1), 1), "too large"),
        (lambda: nearest(two, two, t(0), 1), "as many ids"),
        (lambda: nearest(two, two, t(0, 1), 1, t(0)), "as many integer ids"),
        (lambda: nearest(two, two, t(1, 1), 1), "unique"),
        (lambda: nearest(two, two, t(-1, 1), 1), "0 or larger"),
        (lambda: nearest(two.long(), two, t(0, 1), 1), "float vectors"),
        (lambda: nearest(two[0], two, t(0, 1), 1), "float vectors"),
    ],
)
def test_impossible_input_is_refused_with_its_reason(call, says):
    with pytest.raises(ValueError, match=says):
        call()
