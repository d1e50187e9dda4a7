"""METEOR 1.5, the Java program that pycocoevalcap brings: started, asked, given up when it is silent, always ended."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fashreg.errors import RequirementError

_START, _EACH = 300.0, 0.2  # seconds until it is given up: it reads 60 MB of paraphrases first, on a busy machine
_NO_JAVA = "METEOR 1.5 is a Java program, and there is no `java` on the PATH; install one, or leave meteor=False"
_AS_THEY_ARE = "/:~!$&'()*+,;=@"  # what an address of a file may hold beside letters, digits and "_.-"


def check_meteor() -> str:
    """The `java` that would run METEOR; RequirementError where there is none, or METEOR cannot read its own files."""
    found = shutil.which("java")
    if found is None:
        raise RequirementError(_NO_JAVA, needs=())
    spec = importlib.util.find_spec("pycocoevalcap.meteor")
    for place in (spec and spec.submodule_search_locations) or ():
        path = Path(place).as_posix()
        if quote(path, safe=_AS_THEY_ARE) != path:
            raise RequirementError(
                "METEOR 1.5 cannot read its own files in a folder whose name has blanks or letters beyond ASCII: "
                f"{path}; install pycocoevalcap in another one, or leave meteor=False",
                needs=(),
            )
    return found


def meteor_of(ours: Sequence[str], theirs: Sequence[Sequence[str]], *, seconds: float | None = None) -> float:
    """METEOR over the corpus, English, -norm. ours: N captions. theirs: N lists of references; words with blanks.

    seconds: until the program is ended and given up; None: enough for a busy machine. It reads its own folder only, and
    is ended whatever happens. RequirementError, with what it said, where it dies or is given up.
    """
    program, limit = check_meteor(), _START + _EACH * len(ours) if seconds is None else seconds
    expired = threading.Event()
    scorer = _started()

    def give_up() -> None:
        expired.set()
        scorer.meteor_p.kill()

    timer = threading.Timer(limit, give_up)
    timer.start()
    try:
        score, _ = scorer.compute_score(dict(enumerate(theirs)), {row: [text] for row, text in enumerate(ours)})
        return float(score)
    except (OSError, ValueError) as error:  # a pipe that is closed, or an empty line where a number should be
        scorer.meteor_p.kill()
        said = scorer.meteor_p.stderr.read().decode(errors="replace").strip()[-500:]
        why = f"did not answer within {limit:g} s" if expired.is_set() else f"failed: {said or repr(error)}"
        raise RequirementError(
            f"METEOR, the Java program of pycocoevalcap, {why}; mend {program}, or leave meteor=False", needs=()
        ) from error
    finally:
        timer.cancel()
        _end(scorer)


def _started() -> Any:
    from pycocoevalcap.meteor.meteor import Meteor

    return Meteor()


def _end(scorer: Any) -> None:
    """Kill it, wait for it, close its pipes; and open its lock, which it leaves closed after an error."""
    process = scorer.meteor_p
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        with contextlib.suppress(OSError):
            pipe.close()
    if scorer.lock.locked():
        scorer.lock.release()
