"""What searches embeddings and judges the answers: the contracts of indexes, rerankers and evaluators."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from torch import Tensor

    from fashreg.values import Rankings, Relevance


class Index(Protocol):
    """A searchable gallery. Agrees with exact search within the recall it states; larger score = nearer."""

    embed_dim: int

    def __len__(self) -> int: ...
    def add(self, vectors: Tensor, ids: Tensor) -> None: ...  # (N, D) float, (N,) int64 >= 0, all new
    def delete(self, ids: Tensor) -> None: ...  # (n,) stored ids, each once; one unknown: ValueError, nothing deleted
    def update(self, vectors: Tensor, ids: Tensor) -> None: ...  # new vectors (n, D) of stored ids (n,), as delete
    def search(
        self, vectors: Tensor, k: int, *, query_ids: Tensor | None = None, allowed: Tensor | None = None
    ) -> Rankings: ...  # query_ids: own rows are left out; allowed: only these ids
    def vectors(self) -> tuple[Tensor, Tensor]: ...  # what is stored: (N, D), ids (N,)
    def save(self, folder: Path) -> None: ...
    @classmethod
    def load(cls, folder: Path) -> Self: ...


class Reranker(Protocol):
    """A first ranking to a better one, by what the gallery holds. Pure, and each query is answered on its own.

    The answer has the shape of `rankings`, falling scores, larger = nearer, -1 / -inf pads at the end. It holds nothing
    but what a search with these query_ids and allowed could give. It uses embed_dim, len, vectors, search of the index,
    and its `vectors_of(ids (n,)) -> (n, D)` if it has one; a search for the queries passes query_ids and allowed on.
    """

    depth: int  # ranks of the first stage that it wants to see; it makes do with fewer

    def __call__(
        self,
        queries: Tensor,
        rankings: Rankings,
        index: Index,
        *,
        query_ids: Tensor | None = None,
        allowed: Tensor | None = None,
    ) -> Rankings: ...  # (Q, D), (Q, K), as given to the first search -> (Q, K)


class Evaluator(Protocol):
    """Answers to named fractions. Pure: equal inputs give equal numbers, and nothing is kept.

    It may have `judges`, what it is to be given; without, "pictures".
        "pictures"      the rankings of pictures that ask among pictures, and what is relevant to each
        "cross-modal"   the same, a call for each direction; joined({"image_to_text": ..., "text_to_image": ...}) -> all
        "composed"      the same where a picture and a text ask; joined({value: ...}) -> all, where it has `by`
        "classes"       no depth; __call__(logits (N, C), labels (N,) int64, negative = does not count)
        "captions"      no depth; __call__(written: N texts, references: N lists of texts)
    The last four are also the kinds of tasks whose answers they judge. It may have `from_judged` or `per_query`, the
    metrics before the mean, from which intervals are made, and `ranges`: metric -> (lowest, highest) where not 0..1.
    """

    primary: str  # the metric that chooses the best checkpoint; larger is better

    def depth(self, relevance: Relevance) -> int: ...  # K it must see
    def __call__(self, rankings: Rankings, relevance: Relevance) -> dict[str, float]: ...
