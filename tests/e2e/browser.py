# SPDX-License-Identifier: Apache-2.0
"""
A headless Chromium for tests, spoken to over two pipes (the DevTools protocol): no port, no driver
program, and it may live in a network namespace.
"""

import base64
import itertools
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading

from harness import PATIENCE_S, eventually

PROGRAM = shutil.which("chromium-headless-shell")
# key: (code, virtual key code, text)
KEYS = {
    "Tab": ("Tab", 9, ""),
    "Enter": ("Enter", 13, "\r"),
    "Escape": ("Escape", 27, ""),
    " ": ("Space", 32, " "),
    "End": ("End", 35, ""),
    "Home": ("Home", 36, ""),
    "ArrowLeft": ("ArrowLeft", 37, ""),
    "ArrowRight": ("ArrowRight", 39, ""),
    "ArrowDown": ("ArrowDown", 40, ""),
}


class Browser:
    """One page. `prefix`: words before the program's, such as those of `ip netns exec`."""

    def __init__(self, prefix=()):
        self.folder = tempfile.TemporaryDirectory(prefix="qpe2e-chromium-", ignore_cleanup_errors=True)
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        command = [PROGRAM, "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run",
                   "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
                   "--hide-scrollbars", f"--user-data-dir={self.folder.name}", "about:blank"]  # fmt: skip
        self.popen = subprocess.Popen(
            [*prefix, "bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "bash", *command],
            pass_fds=(theirs_in, theirs_out), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env={**os.environ, "HOME": self.folder.name},
            start_new_session=True)  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self.out = os.fdopen(ours_out, "wb", buffering=0)
        self.numbers = itertools.count(1)
        self.answers = {}
        self.session = None
        self.events = []
        threading.Thread(target=self.read, args=(os.fdopen(ours_in, "rb", buffering=0),), daemon=True).start()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.size(1280, 900)

    def close(self):
        self.popen.terminate()
        try:
            self.popen.wait(5)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
        self.out.close()
        self.folder.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.close()

    # ---- the protocol ----

    def read(self, pipe):
        rest = b""
        while piece := pipe.read(1 << 20):
            *messages, rest = (rest + piece).split(b"\0")
            for message in map(json.loads, messages):
                if "id" in message:
                    self.answers.pop(message["id"]).put(message)
                else:
                    self.events.append(message)
        pipe.close()

    def call(self, method, **params):
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        answer = self.answers[number] = queue.Queue()
        self.out.write(json.dumps(message).encode() + b"\0")
        found = answer.get(timeout=PATIENCE_S)
        assert "error" not in found, f"{method}: {found['error']}"
        return found["result"]

    # ---- what a person does and sees ----

    def open(self, url):
        self.call("Page.navigate", url=url)
        eventually(lambda: self.js("document.readyState") == "complete", what=f"{url} is loaded")

    def js(self, expression):
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, expression, within=PATIENCE_S):
        return eventually(lambda: self.js(expression), within, expression, every=0.05)

    def text(self, selector):
        return self.js(f"document.querySelector({json.dumps(selector)})?.innerText ?? null")

    def key(self, name, shift=False):
        code, number, text = KEYS[name]
        common = {"key": name, "code": code, "windowsVirtualKeyCode": number, "modifiers": 8 if shift else 0}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text):
        self.call("Input.insertText", text=text)

    def focus(self):
        """What has the keyboard, as a screen reader names it."""
        return self.js("(e => e.getAttribute('aria-label') || e.labels?.[0]?.innerText || e.innerText?.slice(0, 80)"
                       " || e.id || e.tagName)(document.activeElement)")  # fmt: skip

    def tab_to(self, name, shift=False, most=120):
        """Presses Tab until what has the focus has this name; the names on the way."""
        way = []
        for _ in range(most):
            self.key("Tab", shift)
            way.append(self.focus())
            if way[-1] == name:
                return way
        raise AssertionError(f"Tab never comes to {name!r}: {way}")

    def size(self, width, height, scale=1):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale,
                  mobile=False)  # fmt: skip

    def media(self, **features):
        """prefers_color_scheme="dark" and the like."""
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": k.replace("_", "-"), "value": v} for k, v in features.items()])  # fmt: skip

    def screenshot(self, path, whole=False):
        """As PNG, or WebP by its name."""
        if whole:
            self.size(self.js("innerWidth"), self.js("document.documentElement.scrollHeight"))
        how = {"format": "webp", "quality": 85} if str(path).endswith(".webp") else {"format": "png"}
        data = self.call("Page.captureScreenshot", **how)["data"]
        with open(path, "wb") as out:
            out.write(base64.b64decode(data))

    def complaints(self):
        """What stands on the console: errors, warnings, violations of the content security policy."""
        found = []
        for event in self.events:
            params = event["params"]
            if event["method"] == "Log.entryAdded":
                found.append(params["entry"]["text"] + " " + params["entry"].get("url", ""))
            elif event["method"] == "Runtime.exceptionThrown":
                found.append(json.dumps(params["exceptionDetails"]))
            elif event["method"] == "Runtime.consoleAPICalled":
                found.append(json.dumps(params["args"]))
        return found

    def requests(self):
        return [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
