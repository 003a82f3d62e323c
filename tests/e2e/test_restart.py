# SPDX-License-Identifier: Apache-2.0
"""
A control plane that is killed in each phase of its life: what it was in the middle of is carried on
by the next one, and no tunnel notices. The phases are found by what can be seen of them from outside.
"""

import contextlib
import glob
import os
import random
import signal
import socket
import threading
import time

import pytest

from harness import FULL, Client, Gateway, eventually, files_of, new_port
from test_absence import counters, data_planes
from test_drain import planes
from test_takeover import Visitor, next_gateway, rows_of, tunnels

LO = "127.0.0.1"
SEED = 20240302
ROUNDS = 20 if FULL else 1
ARGS = ("--memory", "240")


@pytest.fixture
def scene(host, logs):
    """A tunnel with a visitor, and an audit log; checks at the end that nobody noticed anything."""

    class Scene:
        args = (*ARGS, "--audit-log", logs / "audit.log")

        def next(self, wait=True):
            self.gateway = next_gateway(self.gateway, self.args)
            if wait:
                self.gateway.wait_ready()
            return self.gateway

    scene = Scene()
    scene.gateway = Gateway(host, new_port(), *scene.args)
    scene.port, inside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    client = Client(host, f"{LO}:{scene.gateway.port}", scene.port, inside)
    client.opens(host, LO, scene.port)
    (tunnel,) = eventually(lambda: tunnels(scene.gateway), what="the tunnel is listed")
    visitor = Visitor(host, scene.port)
    before = counters(scene.gateway)
    yield scene
    after = counters(scene.gateway)
    visitor.done.set()
    visitor.join()
    assert visitor.wrong == [] and visitor.visits > 0
    assert client.running(), client.output()
    assert tunnel["tunnel_id"] in {row["tunnel_id"] for row in tunnels(scene.gateway)}
    assert {n: v for n, v in before.items() if after.get(n, -1) < v} == {}
    opened = [row for row in rows_of(logs / "audit.log", "port_opened") if row["port"] == scene.port]
    assert [row.get("adopted", False) for row in opened].count(False) == 1
    with host.inside(), socket.socket() as sock, pytest.raises(OSError):
        sock.bind(("0.0.0.0", scene.port))  # reserved again
    assert "<title>" in scene.gateway.get("/")[1]
    instance = scene.gateway.instance
    client.stop()
    assert scene.gateway.stop(within=30) == 0
    assert scene.gateway.before.left() == [] and files_of(instance) == []


def look_for(condition, within=20):
    """As soon as it is true; False if it never was."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        if condition():
            return True
    return False


def is_data_plane(pid):
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/exe").endswith("quicport-data-plane")
    return False


def test_killed_in_its_own_start(scene):
    """When EAL has opened its socket: locks are taken and given back then."""
    chance = random.Random(SEED)
    for _ in range(ROUNDS * 2):
        scene.gateway.kill()
        gateway = scene.next(wait=False)
        assert look_for(lambda g=gateway: glob.glob(f"/var/run/dpdk/*/mp_socket_{g.pid}_*"))
        time.sleep(chance.random() * 0.03)
    scene.gateway.kill()
    scene.next()


def test_killed_while_it_adopts(scene):
    said = "a new control plane has taken over"  # by the data plane, into the first one's log
    first = scene.gateway
    for number in range(ROUNDS):
        scene.gateway.kill()
        scene.next(wait=False)
        assert look_for(lambda n=number: first.output().count(said) > n)
    scene.gateway.kill()
    scene.next()


@pytest.mark.parametrize(
    "moment", ["asked", "started", "a new data plane serves", "a data plane drains"])  # fmt: skip
def test_killed_during_a_handover(scene, moment):
    for number in range(ROUNDS if FULL else 1):
        gateway = scene.gateway
        had = set(data_planes(gateway))
        active = [dp for dp, state in planes(gateway).items() if state == "ACTIVE"]
        assert gateway.call("DrainDataPlane", dp_id=active[0])[0] == 200
        if moment == "started":
            assert look_for(lambda g=gateway, h=had: set(data_planes(g)) - h)
        elif moment != "asked":
            assert look_for(lambda g=gateway: moment in g.output())
        gateway.kill()
        gateway = scene.next()
        # Either the one or the other takes new clients: one is enough, and there is one.
        assert list(planes(gateway).values()).count("ACTIVE") == 1, f"round {number}"
        late = Client(gateway.host, f"{LO}:{gateway.port}", new_port(), new_port(), name="late")
        late.wait_for_line("forward open")
        late.stop()


def test_killed_while_its_first_data_plane_starts(host):
    gateway = Gateway(host, new_port(), wait=False)
    instance = None
    for number in range(ROUNDS):
        # It may be a predecessor's, which is no child of this one.
        assert look_for(lambda: any(is_data_plane(pid) for pid in host.pids()))
        time.sleep(0.01 * number)
        instance = instance or gateway.instance
        gateway.kill()
        gateway = next_gateway(gateway, ())
    gateway.wait_ready()
    client = Client(host, f"{LO}:{gateway.port}", new_port(), new_port())
    client.wait_for_line("forward open")
    client.stop()
    gateway.stop()
    assert gateway.before.left() == [] and files_of(instance) == []


def test_killed_while_it_ends(host):
    chance = random.Random(SEED)
    port = new_port()
    gateway = Gateway(host, port)
    for _ in range(ROUNDS):
        instance = gateway.instance
        client = Client(host, f"{LO}:{port}", new_port(), new_port())
        client.wait_for_line("forward open")
        gateway.send(signal.SIGTERM)
        time.sleep(chance.random() * 0.1)
        gateway.kill()
        gateway = next_gateway(gateway, ())
        gateway.wait_ready(within=30)
        client.kill()
    gateway.stop()
    assert gateway.before.left() == [] and files_of(instance) == []


def test_killed_at_any_moment(scene):
    chance = random.Random(SEED)
    asking = threading.Event()

    def ask():  # hand-overs and upgrades between the kills
        while not asking.wait(0.3):
            with contextlib.suppress(OSError, ValueError, IndexError, ProcessLookupError):
                if chance.random() < 0.5:
                    os.kill(scene.gateway.pid, signal.SIGHUP)
                else:
                    os.kill(scene.gateway.pid, signal.SIGUSR2)

    # A signal before its handler is there ends a process: as good as a kill.
    asker = threading.Thread(target=ask)
    asker.start()
    try:
        for _ in range(20 if FULL else 3):
            time.sleep(chance.choice((0.05, 0.3, 1)) * chance.random())
            scene.gateway.kill()
            scene.next(wait=False)
    finally:
        asking.set()
        asker.join()
    if not scene.gateway.running():
        scene.next(wait=False)
    scene.gateway.wait_ready(within=30)
    eventually(lambda: list(planes(scene.gateway).values()).count("ACTIVE") == 1, what="one is ACTIVE")
