# SPDX-License-Identifier: Apache-2.0
"""What a service manager sees: readiness, signs of life, a port owner of its own, capabilities."""

import contextlib
import os
import select
import signal
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest

from harness import BUILD, QUICPORT, Gateway, alive, eventually, files_of, new_port

REQUEST = struct.Struct("<III32s")
REPLY = struct.Struct("<IIiI240s")
MAGIC = 0x51504F57
WATCHDOG_S = 0.4


@pytest.fixture
def notices(tmp_path):
    """The socket that NOTIFY_SOCKET names."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(str(tmp_path / "notify"))
        s.settimeout(20)
        yield s


def heard(notices, line, within=20):
    """Waits for a message with this line; the messages until then."""
    seen, end = [], time.monotonic() + within
    while time.monotonic() < end:
        with contextlib.suppress(TimeoutError):
            seen.append(notices.recv(4096).decode().splitlines())
            if line in seen[-1]:
                return seen
    raise AssertionError(f"{line} was not heard in {within} s: {seen}")


def drain(notices):
    notices.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            notices.recv(4096)
    notices.settimeout(20)


@pytest.fixture
def watched(host, notices):
    return Gateway(host, new_port(), env={
        "NOTIFY_SOCKET": notices.getsockname(),
        "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6)),
    })  # fmt: skip


def test_gateway_tells_when_it_is_ready_and_when_it_stops(watched, notices):
    heard(notices, "READY=1")
    watched.send(signal.SIGTERM)
    heard(notices, "STOPPING=1")
    assert watched.wait() == 0


def test_reload_is_told_from_its_beginning_to_its_end(watched, notices):
    heard(notices, "READY=1")
    before = time.clock_gettime(time.CLOCK_MONOTONIC)
    watched.send(signal.SIGHUP)
    told = heard(notices, "RELOADING=1")[-1]
    (at,) = (int(line.partition("=")[2]) for line in told if line.startswith("MONOTONIC_USEC="))
    assert before * 1e6 <= at <= time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6
    assert not any("RELOADING=1" in message for message in heard(notices, "READY=1")[:-1])
    assert "a new data plane serves" in watched.output(), "it was not ready yet"


def test_loop_that_turns_gives_signs_of_life_in_time(watched, notices):
    heard(notices, "READY=1")
    heard(notices, "WATCHDOG=1")
    before = time.monotonic()
    for _ in range(5):
        heard(notices, "WATCHDOG=1")
        now = time.monotonic()
        assert now - before < WATCHDOG_S
        before = now


def test_gateway_that_hangs_gives_none(watched, notices):
    heard(notices, "READY=1")
    watched.send(signal.SIGSTOP)
    try:
        stopped = Path(f"/proc/{watched.pid}/stat")
        eventually(lambda: stopped.read_text().rpartition(")")[2].split()[0] == "T")
        drain(notices)
        notices.settimeout(3 * WATCHDOG_S)
        with pytest.raises(TimeoutError):
            notices.recv(4096)
    finally:
        watched.send(signal.SIGCONT)
    notices.settimeout(20)
    heard(notices, "WATCHDOG=1")


def test_nobody_who_watches_gets_nothing(host, notices):
    Gateway(host, new_port(), env={"NOTIFY_SOCKET": notices.getsockname()})
    assert ["WATCHDOG=1"] not in heard(notices, "READY=1")
    notices.settimeout(1)
    with pytest.raises(TimeoutError):
        notices.recv(4096)


def test_reload_is_told(watched, notices):
    heard(notices, "READY=1")
    watched.send(signal.SIGHUP)
    heard(notices, "RELOADING=1")
    heard(notices, "READY=1")


# ---- a port owner that somebody else starts ----


class Owner:
    """quicport-port-owner with its socket, as a service manager starts it."""

    def __init__(self, folder, env=None):
        self.path = str(folder / "owner.sock")
        self.log = folder / "owner.log"
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s, open(self.log, "wb") as out:
            s.bind(self.path)
            s.listen(8)
            self.process = subprocess.Popen(
                [BUILD / "quicport-port-owner", "--listen-fd", str(s.fileno())],
                pass_fds=[s.fileno()], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                env={"PATH": os.environ["PATH"], **(env or {})},
            )  # fmt: skip

    def ask(self, instance, memory_mib=64, version=1):
        """A connection, what was answered, and the lifeline or None."""
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.settimeout(20)
        s.connect(self.path)
        s.send(REQUEST.pack(MAGIC, version, memory_mib, instance.encode()))
        data, fds, _, _ = socket.recv_fds(s, 4096, 4)
        magic, _, pid, ok, why = REPLY.unpack(data)
        assert magic == MAGIC
        return s, {"pid": pid, "ok": ok, "why": why.rstrip(b"\0").decode()}, fds


@pytest.fixture
def owner(tmp_path):
    made = Owner(tmp_path)
    yield made
    made.process.terminate()
    made.process.wait(20)


def test_port_owner_gives_its_lifeline_again_and_ends_with_the_last(owner):
    name = f"quicport-{os.getpid():08x}"
    first, told, (lifeline,) = owner.ask(name)
    assert (told["ok"], told["pid"]) == (1, owner.process.pid)
    first.close()
    second, told, (another,) = owner.ask(name)
    assert (told["ok"], told["pid"]) == (1, owner.process.pid)
    os.close(lifeline)
    time.sleep(0.2)  # that it does not end cannot be waited for
    assert owner.process.poll() is None
    os.close(another)
    assert owner.process.wait(20) == 0
    assert second.recv(16) == b""
    second.close()
    assert files_of(name) == []


def test_port_owner_refuses_another_gateway_and_stays(owner):
    name = f"quicport-{os.getpid():08x}"
    first, _, (lifeline,) = owner.ask(name)
    for instance, version, why in (
        ("quicport-00000000", 1, "serves another gateway"),
        (name, 7, "releases that do not understand each other"),
        ("../../etc", 1, "name is not one"),
        ("", 1, "name is not one"),
    ):
        other, told, fds = owner.ask(instance, version=version)
        assert told["ok"] == 0 and why in told["why"] and fds == []
        assert other.recv(16) == b""
        other.close()
    for junk in (b"x", b"\0" * REQUEST.size, b"y" * 4000):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.settimeout(20)
            s.connect(owner.path)
            s.send(junk)
            assert s.recv(16) == b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as silent:
        silent.connect(owner.path)
        again, told, fds = owner.ask(name)
        assert told["ok"] == 1
        os.close(fds[0])
        again.close()
    os.close(lifeline)
    first.close()
    assert owner.process.wait(20) == 0


def test_port_owner_that_has_no_memory_says_why_and_ends(owner):
    s, told, fds = owner.ask(f"quicport-{os.getpid():08x}", memory_mib=1 << 20)
    assert told["ok"] == 0 and fds == []
    assert "hugepages" in told["why"]
    s.close()
    assert owner.process.wait(20) == 1


def test_port_owner_is_ready_and_alive_for_its_service_manager(tmp_path, notices):
    owner = Owner(tmp_path, {"NOTIFY_SOCKET": notices.getsockname(),
                             "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6))})  # fmt: skip
    try:
        _, _, (lifeline,) = owner.ask(f"quicport-{os.getpid():08x}")
        heard(notices, "READY=1")
        heard(notices, "WATCHDOG=1")
        heard(notices, "WATCHDOG=1")
        os.close(lifeline)
        assert owner.process.wait(20) == 0
    finally:
        owner.process.kill()
        owner.process.wait(20)


def test_gateway_leaves_and_its_port_owner_and_data_plane_run_on(host, owner, tmp_path):
    gateway = Gateway(host, new_port(), "--port-owner-socket", owner.path, "--memory", "64")
    instance = gateway.instance
    data_planes = [pid for pid in gateway.members() if pid != gateway.pid]
    assert len(data_planes) == 1  # the port owner is no child
    assert gateway.stop(signal.SIGQUIT) == 0
    assert alive([owner.process.pid, *data_planes]) == [owner.process.pid, *data_planes]
    os.kill(data_planes[0], signal.SIGKILL)
    assert owner.process.wait(20) == 0
    assert files_of(instance) != []  # what a next start undoes, as after a crash
    (tmp_path / "next").mkdir()
    successor = Owner(tmp_path / "next")
    try:
        args = ("--port-owner-socket", successor.path, "--memory", "64")
        again = Gateway(host, gateway.port, *args)
        again.before = gateway.before
        again.end()
    finally:
        successor.process.wait(20)


def test_gateway_with_a_port_owner_of_its_own_ends_completely(host, owner):
    gateway = Gateway(host, new_port(), "--port-owner-socket", owner.path, "--memory", "64")
    gateway.end()
    assert owner.process.wait(20) == 0


class Activated(threading.Thread):
    """As systemd does it: the socket stays, and a port owner is started whenever somebody asks."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.path, self.processes = str(folder / "activated.sock"), []
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.bind(self.path)
        self.sock.listen(8)
        self.done = threading.Event()
        self.start()

    def run(self):
        while not self.done.is_set():
            if not select.select([self.sock], [], [], 0.1)[0]:
                continue
            process = subprocess.Popen(
                [BUILD / "quicport-port-owner", "--listen-fd", str(self.sock.fileno())],
                pass_fds=[self.sock.fileno()], env={"PATH": os.environ["PATH"]},
            )  # fmt: skip
            self.processes.append(process)
            process.wait()

    def end(self):
        self.done.set()
        self.join(20)
        self.sock.close()


def test_port_owner_of_a_service_manager_is_replaced(host, tmp_path, notices):
    manager = Activated(tmp_path)
    gateway = Gateway(host, new_port(), "--port-owner-socket", manager.path, "--memory", "64",
                      env={"NOTIFY_SOCKET": notices.getsockname()})  # fmt: skip
    heard(notices, "READY=1")
    host.run("sh", "-c", f"{QUICPORT} admin --api http://127.0.0.1:{gateway.port} "
             "replace-port-owner --yes")  # fmt: skip
    eventually(lambda: len(manager.processes) == 2, what="another port owner is asked for")
    gateway.wait_ready()
    lines = sum(heard(notices, "READY=1"), [])
    assert "STOPPING=1" not in lines, "for systemd that would be the service's end"
    assert manager.processes[0].returncode == 0
    gateway.end()
    manager.end()


def test_gateway_whose_port_owner_is_not_there_says_so(host, tmp_path):
    path = str(tmp_path / "nobody.sock")
    gateway = Gateway(host, new_port(), "--port-owner-socket", path, wait=False)
    assert gateway.wait() == 1
    assert f"cannot reach the port owner at {path}" in gateway.output()
    assert gateway.before.left() == []


def test_gateway_whose_port_owner_has_no_memory_says_why(host, owner):
    gateway = Gateway(host, new_port(), "--port-owner-socket", owner.path, "--memory",
                      "1000000", wait=False)  # fmt: skip
    assert gateway.wait() == 1
    assert "hugepages are wanted" in gateway.output()
    assert owner.process.wait(20) == 1


def test_port_owner_that_dies_is_told_loudly_and_survived(host, owner):
    gateway = Gateway(host, new_port(), "--port-owner-socket", owner.path, "--memory", "64")
    owner.process.kill()
    owner.process.wait(20)
    gateway.wait_for_line("THE PORT OWNER IS GONE")
    assert gateway.healthy()
    assert gateway.stop() == 0


@pytest.mark.parametrize("missing", ["net_admin", "bpf"])
def test_capability_that_is_missing_is_named(missing):
    done = subprocess.run(
        ["setpriv", f"--bounding-set=-{missing}", f"--inh-caps=-{missing}", QUICPORT,
         "control-plane", "--psk", "secret"],
        capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"CAP_{missing.upper()}" in done.stderr
