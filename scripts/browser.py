"""A headless Chromium for pictures and tests of pages, driven over two pipes and nothing else.

It speaks the DevTools protocol: https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--remote-debugging-pipe",
)


def find_browser() -> str | None:
    """Path of a Chromium; None if there is none."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


class Browser:
    """One page of a running browser; use it in a `with` statement.

    Attributes:
        events: what the page did since `open`, as (method, parameters).
    """

    def __init__(self, seconds: float = 60) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._seconds = seconds
        self._number = 0
        self._rest = b""

    def __enter__(self) -> Browser:
        """Start the browser and attach to its page."""
        program = find_browser()
        if program is None:
            raise FileNotFoundError("no Chromium on this machine; install the package chromium.")
        self._profile = tempfile.mkdtemp(prefix="chromium-")
        self._start(program)
        target = self._call("Target.createTarget", {"url": "about:blank"}, session=False)
        attached = self._call(
            "Target.attachToTarget",
            {"targetId": target["targetId"], "flatten": True},
            session=False,
        )
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log", "Accessibility"):
            self._call(f"{domain}.enable")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the browser and remove its profile."""
        os.kill(self._process, signal.SIGTERM)
        os.waitpid(self._process, 0)
        os.close(self._reader)
        os.close(self._writer)
        shutil.rmtree(self._profile, ignore_errors=True)

    def open(self, page: Path, fragment: str = "") -> None:
        """Load a file and wait until it is there.

        Args:
            page: the file.
            fragment: of the address, after #.
        """
        # By way of an empty page: a change of the fragment alone would load nothing.
        for address in ("about:blank", f"{page.resolve().as_uri()}#{fragment}".rstrip("#")):
            self.events.clear()
            self._call("Page.navigate", {"url": address})
            self._wait_for("Page.loadEventFired")

    def look(self, width: int, height: int = 900, scheme: str = "light", media: str = "") -> None:
        """Choose the size of the window in CSS pixels and what the page is told about it."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._call("Emulation.setEmulatedMedia", {"media": media, "features": features})

    def allow_scripts(self, allowed: bool) -> None:
        """Switch the scripts of pages on or off, from the next `open` on."""
        self._call("Emulation.setScriptExecutionDisabled", {"value": not allowed})

    def value(self, expression: str) -> Any:  # noqa: ANN401  (any JSON value)
        """Evaluate JavaScript in the page."""
        answer = self._call("Runtime.evaluate", {"expression": expression, "returnByValue": True})
        if "exceptionDetails" in answer:
            raise ValueError(answer["exceptionDetails"]["text"])
        return answer["result"].get("value")

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press and release a key of the keyboard.

        Args:
            key: its name, such as Tab.
            code: its Windows virtual key code.
            text: what it types.
        """
        event = {"key": key, "windowsVirtualKeyCode": code}
        self._call("Input.dispatchKeyEvent", event | {"type": "keyDown", "text": text})
        self._call("Input.dispatchKeyEvent", event | {"type": "keyUp"})

    def screenshot(self, whole: bool = False) -> bytes:
        """The window, or the whole page, as PNG."""
        options = {"format": "png", "captureBeyondViewport": whole}
        return base64.b64decode(self._call("Page.captureScreenshot", options)["data"])

    def pdf(self) -> bytes:
        """The page as it is printed."""
        options = {"preferCSSPageSize": True, "printBackground": False}
        return base64.b64decode(self._call("Page.printToPDF", options)["data"])

    def accessible(self) -> list[tuple[str, str]]:
        """What a screen reader is told: (role, name) of each part of the page."""
        nodes = self._call("Accessibility.getFullAXTree")["nodes"]
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node["ignored"]
        ]

    def _start(self, program: str) -> None:
        to_browser, from_browser = os.pipe(), os.pipe()
        # Chromium reads from 3 and writes to 4: the ends for it must not lie there already.
        reads, writes = (
            fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_browser[0], from_browser[1])
        )
        errors = os.open(os.devnull, os.O_WRONLY)
        self._process = os.posix_spawn(
            program,
            [program, *_FLAGS, f"--user-data-dir={self._profile}"],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, reads, 3),
                (os.POSIX_SPAWN_DUP2, writes, 4),
                (os.POSIX_SPAWN_DUP2, errors, 1),
                (os.POSIX_SPAWN_DUP2, errors, 2),
            ],
        )
        for end in (reads, writes, errors, to_browser[0], from_browser[1]):
            os.close(end)
        self._writer, self._reader = to_browser[1], from_browser[0]
        os.set_blocking(self._reader, False)

    def _call(
        self, method: str, parameters: Mapping[str, Any] | None = None, session: bool = True
    ) -> dict[str, Any]:
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters or {}}
        if session:
            message["sessionId"] = self._session
        os.write(self._writer, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                if "error" in answer:
                    raise ValueError(f"{method}: {answer['error']['message']}")
                return dict(answer["result"])

    def _wait_for(self, method: str) -> None:
        while not any(name == method for name, _ in self.events):
            self._receive()

    def _receive(self) -> dict[str, Any]:
        """The next message; events are kept."""
        end = time.monotonic() + self._seconds
        while b"\0" not in self._rest:
            if time.monotonic() > end:
                raise TimeoutError(f"the browser was silent for {self._seconds} s")
            try:
                part = os.read(self._reader, 1 << 20)
            except BlockingIOError:
                time.sleep(0.005)
                continue
            if not part:
                raise BrokenPipeError("the browser ended")
            self._rest += part
        line, self._rest = self._rest.split(b"\0", 1)
        message = json.loads(line)
        if "method" in message:
            self.events.append((message["method"], message.get("params", {})))
        return dict(message)
