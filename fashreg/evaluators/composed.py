"""A picture and words for a change find the picture that is meant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from fashreg.evaluators.recalls import MeanOfRecalls
from fashreg.functional.candidates import checked_drawing


class ComposedEvaluator(MeanOfRecalls):
    """Recall@k of queries that are a picture and a text, and its mean over ks and over the values of a column.

    A query asks among the pictures of the gallery, each once: those of rows that the table flags (`is_gallery`), else
    every picture that some row names as its target. Right is what has the query's label, which says what the target
    is: where the label is the picture, that one; where it is the product, every picture of it in the gallery. A table
    without labels is judged by the target picture itself.

        recall@k      1 when one of the first k is right, else 0; mean over queries
        mean_recall   the mean over ks

    With `by`, each value of the column (category) is searched on its own: its queries among its gallery. `joined` then
    gives `recall@10[dress]`, ..., and under the plain names the mean over values, each with one voice.

    Source: Vo, Jiang, Sun, Murphy, Li, Fei-Fei, Hays, "Composing Text and Image for Image Retrieval", CVPR 2019,
        https://arxiv.org/abs/1812.07119; Wu, Gao, Guo, Al-Halah, Rennie, Grauman, Feris, "Fashion IQ", CVPR 2021,
        https://arxiv.org/abs/1905.12794 (recall at 10 and 50, mean over categories)

    See also: cross-modal, whose `candidates` these are; retrieval (pictures ask).

    Args:
        ks: the cut-offs.
        by: column whose values are searched one by one; unset: all together.
        exclude_reference: whether the picture that asks is left out of its answers; FashionIQ keeps it in.
        candidates: wrong candidates of each query, drawn anew for each; unset: the whole gallery is searched.
        queries: with candidates: how many are drawn for each repeat; fewer where there are fewer.
        repeats: with candidates: how often queries and candidates are drawn.
        seed: of the drawings.
        within: with candidates: column whose value wrong candidates share with the target; unset: any.
    """

    judges = "composed"

    def __init__(
        self,
        ks: Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1)] = (10, 50),
        by: str | None = None,
        exclude_reference: bool = False,
        candidates: Annotated[int, Field(gt=0)] | None = None,
        queries: Annotated[int, Field(gt=0)] = 1000,
        repeats: Annotated[int, Field(gt=0)] = 5,
        seed: int = 0,
        within: str | None = None,
    ) -> None:
        self.ks, self.by, self.exclude_reference = tuple(ks), by, exclude_reference
        self.candidates, self.within = candidates, within
        self.queries, self.repeats, self.seed = queries, repeats, seed
        checked_drawing(self.ks, candidates, queries, repeats, within)

    def joined(self, numbers: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """All values of the column `by` together. numbers: value -> what a call gave."""
        if not numbers:
            raise ValueError("there is no value to join")
        names = list(next(iter(numbers.values())))
        found = {name: sum(of[name] for of in numbers.values()) / len(numbers) for name in names}
        return {**found, **{f"{name}[{value}]": of[name] for value, of in numbers.items() for name in names}}
