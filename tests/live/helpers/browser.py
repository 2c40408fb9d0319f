"""A page in headless Chromium: what it draws, fetches and complains of.

Chromium is spoken to over the pipes of its DevTools protocol (--remote-debugging-pipe):
it reads commands from descriptor 3 and writes answers and events to 4, JSON ended by a zero
byte. https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Self

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE_S = 60


@dataclass
class Browser:
    """A tab.

    Attributes:
        complaints: Script errors, and whatever the page or the browser logged.
        fetched: Addresses that were asked for.
    """

    commands: IO[bytes]
    answers: IO[bytes]
    complaints: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    _session: str | None = None
    _number: int = 0

    def attach(self) -> Self:
        """To the one tab that there is."""
        target = next(
            one for one in self.ask("Target.getTargets")["targetInfos"] if one["type"] == "page"
        )
        found = self.ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = found["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        return self

    def ask(self, method: str, **params: object) -> Any:  # noqa: ANN401 - JSON
        """Send a command; its answer."""
        self._number += 1
        command: dict[str, object] = {"id": self._number, "method": method, "params": params}
        if self._session:
            command["sessionId"] = self._session
        self.commands.write(json.dumps(command).encode() + b"\0")
        self.commands.flush()
        while (said := self._next()).get("id") != self._number:
            pass
        assert "error" not in said, said["error"]
        return said["result"]

    def open(self, page: Path) -> None:
        """Open a file and wait until all of it is there."""
        self.ask("Page.navigate", url=page.resolve().as_uri())
        while self._next().get("method") != "Page.loadEventFired":
            pass

    def evaluate(self, script: str) -> Any:  # noqa: ANN401 - JSON
        """The value of an expression in the page; the page's own policy does not bind it."""
        found = self.ask(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def _next(self) -> dict[str, Any]:
        raw = bytearray()
        while (byte := self.answers.read(1)) != b"\0":
            assert byte, "Chromium has gone"
            raw += byte
        said: dict[str, Any] = json.loads(raw)
        params = said.get("params", {})
        match said.get("method"):
            case "Runtime.exceptionThrown" | "Log.entryAdded" | "Runtime.consoleAPICalled":
                self.complaints.append(json.dumps(params))
            case "Network.requestWillBeSent":
                self.fetched.append(params["request"]["url"])
        return said


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Chromium with a profile of its own; the test is skipped where there is none."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium")
    commands_read, commands_write = os.pipe()
    answers_read, answers_write = os.pipe()
    # The shell puts the pipes where Chromium looks for them.
    started = subprocess.Popen(
        [
            "bash",
            "-c",
            f'exec timeout {PATIENCE_S} "$0" "$@" 3<&{commands_read} 4>&{answers_write}',
            program,
            "--headless",
            "--no-sandbox",  # root may not run it otherwise; the page is our own
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
            "about:blank",
        ],
        pass_fds=(commands_read, answers_write),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(commands_read)
    os.close(answers_write)
    try:
        with os.fdopen(commands_write, "wb") as commands, os.fdopen(answers_read, "rb") as answers:
            yield Browser(commands, answers).attach()
    finally:
        # Its pipes are closed: Chromium ends of itself.
        started.terminate()
        started.wait(PATIENCE_S)
