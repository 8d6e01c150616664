"""Headless Chromium, driven through its debugging pipe: no port, no driver, no package."""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
PATIENCE_S = 30.0
"""Seconds until a condition that does not come true fails the test."""


class Tab:
    """One page in the browser."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back = to, back
        self._rest = b""
        self._number = 0
        self._session = ""
        self.problems: list[str] = []
        """Errors of the page's scripts, and what its content security policy refused."""
        target = self.tell("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.tell("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log"):
            self.tell(f"{domain}.enable")

    def tell(self, method: str, **parameters: Any) -> Any:
        """Send a command and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        os.write(
            self._to,
            json.dumps(message | ({"sessionId": self._session} if self._session else {})).encode()
            + b"\0",
        )
        while (reply := self._read()).get("id") != self._number:
            if reply.get("method") == "Runtime.exceptionThrown":
                self.problems.append(str(reply["params"]["exceptionDetails"]))
            if (
                reply.get("method") == "Log.entryAdded"
                and reply["params"]["entry"]["level"] == "error"
            ):
                self.problems.append(reply["params"]["entry"]["text"])
        assert "error" not in reply, reply
        return reply["result"]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._back, 1 << 20)
            assert part, "the browser has ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def open(self, url: str) -> None:
        """Open ``url`` and wait until it is loaded."""
        self.tell("Page.navigate", url=url)
        self.until(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def value(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page."""
        found = self.tell(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait until a JavaScript expression is true, also across a change of page."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            found = self.tell("Runtime.evaluate", expression=expression, returnByValue=True)
            if found["result"].get("value") is True:
                return
            time.sleep(0.05)
        raise AssertionError(
            f"never came true: {expression}\n{self.value('document.body.innerText')}"
        )

    def click(self, selector: str, text: str = "") -> None:
        """Click on the first element that matches and contains ``text``, with the mouse."""
        find = (
            f"[...document.querySelectorAll({json.dumps(selector)})]"
            f".find(e => e.textContent.includes({json.dumps(text)}))"
        )
        self.until(f"!!{find}")
        self.value(f"{find}.scrollIntoView({{block: 'center'}})")
        x, y = self.value(
            "(r => [r.x + Math.min(r.width / 2, 40), r.y + r.height / 2])"
            f"({find}.getBoundingClientRect())"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.tell("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, text: str) -> None:
        """Type into the focused element."""
        self.tell("Input.insertText", text=text)

    def key(self, name: str, code: int, text: str = "") -> None:
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            self.tell(
                "Input.dispatchKeyEvent",
                type=kind,
                key=name,
                code=name,
                windowsVirtualKeyCode=code,
                text=text,
            )

    def enter(self) -> None:
        """Press the enter key."""
        self.key("Enter", 13, "\r")

    def look(self, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Set the size of the window and the preferred colour scheme."""
        self.tell(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.tell("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path: Path) -> None:
        """Write a screenshot as a PNG file."""
        path.write_bytes(
            base64.b64decode(self.tell("Page.captureScreenshot", format="png")["data"])
        )


@contextmanager
def browsing(profile: Path) -> Iterator[Tab]:
    """Open a browser with one tab. Skips the test where there is no Chromium."""
    binary = next((found for name in NAMES if (found := shutil.which(name))), None)
    if binary is None:
        pytest.skip("needs Chromium, which is not installed here")
    their_in, to = os.pipe()
    back, their_out = os.pipe()
    # The browser listens on descriptor 3 and answers on 4. Not every sh knows others.
    command = [
        "bash",
        "-c",
        f'exec "$@" 3<&{their_in} 4>&{their_out}',
        "bash",
        binary,
        *FLAGS,
        f"--user-data-dir={profile}",
    ]
    with (profile.parent / "chromium.log").open("wb") as log:
        process = subprocess.Popen(command, pass_fds=(their_in, their_out), stdout=log, stderr=log)
    os.close(their_in)
    os.close(their_out)
    try:
        yield Tab(to, back)
    finally:
        process.terminate()
        process.wait()
        os.close(to)
        os.close(back)
