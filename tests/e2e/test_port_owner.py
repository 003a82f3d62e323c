# SPDX-License-Identifier: Apache-2.0
"""The port owner: what it may still do, what it must not, and what its end costs."""

import contextlib
import errno
import http.client
import json
import os
import random
import re
import select
import signal
import socket
import struct
import time
from pathlib import Path

import pytest
from apikit import Api, Events
from harness import BUILD, FULL, TOOLS, Client, Gateway, Process, eventually, files_of, new_port, run

# x86-64's numbers, as the C headers have them.
SOCKET, EXECVE, FORK, PTRACE, MOUNT, KILL, BPF = 41, 59, 57, 101, 165, 62, 321
LO = "127.0.0.1"
SETUID, MMAP, UNSHARE, GETPID = 105, 9, 272, 39


@pytest.fixture
def gateway(host, logs):
    gateway = Gateway(host, new_port(), "--log-output", logs / "quicport.log")
    yield gateway
    gateway.end()


def owner_of(gateway):
    for pid in gateway.members():
        if Path(f"/proc/{pid}/exe").resolve().name == "quicport-port-owner":
            return pid
    raise AssertionError("no port owner")


def inject(pid, *call):
    """What the system call gives each of the process's threads."""
    text = run(TOOLS / "qpinject", pid, *call)
    return {int(tid): int(result) for tid, result in map(str.split, text.splitlines())}


def status_of(pid, field):
    text = Path(f"/proc/{pid}/status").read_text()
    return re.search(rf"^{field}:\s*(\S+)", text, re.M)[1]


needs_inject = pytest.mark.skipif(
    not (TOOLS / "qpinject").exists(), reason="qpinject knows x86-64 only"
)


FORBIDDEN = [
    (SOCKET, int(socket.AF_INET), 1, 0), (SOCKET, int(socket.AF_INET6), 2, 0),
    (SOCKET, int(socket.AF_NETLINK), 3, 0), (SOCKET, int(socket.AF_PACKET), 3, 0),
    (EXECVE, 0, 0, 0), (FORK,), (PTRACE, 0, 0, 0, 0), (MOUNT, 0, 0, 0, 0, 0), (KILL, 1, 0),
    (BPF, 0, 0, 0), (SETUID, 0), (UNSHARE, 0), (MMAP, 0, 4096, 7, 0x22, -1 % 2**64, 0),
    (SOCKET + 0x40000000, int(socket.AF_INET), 1, 0),
]  # fmt: skip


@needs_inject
def test_forbidden_call_fails_and_ends_nothing(gateway):
    owner = owner_of(gateway)
    for forbidden in FORBIDDEN:
        results = inject(owner, *forbidden)
        assert len(results) >= 3, "its own thread and EAL's"
        assert set(results.values()) == {-errno.EPERM}, f"{forbidden}: {results}"
    assert owner_of(gateway) == owner
    assert gateway.healthy()


@needs_inject
def test_call_that_it_needs_works_in_each_thread(gateway):
    owner = owner_of(gateway)
    assert set(inject(owner, GETPID).values()) == {owner}


def test_it_has_neither_rights_nor_network(gateway):
    owner = owner_of(gateway)
    assert status_of(owner, "Seccomp") == "2"
    assert status_of(owner, "NoNewPrivs") == "1"
    rights = int(status_of(owner, "CapEff"), 16) | int(status_of(owner, "CapPrm"), 16)
    assert rights & ~0x2 == 0, f"{rights:x}"
    assert os.readlink(f"/proc/{owner}/ns/net") != os.readlink(f"/proc/{gateway.pid}/ns/net")
    links = run("nsenter", "-t", owner, "-n", "ip", "-j", "link")
    assert [entry["ifname"] for entry in json.loads(links) if "UP" in entry["flags"]] == []


def test_it_opens_its_log_anew(gateway, logs):
    owner, log = owner_of(gateway), logs / "quicport.log"
    (open_log,) = {fd for fd in Path(f"/proc/{owner}/fd").iterdir() if fd.resolve() == log}
    log.rename(logs / "quicport.log.1")
    gateway.send(signal.SIGUSR1)
    eventually(lambda: open_log.resolve() == log, what="the port owner's log is the new file")


# ---- its death ----


def call(gateway, method, **args):
    with gateway.host.inside():
        connection = http.client.HTTPConnection(LO, gateway.port, timeout=10)
        connection.connect()
    body = json.dumps(args)
    connection.request("POST", f"/api/v1/admin/{method}", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text)


class World:
    """A gateway with a port owner of its own, an echo service, and a client of it."""

    def __init__(self, host):
        self.host, self.inside, self.port = host, new_port(), new_port()
        self.gateway = Gateway(host, new_port())
        host.service(LO, self.inside, "--echo")
        self.client = self.join(self.port)

    def join(self, port):
        client = Client(self.host, f"{LO}:{self.gateway.port}", port, self.inside,
                        reconnect=True, name=f"client-{port}")  # fmt: skip
        client.opens(self.host, LO, port)
        return client

    def echoes(self, sock):
        sock.sendall(b"still here")
        return sock.recv(100) == b"still here"


def states(gateway):
    return {row["state"]: row["dp_id"] for row in call(gateway, "ListDataPlanes")[1]["data_planes"]}


def test_its_death_is_told_and_tunnels_run_on(host):
    world = World(host)
    gateway = world.gateway
    assert gateway.metric("quicport_port_owner_up") == 1
    with host.connect(LO, world.port, timeout=20) as sock:
        assert world.echoes(sock)
        os.kill(owner_of(gateway), signal.SIGKILL)
        gateway.wait_for_line("THE PORT OWNER IS GONE")
        eventually(lambda: gateway.metric("quicport_port_owner_up") == 0, what="the metric says so")
        assert world.echoes(sock), "a connection that was there"
        assert host.port_opens(LO, world.port), "a new connection"
        world.join(new_port())  # a new client
        status, problem = call(gateway, "DrainDataPlane", dp_id=states(gateway)["ACTIVE"])
        assert status == 409 and "replace-port-owner" in problem["detail"]
        assert world.echoes(sock)
    status, body = gateway.get("/healthcheck")
    assert status == 200 and "replace-port-owner" in json.loads(body)["reason"]


def test_one_that_does_not_answer_is_told_of_and_nothing_drains(host):
    gateway = Gateway(host, new_port())
    owner, before = owner_of(gateway), states(gateway)
    os.kill(owner, signal.SIGSTOP)
    try:
        status, problem = call(gateway, "DrainDataPlane", dp_id=before["ACTIVE"])
    finally:
        os.kill(owner, signal.SIGCONT)
    assert status == 409 and "the port owner does not answer" in problem["detail"], problem
    assert states(gateway) == before
    drain = lambda: call(gateway, "DrainDataPlane", dp_id=before["ACTIVE"])[0] == 200  # noqa: E731
    eventually(drain, 5, what="it is asked again as soon as it answers")
    gateway.end()


def test_one_that_hangs_is_told_of_before_anybody_needs_it(host):
    """By the log, the metrics, /healthcheck and the events; and that it answers again."""
    world = World(host)
    gateway = world.gateway
    owner, api = owner_of(gateway), Api(host, gateway.port)
    assert gateway.metric("quicport_port_owner_answers") == 1
    events = Events(api, "?types=port_owner", timeout=60)
    os.kill(owner, signal.SIGSTOP)
    try:
        assert events.wait("port_owner")["state"] == "silent"
        gateway.wait_for_line("THE PORT OWNER DOES NOT ANSWER")
        assert gateway.metric("quicport_port_owner_answers") == 0
        assert gateway.metric("quicport_port_owner_up") == 1
        status, body = gateway.get("/healthcheck")
        assert status == 200 and "does not answer" in json.loads(body)["reason"]
        assert host.port_opens(LO, world.port), "a new connection"
    finally:
        os.kill(owner, signal.SIGCONT)
    assert events.wait("port_owner")["state"] == "back"
    assert gateway.metric("quicport_port_owner_answers") == 1
    assert "reason" not in json.loads(gateway.get("/healthcheck")[1])
    gateway.end()


def test_data_plane_that_dies_while_it_does_not_answer(host):
    """The control plane waits once, not for each question: a service manager's watchdog gives it 10 s."""
    gateway = Gateway(host, new_port())
    owner = owner_of(gateway)
    (row,) = call(gateway, "ListDataPlanes")[1]["data_planes"]
    os.kill(owner, signal.SIGSTOP)
    try:
        os.kill(row["pid"], signal.SIGKILL)
        start = time.monotonic()
        gateway.wait_for_line("data plane died")
        eventually(lambda: call(gateway, "ListDataPlanes")[0] == 200, what="it answers")
        took = time.monotonic() - start
    finally:
        os.kill(owner, signal.SIGCONT)
    assert took < 9, f"{took:.1f} s"
    eventually(gateway.healthy, 40, what="another one serves")
    gateway.wait_for_line("memory is free again")
    gateway.end()


def test_a_control_plane_takes_over_although_it_is_dead(host):
    world = World(host)
    gateway = world.gateway
    instance = gateway.instance
    with host.connect(LO, world.port, timeout=20) as sock:
        os.kill(owner_of(gateway), signal.SIGKILL)
        gateway.wait_for_line("THE PORT OWNER IS GONE")
        gateway.kill()
        world.gateway = after = Gateway(host, gateway.port)
        after.before = gateway.before
        after.wait_for_line("THE PORT OWNER IS GONE")
        assert after.instance == instance
        assert after.metric("quicport_port_owner_up") == 0
        assert world.echoes(sock), "a connection that was there"
        assert host.port_opens(LO, world.port), "a new connection"
        world.join(new_port())  # a new client
    after.end()


@pytest.mark.parametrize("alive", [True, False])
def test_it_is_replaced_and_clients_come_back(host, alive):
    world = World(host)
    gateway = world.gateway
    before, pid, plane = owner_of(gateway), gateway.pid, states(gateway)["ACTIVE"]
    if not alive:
        os.kill(before, signal.SIGKILL)
        gateway.wait_for_line("THE PORT OWNER IS GONE")
    start = time.monotonic()
    assert call(gateway, "ReplacePortOwner") == (200, {"status": "replacing"})
    gone = lambda: not gateway.healthy()  # noqa: E731
    eventually(gone, what="it begins")
    gateway.wait_ready()
    ready = time.monotonic() - start
    world.client.opens(host, LO, world.port)  # the same port, by itself
    print(f"ready after {ready:.2f} s, the client serves after {time.monotonic() - start:.2f} s")
    assert world.client.running()
    assert gateway.pid == pid and owner_of(gateway) != before
    assert states(gateway)["ACTIVE"] != plane
    assert gateway.metric("quicport_port_owner_up") == 1
    gateway.end()


def test_one_that_dies_between_the_answer_and_the_replacement(host):
    world = World(host)
    gateway = world.gateway
    before, plane = owner_of(gateway), states(gateway)["ACTIVE"]
    assert call(gateway, "ReplacePortOwner") == (200, {"status": "replacing"})
    os.kill(before, signal.SIGKILL)
    eventually(lambda: not gateway.healthy(), what="it begins")
    gateway.wait_ready()
    assert owner_of(gateway) != before and states(gateway)["ACTIVE"] != plane
    world.client.opens(host, LO, world.port)
    gateway.end()


# ---- processes that are killed while they use the memory ----


class PortOwner(Process):
    """One without a gateway, which ends with its lifeline: this object's."""

    def __init__(self, host, instance, memory_mib=64):
        reader, self.lifeline = os.pipe()
        self.instance = instance
        command = [BUILD / "quicport-port-owner", "--instance", instance, "--memory", memory_mib,
                   "--lifeline-fd", 0]  # fmt: skip
        super().__init__(host, "port-owner", command, stdin=reader)
        os.close(reader)
        self.wait_for_line("^R")

    def files(self):
        return set(os.listdir(f"/var/run/dpdk/{self.instance}"))

    def end(self):
        os.close(self.lifeline)
        status = self.wait()
        assert files_of(self.instance) == []
        return status


# struct qp_owner_ask and struct qp_owner_told of common/ipc.h
MAGIC, BEGIN, ATTACHED, RESERVE, MEMORY = 0x51504F4C, 1, 2, 3, 6


class User:
    """A process at owner.sock."""

    def __init__(self, owner):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(20)
        self.sock.connect(f"/var/run/dpdk/{owner.instance}/owner.sock")

    def send(self, kind, version=1, id=0, size=0, name=b""):
        self.sock.send(struct.pack("<IIIIQ32s", MAGIC, version, kind, id, size, name))

    def told(self):
        """The question's kind, and whether the answer is yes."""
        return struct.unpack_from("<IIII", self.sock.recv(1024))[2:]

    def waits(self):
        return not select.select([self.sock], [], [], 0.2)[0]


@pytest.fixture
def owner(host):
    owner = PortOwner(host, f"quicport-{os.getpid():08x}")
    yield owner
    assert owner.end() == 0


def test_it_ends_by_sigterm_and_leaves_no_file(host):
    owner = PortOwner(host, f"quicport-{os.getpid():08x}")
    assert owner.stop(signal.SIGTERM) == 0
    assert files_of(owner.instance) == []


def test_they_attach_one_after_the_other(owner):
    first, second, third = User(owner), User(owner), User(owner)
    first.send(BEGIN)
    assert first.told() == (BEGIN, 1)
    second.send(BEGIN)
    assert second.waits()
    third.send(MEMORY)
    assert third.waits(), "a question that takes a lock that the first one may have"
    first.send(ATTACHED)
    assert first.told() == (ATTACHED, 1)
    assert second.told() == (BEGIN, 1)
    assert third.waits()
    second.sock.close()  # it dies
    assert third.told() == (MEMORY, 1)


def test_one_that_hangs_while_it_attaches_holds_nobody_up(owner):
    hung, other = User(owner), User(owner)
    hung.send(BEGIN)
    assert hung.told() == (BEGIN, 1)
    other.send(BEGIN)
    assert other.told() == (BEGIN, 1)
    assert "hangs while it attaches" in owner.output()


def test_one_that_begins_again_and_again_holds_nobody_up(owner):
    busy, other = User(owner), User(owner)
    busy.send(BEGIN)
    other.send(BEGIN)
    for _ in range(20):
        busy.send(BEGIN)
        if select.select([other.sock], [], [], 0.5)[0]:
            break
    else:
        raise AssertionError("the other one waits for ever")
    assert other.told() == (BEGIN, 1)


def test_a_lock_is_not_taken_from_one_that_lives(owner):
    """It hung without one, was given up on, and then went on; another one died with the same."""
    hung, dying, third = User(owner), User(owner), User(owner)
    hung.send(BEGIN)
    dying.send(BEGIN)
    assert dying.told() == (BEGIN, 1)
    config = os.open(f"/var/run/dpdk/{owner.instance}/config", os.O_RDWR)
    at, two_readers = 8 * 4, 2 * 4  # the memory's lock, and a reader's mark is 4
    os.pwrite(config, struct.pack("<I", two_readers), at)
    held = lambda: struct.unpack("<I", os.pread(config, 4, at))[0]  # noqa: E731
    dying.sock.close()
    third.send(MEMORY)
    assert third.waits() and held() == two_readers
    hung.sock.close()
    assert third.told() == (MEMORY, 1)
    assert held() == 0
    os.close(config)


def test_nobody_gets_all_memory_by_asking_for_none(owner):
    user = User(owner)
    user.send(RESERVE, id=7, size=0, name=b"qp_gen_7")
    assert user.told() == (RESERVE, 0)


@pytest.mark.parametrize("junk", [b"", b"x", b"\0" * 56, b"\xff" * 56, b"y" * 4000])
def test_nonsense_ends_its_sender_only(owner, junk):
    bad, good = User(owner), User(owner)
    bad.sock.send(junk)
    assert bad.sock.recv(100) == b""
    good.send(99)
    assert good.told() == (99, 0)
    good.send(MEMORY)
    assert good.told() == (MEMORY, 1)


class Heap:
    """The shared memory of a gateway, as DPDK's telemetry tells."""

    def __init__(self, gateway):
        self.gateway = gateway

    def free(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.settimeout(20)
            sock.connect(f"/var/run/dpdk/{self.gateway.instance}/dpdk_telemetry.v2")
            sock.recv(1024)
            sock.send(b"/eal/heap_info,0")
            return json.loads(sock.recv(16384))["/eal/heap_info"]["Free_size"]


def test_killed_data_planes_leave_nothing(host):
    world = World(host)
    gateway = world.gateway
    heap = Heap(gateway)
    before = heap.free()
    for _ in range(3):
        dp_id = states(gateway)["ACTIVE"]
        (row,) = call(gateway, "ListDataPlanes")[1]["data_planes"]
        os.kill(row["pid"], signal.SIGKILL)
        eventually(lambda: states(gateway).get("ACTIVE", dp_id) != dp_id, what="the next one serves")
        eventually(lambda: heap.free() == before, what="its memory is back, to the byte")
    world.client.opens(host, LO, world.port)
    folder = Path(f"/var/run/dpdk/{gateway.instance}")
    living = {str(pid) for pid in gateway.members()}
    for name in os.listdir(folder):
        pids = re.findall(r"_([0-9]+)(?:_[0-9a-f]+)?$", name)
        assert not pids or pids[0] in living, f"{name} is a dead process's"
    gateway.end()


def named(host, program):
    found = []
    for pid in host.pids():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/exe").resolve().name == program:
                found.append(pid)
    return found


def test_processes_killed_while_they_start_leave_a_gateway_that_starts(host):
    """The programs themselves: data planes and control planes, killed a moment after each start."""
    chance = random.Random(20261126)
    port, inside, outside = new_port(), new_port(), new_port()
    host.service(LO, inside, "--echo")
    first = gateway = Gateway(host, port, wait=False)
    client = None
    for _ in range(150 if FULL else 8):
        time.sleep(0.005 * 160 ** chance.random())  # 5 to 800 ms, evenly over the magnitudes
        victims = named(host, "quicport-data-plane") if chance.random() < 0.7 else []
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not victims or chance.random() < 0.5 or not gateway.running():
            gateway.kill()
            gateway = Gateway(host, port, wait=False)
        client = client or Client(host, f"{LO}:{port}", outside, inside, reconnect=True)
    if not gateway.running():  # it has found nothing that it could take over
        gateway = Gateway(host, port, wait=False)
    gateway.wait_ready(40)
    client.opens(host, LO, outside, 40)
    client.stop()
    gateway.before = first.before
    gateway.end(within=5)


def test_one_of_an_earlier_release_is_lived_with(host):
    """It has no owner.sock: who attaches later makes and frees the memory by its own hands."""
    world = World(host)
    gateway = world.gateway
    heap, first = Heap(gateway), states(gateway)["ACTIVE"]
    before = heap.free()
    os.unlink(f"/var/run/dpdk/{gateway.instance}/owner.sock")
    gateway.kill()
    world.gateway = after = Gateway(host, gateway.port)
    after.before, heap.gateway = gateway.before, after
    assert host.port_opens(LO, world.port)
    assert call(after, "DrainDataPlane", dp_id=first)[0] == 200
    serves = lambda: states(after).get("ACTIVE", first) != first  # noqa: E731
    eventually(serves, what="the next one serves")
    call(after, "ShutdownDataPlane", dp_id=first)
    eventually(lambda: heap.free() == before, what="the first one's memory is back")
    world.client.opens(host, LO, world.port)
    after.end()


@needs_inject
@pytest.mark.parametrize("seed", range(1, 4 if FULL else 2))
def test_kills_at_any_instruction_wedge_nobody(host, seed):
    """Victims attach, reserve, build and use a pool, reclaim; half die within or behind a lock."""
    owner = PortOwner(host, f"quicport-{os.getpid():08x}")
    files = owner.files()
    text = run(TOOLS / "qpwedge", owner.instance, owner.pid, seed, 3000 if FULL else 200, 5,
               timeout=600)  # fmt: skip
    told = json.loads(text)
    print(told)
    assert told["with_lock"] > told["kills"] / 20, "the locks that it is about were not met"
    assert told["missing_bytes"] == 0
    assert owner.files() == files
    assert owner.end() == 0
