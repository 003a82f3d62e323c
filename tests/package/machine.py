# SPDX-License-Identifier: Apache-2.0
"""A machine to install packages on: this one's files under a layer, with a systemd of its own."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PATIENCE_S = 30


class Impossible(Exception):
    """This machine cannot hold another; the text says why."""


def eventually(condition, within=PATIENCE_S, what="condition", every=0.05):
    end = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise AssertionError(f"not within {within} s: {what}")
        time.sleep(every)


class Machine:
    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="quicport-machine-"))
        self.share = self.folder / "share"  # /run/test inside
        self.share.mkdir()
        self.cgroup = f"quicport-test-{os.getpid()}"
        self.log = self.folder / "boot.log"
        with open(self.log, "wb") as out:
            self.popen = subprocess.Popen(
                ["unshare", "--mount", HERE / "boot.sh", self.folder, self.cgroup],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        try:
            self.pid = eventually(self._init, what="systemd is process 1")
            eventually(self._booted, what="systemd has started")
        except AssertionError as e:
            text = self.log.read_text(errors="replace").strip()
            self.remove()
            raise Impossible(f"{e}: {text[-400:]}") from None

    def _init(self):
        if self.popen.poll() is not None:
            raise AssertionError(f"ended with status {self.popen.returncode}")
        with contextlib.suppress(OSError, ValueError):
            pid = int(Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children").read_text())
            if Path(f"/proc/{pid}/comm").read_text().strip() == "systemd":
                return pid
        return None

    def _booted(self):
        if self.popen.poll() is not None:
            raise AssertionError(f"ended with status {self.popen.returncode}")
        done = self.try_run("systemctl", "is-active", "basic.target")
        return done.stdout.strip() == "active"

    def command(self, *words):
        return ["nsenter", "-t", str(self.pid), "--mount", "--pid", "--net", "--cgroup", "--uts",
                "--ipc", "--wd=/", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive",
                *map(str, words)]  # fmt: skip

    def try_run(self, *words, timeout=120):
        return subprocess.run(self.command(*words), capture_output=True, text=True, timeout=timeout,
                              stdin=subprocess.DEVNULL)  # fmt: skip

    def run(self, *words, timeout=120):
        done = self.try_run(*words, timeout=timeout)
        assert done.returncode == 0, f"{' '.join(map(str, words))}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def start(self, *words):
        return subprocess.Popen(self.command(*words), stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True)  # fmt: skip

    def property(self, unit, name):
        return self.run("systemctl", "show", "--value", "-p", name, unit).strip()

    def active(self, unit):
        return self.property(unit, "ActiveState") == "active"

    def journal(self, unit):
        return self.try_run("journalctl", "-o", "cat", "--no-pager", "-u", unit).stdout

    def read(self, path):
        return self.run("cat", path)

    def write(self, path, text):
        (self.share / "file").write_text(text)
        self.run("install", "-D", "-m", "0644", "/run/test/file", path)

    def layer(self):
        """What differs from the machine below: files, links, what is gone, and new folders."""
        lines = self.run("find", "/run/upper", "-mindepth", "1", "-printf", "%y %P\n").splitlines()
        found = (line.split(" ", 1) for line in lines)
        return {path for kind, path in found if kind != "d" or not Path("/", path).is_dir()}

    def remove(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()
        # Its control groups outlive it, empty, until somebody removes them.
        script = (
            'mount -t cgroup2 none "$1" && for i in $(seq 50); do '
            'find "$1/$2" -depth -type d -exec rmdir {} + 2>/dev/null; '
            '[ -d "$1/$2" ] || exit 0; sleep 0.1; done; exit 1'
        )
        (self.folder / "cgroup").mkdir(exist_ok=True)
        subprocess.run(["unshare", "--mount", "sh", "-c", script, "_", self.folder / "cgroup",
                        self.cgroup], check=False, capture_output=True)  # fmt: skip
        shutil.rmtree(self.folder, ignore_errors=True)
