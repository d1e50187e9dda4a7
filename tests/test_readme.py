"""README.md: the generated part is renewed, a person's words and keys stay."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fashreg.manifest import CARD, write_folder_atomically
from fashreg.readme import merge_card, merge_pushed, read_card, write_card
from fashreg.strict_yaml import read_yaml

FRESH = "---\nlibrary_name: fashreg\ntags:\n- fashreg\n- fashion\nmetrics:\n- recall\n---\n\n# Model\n\nrecall 0.5\n"
LATER = "---\nlibrary_name: fashreg\ntags:\n- fashreg\n- mode\nlicense: mit\n---\n\n# Model\n\nrecall 0.7\n"


def front(text: str) -> dict[str, object]:
    return read_yaml(text.split("---\n")[1])


def test_a_new_card_is_what_was_generated_between_marks() -> None:
    card = merge_card(None, FRESH)
    assert front(card) == front(FRESH)
    assert "recall 0.5" in card
    assert card.index("fashreg:begin") < card.index("# Model") < card.index("fashreg:end")


def test_an_untouched_card_becomes_the_later_one() -> None:
    assert merge_card(merge_card(None, FRESH), LATER) == merge_card(None, LATER)


def test_a_hand_written_card_without_marks_stays_to_the_character_and_gets_the_generated_part_below() -> None:
    written = "---\nlicense: cc-by-4.0  # of us all\ntags: [mine]\n---\n\n# Our shop\n\nWords.  \n\n* more\n"
    card = merge_card(written, FRESH)
    assert card.startswith("---\nlicense: cc-by-4.0  # of us all\ntags: [mine]\nlibrary_name: fashreg\n")
    assert written.split("---\n")[2] in card
    assert front(card)["tags"] == ["mine"]
    assert "# Model" not in card  # it has a title
    assert merge_card(card, FRESH) == card
    assert merge_card(card, LATER) == merge_card(written, LATER)


def test_words_above_and_below_the_marks_stay() -> None:
    card = merge_card(None, FRESH)
    card = card.replace("<!-- fashreg:begin", "# Mine\n\nabove\n\n<!-- fashreg:begin") + "\nbelow\n\n> last"
    renewed = merge_card(card, LATER)
    assert "# Mine\n\nabove\n\n<!-- fashreg:begin" in renewed
    assert renewed.endswith("<!-- fashreg:end -->\n\nbelow\n\n> last\n")
    assert "recall 0.7" in renewed
    assert "recall 0.5" not in renewed
    assert merge_card(renewed, LATER) == renewed


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("- fashion\n", "- fashion\n- linen\n"), {"tags": ["fashreg", "fashion", "linen"], "license": "mit"}),
        (("metrics:\n- recall\n", ""), {"tags": ["fashreg", "mode"], "license": "mit"}),
        (("metrics:\n- recall\n", "metrics: []\n"), {"metrics": [], "license": "mit"}),
        (("metrics:", "license: other\nmetrics:"), {"license": "other"}),
        (("library_name: fashreg\n", ""), {"license": "mit"}),
    ],
)
def test_a_key_that_a_person_changed_added_or_took_away_is_that_persons(change, expected) -> None:
    renewed = merge_card(merge_card(None, FRESH).replace(*change, 1), LATER)
    found = front(renewed)
    assert {key: found.get(key) for key in expected} == expected
    assert ("library_name" in found) == ("library_name" not in change[0])
    assert front(merge_card(renewed, LATER)) == found
    assert front(merge_card(renewed, FRESH)).get("library_name") == found.get("library_name")


def test_comments_between_renewed_keys_stay() -> None:
    card = (
        merge_card(None, FRESH).replace("---\nlib", "---\n# ours\nlib", 1).replace("tags:", "# about tags\n\ntags:", 1)
    )
    head = merge_card(card, LATER).split("---\n")[1]
    assert head.startswith("# ours\nlibrary_name: fashreg\n# about tags\n\ntags:\n- fashreg\n- mode\n")


def test_a_card_with_windows_line_ends_or_a_byte_order_mark_is_understood() -> None:
    card = merge_card(None, FRESH).replace("\n", "\r\n")
    assert front(merge_card("\ufeff" + card, LATER)) == front(LATER)
    assert merge_card(card, LATER).count("fashreg:begin") == 1


@pytest.mark.parametrize(
    "head",
    [
        f"---\n{inner}\n---\n"
        for inner in (
            "!!python/object/apply:os.system [x]",
            "- a",
            "a: [",
            "a: &x 1\nb: *x",
            "a: 1\na: 2",
            "a: " + "[" * 3000,
            "a: " + "x" * 200_000,
            "a: 1\n...\nb: 1",
            "\x07: 1",
        )
    ],
)
def test_front_matter_that_is_not_plain_stays_as_it_is(head: str) -> None:
    card = merge_card(head + "words\n", FRESH)
    assert card.startswith(head)
    assert "words" in card
    assert "recall 0.5" in card
    assert merge_card(card, FRESH) == card


def test_flow_front_matter_is_written_anew_key_by_key() -> None:
    assert front(merge_card("---\n{license: mit, x: [1, 2]}\n---\nwords\n", FRESH))["x"] == [1, 2]


def test_half_a_mark_is_a_persons_text_and_a_second_generated_part_goes() -> None:
    broken = merge_card(None, FRESH).replace("<!-- fashreg:end -->", "")
    assert "recall 0.5" in merge_card(broken, LATER)
    card = merge_card(None, FRESH)
    assert "recall 0.5" not in merge_card(card + card.split("---\n")[2], LATER)


def test_generated_text_cannot_end_its_own_part() -> None:
    card = merge_card(None, "# T\n\n<!-- fashreg:end --> evil\n")
    assert merge_card(card, "# T\n\nfine\n") == merge_card(None, "# T\n\nfine\n")


def test_what_was_written_on_the_hub_stays_when_a_folder_is_pushed() -> None:
    here = merge_card(None, LATER)
    there = merge_card("---\nlicense: gpl\n---\n\nby hand\n", FRESH) + "\nbelow\n"
    pushed = merge_pushed(there, here)
    assert front(pushed)["license"] == "gpl"
    assert "by hand" in pushed
    assert "below" in pushed
    assert "recall 0.7" in pushed
    assert "recall 0.5" not in pushed
    assert merge_pushed(pushed, here) == pushed
    assert merge_pushed(None, here) == here


def test_where_both_wrote_by_hand_the_folder_that_is_pushed_wins() -> None:
    here = merge_card("---\nlicense: mit\n---\n\nhere\n", FRESH)
    there = merge_card("---\nlicense: gpl\nx: 1\n---\n\nthere\n", FRESH)
    pushed = merge_pushed(there, here)
    assert front(pushed)["license"] == "mit"
    assert front(pushed)["x"] == 1
    assert "here" in pushed.split("<!--")[0]
    assert "there" not in pushed.split("<!--")[0]
    assert merge_pushed(there, "all my own\n") == "all my own\n"


@settings(deadline=None, max_examples=60)
@given(st.text(), st.text())
def test_no_text_is_too_strange_and_renewing_twice_changes_nothing(above: str, below: str) -> None:
    card = merge_card(above, FRESH)
    assert merge_card(card, FRESH) == card
    more = card + below
    again = merge_card(more, LATER)
    assert merge_card(again, LATER) == again
    if "fashreg:" not in above + below and not above.lstrip("\ufeff \n").startswith("---"):
        assert above.removeprefix("\ufeff").strip() in again
        assert below.strip("\n") in again


KEYS = st.text(alphabet="abcdefgh-_é", min_size=1)
VALUES = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text())


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(KEYS, VALUES, min_size=1))
def test_every_key_of_a_person_survives(keys: dict[str, object]) -> None:
    head = yaml.safe_dump(keys, allow_unicode=True, sort_keys=False)
    card = merge_card(f"---\n{head}---\nwords\n", FRESH)
    assert card.startswith(f"---\n{head}")
    assert merge_card(merge_card(card, LATER), LATER).startswith(f"---\n{head}")


def test_a_card_is_read_with_its_folder_and_one_without_marks_that_nobody_touched_is_none(tmp_path: Path) -> None:
    with write_folder_atomically(tmp_path / "m", kind="model") as fresh:
        write_card(fresh / CARD, "old card of fashreg 0.1\n")
    assert read_card(tmp_path / "m") is None
    (tmp_path / "m" / CARD).write_bytes(b"mine \xff\r\n")
    text = read_card(tmp_path / "m")
    assert text is not None
    write_card(tmp_path / "copy", text)
    assert (tmp_path / "copy").read_bytes() == b"mine \xff\r\n"
    write_card(tmp_path / "copy", merge_card(text, FRESH))
    assert b"mine \xff\r\n" in (tmp_path / "copy").read_bytes()
    (tmp_path / "m" / CARD).unlink()
    assert read_card(tmp_path / "m") is None
    assert read_card(tmp_path / "nowhere") is None
