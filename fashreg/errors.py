"""Everything fashreg raises on purpose.

    FashregError
    ├── ComponentError               a component cannot be found or made
    │   ├── UnknownComponentError    (LookupError) no such name; says what is near and what to install
    │   ├── AmbiguousNameError       (LookupError) two plugins, one name; lists the qualified spellings
    │   ├── PluginError              an installed plugin does not import or does not fit this core
    │   ├── RequirementError         a model needs a plugin, or a release of one, that is not installed
    │   └── OptionError              (ValueError) a component does not take this option or this value
    ├── RecipeError                  (ValueError) the recipe or an override is wrong
    ├── DataError                    (ValueError) the table or a picture is wrong
    ├── ModelError                   (ValueError) a model, index or run folder is damaged or does not fit
    ├── BusyError                    another process writes to the same folder
    └── HubError                     the Hub refuses, fails, or serves something else than it says
        ├── HubConflictError         the branch moved while a push was on its way
        └── HubOfflineError          not in the cache, and the network is off or not there

Every message says what was asked, what is true, and what to type. Facts are kept as attributes.
`assert` is for our own mistakes and never for the user's.
"""

from __future__ import annotations

from typing import Any


class FashregError(Exception):
    """Any mistake that a person can mend; the command line prints it without a traceback.

    What it quotes may be a stranger's: letters that do not show are written as escapes, and the whole has an end.
    """

    def __str__(self) -> str:  # KeyError-like bases would print quotes
        return shown(" ".join(str(arg) for arg in self.args))

    def __reduce__(self) -> Any:  # so that it comes whole out of a worker process, facts and all
        return _again, (type(self), self.args, dict(self.__dict__))


def _again(kind: type[FashregError], args: tuple[Any, ...], facts: dict[str, Any]) -> FashregError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(facts)
    return error


def shown(text: str, *, longest: int = 10_000) -> str:
    """A text as it may be printed: no control letters but line ends and tabs, none that turn the direction, no more
    than `longest` letters."""
    cut = text if len(text) <= longest else f"{text[:longest]} ... ({len(text):,} letters)"
    if cut.isprintable():
        return cut
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in cut)


class ComponentError(FashregError):
    """A component cannot be found or made."""


class UnknownComponentError(ComponentError, LookupError):
    """No component of that kind has that name."""

    def __init__(self, message: str, *, kind: str, name: str, near: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.kind, self.name, self.near = kind, name, near


class AmbiguousNameError(ComponentError, LookupError):
    """Several plugins offer that name; `choices` are the qualified spellings."""

    def __init__(self, message: str, *, kind: str, name: str, choices: tuple[str, ...]) -> None:
        super().__init__(message)
        self.kind, self.name, self.choices = kind, name, choices


class PluginError(ComponentError):
    """An installed plugin does not import, or does not fit this core."""

    def __init__(self, message: str, *, plugin: str, version: str = "") -> None:
        super().__init__(message)
        self.plugin, self.version = plugin, version


class RequirementError(ComponentError):
    """A model needs a plugin, or a release of one, that is not installed; `needs` is what to ask pip for."""

    def __init__(self, message: str, *, needs: tuple[str, ...]) -> None:
        super().__init__(message)
        self.needs = needs


class OptionError(ComponentError, ValueError):
    """A component does not take this option or this value; `field` names it."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class RecipeError(FashregError, ValueError):
    """The recipe, or an override of it, is wrong; `field` is the dotted name."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class DataError(FashregError, ValueError):
    """A table or a picture is wrong; `rows` are the first bad rows (counted from 0, header excluded)."""

    def __init__(self, message: str, *, rows: tuple[int, ...] = (), column: str = "") -> None:
        super().__init__(message)
        self.rows, self.column = rows, column


class ModelError(FashregError, ValueError):
    """A model, index or run folder is damaged, incomplete, or made for something else."""


class BusyError(FashregError):
    """Another process is writing to the same folder."""


class HubError(FashregError):
    """The Hub refuses, fails, or serves something else than it says; `status` is its HTTP status, if it answered."""

    def __init__(self, message: str, *, repo: str = "", revision: str | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.repo, self.revision, self.status = repo, revision, status


class HubConflictError(HubError):
    """The branch moved while a push was on its way; nothing of the push is there."""


class HubOfflineError(HubError):
    """Asked for and not in the cache, while the network is off or the Hub cannot be reached."""
