"""The Hub's own client, with patience for a server that stumbles and with errors that say what to type.

`huggingface_hub` came over three HTTP libraries; errors are told apart by its own classes and by the root of whichever
library it was built on. Nothing here ever says or keeps a token.
"""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from fashreg import __version__
from fashreg.errors import FashregError, HubConflictError, HubError, HubOfflineError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")
Token = str | bool | None
ATTEMPTS = 5
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_FIRST_WAIT, _LONGEST_WAIT, _LONGEST_ASKED = 0.5, 8.0, 60.0
_URL = re.compile(r"https?://[^\s'\"<>]+")


def hub_api(token: Token = None) -> HfApi:
    """The client for the Hub of HF_ENDPOINT. token: None = the one the person is logged in with, False = none."""
    from huggingface_hub import HfApi

    return HfApi(token=token, library_name="fashreg", library_version=__version__)


def endpoint() -> str:
    """Where the Hub is, without any user or password that the address may hold."""
    from huggingface_hub import constants

    return _plain_url(str(constants.ENDPOINT))


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids the network."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def with_retries(call: Callable[[], T], *, attempts: int = ATTEMPTS, sleep: Callable[[float], None] | None = None) -> T:
    """What `call` gives; called again after 408, 425, 429, 5xx, cut connections and cut files, `attempts` times in all.

    Between two calls: what Retry-After asks for up to a minute (for more, the error is raised at once), otherwise 0.5 s
    doubling to 8 s, of which a random part between half and all. sleep: `time.sleep` unless given.
    """
    for attempt in range(1, attempts + 1):
        try:
            return call()
        except Exception as error:
            asked = retry_after(error)
            if attempt == attempts or not is_passing(error) or (asked or 0.0) > _LONGEST_ASKED:
                raise
            pause = min(_FIRST_WAIT * 2 ** (attempt - 1), _LONGEST_WAIT) * random.uniform(0.5, 1.0)
            (sleep or time.sleep)(pause if asked is None else asked)
    raise ValueError("with_retries needs at least one attempt")


def is_passing(error: BaseException) -> bool:
    """Whether the same call may well succeed a moment later."""
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return False
    if isinstance(error, LocalEntryNotFoundError):  # how the client says that it could not ask
        return error.__cause__ is not None and is_passing(error.__cause__)
    if (status := status_of(error)) is not None:
        return status in _PASSING
    cut = type(error) is OSError and error.errno is None  # the client got another number of bytes than announced
    return cut or is_unreachable(error)


def is_unreachable(error: BaseException) -> bool:
    """Whether no answer came: no network, no such host, connection refused, cut or too slow."""
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    if isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        return is_unreachable(error.__cause__)
    if isinstance(error, OfflineModeIsEnabled) or status_of(error) is not None:
        return False
    return isinstance(error, (_wire_error(), ConnectionError, TimeoutError))


def status_of(error: BaseException) -> int | None:
    """The HTTP status of the answer that an error is about, if there was one."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    return status if isinstance(status, int) else None


def retry_after(error: BaseException) -> float | None:
    """Seconds that the server asks to wait, if it does."""
    headers: Any = getattr(getattr(error, "response", None), "headers", None)
    said = str(headers.get("Retry-After") or "").strip() if headers is not None else ""
    if said.isdigit():
        return float(said)
    try:
        return max(0.0, (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


@contextlib.contextmanager
def translated(repo: str, revision: str | None = None) -> Iterator[None]:
    """Within the block, errors of the client and of the network become HubError, which says what to type."""
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError

    try:
        yield
    except FashregError:
        raise
    except (_wire_error(), OSError, EntryNotFoundError, HFValidationError, RuntimeError) as error:
        raise hub_error(error, repo, revision) from error


def hub_error(error: BaseException, repo: str, revision: str | None = None) -> HubError:
    """The HubError for an error of the client or the network."""
    from huggingface_hub import errors

    if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ is not None:
        return hub_error(error.__cause__, repo, revision)
    status, at = status_of(error), endpoint()
    facts: dict[str, Any] = {"repo": repo, "revision": revision, "status": status}
    if isinstance(error, errors.OfflineModeIsEnabled | errors.LocalEntryNotFoundError):
        return HubOfflineError(f"{repo} was asked for and the network is off (HF_HUB_OFFLINE): unset it", **facts)
    if isinstance(error, errors.GatedRepoError):
        return HubError(f"{repo} is gated: ask for access at {at}/{repo}, then log in: hf auth login", **facts)
    if isinstance(error, errors.RepositoryNotFoundError):
        return HubError(
            f"{at} has no model {repo}, or it is private and not yours to see: check the name; to see private ones "
            "log in (hf auth login), set HF_TOKEN or give token=",
            **facts,
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return HubError(
            f"{repo} has no revision {revision or 'main'}; fashreg versions {repo} lists what there is", **facts
        )
    if status == 401:
        return HubError(f"{at} does not accept the token (401): log in again: hf auth login", **facts)
    if status == 403:
        needed = "a token with write permission is needed to push, and access to the repository"
        return HubError(f"{at} refuses this to you (403) for {repo}{_said(error)}: {needed}", **facts)
    if status in (409, 412):
        return HubConflictError(f"{repo} changed meanwhile{_said(error)}; nothing was written: again", **facts)
    if status is not None and status in _PASSING:
        wait = retry_after(error)
        when = f"in {wait:.0f} seconds, as it asks" if wait else "later"
        return HubError(f"{at} answers {status} for {repo}{_said(error)}: try again {when}", **facts)
    if status is None and is_unreachable(error):
        return HubOfflineError(
            f"{at} cannot be reached for {repo} ({plain_text(error)}): check the network; HF_ENDPOINT names another "
            "address; what is in the cache opens without network",
            **facts,
        )
    return HubError(f"{repo}: {plain_text(error)}", **facts)


def plain_text(error: BaseException) -> str:
    """What an error says, on one line, without the queries, users and passwords of addresses, and not without end."""
    text = _URL.sub(lambda found: _plain_url(found.group()), str(error)) or type(error).__name__
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= 300 else f"{text[:300]}..."


def _said(error: BaseException) -> str:
    said = getattr(error, "server_message", None)
    return f": {plain_text(ValueError(said))}" if said else ""


def _plain_url(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _wire_error() -> type[Exception]:
    """The root of the errors of the HTTP library under the client: requests, httpx, or what comes after it."""
    from huggingface_hub.errors import HfHubHTTPError

    ours = [c for c in HfHubHTTPError.__mro__ if c.__module__.split(".")[0] not in ("huggingface_hub", "builtins")]
    root = ours[-1]
    assert issubclass(root, Exception), root
    return root
