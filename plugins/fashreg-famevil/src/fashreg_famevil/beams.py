"""Captions by beams: several texts of every picture are followed at once, those of all pictures in one step."""

from __future__ import annotations

import torch
from torch import Tensor

from fashreg_famevil.decoding import Ends, Words, contexts_of, most_of
from fashreg_famevil.model import AdaptedCLIP


@torch.no_grad()
def beam(
    model: AdaptedCLIP,
    words: Words,
    memory: list[Tensor],
    task: str,
    ends: Ends,
    *,
    beams: int = 5,
    length: int | None = None,
    length_penalty: float = 1.0,
) -> list[list[int]]:
    """The caption with the best log-probability / (tokens with end) ** length_penalty among `beams` kept at each place.

    A picture is done when its best finished caption beats what the best unfinished one could still reach; it then
    leaves the batch. One that reaches `length` ends there. One beam weighs the beginnings of what greedy search writes.
    """
    if beams < 1:
        raise ValueError(f"beams must be at least 1, got {beams}")
    most = most_of(model, length)
    contexts, written = model.contexts(memory), model.written(most + 1, beams)
    device, count = memory[0].device, len(memory[0])
    search = _Search(count, beams, most, length_penalty)
    tokens = torch.full((count, beams), ends.start, device=device)
    sums = torch.full((count, beams), -torch.inf, device=device)
    sums[:, 0] = 0.0  # all begin alike: one of them counts
    for place in range(most + 1):
        hidden = model.next_hidden(tokens, contexts, written, task)
        ended, likely, numbers = _weighed(words(hidden.flatten(0, 1)).float(), ends.end, beams)
        search.close(sums + ended.view_as(sums))
        if place == most:
            break
        sums, chosen = (sums[:, :, None] + likely.view(*sums.shape, -1)).flatten(1).topk(beams)
        parents, tokens = chosen // likely.shape[1], numbers.view(len(sums), -1).gather(1, chosen)
        search.grow(parents, tokens)
        written.go_on(parents)
        keep = search.unfinished(sums)
        if len(keep) < len(sums):
            rows = torch.tensor(keep, dtype=torch.long, device=device)
            sums, tokens, contexts = sums[rows], tokens[rows], contexts_of(contexts, rows)
            written.keep(rows)
        if not keep:
            break
    return search.best


def _weighed(logits: Tensor, end: int, beams: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of (R, V) logits: log-probability of the end (R,), and of the likeliest other tokens, with their numbers (R, n).

    No more than `beams` of one text can be among the `beams` that go on, so these are all that is looked at.
    """
    total = logits.logsumexp(dim=1)
    values, numbers = logits.topk(min(beams + 1, logits.shape[1]), dim=1)
    values = (values - total[:, None]).masked_fill(numbers == end, -torch.inf)
    return logits[:, end] - total, values, numbers


class _Search:
    """The texts that are followed, and the best that has ended, of every picture."""

    def __init__(self, count: int, beams: int, most: int, penalty: float) -> None:
        self.most, self.penalty = most, penalty
        self._pictures = list(range(count))
        self._texts: list[list[list[int]]] = [[[] for _ in range(beams)] for _ in range(count)]
        self._best: list[tuple[float, list[int]]] = [(-torch.inf, [])] * count
        self._place = 0

    @property
    def best(self) -> list[list[int]]:
        """A text for each picture."""
        return [text for _, text in self._best]

    def close(self, sums: Tensor) -> None:
        """What each text (G, S) would be worth if it ended here."""
        scores = (sums / (self._place + 1) ** self.penalty).tolist()
        for picture, texts, row in zip(self._pictures, self._texts, scores, strict=True):
            for text, score in zip(texts, row, strict=True):
                if score > self._best[picture][0]:
                    self._best[picture] = score, text

    def grow(self, parents: Tensor, tokens: Tensor) -> None:
        """Each text (G, S) goes on from one of its picture's, with a token more."""
        self._texts = [
            [[*texts[parent], number] for parent, number in zip(*row, strict=True)]
            for texts, *row in zip(self._texts, parents.tolist(), tokens.tolist(), strict=True)
        ]
        self._place += 1

    def unfinished(self, sums: Tensor) -> list[int]:
        """Rows of the pictures whose texts (G, S), best first, may still beat the best; only these are followed."""
        longest = (self.most if self.penalty > 0 else self._place) + 1
        reach = (sums[:, 0] / longest**self.penalty).tolist()
        keep = [row for row, picture in enumerate(self._pictures) if self._best[picture][0] < reach[row]]
        self._pictures, self._texts = [self._pictures[r] for r in keep], [self._texts[r] for r in keep]
        return keep
