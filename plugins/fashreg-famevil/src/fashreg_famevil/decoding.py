"""Captions, a token at a time: greedy or by beams, with keys and values kept, stopping at the end of the text."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from fashreg_famevil.cross_attention import Context
from fashreg_famevil.model import AdaptedCLIP
from fashreg_famevil.towers import Cache

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
    most = _most(model, length)
    contexts = model.contexts(memory)
    rows = torch.arange(len(memory[0]), device=memory[0].device)
    written: list[list[int]] = [[] for _ in range(len(rows))]
    token = torch.full_like(rows, ends.start)
    caches: list[Cache | None] = [None] * len(contexts)
    for place in range(most):
        hidden, caches = model.next_hidden(token, place, contexts, caches, task)
        token = words(hidden).argmax(dim=1)
        going = token != ends.end
        if not bool(going.all()):
            keep = going.nonzero().flatten()
            rows, token, contexts = rows[keep], token[keep], _of_contexts(contexts, keep)
            caches = _of_caches(caches, keep)
        for row, number in zip(rows.tolist(), token.tolist(), strict=True):
            written[row].append(number)
        if not len(rows):
            break
    return written


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

    A picture is done when its best finished caption beats what the best unfinished one could still reach. One that
    reaches `length` counts as it stands. beams = 1 is greedy search.
    """
    if beams < 1:
        raise ValueError(f"beams must be at least 1, got {beams}")
    most = _most(model, length)
    return [
        _beam_of_one(model, words, [z[row : row + 1] for z in memory], task, ends, beams, most, length_penalty)
        for row in range(len(memory[0]))
    ]


def _beam_of_one(
    model: AdaptedCLIP,
    words: Words,
    memory: list[Tensor],
    task: str,
    ends: Ends,
    beams: int,
    most: int,
    penalty: float,
) -> list[int]:
    one = model.contexts(memory)
    device = memory[0].device
    sums = torch.zeros(1, device=device)
    texts: list[list[int]] = [[]]
    caches: list[Cache | None] = [None] * len(one)
    token = torch.full((1,), ends.start, device=device)
    best: tuple[float, list[int]] = (-torch.inf, [])
    for place in range(most + 1):
        contexts = _of_contexts(one, torch.zeros(len(texts), dtype=torch.long, device=device))
        hidden, caches = model.next_hidden(token, place, contexts, caches, task)
        log = words(hidden).float().log_softmax(dim=1)
        closed = sums + log[:, ends.end]
        for score, text in zip((closed / (place + 1) ** penalty).tolist(), texts, strict=True):
            if score > best[0]:
                best = (score, text)
        if place == most:
            break
        open_ = (sums[:, None] + log).index_fill(1, torch.tensor([ends.end], device=device), -torch.inf)
        sums, chosen = open_.flatten().topk(min(beams, open_.numel()))
        parents, token = chosen // log.shape[1], chosen % log.shape[1]
        texts = [[*texts[parent], number] for parent, number in zip(parents.tolist(), token.tolist(), strict=True)]
        caches = _of_caches(caches, parents)
        longest = (most + 1) if penalty > 0 else place + 2
        if best[0] >= float(sums[0]) / longest**penalty:
            break
    return best[1]


def _most(model: AdaptedCLIP, length: int | None) -> int:
    """Tokens between start and end."""
    room = model.context_length - 2
    if length is not None and not 1 <= length <= room:
        raise ValueError(f"length must be 1 to {room} (the text tower has {model.context_length} places), got {length}")
    return room if length is None else length


def _of_contexts(contexts: list[Context], rows: Tensor) -> list[Context]:
    return [Context(c.keys[rows], c.values[rows], None if c.valid is None else c.valid[rows]) for c in contexts]


def _of_caches(caches: list[Cache | None], rows: Tensor) -> list[Cache | None]:
    return [None if cache is None else (cache[0][rows], cache[1][rows]) for cache in caches]
