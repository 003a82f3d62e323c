# SPDX-License-Identifier: Apache-2.0
"""Data planes that crash, are killed, or hang: found, replaced, and nothing of them left."""

import contextlib
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness import FULL, Client, Gateway, eventually, new_port
from test_telemetry import Telemetry

LO = "127.0.0.1"
# The contract's figures hold on a machine that has time for us; else a fault is found all the same.
FOUND_S, ACTIVE_S, SERVES_S = (1, 2, 3) if FULL else (5, 8, 12)

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_GETREGS, PTRACE_DETACH = 0x4206, 0x4207, 12, 17
WALL = 0x40000000
REG_RIP, REGS = 16, 27  # of struct user_regs_struct, x86-64
JUMP_TO_ITSELF = b"\xeb\xfe"
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]


def planes(gateway):
    return gateway.call("ListDataPlanes")[1]["data_planes"]


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


def spin(pid, tid):
    """One thread turns in a loop of one instruction, from where it is now."""
    registers = (ctypes.c_ulonglong * REGS)()
    assert libc.ptrace(PTRACE_SEIZE, tid, None, None) == 0, os.strerror(ctypes.get_errno())
    assert libc.ptrace(PTRACE_INTERRUPT, tid, None, None) == 0, os.strerror(ctypes.get_errno())
    os.waitpid(tid, WALL)
    assert libc.ptrace(PTRACE_GETREGS, tid, None, registers) == 0
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        memory.seek(registers[REG_RIP])
        memory.write(JUMP_TO_ITSELF)
    assert libc.ptrace(PTRACE_DETACH, tid, None, None) == 0


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


def drain(gateway, pid):
    """The ACTIVE data plane hands over; waits for its successor."""
    dp_id = next(row["dp_id"] for row in planes(gateway) if row["pid"] == pid)
    assert gateway.call("DrainDataPlane", dp_id=dp_id) == (200, {"status": "draining"})
    replaced(gateway, pid, ACTIVE_S)


def log_line(gateway, message):
    return next((row for row in gateway.lines() if row["message"] == message), None)


def reports(gateway):
    return sorted((gateway.state_dir / "crash").glob("*-data-plane-*.txt"))


@pytest.mark.parametrize("what", ["process", "main thread", "worker", "spinning worker"])
def test_data_plane_that_hangs_is_found_and_replaced(host, what):
    gateway = Gateway(host, new_port(), "--workers", "2", "--memory", "256")
    _, outside = tunnel_on(host, gateway)
    old = pid_of(gateway)
    workers = workers_of(old)
    assert len(workers) == 2
    with contextlib.ExitStack() as stack:
        started = time.monotonic()
        if what == "process":
            os.kill(old, signal.SIGSTOP)
        elif what == "spinning worker":
            spin(old, workers[1])
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
    # Both workers sleep in the same function of the library: the loop is soon in both.
    guilty = {"main thread": "its main thread", "worker": "worker 1"}.get(what, "worker ")
    assert line["reason"].startswith(guilty)
    assert gateway.metric("quicport_data_plane_hangs_total") == 1
    (report,) = reports(gateway)
    text = report.read_text()
    assert f"it hung: {line['reason']}\n" in text
    assert f"thread {workers[1]} " in text
    # It could say where, if it got a CPU within the time that it was given.
    if what == "spinning worker" and (FULL or "it was killed by signal 9" not in text):
        told = r"signal 6 \(SIGABRT\).*thread worker \d, tid \d+\n.*\n#0 \S+\+0x.*\n#1 "
        assert re.search(told, text, re.S)
    gateway.end()


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_data_plane_that_crashes_leaves_a_report_and_its_clients_come_back(host, number):
    gateway = Gateway(host, new_port())
    _, outside = tunnel_on(host, gateway)
    (row,) = planes(gateway)
    started = time.monotonic()
    os.kill(row["pid"], number)
    replaced(gateway, row["pid"], ACTIVE_S)
    active = time.monotonic() - started
    eventually(lambda: host.port_opens(LO, outside), SERVES_S, "the client is back")
    print(f"{number.name}: ACTIVE after {active:.2f} s, "
          f"serves after {time.monotonic() - started:.2f} s")  # fmt: skip
    (report,) = reports(gateway)
    assert report.stat().st_mode & 0o777 == 0o600
    text = report.read_text()
    assert text.startswith(f"data plane {row['dp_id']} died at ")
    assert f"it was killed by signal {int(number)} " in text
    assert "worker 0, tid " in text and "  tunnels_active 1\n" in text
    if number != signal.SIGKILL:
        assert re.search(r"signal \d+ \(SIG(SEGV|ABRT)\)", text) and "\n#1 " in text
        assert "\nmodule quicport-data-plane at 0x" in text or "\nmodule libc.so.6 at 0x" in text
    line = log_line(gateway, "a crash report is written")
    assert int(line["dp_id"], 16) == int(row["dp_id"], 16) and line["file"] == str(report)
    gateway.end()


def test_control_plane_that_crashes_leaves_a_report(host):
    gateway = Gateway(host, new_port())
    client, outside = tunnel_on(host, gateway)
    data_plane = pid_of(gateway)
    os.kill(gateway.pid, signal.SIGSEGV)
    assert gateway.wait() == -signal.SIGSEGV
    (report,) = (gateway.state_dir / "crash").glob("*-control-plane-*.txt")
    assert report.stat().st_mode & 0o777 == 0o600
    assert re.search(r"signal 11 \(SIGSEGV\) sent by process \d+\n.*thread main, .*\n#0 \S+\+0x", report.read_text(), re.S)  # fmt: skip
    after = Gateway(host, gateway.port, env={"QUICPORT_STATE_DIR": str(gateway.state_dir)})
    after.before = gateway.before
    assert pid_of(after) == data_plane and client.running() and host.port_opens(LO, outside)
    after.stop()
    eventually(lambda: not Path(f"/proc/{data_plane}").exists(), what="the data plane has ended")


def test_data_planes_that_keep_dying_are_told_and_end_with_one_that_lives(host):
    gateway = Gateway(host, new_port())
    reasons = set()
    for _ in range(4):
        victim = pid_of(gateway)
        os.kill(victim, signal.SIGKILL)
        while pid_of(gateway) in (0, victim):
            status, body = gateway.get("/healthcheck")
            if status == 503:
                reasons.add(json.loads(body).get("reason", ""))
    assert gateway.metric("quicport_data_plane_deaths_in_a_row") >= 3
    steps = [row for row in gateway.lines() if "again and again" in row["message"]]
    assert [row["in_a_row"] for row in steps] == [2, 3, 4]
    assert [row["wait_ms"] for row in steps] == sorted(row["wait_ms"] for row in steps)
    assert all("was killed by signal 9" in row["how"] for row in steps)
    told = [reason for reason in reasons if "in a row ended soon" in reason]
    assert told and "was killed by signal 9" in told[0] and "starts in" in told[0], reasons
    tunnel_on(host, gateway)
    gateway.end()


def belongings(gateway):
    """What a data plane may leave behind when it dies: what is there of it now."""
    host = gateway.host
    _, text = gateway.get("/metrics")
    figures = dict(re.findall(r"^quicport_([a-z_]+(?:{[^}]*})?) ([0-9.e+-]+)$", text, re.M))
    wanted = ("map_entries", "table_entries",
              'open_descriptors{process="control_plane"', 'open_descriptors{process="port_owner"')  # fmt: skip
    found = {name: int(value) for name, value in figures.items() if name.startswith(wanted)}
    links = [row["ifname"] for row in json.loads(host.run("ip", "-j", "link"))]
    with Telemetry(gateway) as telemetry:
        heap = telemetry.ask("/eal/heap_info,0")
    found["shared memory"] = heap["Alloc_size"]
    found["EAL's files"] = len(list(Path(f"/var/run/dpdk/{gateway.instance}").iterdir()))
    found["taps"] = sum(name.startswith("qp") for name in links)
    found["data planes"] = len(planes(gateway))
    return found


def resident(gateway, process):
    return gateway.metric('quicport_resident_bytes{process="%s"}' % process)


DEATHS = 20 if FULL else 5


def test_killed_data_planes_leave_nothing(host):
    """A little load; SIGKILL and SIGSEGV in turn. What is left after each is what was there before."""
    gateway = Gateway(host, new_port())
    client, outside = tunnel_on(host, gateway)

    def use():
        result = host.load(LO, outside, "--echo", "--send", 200000, "--half-close",
                           "--connections", 20, "--parallel", 10, deadline=30)  # fmt: skip
        assert result["ok"] == 20, result

    use()
    before = first = None
    slowest = 0
    for number in range(DEATHS + 1):
        victim = pid_of(gateway)
        hanging = [host.connect(LO, outside) for _ in range(5)]  # they die with it
        os.kill(victim, (signal.SIGKILL, signal.SIGSEGV)[number % 2])
        died = time.monotonic()
        replaced(gateway, victim, ACTIVE_S)
        eventually(lambda: host.port_opens(LO, outside), SERVES_S, "the client is back")
        slowest = max(slowest, time.monotonic() - died)
        for sock in hanging:
            with sock, contextlib.suppress(ConnectionResetError, BrokenPipeError):
                sock.settimeout(10)
                sock.sendall(b"x")
                assert sock.recv(1) == b"", "an answer from the dead"
        use()
        if before is None:  # the first one warms caches up
            before = eventually(lambda: settled(gateway), what="all is quiet")
            first = {name: resident(gateway, name) for name in ("control_plane", "port_owner")}
    with contextlib.suppress(AssertionError):
        eventually(lambda: settled(gateway) == before, what="as before")
    left = settled(gateway)
    assert left == before, {name: (before.get(name), left[name]) for name in left
                            if left[name] != before.get(name)}  # fmt: skip
    for name, bytes_then in first.items():
        assert resident(gateway, name) < bytes_then + (2 << 20), name
    print(f"{DEATHS + 1} deaths, the slowest to serve again after {slowest:.2f} s")
    assert client.running()
    gateway.end()


def settled(gateway):
    """What is there, once it is the same twice: a connection that ends, as that to DPDK's
    telemetry, takes a moment."""
    found = None
    while found != (found := belongings(gateway)):
        time.sleep(0.3)  # for what our own questions left
    return found


def test_death_of_a_draining_data_plane_disturbs_no_other(host):
    gateway = Gateway(host, new_port(), "--memory", "512")
    first, first_port = tunnel_on(host, gateway, name="first")
    victim = pid_of(gateway)
    drain(gateway, victim)
    second, second_port = tunnel_on(host, gateway, name="second")
    drain(gateway, pid_of(gateway))
    third, third_port = tunnel_on(host, gateway, name="third")
    rows = {row["active_tunnels"]: row for row in planes(gateway)}
    states = sorted(row["state"] for row in planes(gateway))
    assert states == ["ACTIVE", "DRAINING", "DRAINING"], rows
    starts = gateway.metric("quicport_data_plane_starts_total")

    with host.connect(LO, second_port) as other, host.connect(LO, third_port) as third_sock:
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: len(planes(gateway)) == 2, what="it is gone")
        eventually(lambda: host.port_opens(LO, first_port), SERVES_S, "its client is back")
        for sock in (other, third_sock):
            sock.settimeout(10)
            sock.sendall(b"still here")
            assert sock.recv(100) == b"still here"
    assert gateway.metric("quicport_data_plane_starts_total") == starts, "nobody took its place"
    assert gateway.metric("quicport_data_plane_farewells_total") == 1
    assert first.running() and second.running() and third.running()
    gateway.end()


def waited_s(pid, tid):
    """For how long a thread has been ready to run and had no CPU."""
    return int(Path(f"/proc/{pid}/task/{tid}/schedstat").read_text().split()[1]) / 1e9


def longest_silence(pid, tid, wanted, within):
    """For how long a thread was not seen to run; waits until that was as long as `wanted`."""
    ran, longest = None, 0
    seen = end = time.monotonic()
    while longest < wanted and seen < end + within:
        now = Path(f"/proc/{pid}/task/{tid}/schedstat").read_text().split()[0]
        if now == ran:
            longest = max(longest, time.monotonic() - seen)
        else:
            ran, seen = now, time.monotonic()
        time.sleep(0.01)  # between two looks
    return longest


def test_data_plane_without_cpu_time_does_not_hang(host):
    """Its worker wants a CPU all the time, and gets one when nobody else does: others always do."""
    gateway = Gateway(host, new_port(), "--busy-poll")
    client, outside = tunnel_on(host, gateway)
    pid = pid_of(gateway)
    (worker,) = workers_of(pid)
    (cpu, *_) = os.sched_getaffinity(worker)
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {cpu})
        os.sched_setscheduler(int(task.name), os.SCHED_IDLE, os.sched_param(0))
    with contextlib.suppress(OSError):  # sessions have shares of their own
        Path(f"/proc/{pid}/autogroup").write_text("19")
    before = waited_s(pid, worker)
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"],
                             preexec_fn=lambda: os.sched_setaffinity(0, {cpu}),
                             start_new_session=True)
            for _ in range(16)]  # fmt: skip
    try:
        longest = longest_silence(pid, worker, wanted=1.2, within=8)
        print(f"without a CPU for {longest:.2f} s")
        assert gateway.metric("quicport_data_plane_hangs_total") == 0
    finally:
        for process in busy:
            process.kill()
            process.wait()
        for task in Path(f"/proc/{pid}/task").iterdir():  # else it ends late where others are busy
            os.sched_setscheduler(int(task.name), os.SCHED_OTHER, os.sched_param(0))
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/autogroup").write_text("0")
    eventually(lambda: host.port_opens(LO, outside), what="it serves again")
    assert waited_s(pid, worker) - before > 1.5, "it was not kept from running"
    assert pid_of(gateway) == pid and client.running()
    gateway.end(within=5)
