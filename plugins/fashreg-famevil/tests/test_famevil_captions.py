"""Decoding: with kept keys and values as without, ended captions leave, beams find what a full search finds."""

from __future__ import annotations

import itertools

import pytest
import torch
from famevil_small import END, START, WORDS, small_model
from fashreg_famevil.beams import beam
from fashreg_famevil.decoding import Ends, greedy
from fashreg_famevil.model import AdaptedCLIP
from torch import Tensor, nn

ENDS = Ends(START, END)


def head(favour_end: float = 0.0, words: int = WORDS) -> nn.Linear:
    torch.manual_seed(5)
    linear = nn.Linear(48, words)
    nn.init.normal_(linear.weight, std=0.5)
    with torch.no_grad():
        linear.bias[END] += favour_end
    return linear


def plain_greedy(model: AdaptedCLIP, words: nn.Module, picture: Tensor, most: int) -> list[int]:
    """The whole prefix again at every place."""
    contexts, text = model.contexts(model.memory(picture, "cap")), [START]
    with torch.no_grad():
        while len(text) <= most:
            following = int(words(model.hidden(torch.tensor([text]), contexts, "cap")[0, -1]).argmax())
            if following == END:
                break
            text.append(following)
    return text[1:]


@pytest.mark.parametrize("favour_end", [0.0, 2.0, 4.0])
def test_greedy_with_a_cache_writes_what_it_writes_without(pictures: Tensor, favour_end: float) -> None:
    model, words = small_model(moved=True), head(favour_end)
    written = greedy(model, words, model.memory(pictures, "cap"), "cap", ENDS)
    assert written == [plain_greedy(model, words, picture[None], 10) for picture in pictures]


def test_a_caption_stops_at_its_end_and_never_holds_it(pictures: Tensor) -> None:
    model = small_model(moved=True)
    memory = model.memory(pictures, "cap")
    assert greedy(model, head(100.0), memory, "cap", ENDS) == [[], [], []]
    never = greedy(model, head(-100.0), memory, "cap", ENDS)
    assert {len(text) for text in never} == {10}  # twelve places, less start and end
    assert {len(text) for text in greedy(model, head(-100.0), memory, "cap", ENDS, length=4)} == {4}


def test_a_length_that_does_not_fit_is_refused(pictures: Tensor) -> None:
    model = small_model()
    for search in (greedy, beam):
        with pytest.raises(ValueError, match="1 to 10"):
            search(model, head(), model.memory(pictures, "cap"), "cap", ENDS, length=11)


@pytest.mark.parametrize("penalty", [0.0, 40.0])
def test_one_beam_weighs_the_beginnings_of_what_greedy_search_writes(pictures: Tensor, penalty: float) -> None:
    """At 40 length is all that counts, and it is greedy search's text."""
    model, words = small_model(moved=True), head(-5.0)
    memory = model.memory(pictures, "cap")
    paths, wanted = greedy(model, words, memory, "cap", ENDS, length=5), []
    for picture, path in zip(pictures, paths, strict=True):
        contexts = model.contexts(model.memory(picture[None], "cap"))
        with torch.no_grad():
            log = words(model.hidden(torch.tensor([[START, *path]]), contexts, "cap")[0]).log_softmax(dim=1)
        sums = [float(sum(log[i, word] for i, word in enumerate((*path[:n], END)))) for n in range(6)]
        best = max(range(6), key=lambda n: sums[n] / (n + 1) ** penalty)
        wanted.append(path[:best])
    assert {len(path) for path in paths} == {5}
    assert beam(model, words, memory, "cap", ENDS, beams=1, length=5, length_penalty=penalty) == wanted
    assert (wanted == paths) == (penalty == 40.0)


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
def test_enough_beams_find_the_best_of_all_captions(pictures: Tensor, penalty: float) -> None:
    """All captions of up to two words out of 100 are 10,101: scored one by one."""
    model, words = small_model(moved=True), head(1.0)
    with torch.no_grad():
        words.bias[6:END] = -1000.0  # a handful of words is left
    choices, contexts = range(6), model.contexts(model.memory(pictures[:1], "cap"))
    best: tuple[float, list[int]] = (-float("inf"), [])
    with torch.no_grad():
        for count in range(3):
            for text in itertools.product(choices, repeat=count):
                ids = torch.tensor([[START, *text]])
                log = words(model.hidden(ids, contexts, "cap")[0]).log_softmax(dim=1)
                total = sum(float(log[i, word]) for i, word in enumerate((*text, END)))
                best = max(best, (total / (count + 1) ** penalty, list(text)))
    found = beam(
        model, words, model.memory(pictures[:1], "cap"), "cap", ENDS, beams=40, length=2, length_penalty=penalty
    )
    assert found == [best[1]]


def test_what_one_picture_gets_does_not_depend_on_its_neighbours(pictures: Tensor) -> None:
    model, words = small_model(moved=True), head(2.0)
    together = greedy(model, words, model.memory(pictures, "cap"), "cap", ENDS)
    for row in range(3):
        alone = greedy(model, words, model.memory(pictures[row : row + 1], "cap"), "cap", ENDS)
        assert alone == [together[row]]
