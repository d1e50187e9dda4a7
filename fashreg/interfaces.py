"""The contracts, one Protocol per kind. What they promise is tested by the suites in `fashreg.testing`.

Nothing is inherited from these: a class fits by having the methods. `isinstance` does not look at signatures; the
contract suites do. Letters: B batch, F feature, D embedding, M memory, Q queries, N gallery, K neighbours, C classes.

Every constructor is plain, fully annotated, has no **kwargs, and keeps each parameter as the attribute of the same
name. Parameters named in `fashreg.component.RUN_FACTS` are filled by assembly when a recipe leaves them out. A class
may have `reaches`: its options that reach outside of the process, which a saved folder cannot set (see
`fashreg.assembly.told_by`), each with the value that reaches nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

if TYPE_CHECKING:
    from torch import Tensor

    from fashreg.values import Embedded, Experience, InputSpec, Rankings, Relevance, TrainingBatch


class Backbone(Protocol):
    """Pictures (and, if it says so, texts) to features. An nn.Module.

    Its work is a row of named stages; freezing and caching cut between stages, and what travels between them is the
    network's own affair (a map, tokens). `forward(images)` must equal `pool(run_stages(images))`, and
    run_stages(run_stages(x, 0, s), s, n) must equal run_stages(x, 0, n). A constructor parameter `weights` says where
    pretrained weights come from; with weights=None nothing is fetched or read (so is a saved model built).

    One that knows texts, or whose work depends on the task, has members of `TextBackbone`, too.
    """

    modalities: frozenset[str]  # {"image"}, {"image", "text"}
    out_dim: int  # F, width of the pooled feature
    map_dim: int  # C, channels of the spatial map
    input_spec: InputSpec
    stages: tuple[str, ...]  # names, first to last

    def __call__(self, images: Tensor) -> Tensor: ...  # (B, 3, H, W) -> (B, F)
    def run_stages(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Stages start..stop-1, batch first. start = 0 takes images; stop = None runs to the last stage."""

    def pool(self, features: Tensor) -> Tensor: ...  # output of the last stage -> (B, F)
    def to_map(self, features: Tensor) -> Tensor: ...  # output of the last stage -> spatial map (B, C, h, w)
    def stage_modules(self, index: int) -> list[Any]:
        """The nn.Modules whose parameters belong to stage `index` (for freezing); all stages: each exactly once.

        What pooling owns belongs to the last stage.
        """


class TextBackbone(Backbone, Protocol):
    """What a backbone may have beside: texts, tasks of its own, captions. Each member is looked for by its name.

    With `tasks` the trunk itself depends on the task: forward and run_stages take `task` (None: the only one;
    ValueError for an unknown one, and for None among several). `kinds` says what each is for: "cross-modal" (pictures
    and texts find one another), "composed" (picture and text find a picture), "classification", "captioning". Features
    of texts, and of pictures with texts, are as wide as those of pictures and go through the same head. "text" is in
    `modalities` if and only if there is `encode_text`. In evaluation no row depends on another.
    """

    tasks: tuple[str, ...]
    kinds: Mapping[str, str]  # task -> kind, for every task; as a constructor parameter a fact of the run
    text_dim: int  # width of the hidden states that a caption's words are read from
    vocabulary: int  # number of words that a caption is made of

    def encode_text(self, texts: Sequence[str], task: str | None = None) -> Tensor: ...  # B texts -> (B, F)
    def compose(self, images: Tensor, texts: Sequence[str], task: str | None = None) -> Tensor:
        """Pictures (B, 3, H, W), each with its text -> (B, F); for tasks of the kinds composed and classification."""

    def captions(
        self, images: Tensor, words: Any, task: str | None = None, *, beams: int = 1, length: int | None = None
    ) -> list[str]:
        """words: hidden (B, text_dim) -> logits (B, vocabulary), the head's. length: most tokens; None: what fits."""

    def add_task(self, name: str, kind: str) -> None: ...  # the others stay as they are, bit for bit
    def modules_of(self, task: str) -> list[Any]:
        """The nn.Modules that this task uses and not every task must: changes in others' leave its vectors alone."""


class Head(Protocol):
    """Features to embeddings. An nn.Module.

    takes: "pooled" (B, F) or "map" (B, C, h, w). unit: rows of the output have length 1.
    tasks: names of the tasks it serves, () for a head that serves one. A task added later leaves the others as they
    were, bit for bit. It may have `head_of(task)`: the nn.Module that alone decides that task's vectors; with it, an
    index of one task stays valid when other tasks come or learn.

    A head over a `TextBackbone` may also have `classes` (task -> names of its classes) with `classify(features, task)`
    -> logits (B, C), for tasks that classify, and `words(hidden, task)` -> logits (B, vocabulary), for captions.
    """

    in_dim: int
    out_dim: int
    takes: Literal["pooled", "map"]
    unit: bool
    tasks: tuple[str, ...]

    def __call__(self, features: Tensor, task: str | None = None) -> Tensor: ...  # -> (B, D)


class Loss(Protocol):
    """Embeddings to a scalar. An nn.Module; may own parameters (proxies); holds no model and no memory.

    Called with references, it scores the batch's rows against the references only; without, against the batch itself.
    relevance: (B, N) overrides labels: > 0 positive, 0 negative, < 0 not a pair. Equal ids are never a pair either way.
    Finite and differentiable when the batch holds no pair at all (then 0 with zero gradient).
    parts: named detached scalars of the last call, for logging.
    accepts_references: False for losses that compare with proxies only; giving references then raises ValueError.
    needs: fields of TrainingBatch it cannot do without, beyond images, labels and ids.
    lr_factor: learning-rate factor of its own parameters (1.0 where it has none).
    It may have `moves_batch` = False: it moves its own parameters only and is of use beside another loss, not alone.
    """

    accepts_references: bool
    needs: frozenset[str]
    lr_factor: float
    parts: Mapping[str, Tensor]

    def __call__(
        self, batch: Embedded, references: Embedded | None = None, relevance: Tensor | None = None
    ) -> Tensor: ...


class Memory(Protocol):
    """Embeddings of earlier batches. An nn.Module whose whole state lies in buffers, so state_dict() is complete.

    One training step: align(batch), loss(batch, read()), optimiser step, push(batch). Several processes: the learner
    gathers the batch first, so every rank pushes the same rows in the same order and holds the same memory. It may have
    `parts`, named detached scalars of the last align for logging; a name with brackets stays out of the loss chart.
    """

    capacity: int  # M
    embed_dim: int  # D
    batch_weight: float  # weight of loss(batch, batch) beside loss(batch, memory)
    memory_weight: float  # weight of loss(batch, memory)
    start_step: int  # optimiser steps without memory before it is used and filled

    def __len__(self) -> int: ...  # filled slots
    def align(self, batch: Embedded) -> None: ...  # before the loss: bring stored rows up to date
    def read(self) -> Embedded: ...  # filled slots only, no gradient
    def push(self, batch: Embedded) -> None: ...  # after the loss of that batch; detaches
    def reset(self) -> None: ...  # forget everything


class Sampler(Protocol):
    """Lists of dataset positions: a torch batch_sampler. Same (seed, epoch) -> same batches; each rank gets its share.

    Iterating continues after the batches that are done; set_epoch(e) starts epoch e from its first batch. Loaders fetch
    ahead, so iterating is no progress by itself: whoever trains calls advance_to, and state_dict() holds that number.

    It may also look at the loss's proxies, by `wants(step) -> bool` and `see(proxies, step)`: after each optimiser step
    (from 1) the learner calls advance_to, then wants, and where that is true see with the proxies (C K, D), K rows for
    each class. What it saw changes batches that no loader has fetched yet, by a rule that knows no loader; it is part
    of state_dict(), which then holds tensors too. `parts`: named numbers on the batches done so far in this epoch.
    """

    def __iter__(self) -> Iterator[list[int]]: ...
    def __len__(self) -> int: ...  # batches an epoch, per rank
    def set_epoch(self, epoch: int) -> None: ...
    def advance_to(self, batch: int) -> None: ...  # the first `batch` batches of this epoch are done
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


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


class Learner(Protocol):
    """A way to learn: sees the encoder, the loss, the memory and the data together. Resumable bit for bit on CPU.

    On resume `before` is called anew for every experience up to the present one, then the saved state is put back.
    It may have `needs`: fields of TrainingBatch it cannot do without, as a loss has; `whole_stream` = True: it is given
    all experiences of a stream as one, with `parts`; `own_loss`, `tasks_of_kinds`, `needs_of_kind`, `turns`, for
    recipes with `tasks` (docs/tasks.md). What it spends beside the steps, it tells `session.cost`.
    """

    def bind(self, session: Any) -> Self: ...  # fashreg.training.session.Session, the parts; before the first learn
    def learn(self, experience: Experience) -> Any: ...
    def before(self, experience: Experience) -> None: ...
    def penalty(self, batch: TrainingBatch, embedded: Embedded) -> Tensor | None: ...
    def after(self, experience: Experience) -> None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


KINDS: dict[str, type] = {
    "backbone": Backbone,
    "head": Head,
    "loss": Loss,
    "memory": Memory,
    "sampler": Sampler,
    "evaluator": Evaluator,
    "index": Index,
    "reranker": Reranker,
    "learner": Learner,
}
