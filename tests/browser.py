"""Drives headless Chromium over its own DevTools pipe, for tests of the pages that the project writes or serves.

Needs the program alone: no driver and no library. A page is opened at a given width; every request that it makes and
every message of its console is kept, so that a test can say what a page must not do.
"""

from __future__ import annotations

import base64
import json
import os
import pathlib
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
MISSING = (
    f"Headless Chromium must be installed for this test (Debian: apt-get install chromium). Looked for: {PROGRAMS}"
)
_TIMEOUT_S = 60.0
_KEYS = {  # Its code, and what it types.
    "Enter": (13, "\r"),
    "Escape": (27, ""),
    "Tab": (9, ""),
    " ": (32, " "),
    "ArrowRight": (39, ""),
    "ArrowLeft": (37, ""),
}


def find_program() -> str | None:
    """The first of `PROGRAMS` on the path, or None."""
    return next((path for path in map(shutil.which, PROGRAMS) if path), None)


class Browser:
    """One headless Chromium with one page.

    Attributes:
        requests: addresses that the open page asked for, itself first; `data:` and `blob:` are left out, because they
            never leave the page.
        console: messages and uncaught errors of the page.
    """

    def __init__(self, program: str, profile_dir: str | os.PathLike[str]):
        self.requests: list[str] = []
        self.console: list[str] = []
        self._buffer = b""
        self._last_id = 0
        self._loaded = False
        to_child, self._write_fd = os.pipe()
        self._read_fd, from_child = os.pipe()
        command = [program, "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={profile_dir}"]
        command += ["--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
        command += ["--hide-scrollbars"] + (["--no-sandbox"] if os.geteuid() == 0 else [])
        # Chromium reads commands from descriptor 3 and answers on 4. Plain sh renumbers no descriptor above 9.
        shell = ["bash", "-c", f'exec "$@" 3<&{to_child} 4>&{from_child}', "bash", *command, "about:blank"]
        self._process = subprocess.Popen(
            shell, pass_fds=(to_child, from_child), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(to_child)
        os.close(from_child)
        self._session = ""
        target = next(t for t in self._send("Target.getTargets")["targetInfos"] if t["type"] == "page")
        attached = self._send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self._send(f"{domain}.enable")

    def close(self) -> None:
        """Ends the browser."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._write_fd)
        os.close(self._read_fd)

    def open(self, address: str | os.PathLike[str], *, width_px: int = 1280, height_px: int = 900) -> None:
        """Opens a page, by address or by the path of a file, and waits until it is loaded."""
        self.resize(width_px, height_px)
        self.requests.clear()
        self.console.clear()
        self._loaded = False
        text = os.fspath(address)
        self._send("Page.navigate", url=text if "://" in text else pathlib.Path(text).resolve().as_uri())
        self._read_until(lambda: self._loaded, f"{text} to load")

    def resize(self, width_px: int, height_px: int = 900, *, mobile: bool = False) -> None:
        """Gives the page another size, without loading it again."""
        self._send(
            "Emulation.setDeviceMetricsOverride", width=width_px, height=height_px, deviceScaleFactor=1, mobile=mobile
        )

    def prefer(self, color_scheme: str) -> None:
        """Has the page believe that the user wants "dark" or "light"."""
        features = [{"name": "prefers-color-scheme", "value": color_scheme}]
        self._send("Emulation.setEmulatedMedia", features=features)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, waited for where it is a promise.

        Raises:
            RuntimeError: if it throws.
        """
        answer = self._send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise RuntimeError(f"{expression}: {details.get('exception', {}).get('description', details['text'])}")
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """Waits until a JavaScript expression is truthy, and returns it."""
        deadline = time.monotonic() + _TIMEOUT_S
        while not (value := self.evaluate(expression)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"`{expression}` did not become true within {_TIMEOUT_S:.0f} s.")
            self._read_until(lambda: False, "", timeout_s=0.05)
        return value

    def click(self, selector: str) -> None:
        """Scrolls the first element of a CSS selector into view and clicks its middle with the mouse."""
        x, y = self.middle_of(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self._send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def hover(self, x: float, y: float) -> None:
        """Moves the mouse to a place of the visible page."""
        self._send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def middle_of(self, selector: str) -> tuple[float, float]:
        """Scrolls an element into view; where its middle is then, in px of the visible page."""
        box = self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); "
            "e.scrollIntoView({block: 'center', behavior: 'instant'}); const b = e.getBoundingClientRect(); "
            "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        return box[0], box[1]

    def press(self, key: str) -> None:
        """Presses one of the keys Enter, Escape, Tab, space and the arrows to left and right."""
        code, text = _KEYS[key]
        event: dict[str, Any] = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": code}
        self._send("Input.dispatchKeyEvent", type="keyDown", **event, **({"text": text} if text else {}))
        self._send("Input.dispatchKeyEvent", type="keyUp", **event)

    def set_files(self, selector: str, paths: Sequence[str | os.PathLike[str]]) -> None:
        """Chooses files in an `<input type="file">`."""
        root = self._send("DOM.getDocument")["root"]["nodeId"]
        node = self._send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self._send("DOM.setFileInputFiles", nodeId=node, files=[os.path.abspath(path) for path in paths])

    def drop_files(self, selector: str, paths: Sequence[str | os.PathLike[str]]) -> None:
        """Drags files from outside over the middle of an element and drops them there, as from a file manager."""
        x, y = self.middle_of(selector)
        data = {"items": [], "files": [os.path.abspath(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self._send("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def overflow_px(self) -> int:
        """By how much the page is wider than the window; more than 0 means that it scrolls sideways."""
        return self.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")

    def screenshot(self, path: str | os.PathLike[str], *, whole_page: bool = False) -> pathlib.Path:
        """Writes what is visible, or the whole page, as PNG."""
        answer = self._send("Page.captureScreenshot", format="png", captureBeyondViewport=whole_page)
        target = pathlib.Path(path)
        target.write_bytes(base64.b64decode(answer["data"]))
        return target

    def _send(self, method: str, **params: Any) -> dict[str, Any]:
        self._last_id += 1
        number = self._last_id
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write_fd, data) :]
        answers: list[dict[str, Any]] = []
        self._read_until(lambda: bool(answers), f"the answer to {method}", on_answer=(number, answers))
        if "error" in answers[0]:
            raise RuntimeError(f"{method} failed: {answers[0]['error']}")
        return answers[0]["result"]

    def _read_until(
        self,
        is_done: Callable[[], bool],
        what: str,
        *,
        on_answer: tuple[int, list[dict[str, Any]]] | None = None,
        timeout_s: float = 0.0,
    ) -> None:
        """Takes messages until `is_done`; an error after a minute, or a return after `timeout_s` where that is set."""
        deadline = time.monotonic() + (timeout_s or _TIMEOUT_S)
        while not is_done():
            remaining = deadline - time.monotonic()
            if remaining <= 0 or not select.select([self._read_fd], [], [], remaining)[0]:
                if timeout_s:
                    return
                raise TimeoutError(f"Waited {_TIMEOUT_S:.0f} s for {what}.")
            block = os.read(self._read_fd, 1 << 20)
            if not block:
                raise RuntimeError(f"Chromium ended (exit status {self._process.poll()}) before {what}.")
            *messages, self._buffer = (self._buffer + block).split(b"\0")
            for message in map(json.loads, messages):
                if on_answer and message.get("id") == on_answer[0]:
                    on_answer[1].append(message)
                self._take_event(message.get("method"), message.get("params", {}))

    def _take_event(self, method: str | None, params: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Network.requestWillBeSent":
            address = params["request"]["url"]
            if not address.startswith(("data:", "blob:")):
                self.requests.append(address)
        elif method == "Runtime.consoleAPICalled":
            self.console.append(" ".join(str(arg.get("value", arg.get("description"))) for arg in params["args"]))
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.console.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded":
            self.console.append(params["entry"]["text"])
