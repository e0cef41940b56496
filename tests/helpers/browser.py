"""Drives a headless Chromium through its debugging pipe, which needs no package.

Messages are JSON objects, each ended by a zero byte, on file descriptors 3 and 4; their names are
those of the Chrome DevTools Protocol.
"""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
import urllib.parse
from pathlib import Path

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
"""Path of the browser; None where there is none."""

PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
DESK = {"width": 1280, "height": 860, "deviceScaleFactor": 1, "mobile": False}

_WAIT_S = 30.0


def _moved_up(number):
    moved = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(number)
    return moved


class Browser:
    """A page of a headless browser."""

    def __init__(self, folder):
        """Starts the browser.

        Args:
            folder: Folder for its profile and for downloads.
        """
        # Numbers above 9, since bash moves them to 3 and 4 one after the other.
        to_browser, self._write = map(_moved_up, os.pipe())
        self._read, from_browser = map(_moved_up, os.pipe())
        self.downloads = Path(folder) / "downloads"
        options = "--headless=new --no-sandbox --disable-gpu --no-first-run --hide-scrollbars"
        options += " --remote-debugging-pipe --disable-dev-shm-usage --disable-extensions"
        self._process = subprocess.Popen(
            [
                "bash",
                "-c",
                f'exec "$@" 3<&{to_browser} 4>&{from_browser}',
                "bash",
                CHROMIUM,
                *options.split(),
                f"--user-data-dir={folder}/profile",
            ],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._number, self._session, self._buffer = 0, None, b""
        self.complaints = []
        self.hosts = set()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = session["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.downloads.mkdir()
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))

    def call(self, method, **params):
        """Calls a method of the protocol and returns its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session and not method.startswith(("Target.", "Browser.")):
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self._note(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _next(self):
        while b"\0" not in self._buffer:
            if not select.select([self._read], [], [], _WAIT_S)[0]:
                raise TimeoutError("the browser does not answer")
            piece = os.read(self._read, 1 << 20)
            if not piece:
                raise EOFError("the browser has ended")
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(line)

    def _note(self, event):
        """Keeps what the page's scripts and policies complain of, and which hosts it asks."""
        params = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.hosts.add(urllib.parse.urlsplit(params["request"]["url"]).netloc)
        if event.get("method") == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description", str(details)))
        elif event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(params["entry"]["text"])

    def open(self, path, *, screen=DESK, dark=False, fragment=""):
        """Opens a file or an address on a screen of some size, and waits until it is loaded."""
        self.call("Emulation.setDeviceMetricsOverride", **screen)
        self.call("Emulation.setTouchEmulationEnabled", enabled=screen["mobile"])
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url="about:blank")
        url = path if "://" in str(path) else Path(path).absolute().as_uri()
        self.call("Page.navigate", url=url + fragment)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, expression):
        """Evaluates JavaScript in the page and returns its value."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def until(self, expression):
        """Waits until JavaScript gives something true, and returns it."""
        end = time.monotonic() + _WAIT_S
        while not (value := self.run(expression)):
            if time.monotonic() > end:
                raise TimeoutError(f"still false: {expression}")
            time.sleep(0.02)
        return value

    def press(self, key, *, code=""):
        """Presses a key, such as `j` or `ArrowLeft`."""
        text = {"text": key} if len(key) == 1 else {}
        numbers = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
        numbers |= {"Enter": 13, "Escape": 27, "Backspace": 8}
        if key == "Enter":
            text = {"text": "\r"}
        if key in numbers:
            text["windowsVirtualKeyCode"] = numbers[key]
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=code)

    def choose_file(self, selector, path):
        """Chooses a file in a file input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def middle(self, selector):
        """The middle of an element on the screen."""
        box = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'nearest'}); const b = e.getBoundingClientRect();"
            " return [b.x + b.width / 2, b.y + b.height / 2, b.width, b.height]; })()"
        )
        return box

    def click(self, selector):
        """Clicks the middle of an element."""
        x, y, *_ = self.middle(selector)
        for what in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=what, x=x, y=y, button="left", clickCount=1)

    def tap(self, selector):
        """Taps the middle of an element with a finger."""
        x, y, *_ = self.middle(selector)
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def drag(self, start, end):
        """Drags the mouse from a point to another one."""
        for what, (x, y) in (("mousePressed", start), ("mouseMoved", end), ("mouseReleased", end)):
            self.call(
                "Input.dispatchMouseEvent",
                type=what,
                x=x,
                y=y,
                button="left",
                buttons=1,
                clickCount=1,
            )

    def downloaded(self, name):
        """Waits until a download is there, and returns its path."""
        path = self.downloads / name
        while not path.is_file():
            self.run("new Promise(done => setTimeout(() => done(true), 50))")
        return path

    def screenshot(self, path):
        """Writes what is on the screen as PNG."""
        Path(path).write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def close(self):
        """Ends the browser."""
        with contextlib.suppress(OSError, RuntimeError, EOFError, TimeoutError):
            self.call("Browser.close")
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)
