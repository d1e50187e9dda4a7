import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fashreg.functional import exact_keys, neighbours, pair_scores, screened_search, screening
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


@settings(max_examples=80, deadline=None)
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


@pytest.fixture
def screened(monkeypatch):
    """Galleries of a few hundred rows are screened as large ones are, by small tiles."""
    monkeypatch.setattr(neighbours, "_SMALL", 1)
    monkeypatch.setattr(neighbours, "_MANY", 1)
    monkeypatch.setattr(screened_search, "_WIDTH", 32)
    monkeypatch.setattr(screened_search, "_GROUP", 4)
    monkeypatch.setattr(screened_search, "_TILE", 1 << 9)
    monkeypatch.setattr(screened_search, "_BLOCK_BYTES", 1 << 12)

    def way(integers, space=160):
        monkeypatch.setattr(neighbours, "_FEW", 1)
        monkeypatch.setattr(neighbours, "integers_pay", lambda device: integers)
        monkeypatch.setattr(screened_search, "_SPACE", space)

    return way


@pytest.mark.parametrize("integers", [True, False])
@pytest.mark.parametrize("space", [160, 1])
@pytest.mark.parametrize("made", ["random", "far from zero", "outliers", "ties", "collapsed", "zero", "tiny"])
def test_screening_loses_nothing(screened, integers, space, made):
    screened(integers, space)
    gallery = random_rows(300, 16)
    if made == "far from zero":
        gallery = unit_rows(1 + 0.05 * gallery)
    elif made == "outliers":
        gallery = torch.where(random_rows(300, 16, seed=1) > 0.7, 1000 * gallery, gallery)
    elif made == "ties":
        gallery = gallery.mul(3).round()
    elif made == "collapsed":
        gallery = gallery[:1].expand(300, 16).contiguous()
    elif made == "zero":
        gallery = gallery * 0
    elif made == "tiny":
        gallery = gallery * 1e-19
    ids = torch.randperm(900, generator=torch.Generator().manual_seed(2))[:300]
    queries = torch.cat([gallery[:20], random_rows(5, 16, seed=3)])
    query_ids = torch.cat([ids[:20], torch.full((5,), -1)])
    for k in (1, 7):
        found = nearest(queries, gallery, ids, k, query_ids)
        assert same(found, *plain(queries, gallery, ids, k, query_ids))


@pytest.mark.parametrize("integers", [True, False])
def test_own_sources_are_left_out(screened, integers):
    gallery, ids = random_rows(200, 8).mul(2).round(), torch.arange(200) * 3
    made = torch.Generator().manual_seed(5)
    sources, asked = torch.randint(-1, 3, (200,), generator=made), torch.randint(-1, 4, (30,), generator=made)
    for small in (True, False):
        if small:
            screened(integers)
        found = nearest(gallery[:30], gallery, ids, 4, ids[:30], query_sources=asked, gallery_sources=sources)
        for q in range(30):
            kept = (sources != asked[q]) | (asked[q] < 0)
            wanted = plain(gallery[q : q + 1], gallery[kept], ids[kept], 4, ids[q : q + 1])
            assert found.ids[q].tolist() == wanted[0][0].tolist()
            assert found.scores[q].tolist() == wanted[1][0].tolist()


def test_a_source_that_owns_the_gallery_leaves_nothing(screened):
    screened(True)
    gallery, ids, sources = random_rows(200, 8), torch.arange(200), torch.full((200,), 7)
    asked = torch.tensor([7, -1])
    found = nearest(gallery[:2], gallery, ids, 3, query_sources=asked, gallery_sources=sources)
    assert found.ids[0].tolist() == [-1, -1, -1]
    assert found.ids[1, 0] == 1


def test_a_bound_that_is_too_small_would_be_noticed(screened, monkeypatch):
    screened(True)
    gallery, ids = random_rows(3000, 8), torch.arange(3000)
    wanted = plain(gallery[:8], gallery, ids, 5)
    assert same(nearest(gallery[:8], gallery, ids, 5), *wanted)
    bounds = screening.Screen.bounds
    monkeypatch.setattr(screening.Screen, "bounds", lambda self, tiles: 0 * bounds(self, tiles))
    assert not same(nearest(gallery[:8], gallery, ids, 5), *wanted)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 30), st.integers(0, 10**6), st.sampled_from([1e-12, 1.0, 1e9]), st.booleans())
def test_rough_scores_keep_their_bound(n, d, seed, size, integers):
    made = torch.Generator().manual_seed(seed)
    queries = torch.randn(5, d, generator=made) * size
    gallery = torch.randn(n, d, generator=made) ** 3 * size + torch.randn(d, generator=made)
    largest = torch.linalg.vector_norm(gallery, dim=1).max().item()
    screen = screening.Screen(queries, largest, gallery[:3].mean(0) if integers else None)
    tiles, exact = screen.tiles(gallery, 16, 8), queries.double() @ gallery.double().T
    seen = []
    for tile, bound in zip(tiles, screen.bounds(tiles).T, strict=True):
        there = tile.columns >= 0
        products = screen.products(tile, slice(0, 5), screen.room(5 * len(tile)))[:, there].double()
        rough = screen.offset[:, None] + (screen.step * tile.step)[:, None] * products
        assert ((rough - exact[:, tile.columns[there]]).abs() <= bound[:, None]).all()
        seen += tile.columns[there].tolist()
    assert sorted(seen) == list(range(n))


def test_integers_are_chosen_only_where_they_are_exact(monkeypatch):
    screening.integers_pay.cache_clear()
    whole = torch._int_mm
    saturating = lambda a, b, **out: whole(a, b, **out).clamp(-(2**15), 2**15)  # noqa: E731
    monkeypatch.setattr(torch, "_int_mm", saturating)
    assert screening.integers_pay("cpu") is False
    screening.integers_pay.cache_clear()
    monkeypatch.delattr(torch, "_int_mm")
    assert screening.integers_pay("cpu") is False
    screening.integers_pay.cache_clear()
    assert screening.integers_pay("somewhere else") is False


@pytest.mark.parametrize("integers", [True, False])
def test_the_precision_of_the_machine_changes_nothing(screened, integers, monkeypatch):
    screened(integers)
    gallery, ids = unit_rows(1 + 0.1 * random_rows(300, 8)), torch.arange(300)
    wanted = nearest(gallery[:50], gallery, ids, 5)
    exactly = torch.mm

    def coarse(a, b, out):
        if a.dtype == torch.float64:
            return exactly(a, b, out=out)
        return out.copy_(a.bfloat16().float() @ b.bfloat16().float())

    monkeypatch.setattr(torch, "mm", coarse)
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "medium")
    assert same(nearest(gallery[:50], gallery, ids, 5), wanted.ids, wanted.scores)


def test_block_scores_equal_single_scores_where_rounding_is_open(monkeypatch):
    gallery = torch.tensor([[1.0, 2.0**-24], [1.0, 2.0**-24 + 2.0**-47], [1.0, 2.0**-25], [1.0, -(2.0**-25)]])
    gallery = gallery.repeat(9, 1)  # halfway between two fp32 numbers, and just beside
    ids, queries = torch.arange(36), torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    assert same(nearest(queries, gallery, ids, 36), *plain(queries, gallery, ids, 36))
    single = []
    scored = exact_keys.score_listed
    monkeypatch.setattr(exact_keys, "score_listed", lambda *a: single.append(len(a[2])) or scored(*a))
    nearest(queries, gallery, ids, 36)
    assert sum(single) > 0


def test_a_gallery_in_a_file_is_searched_in_place(tmp_path):
    mapped = np.memmap(tmp_path / "vectors", dtype=np.float32, mode="w+", shape=(5000, 16))
    mapped[:] = random_rows(5000, 16).numpy()
    gallery, ids = torch.from_numpy(mapped), torch.arange(5000)
    searched = Gallery(gallery, ids)
    assert searched.vectors.data_ptr() == gallery.data_ptr()
    found, wanted = searched.search(gallery[:99], 3), nearest(random_rows(5000, 16)[:99], random_rows(5000, 16), ids, 3)
    assert same(found, wanted.ids, wanted.scores)


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
