"""Captions against what people wrote: BLEU-4, ROUGE-L, CIDEr-D and, with Java, METEOR."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fashreg.errors import RequirementError
from fashreg.evaluators.meteor import check_meteor, meteor_of
from fashreg.functional.captions import bleu_parts, words_of

_NO_PACKAGE = (
    "captions are judged by pycocoevalcap, which is not installed; it is an extra of fashreg: "
    "pip install 'fashreg[captions]'"
)


class CaptioningEvaluator:
    """BLEU-4, ROUGE-L, CIDEr-D and their mean, as pycocoevalcap computes them.

        bleu@4    (prod_{n=1..4} m_n / t_n)^(1/4) exp(min(0, 1 - r/c)), all counts over the whole corpus, unsmoothed
        rouge_l   F-measure of the longest common subsequence, beta 1.2, best precision and recall of the references
        cider     CIDEr-D: tf-idf cosine of n-grams, n = 1..4, counts clipped, a Gaussian on the difference of lengths
                  (sigma 6), times 10; the inverse document frequencies are those of the references judged here
        meteor    METEOR 1.5, English, -norm, over the corpus; only when asked for
        mean      of those above, as papers on fashion captions report it

    All are fractions but `cider`, 0..10, and so `mean`, which CIDEr rules. Papers print all of them times 100. BLEU-4
    is the primary: it has the range of other tasks' metrics, and published checkpoints are chosen by it.

    Both sides are brought to words first by `fashreg.functional.captions.words_of`: lower case, punctuation off,
    hyphens and apostrophes within words kept. Papers use the tokeniser of Stanford CoreNLP (Java), which also parts
    "don't" into two words; compare only numbers of the same words.

    Needs `pip install 'fashreg[captions]'`. METEOR needs Java besides. Nothing is downloaded.

    Source: Papineni et al., "BLEU", ACL 2002, https://aclanthology.org/P02-1040; Lin, "ROUGE", 2004,
        https://aclanthology.org/W04-1013; Vedantam, Zitnick, Parikh, "CIDEr", CVPR 2015,
        https://arxiv.org/abs/1411.5726; Denkowski, Lavie, "Meteor Universal", 2014, https://aclanthology.org/W14-3348

    See also: fashreg.functional.captions.

    Args:
        meteor: whether to report METEOR too; some seconds and up to 2 GB for Java.
    """

    primary = "bleu@4"
    judges = "captions"
    #: What a metric can be, where that is not 0..1.
    ranges = {"cider": (0.0, 10.0), "mean": (0.0, 4.0)}  # noqa: RUF012

    def __init__(self, meteor: bool = False) -> None:
        self.meteor = meteor
        if importlib.util.find_spec("pycocoevalcap") is None:
            raise RequirementError(_NO_PACKAGE, needs=("fashreg[captions]",))
        if meteor:
            check_meteor()

    def per_query(self, written: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, Tensor]:
        """(N,) float64 by name, whose mean is the metric; METEOR and a mean with it are no means over captions.

        BLEU is a function of counts over the corpus: each caption has the part that it has in the whole.
        """
        ours, theirs = _tokenised(written, references)
        found = {"bleu@4": bleu_parts(ours, theirs), **_by_caption(ours, theirs)}
        if not self.meteor:
            found["mean"] = torch.stack(list(found.values())).mean(0)
        return found

    def __call__(self, written: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
        """written: N captions. references: N lists of one or more."""
        ours, theirs = _tokenised(written, references)
        found = {"bleu@4": _bleu(ours, theirs)}
        found |= {name: float(column.mean()) for name, column in _by_caption(ours, theirs).items()}
        if self.meteor:
            found["meteor"] = meteor_of(ours, theirs)
        return {**found, "mean": sum(found.values()) / len(found)}


Words = list[str]  # captions as words joined by single blanks


def _tokenised(written: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[Words, list[Words]]:
    if isinstance(written, str) or len(written) != len(references):
        raise ValueError(f"{len(written)} captions need as many lists of references, got {len(references)}")
    if not len(written):
        raise ValueError("there is no caption: there is nothing to measure")
    theirs = []
    for row, others in enumerate(references):
        if isinstance(others, str):
            raise ValueError(f"the references of caption {row} are a list of texts, not one text: write [{others!r}]")
        said = [" ".join(words) for text in others if (words := words_of(text))]
        if not said:
            raise ValueError(f"caption {row} has no reference with a word in it")
        theirs.append(said)
    return [" ".join(words_of(text)) for text in written], theirs


def _asked(ours: Words, theirs: list[Words]) -> tuple[dict[int, Words], dict[int, Words]]:
    """References and captions as the package takes them."""
    return dict(enumerate(theirs)), {row: [text] for row, text in enumerate(ours)}


def _bleu(ours: Words, theirs: list[Words]) -> float:
    from pycocoevalcap.bleu.bleu import Bleu

    scores, _ = Bleu(4).compute_score(*_asked(ours, theirs), verbose=0)
    return min(1.0, float(scores[3]))


def _by_caption(ours: Words, theirs: list[Words]) -> dict[str, Tensor]:
    """(N,) float64 of each caption: ROUGE-L and CIDEr-D."""
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    asked = _asked(ours, theirs)
    _, rouge = Rouge().compute_score(*asked)
    with np.errstate(divide="ignore", invalid="ignore"):
        _, cider = Cider().compute_score(*asked)
    columns = {"rouge_l": rouge, "cider": cider}
    return {n: torch.from_numpy(np.asarray(column, dtype=np.float64).copy()) for n, column in columns.items()}
