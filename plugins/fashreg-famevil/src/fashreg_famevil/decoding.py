"""Captions, a token at a time: greedy or by beams, with keys and values kept, stopping at the end of the text."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from fashreg_famevil.cross_attention import Context
from fashreg_famevil.model import AdaptedCLIP

#: (B, d) hidden states of the text tower -> (B, V) logits of the next token.
Words = Callable[[Tensor], Tensor]


class Ends(NamedTuple):
    """Token numbers that open and close a text."""

    start: int
    end: int


@torch.no_grad()
def greedy(
    model: AdaptedCLIP, words: Words, memory: list[Tensor], task: str, ends: Ends, *, length: int | None = None
) -> list[list[int]]:
    """The likeliest token at each place, for B pictures: B lists of tokens without start and end.

    memory: `model.memory(pictures, task)`. length: most tokens of a caption, without start and end; None: as many as
    fit. A caption that has ended leaves the batch, so what the others get does not depend on it.
    """
    most = most_of(model, length)
    contexts, written = model.contexts(memory), model.written(most)
    rows = torch.arange(len(memory[0]), device=memory[0].device)
    texts: list[list[int]] = [[] for _ in range(len(rows))]
    token = torch.full_like(rows, ends.start)
    for _ in range(most):
        token = words(model.next_hidden(token[:, None], contexts, written, task)[:, 0]).argmax(dim=1)
        written.go_on()
        going = token != ends.end
        if not bool(going.all()):
            keep = going.nonzero().flatten()
            rows, token, contexts = rows[keep], token[keep], contexts_of(contexts, keep)
            written.keep(keep)
        for row, number in zip(rows.tolist(), token.tolist(), strict=True):
            texts[row].append(number)
        if not len(rows):
            break
    return texts


def most_of(model: AdaptedCLIP, length: int | None) -> int:
    """Tokens between start and end."""
    room = model.context_length - 2
    if length is not None and not 1 <= length <= room:
        raise ValueError(f"length must be 1 to {room} (the text tower has {model.context_length} places), got {length}")
    return room if length is None else length


def contexts_of(contexts: list[Context], rows: Tensor) -> list[Context]:
    """Those of some pictures."""
    return [Context(c.keys[rows], c.values[rows], None if c.valid is None else c.valid[rows]) for c in contexts]
