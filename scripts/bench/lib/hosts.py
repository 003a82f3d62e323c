# SPDX-License-Identifier: Apache-2.0
"""
Three hosts of the kernel's own, for comparisons: users outside, the gateway's, and the one with the
service; namespaces, and cables between them. All that runs there goes at the end.

    outside 10.96.1.2 ── 10.96.1.1 gateway 10.96.2.1 ── 10.96.2.2 inside
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from frame import Failed, deaf, tied

USERS, GATEWAY_OUTSIDE, GATEWAY_INSIDE, SERVICE = "10.96.1.2", "10.96.1.1", "10.96.2.1", "10.96.2.2"
SETTINGS = ("net.ipv4.ip_local_port_range=10000 65535", "net.ipv4.tcp_tw_reuse=1", "net.core.somaxconn=4096")


class Hosts:
    """`with Hosts() as hosts:`; the hosts are called outside, gateway and inside."""

    def __init__(self, keep=False):
        if os.geteuid() != 0:
            raise Failed("namespaces need root: sudo scripts/bench/compare")
        self.keep = keep
        self.names = {host: f"qpcompare-{os.getpid()}-{host}" for host in ("outside", "gateway", "inside")}
        self.processes = []

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix=f"qpcompare-{'kept' if self.keep else os.getpid()}-"))
        try:
            self.build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def build(self):
        sweep()
        for host, name in self.names.items():
            call("ip", "netns", "add", name)
            call("ip", "-n", name, "link", "set", "lo", "up")
            for setting in SETTINGS:
                call(*self.command(host, "sysctl", "-q", "-w", setting))
        self.cable("outside", f"{USERS}/24", "gateway", f"{GATEWAY_OUTSIDE}/24")
        self.cable("inside", f"{SERVICE}/24", "gateway", f"{GATEWAY_INSIDE}/24")
        call("ip", "-n", self.names["outside"], "route", "add", "default", "via", GATEWAY_OUTSIDE)
        call("ip", "-n", self.names["inside"], "route", "add", "default", "via", GATEWAY_INSIDE)
        call(*self.command("gateway", "sysctl", "-q", "-w", "net.ipv4.ip_forward=1"))

    def cable(self, one, one_address, other, other_address):
        one_if, other_if = f"to-{other}", f"to-{one}"
        call("ip", "link", "add", one_if, "netns", self.names[one], "type", "veth",
             "peer", "name", other_if, "netns", self.names[other])  # fmt: skip
        for host, name, address in ((one, one_if, one_address), (other, other_if, other_address)):
            call("ip", "-n", self.names[host], "address", "add", address, "dev", name)
            call("ip", "-n", self.names[host], "link", "set", name, "up")

    def __exit__(self, *_):
        with deaf():
            self.end()

    def end(self):
        end_all(self.processes)
        for name in self.names.values():
            remove(name)
        if self.keep:
            print(f"logs: {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def command(self, host, *words):
        return ["ip", "netns", "exec", self.names[host], *map(str, words)]

    def environment(self):
        env = {k: v for k, v in os.environ.items() if not k.startswith("QUICPORT_")}
        return {**env, "HOME": str(self.folder), "QUICPORT_STATE_DIR": str(self.folder / "state"),
                "QUICPORT_CONFIG_DIR": str(self.folder / "config")}  # fmt: skip

    def start(self, host, name, *words, join=lambda: None, stdout=None):
        """
        A program on a host, its output in NAME.log, or at `stdout` what it says there. `join` runs in
        the process before the program.
        """
        def before():
            tied()
            join()

        with open(self.folder / f"{name}.log", "ab") as log:
            process = subprocess.Popen(self.command(host, *words), stdin=subprocess.DEVNULL,
                                       stdout=stdout or log, stderr=log, env=self.environment(),
                                       start_new_session=True, preexec_fn=before)  # fmt: skip
        process.log = self.folder / f"{name}.log"
        self.processes.append(process)
        return process


def call(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}: {done.stderr.strip()}")


def pids(namespace):
    done = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True)
    return [int(pid) for pid in done.stdout.split()]


def remove(namespace):
    for pid in pids(namespace):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    subprocess.run(["ip", "netns", "del", namespace], capture_output=True)


def sweep():
    """Removes what a run left that was killed itself: its children end with it, namespaces do not."""
    listed = subprocess.run(["ip", "netns"], capture_output=True, text=True).stdout
    for name, pid in re.findall(r"^(qpcompare-(\d+)-\w+)", listed, re.M):
        if not Path(f"/proc/{pid}").exists():
            remove(name)
    for folder in Path(tempfile.gettempdir()).glob("qpcompare-[0-9]*-*"):
        if not Path("/proc", folder.name.split("-")[1]).exists():
            shutil.rmtree(folder, ignore_errors=True)


def end_all(processes, patience=10):
    """Asks them to end, and sees to it."""
    for process in reversed(processes):
        if process.poll() is None:
            process.terminate()
    end = time.monotonic() + patience
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.1, end - time.monotonic()))
        if process.poll() is None:
            process.kill()
            process.wait()
