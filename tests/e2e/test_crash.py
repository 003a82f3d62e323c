# SPDX-License-Identifier: Apache-2.0
"""Data planes that crash, are killed, or hang: found, replaced, and nothing of them left."""

import contextlib
import ctypes
import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from harness import FULL, Client, Gateway, eventually, new_port

LO = "127.0.0.1"
# The contract's figures hold on a machine that has time for us; else a fault is found all the same.
FOUND_S, ACTIVE_S, SERVES_S = (1, 2, 3) if FULL else (5, 8, 12)

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]


def planes(gateway):
    """The data planes' rows; [] while the gateway does not answer."""
    body = b"{}"
    with gateway.host.inside():
        sock = socket.create_connection((LO, gateway.port), 5)
    with sock:
        sock.sendall(b"POST /api/v1/admin/ListDataPlanes HTTP/1.1\r\nHost: localhost\r\n"
                     b"Content-Type: application/json\r\nContent-Length: %d\r\n"
                     b"Connection: close\r\n\r\n%s" % (len(body), body))  # fmt: skip
        text = b""
        while data := sock.recv(65536):
            text += data
    return json.loads(text.partition(b"\r\n\r\n")[2])["data_planes"]


def pid_of(gateway, state="ACTIVE"):
    return next((row["pid"] for row in planes(gateway) if row["state"] == state), 0)


def replaced(gateway, old, within):
    """Waits until another one than process `old` is ACTIVE."""
    return eventually(lambda: pid_of(gateway) not in (0, old) and pid_of(gateway), within,
                      "another data plane serves")  # fmt: skip


def workers_of(pid):
    """Thread ids of a data plane's workers: EAL names them."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        name = (task / "comm").read_text().strip()
        if name.startswith(("lcore-worker", "rte-worker")):
            found.append(int(task.name))
    return sorted(found)


@contextlib.contextmanager
def halted(tid):
    """One thread stands still, as if it waited for something that never comes."""
    assert libc.ptrace(PTRACE_SEIZE, tid, None, None) == 0, os.strerror(ctypes.get_errno())
    assert libc.ptrace(PTRACE_INTERRUPT, tid, None, None) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
        # A tracer is told of the end before the parent is.
        eventually(lambda: ended(tid), what="the thread is gone")
    finally:
        libc.ptrace(PTRACE_DETACH, tid, None, None)


def ended(tid):
    try:
        pid, status = os.waitpid(tid, WALL | os.WNOHANG)
    except ChildProcessError:
        return True
    return pid == tid and not os.WIFSTOPPED(status)


def tunnel_on(host, gateway, **kind):
    outside, inside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    client = Client(host, f"{LO}:{gateway.port}", outside, inside, reconnect=True, **kind)
    client.opens(host, LO, outside)
    return client, outside


def log_line(gateway, message):
    return next((row for row in gateway.lines() if row["message"] == message), None)


@pytest.mark.parametrize("what", ["process", "main thread", "worker"])
def test_data_plane_that_hangs_is_found_and_replaced(host, what):
    gateway = Gateway(host, new_port(), "--workers", "2", "--memory", "256")
    _, outside = tunnel_on(host, gateway)
    old = pid_of(gateway)
    workers = workers_of(old)
    assert len(workers) == 2
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        if what == "process":
            os.kill(old, signal.SIGSTOP)
        else:
            stack.enter_context(halted(old if what == "main thread" else workers[1]))
        line = eventually(lambda: log_line(gateway, "a data plane hangs: it is killed"), FOUND_S,
                          "the hang is found")  # fmt: skip
        found = time.monotonic() - started
    replaced(gateway, old, ACTIVE_S)
    active = time.monotonic() - started
    eventually(lambda: host.port_opens(LO, outside), SERVES_S, "the client is back")
    print(f"{what}: found after {found:.2f} s, ACTIVE after {active:.2f} s, "
          f"serves after {time.monotonic() - started:.2f} s")  # fmt: skip
    assert ("main thread" if what == "main thread" else "worker") in line["reason"] or (
        what == "process")
    assert gateway.metric("quicport_data_plane_hangs_total") == 1
    gateway.end()
