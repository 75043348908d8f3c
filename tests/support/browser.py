"""A headless Chromium for tests: pages as a phone or a desktop shows them, in light and dark.

Spoken to by the DevTools protocol over a pair of pipes, so no port is open and no driver needed.
Installed like Slurm (`tests/slurm/testbed.py`): by root on Debian, else tests skip and say why;
`kinds.py` says when they must not.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from support import apt

#: What a page is looked at with: width, height, and pixels of the device for each of ours.
PHONE = (390, 844, 2)
DESKTOP = (1280, 900, 1)

_ANSWER_S = 60
_NAMES = ("chromium", "chromium-browser", "google-chrome")


def find():
    """Return the path of a Chromium, or None."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


def why_not():
    """Return why there can be no browser here, after installing what is missing; or ''."""
    if find():
        return ""
    problem = apt.why_not()
    if not problem:
        with apt.alone():  # or another process of the tests has just done it
            problem = "" if find() else apt.install("chromium")
    return f"Chromium is not installed, and {problem}" if problem else ""


class Browser:
    """One process of Chromium; a context manager."""

    def __enter__(self):
        self._home = tempfile.TemporaryDirectory(prefix="pilotcut-chromium-")
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # It reads from 3 and writes to 4, whatever numbers our pipes have.
        pipes = 'in=$1 out=$2; shift 2; exec "$@" 3<&$in 4>&$out'
        command = [
            find(),
            "--headless=new",
            "--remote-debugging-pipe",
            f"--user-data-dir={self._home.name}",
            "--no-sandbox",  # root has none
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--disable-background-networking",
            "--hide-scrollbars",
            "--no-first-run",
            "about:blank",
        ]
        self._process = subprocess.Popen(
            ["bash", "-c", pipes, "bash", str(theirs_in), str(theirs_out), *command],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._buffer, self._number, self.events = b"", 0, []
        return self

    def __exit__(self, *_):
        try:
            self.send("Browser.close")
            self._process.wait(20)
        except (AssertionError, OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)
        shutil.rmtree(self._home.name, ignore_errors=True)

    def send(self, method, session=None, **parameters):
        """Return the result of a command."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        limit = time.monotonic() + _ANSWER_S
        while (answer := self._next(limit - time.monotonic())).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def _next(self, seconds):
        limit = time.monotonic() + seconds
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(limit - time.monotonic(), 0))
            assert ready, "the browser does not answer"
            data = os.read(self._in, 1 << 20)
            assert data, "the browser has ended"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(line)

    def open(self, path, device=DESKTOP, dark=False):
        """Return a tab with a file, once all figures are drawn."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        found = self.send("Target.attachToTarget", targetId=target, flatten=True)
        tab = Tab(self, found["sessionId"], target)
        tab.begin(device, dark)
        tab.go(path)
        return tab


class Tab:
    """A page in the browser, with all that it complained of and asked for."""

    def __init__(self, browser, session, target):
        self._browser, self._session, self._target = browser, session, target

    def send(self, method, **parameters):
        """Return the result of a command to this page."""
        return self._browser.send(method, self._session, **parameters)

    def begin(self, device, dark):
        """Be a device, and listen."""
        width, height, scale = device
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=scale, mobile=device is PHONE)  # fmt: skip
        self.set_dark(dark)
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def set_dark(self, dark):
        """Prefer dark or light, as the user's system would say."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", media="", features=[scheme])

    def go(self, path, seconds=60):
        """Load a file, and wait until it says that its figures are drawn."""
        self.send("Page.navigate", url=Path(path).resolve().as_uri())
        limit = time.monotonic() + seconds
        while not self.eval("document.documentElement?.dataset.drawn"):
            assert time.monotonic() < limit, f"not drawn in time; it said {self.complaints}"
            time.sleep(0.1)

    def eval(self, expression):
        """Return the value of an expression, also of a promise."""
        found = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def screenshot(self, path, whole=True):
        """Write what is seen into a PNG file, the whole page or the window."""
        size = self.send("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        options = {"captureBeyondViewport": True, "clip": clip} if whole else {}
        data = self.send("Page.captureScreenshot", format="png", **options)["data"]
        Path(path).write_bytes(base64.b64decode(data))

    def close(self):
        """Close the page."""
        self._browser.send("Target.closeTarget", targetId=self._target)

    @property
    def _heard(self):
        return [e for e in self._browser.events if e.get("sessionId") == self._session]

    @property
    def complaints(self):
        """Exceptions, and errors and warnings of the console, but for those about our reading."""
        found = []
        for event in self._heard:
            what, about = event["method"], event["params"]
            if what == "Runtime.exceptionThrown":
                found.append(about["exceptionDetails"])
            elif what == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning"):
                found.append(about["args"])
            elif what == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
                found.append(about["entry"])
        return [one for one in found if "getImageData" not in str(one)]

    @property
    def requests(self):
        """Addresses of all that was asked for over a network or from files."""
        asked = (e["params"] for e in self._heard if e["method"] == "Network.requestWillBeSent")
        return [about["request"]["url"] for about in asked]
