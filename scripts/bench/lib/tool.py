# SPDX-License-Identifier: Apache-2.0
"""
What an adapter of scripts/bench/adapters/ is: a file there with a class Adapter of this one. Each leads
users who come to the gateway's host to the service on the inside host, by programs on either.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import hosts
from frame import Failed
from group import Group

FOLDER = Path(__file__).resolve().parent.parent / "adapters"
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
SERVICE_PORT = 7000


class Tool:
    programs = ()  # that it needs on PATH
    package = None  # Debian's, which has them; None: it has none
    reverse = False  # whether the inside host only connects outwards
    encrypts = False
    note = ""  # how it is set up, where that matters to who reads its figures
    version_words = ("--version",)

    def __init__(self, name, number):
        self.name = name
        # Of this tool alone: for users, and between its ends.
        self.port, self.link_port = 7100 + 2 * number, 7101 + 2 * number
        self.address = hosts.GATEWAY_OUTSIDE

    def path(self, program):
        return shutil.which(program, path=PATH)

    def missing(self):
        return [program for program in self.programs if not self.path(program)]

    def version(self):
        """The first that looks like one in what its first program says; "unknown"."""
        if not self.programs:
            return ""
        try:
            done = subprocess.run([self.path(self.programs[0]), *self.version_words], capture_output=True,
                                  text=True, timeout=10, stdin=subprocess.DEVNULL)  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            return "unknown"
        found = re.search(r"\d+\.\d+[\w.\-]*", done.stdout + done.stderr)
        return found[0] if found else "unknown"

    def prepare(self, bed):
        """Files and keys, in self.folder."""

    def start(self, bed):
        """Starts both ends with self.run(bed, host, program, words…)."""
        raise NotImplementedError

    # ---- what the script calls ----

    def begin(self, bed, group):
        self.group, self.processes = group, []
        self.folder = bed.folder / self.name
        self.folder.mkdir(mode=0o700)
        self.prepare(bed)
        self.start(bed)

    def run(self, bed, host, program, *words):
        """A program of the tool on a host. It stays in the foreground."""
        process = bed.start(host, f"{self.name}-{len(self.processes) + 1}", self.path(program) or program, *words,
                            join=self.group.join)  # fmt: skip
        self.processes.append(process)
        self.group.first.append(process.pid)
        return process

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    def check(self):
        """Raises Failed when one of its programs has ended."""
        for process in self.processes:
            if process.poll() is not None:
                said = process.log.read_text(errors="replace").strip()[-1000:]
                raise Failed(f"{self.name}: {' '.join(process.args[4:6])} ended with status {process.returncode}: "
                             f"{said or 'it said nothing'}")  # fmt: skip

    def wait_until(self, condition, what, patience=20):
        end = time.monotonic() + patience
        while not condition():
            self.check()
            if time.monotonic() > end:
                said = "\n".join(p.log.read_text(errors="replace").strip()[-500:] for p in self.processes)
                raise Failed(f"{self.name}: not within {patience} s: {what}:\n{said}")
            time.sleep(0.05)


def listens(bed, host, port):
    """Whether a kernel socket of that host listens there."""
    done = subprocess.run(bed.command(host, "ss", "-Hltn", f"sport = :{port}"), capture_output=True, text=True)
    return bool(done.stdout.strip())


def done(*command):
    """For prepare(): runs a command to its end; its output."""
    ended = subprocess.run(list(map(str, command)), capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if ended.returncode != 0:
        raise Failed(f"{' '.join(map(str, command))}: {(ended.stderr or ended.stdout).strip()[-500:]}")
    return ended.stdout


def all_tools(folder=FOLDER):
    """{name: adapter} of each file, the product and its floor first."""
    paths = sorted(folder.glob("*.py"), key=lambda p: (p.stem != "direct", p.stem != "quicport", p.stem))
    tools = {}
    for number, path in enumerate(paths):
        spec = importlib.util.spec_from_file_location(f"adapter_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        tools[path.stem] = module.Adapter(path.stem, number)
    return tools


def chosen(tools, names):
    """
    Those to be measured, and {name: why not} of the others: of all when `names` is None, when what is
    missing is left out; else of these, when what is missing is an error.
    """
    unknown = [name for name in names or () if name not in tools]
    if unknown:
        raise Failed(f'--tools: there is no adapter "{unknown[0]}"; there are {", ".join(tools)}')
    left_out = {}
    for name in names or tools:
        missing = tools[name].missing()
        if missing:
            package = tools[name].package
            put = f"put {'it' if len(missing) == 1 else 'them'} on PATH"
            left_out[name] = f"{', '.join(missing)} not found: {f'apt-get install {package}' if package else put}"
    if names and left_out:
        name = next(iter(left_out))
        raise Failed(f"--tools: {name}: {left_out[name]}")
    return [tools[name] for name in names or tools if name not in left_out], left_out


__all__ = ["Failed", "Group", "SERVICE_PORT", "Tool", "all_tools", "chosen", "done", "listens"]
