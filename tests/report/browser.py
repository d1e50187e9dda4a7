"""A real browser for tests: Chromium (or Chrome, Edge) without a window, spoken to over its DevTools pipe.

`python tests/report/browser.py` makes sure that there is one: on Debian and Ubuntu, as root, it installs Debian's.
FASHREG_BROWSER names another program. Nothing beyond the standard library is needed.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import io
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
MISSING = (
    "no Chromium, Chrome or Edge found, and pages are tested in a real one: `make browser` installs Debian's as root; "
    "otherwise install one and set FASHREG_BROWSER=/path/to/it when it is not on the PATH"
)
SECONDS = 60.0  # a busy machine is slow, a browser that hangs is slower


def find_browser() -> str | None:
    """The program to start, or None. FASHREG_BROWSER must exist when it is set."""
    chosen = os.environ.get("FASHREG_BROWSER")
    if chosen:
        return chosen if shutil.which(chosen) else None
    found = (path for name in (*NAMES, *PLACES) if (path := shutil.which(name)))
    return next(found, None)


def install_browser() -> int:
    """Find one, or install Debian's as root; the exit status."""
    if find_browser() is None and os.geteuid() == 0 and shutil.which("apt-get"):
        print("no browser for the tests of pages: installing Debian's chromium", flush=True)
        quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
        subprocess.run(["apt-get", "-qq", "update"], check=False, **quiet)
        install = ["apt-get", "-qq", "install", "--no-install-recommends", "chromium", "fonts-dejavu-core"]
        subprocess.run([*install, "--yes"], check=False, **quiet)
    found = find_browser()
    print(found or MISSING, file=sys.stdout if found else sys.stderr)
    return 0 if found else 1


@dataclass
class Seen:
    """What happened while a page was open. requests: URLs asked for, the page's own and data: left out."""

    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


class Page:
    """An open page: run JavaScript in it, take pictures of it."""

    def __init__(self, browser: Browser, session: str, seen: Seen) -> None:
        self._browser, self._session, self.seen = browser, session, seen

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One DevTools command."""
        return self._browser.call(method, self._session, **parameters)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, as JSON; the tester's own words, so no policy of the page applies."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def picture(self, *, whole: bool = True) -> Image.Image:
        """A screenshot: the whole page, or only what fits the window."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")


class Browser:
    """One running browser; a context manager that ends it and removes its files."""

    def __init__(self) -> None:
        program = find_browser()
        if program is None:
            raise RuntimeError(MISSING)
        self._files = tempfile.TemporaryDirectory(prefix="fashreg-browser-", ignore_cleanup_errors=True)
        self._number, self._rest, self._events = 0, b"", list[dict[str, Any]]()
        self._start(program)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(Exception):
            self.call("Browser.close")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._write)
        os.close(self._read)
        self._files.cleanup()

    def _start(self, program: str) -> None:
        theirs_in, self._write = os.pipe()
        self._read, theirs_out = os.pipe()
        here, there = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (theirs_in, theirs_out))

        def connect() -> None:  # DevTools reads descriptor 3 and writes 4
            os.dup2(here, 3)
            os.dup2(there, 4)

        options = (
            "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-extensions", "--hide-scrollbars", "--force-color-profile=srgb", "--mute-audio",
            f"--user-data-dir={self._files.name}",
        )  # fmt: skip
        log = open(Path(self._files.name) / "log.txt", "wb")  # noqa: SIM115
        self._process = subprocess.Popen(
            [program, *options, "about:blank"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=connect, close_fds=False,
            start_new_session=True, env={**os.environ, "HOME": self._files.name},
        )  # fmt: skip
        log.close()
        for fd in (theirs_in, theirs_out, here, there):
            os.close(fd)

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; events on the way are kept."""
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + SECONDS
        for answer in self._messages(until):
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])
            self._events.append(answer)
        raise RuntimeError(f"the browser gave no answer to {method} in {SECONDS:.0f} s; it said: {self._log()}")

    def _messages(self, until: float) -> Iterator[dict[str, Any]]:
        while time.monotonic() < until:
            message, zero, rest = self._rest.partition(b"\0")
            if zero:
                self._rest = rest
                yield json.loads(message)
                continue
            ready, _, _ = select.select([self._read], [], [], max(0.0, until - time.monotonic()))
            piece = os.read(self._read, 1 << 20) if ready else b""
            if ready and not piece:
                raise RuntimeError(f"the browser ended; it said: {self._log()}")
            self._rest += piece

    def _log(self) -> str:
        return (Path(self._files.name) / "log.txt").read_text(errors="replace")[-2000:]

    def _until(self, session: str, method: str) -> None:
        """Wait for an event."""
        for event in self._messages(time.monotonic() + SECONDS):
            self._events.append(event)
            if event.get("sessionId") == session and event.get("method") == method:
                return
        raise RuntimeError(f"{method} did not happen in {SECONDS:.0f} s; the browser said: {self._log()}")

    @contextlib.contextmanager
    def page(self, path: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> Iterator[Page]:
        """Open a file in a new page of its own size and colour scheme, loaded, with everything it did noted."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session, Seen())
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.call("Emulation.setEmulatedMedia", features=[scheme])
        page.call("Page.navigate", url=path.resolve().as_uri())
        self._until(session, "Page.loadEventFired")
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")
        _note(page.seen, [e for e in self._events if e.get("sessionId") == session], path)
        try:
            yield page
        finally:
            self._events.clear()
            self.call("Target.closeTarget", targetId=target)


def _note(seen: Seen, events: Sequence[dict[str, Any]], path: Path) -> None:
    for event in events:
        facts = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                url = facts["request"]["url"]
                if url != path.resolve().as_uri() and not url.startswith("data:"):
                    seen.requests.append(url)
            case "Runtime.exceptionThrown":
                seen.complaints.append(json.dumps(facts["exceptionDetails"]))
            case "Log.entryAdded":
                seen.complaints.append(f"{facts['entry']['level']}: {facts['entry']['text']}")
            case "Runtime.consoleAPICalled":
                seen.complaints.append(f"{facts['type']}: {[a.get('value') for a in facts['args']]}")


if __name__ == "__main__":
    sys.exit(install_browser())
