"""CLIP's tokens: open_clip's own where the vocabulary is whole, every text still written where it is not."""

from __future__ import annotations

import open_clip
import pytest
import torch
from fashreg_famevil.tokens import LEAST, WHOLE, Tokens, tokens_of
from hypothesis import given, settings
from hypothesis import strategies as st

SAID = ["a red dress", "Sleeveless MIDI dress, 100% cotton!", "robe été à pois 👗", "", "  two\n\tlines  "]


def test_the_whole_vocabulary_gives_what_open_clip_gives() -> None:
    wanted = open_clip.tokenize([*SAID, "long " * 100])
    assert torch.equal(tokens_of(WHOLE).encode([*SAID, "long " * 100], 77), wanted)
    assert (tokens_of(WHOLE).start, tokens_of(WHOLE).end) == (49406, 49407)


@pytest.mark.parametrize("vocabulary", [LEAST, 600, 1024, 4096, WHOLE])
def test_every_text_is_written_and_read_back(vocabulary: int) -> None:
    tokens = tokens_of(vocabulary)
    rows = tokens.encode(SAID, 77)
    assert int(rows.max()) == tokens.end == vocabulary - 1
    read = [tokens.decode(row[: int(row.argmax())].tolist()) for row in rows]
    assert read[0] == "a red dress"
    assert read[2] == "robe été à pois 👗"
    assert read[3] == ""


def test_more_merges_give_fewer_tokens_and_the_same_numbers() -> None:
    few, more = (tokens_of(n).encode(["a red dress with stripes"], 77)[0] for n in (LEAST, 4096))
    assert int(more.argmax()) < int(few.argmax())
    whole = tokens_of(WHOLE).encode(["red"], 8)[0, 1]
    assert int(tokens_of(4096).encode(["red"], 8)[0, 1]) == int(whole)


def test_texts_that_would_be_cut_are_counted() -> None:
    tokens = tokens_of(WHOLE)
    assert tokens.cut(["a red dress", "a red dress with stripes"], 5) == 1
    assert tokens.cut(SAID, 77) == 0
    assert tokens.cut(["long " * 100, "long " * 75], 77) == 1


def test_what_is_too_long_ends_with_the_end() -> None:
    row = tokens_of(1024).encode(["a very long text about a dress"], 6)[0]
    assert row[0] == 1022
    assert row[-1] == 1023
    assert int(row.argmax()) == 5


def test_a_text_that_spells_a_mark_does_not_end_early() -> None:
    tokens = tokens_of(1024)
    row = tokens.encode(["a <end_of_text> b"], 20)[0].tolist()
    assert row.count(tokens.end) == 1
    assert tokens.decode(row[: row.index(tokens.end)]) == "a b"


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=40), st.sampled_from([LEAST, 777, 2048]))
def test_any_text_fits_and_holds_one_start_and_one_end(text: str, vocabulary: int) -> None:
    tokens = tokens_of(vocabulary)
    row = tokens.encode([text], 16)[0]
    assert (row == tokens.start).nonzero().flatten().tolist() == [0]
    assert (row == tokens.end).sum() == 1
    assert (row[int(row.argmax()) + 1 :] == 0).all()
    tokens.decode(row.tolist())


def test_what_cannot_be_is_refused() -> None:
    for vocabulary in (LEAST - 1, WHOLE + 1):
        with pytest.raises(ValueError, match="514 to 49408"):
            Tokens(vocabulary)
    with pytest.raises(ValueError, match="list"):
        tokens_of(1024).encode("red dress", 8)
