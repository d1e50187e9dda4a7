"""The command line. `main` turns a mistake into one line and an exit status; `--debug` shows the traceback."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Run `fashreg ARGS` and leave with its status: 0 done, 1 a mistake that the message explains, 2 wrong usage."""
    sys.exit(run(sys.argv[1:] if argv is None else list(argv)))


def run(argv: Sequence[str]) -> int:
    """Like main, but gives the exit status back."""
    from fashreg.cli.app import Stopped, app, explained
    from fashreg.errors import FashregError

    debug = "--debug" in argv
    try:
        status = (explained() if _asks_for_help(argv) else app)(
            args=[a for a in argv if a != "--debug"], standalone_mode=False, prog_name="fashreg"
        )
    except FashregError as error:
        if debug:
            raise
        return _say(f"error: {error}", 1)
    except (Stopped, KeyboardInterrupt):
        return _say("stopped", 130)
    except Exception as error:
        if hasattr(error, "show") and hasattr(error, "exit_code"):  # wrong usage, as typer's own click says it
            error.show()
            return int(error.exit_code)
        if debug:
            raise
        return _say(f"error: unexpected {type(error).__name__}: {error} (--debug shows where; please report it)", 1)
    return status if isinstance(status, int) else 0


def _asks_for_help(argv: Sequence[str]) -> bool:
    """Whether the usage of a command will be shown, as far as can be seen before it is read."""
    return "--help" in argv or list(argv) in ([], ["index"], ["data"])


def _say(message: str, status: int) -> int:
    print(message, file=sys.stderr)
    return status
