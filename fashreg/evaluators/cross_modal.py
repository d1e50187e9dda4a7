"""Pictures find their texts, texts find their pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from fashreg.evaluators.recalls import MeanOfRecalls
from fashreg.functional.candidates import checked_drawing

#: The two questions, in the order in which they are asked.
DIRECTIONS = ("image_to_text", "text_to_image")


class CrossModalEvaluator(MeanOfRecalls):
    """Recall@k from picture to text and from text to picture, and the mean of all of them.

    Called once for each direction. A picture asks among the texts (each different text of a label once), a text among
    the pictures; what has the query's label is right, and one right answer among the first k is a hit:

        recall@k      1 when one of the first k is right, else 0; mean over the queries of that direction
        mean_recall   the mean over ks, then over both directions

    `joined` gives the whole: `image_to_text/recall@1`, ..., `text_to_image/recall@10`, `mean_recall`. A table without
    labels is judged by its rows: right is the text that stands beside the picture.

    With `candidates` each query has its own: one right answer drawn from all its right ones, and so many wrong ones
    drawn without replacement from other labels, of its own value in the column `within`; `queries` of each direction
    are drawn, `repeats` times. Nothing else can be found, and where there are fewer wrong ones, there are fewer
    candidates, which the counts say. Drawn are ids, by a hash of the seed: the order of the table does not matter, nor
    does the machine. "table" takes the candidates that stand in the table (fashion-gen-random-100).

    Source: Gao, Jin, Chen, Qiu, Li, Wei, Hu, Wang, "FashionBERT: Text and Image Matching with Adaptive Loss for
        Cross-modal Retrieval", SIGIR 2020, https://arxiv.org/abs/2005.09801 (100 wrong candidates of the same
        sub-category); Han et al., "FAME-ViL", CVPR 2023, https://arxiv.org/abs/2303.02483 (both protocols)

    Differs from the published code: drawings are seeded; what is no candidate cannot be found, where theirs gets the
    score -1 and may still come first.

    See also: composed (picture and text ask), retrieval (pictures ask).

    Args:
        ks: the cut-offs.
        candidates: wrong candidates of each query; unset: everything is searched; "table": those of the table.
        queries: how many are drawn for each direction and repeat; fewer where there are fewer.
        repeats: how often queries and candidates are drawn; the numbers are means over all drawings.
        seed: of the drawings.
        within: column whose value wrong candidates share with the query (sub-category); unset: any.
    """

    judges = "cross-modal"

    def __init__(
        self,
        ks: Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1)] = (1, 5, 10),
        candidates: Annotated[int, Field(gt=0)] | Literal["table"] | None = None,
        queries: Annotated[int, Field(gt=0)] = 1000,
        repeats: Annotated[int, Field(gt=0)] = 5,
        seed: int = 0,
        within: str | None = None,
    ) -> None:
        self.ks, self.candidates, self.within = tuple(ks), candidates, within
        self.queries, self.repeats, self.seed = queries, repeats, seed
        checked_drawing(self.ks, candidates, queries, repeats, within)

    def joined(self, numbers: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """Both directions together. numbers: "image_to_text" and "text_to_image" -> what a call gave."""
        if set(numbers) != set(DIRECTIONS):
            raise ValueError(f"the directions are {' and '.join(DIRECTIONS)}, got {sorted(numbers)}")
        found = {f"{way}/{name}": numbers[way][name] for way in DIRECTIONS for name in numbers[way]}
        found["mean_recall"] = sum(numbers[way]["mean_recall"] for way in DIRECTIONS) / len(DIRECTIONS)
        return found
