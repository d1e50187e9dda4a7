"""The contracts, one Protocol per kind. What they promise is tested by the suites in `fashreg.testing`.

`encoding` makes embeddings of pictures and texts, `training` is what they are learned by, `retrieval` searches and
judges them.

Nothing is inherited from these: a class fits by having the methods. `isinstance` does not look at signatures; the
contract suites do. Letters: B batch, F feature, D embedding, M memory, Q queries, N gallery, K neighbours, C classes.

Every constructor is plain, fully annotated, has no **kwargs, and keeps each parameter as the attribute of the same
name. Parameters named in `fashreg.component.RUN_FACTS` are filled by assembly when a recipe leaves them out. A class
may have `reaches`: its options that reach outside of the process, which a saved folder cannot set (see
`fashreg.assembly.told_by`), each with the value that reaches nowhere.
"""

from __future__ import annotations

from fashreg.interfaces.encoding import Backbone, Head, TextBackbone
from fashreg.interfaces.retrieval import Evaluator, Index, Reranker
from fashreg.interfaces.training import Learner, Loss, Memory, Sampler

__all__ = [
    "KINDS",
    "Backbone",
    "Evaluator",
    "Head",
    "Index",
    "Learner",
    "Loss",
    "Memory",
    "Reranker",
    "Sampler",
    "TextBackbone",
]

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
