"""README.md of a model: one part is written by fashreg and renewed, everything else is a person's and kept. No torch.

The generated part stands between two marks, which are HTML comments and not shown. The first mark also notes which keys
of the front matter fashreg wrote, and a digest of what it wrote there: a key that somebody changed, added or took away
is that person's from then on. What stands above and below the marks is kept to the character, as are the lines of the
front matter that are a person's, comments and all.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from fashreg.errors import ModelError
from fashreg.manifest import CARD, verify_folder
from fashreg.strict_yaml import read_yaml

_LONGEST = 2**17  # letters of front matter, beyond which it is not looked into
_BEGIN = "<!-- fashreg:begin this part is written anew; your own text is kept above and below |{keys} -->"
_END = "<!-- fashreg:end -->"
_PART = re.compile(
    r"<!-- fashreg:begin(?P<said>[^>]{0,9999})-->(?P<body>(?:(?!<!-- fashreg:begin).)*?)<!-- fashreg:end -->", re.S
)
_NOTED = re.compile(r"(\S+)=([0-9a-f]{8})(?=\s)")
_FRONT = re.compile(r"\s*---[ \t]*\r?\n(?P<yaml>.*?)(?:(?<=\n)|\r?\n)---[ \t]*(?:\r?\n|$)", re.S)
_LOADED = re.compile(r'fashreg\.load\("[^"\n]*"\)')
_TITLE = re.compile(r"^#[ \t][^\n]*\n*", re.M)


@dataclass(frozen=True)
class _Front:
    """Front matter: lines by key, in order, and what they say. head: what stands before the first key."""

    head: str = ""
    lines: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)

    def text(self) -> str:
        return self.head + "".join(self.lines.values())


@dataclass(frozen=True)
class _Card:
    """A README taken apart. noted: digest of what fashreg wrote, by key. strange: front matter that is no YAML."""

    front: _Front = field(default_factory=_Front)
    above: str = ""
    body: str = ""
    below: str = ""
    noted: dict[str, str] = field(default_factory=dict)
    strange: str | None = None

    def is_ours(self, key: str) -> bool:
        """Whether the key says what fashreg wrote there."""
        return key in self.front.values and self.noted.get(key) == _digest(self.front.values[key])


def merge_card(written: str | None, fresh: str) -> str:
    """The README with its generated part renewed.

    written: the README as it is, None where there is none; without marks all of it is a person's, and the generated
    part comes below. fresh: a generated README, front matter and text, without marks. A person's text and keys win.
    Never fails on what a person wrote: front matter that is no plain YAML stays as it is.
    """
    made = _taken_apart(fresh)
    made = _Card(front=made.front, body=made.above, noted={k: _digest(v) for k, v in made.front.values.items()})
    return _joined(_Card() if written is None else _taken_apart(written), made)


def merge_pushed(there: str | None, here: str) -> str:
    """The README to push: that of the folder, with what a person wrote into the one on the Hub kept.

    there: the README on the Hub, None where there is none. here: the one in the folder; without marks, all of it is
    what a person wants there. Where both hold a person's text in one place, or both a person's value of one key, that
    of the folder is taken: it is the one that was pushed.
    """
    return here if there is None or _PART.search(here) is None else _joined(_taken_apart(there), _taken_apart(here))


def name_repository(text: str, repo: str) -> str:
    """The README with the code of its generated part loading `repo`; a person's own code stays."""
    return _PART.sub(lambda part: _LOADED.sub(f'fashreg.load("{repo}")', part.group()), text)


def read_card(folder: Path) -> str | None:
    """The README of a folder as `merge_card` takes it; None where there is none, or none that anybody has touched.

    Older versions of fashreg wrote no marks; a README without marks that is what the manifest says is all theirs.
    """
    path = Path(folder) / CARD
    if not path.is_file():
        return None
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    if _PART.search(text) is not None:
        return text
    try:
        verify_folder(Path(folder), names=(CARD,))
    except ModelError:
        return text
    return None


def write_card(path: Path, text: str) -> None:
    """Write what `merge_card` gave; bytes that are no UTF-8 come out as they went in."""
    path.write_bytes(text.encode("utf-8", "surrogateescape"))


def _taken_apart(text: str) -> _Card:
    text = text.removeprefix("\ufeff")
    front, strange, start = _Front(), None, 0
    if found := _FRONT.match(text):
        start = found.end()
        read = _read_front(found["yaml"])
        front, strange = (read, None) if read is not None else (_Front(), found.group())
    rest = text[start:]
    part = _PART.search(rest)
    if part is None:
        return _Card(front, above=rest, strange=strange)
    noted = dict(_NOTED.findall(part["said"]))
    below = _PART.sub("", rest[part.end() :])  # a second generated part is a copy of an old one
    return _Card(front, rest[: part.start()], part["body"], below, noted, strange)


def _joined(old: _Card, new: _Card) -> str:
    """`new`, with what a person wrote in `old` where `new` holds nothing of a person."""
    above = new.above if new.above.strip() else old.above
    below = new.below if new.below.strip() else old.below
    if old.strange is not None or new.strange is not None:
        front = new.strange or old.strange or ""
    else:
        lines = _joined_front(old, new)
        front = f"---\n{lines}---\n" if lines else ""
    return front + _spaced(above) + _part(new, above) + below.rstrip("\n") + "\n"


def _spaced(above: str) -> str:
    if not above.strip():
        return "\n"
    return above if above.endswith("\n\n") else above.rstrip("\n") + "\n\n"


def _part(card: _Card, above: str) -> str:
    """The generated part between its marks; its title is left out below a text that has one."""
    body = card.body.strip("\n").replace("<!--", "&lt;!--")
    if _TITLE.search(above):
        body = _TITLE.sub("", body, count=1) if _TITLE.match(body) else body
    keys = "".join(f" {name}={digest}" for name, digest in card.noted.items() if not re.search(r"[\s>]", name))
    return f"{_BEGIN.format(keys=keys)}\n\n{body}\n\n{_END}"


def _joined_front(old: _Card, new: _Card) -> str:
    lines: dict[str, str] = {}
    for key, text in old.front.lines.items():
        by_hand = key in new.front.lines and not new.is_ours(key)
        if not old.is_ours(key) and not by_hand:
            lines[key] = text
        elif key in new.front.lines:
            lines[key] = new.front.lines[key] + _remarks(text)
    for key, text in new.front.lines.items():
        taken_away = key in old.noted and key not in old.front.lines and new.is_ours(key)
        if key not in lines and not taken_away:
            lines[key] = text
    return _Front(old.front.head or new.front.head, lines).text()


def _remarks(text: str) -> str:
    """The comments and empty lines at the end of a key's lines."""
    rows = text.splitlines(keepends=True)
    kept = len(rows)
    while kept > 1 and (not rows[kept - 1].strip() or rows[kept - 1].startswith("#")):
        kept -= 1
    return "".join(rows[kept:])


def _read_front(text: str) -> _Front | None:
    """Front matter by key; None where it is not a plain YAML mapping."""
    if len(text) > _LONGEST:
        return None
    try:
        values = read_yaml(text)  # first, since it refuses what would take long
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            return None
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    if values is None:
        return _Front(head=text)
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        return None
    rows = (text if text.endswith("\n") else text + "\n").splitlines(keepends=True)
    starts = [key.start_mark for key, _ in node.value] if isinstance(node, yaml.MappingNode) else []
    if not isinstance(node, yaml.MappingNode) or node.flow_style or any(mark.column for mark in starts):
        return _Front(lines={key: _dumped(key, value) for key, value in values.items()}, values=values)
    ends = [mark.line for mark in starts[1:]] + [len(rows)]
    blocks = ["".join(rows[mark.line : end]) for mark, end in zip(starts, ends, strict=True)]
    head = "".join(rows[: starts[0].line]) if starts else text
    return _Front(head, dict(zip(values, blocks, strict=True)), values)


def _dumped(key: str, value: Any) -> str:
    return str(yaml.safe_dump({key: value}, sort_keys=False, allow_unicode=True, width=10_000))


def _digest(value: Any) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:8]
