"""A real browser without a screen, spoken to over pipes by the Chrome DevTools Protocol: no driver, no socket, no network."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars")
PATIENCE = 60


def installed() -> str | None:
    """The browser, if this machine has one."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@dataclass
class Browser:
    """One page of a browser, and what was said and asked for while it was open."""

    read: int
    write: int
    session: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    rest: bytes = b""
    sent: int = 0

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer to a command."""
        self.sent += 1
        number, message = self.sent, {"id": self.sent, "method": method, "params": params}
        os.write(self.write, json.dumps(message | ({"sessionId": self.session} if self.session else {})).encode() + b"\0")
        while (answer := self._next()).get("id") != number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return dict(answer["result"])

    def wait(self, method: str) -> None:
        """Until the page tells of something."""
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self._next())

    def _next(self) -> dict[str, Any]:
        until = time.monotonic() + PATIENCE
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.read], [], [], max(0.0, until - time.monotonic()))
            assert ready, "the browser does not answer"
            part = os.read(self.read, 1 << 16)
            assert part, "the browser has gone"
            self.rest += part
        line, _, self.rest = self.rest.partition(b"\0")
        return dict(json.loads(line))

    def open(self, path: Path, width: int = 1200, height: int = 900, scheme: str = "light", media: str = "screen") -> None:
        """Show a file in a window of that size, in a colour scheme, on a medium."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 700)
        self.ask("Emulation.setEmulatedMedia", media=media, features=features)
        self.events.clear()
        self.ask("Page.navigate", url=path.as_uri())
        self.wait("Page.loadEventFired")

    def run(self, script: str) -> Any:
        """What a line of JavaScript gives; it is run by the browser, whatever the page allows itself."""
        return self.ask("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def complaints(self) -> list[dict[str, Any]]:
        """All that the console shows, and what went wrong."""
        shown = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Audits.issueAdded")
        return [event for event in self.events if event.get("method") in shown]

    def requests(self) -> list[str]:
        """What the page asked for, addresses of data inside it apart."""
        sent = [event["params"] for event in self.events if event.get("method") == "Network.requestWillBeSent"]
        asked = [params["request"]["url"] for params in sent]
        return [url for url in asked if not url.startswith("data:")]

    def photograph(self, path: Path) -> None:
        """The whole page as PNG."""
        answer = self.ask("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser with a profile of its own, gone at the end."""
    command = installed()
    assert command is not None
    hears, write = os.pipe()
    read, says = os.pipe()

    def pipes() -> None:  # the protocol is spoken on 3 and 4
        kept = [os.dup(hears), os.dup(says)]
        os.dup2(kept[0], 3)
        os.dup2(kept[1], 4)

    arguments = [command, *FLAGS, "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(
        arguments, stdin=quiet, stdout=quiet, stderr=quiet, close_fds=False, preexec_fn=pipes, start_new_session=True
    )
    os.close(hears)
    os.close(says)
    try:
        page = Browser(read, write)
        target = page.ask("Target.createTarget", url="about:blank")["targetId"]
        page.session = page.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log", "Audits"):
            page.ask(f"{domain}.enable")
        yield page
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(read)
        os.close(write)
