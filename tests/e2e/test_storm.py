# SPDX-License-Identifier: Apache-2.0
"""
What users notice while a gateway is reloaded and its processes are killed: 200 long connections
whose every byte is checked, both ways, and 200 short ones a second. With QP_FULL=1 as often and as
strictly as is promised; otherwise less often, and with room for a machine that is busy.
"""

import os
import signal
import socket
import threading
import time

import pytest
from harness import FULL, Client, Gateway, eventually, new_port
from storm import LO, Held, Storm, ahead_of_others, brief, longest_ms, lost, outage_ms, planes, processes, tunnels

TIMES = 20 if FULL else 3
STALL_MS = 100 if FULL else 2000
BACK_MS = 3000 if FULL else 8000
BETWEEN_S = 0.5  # of a storm before and after each fault


@pytest.fixture
def first():
    with ahead_of_others():
        yield


class Scene:
    """A gateway, two clients and a storm through both."""

    def __init__(self, host, *args):
        self.host = host
        self.args = ("--memory", "400", *args)
        self.env = {"QUICPORT_STATE_DIR": os.environ["QP_E2E_LOGS"] + "/state-of-gateway"}
        self.gateway = Gateway(host, new_port(), *self.args, env=self.env, session=True)
        self.service, self.ports = new_port(), [new_port(), new_port()]
        server = f"{LO}:{self.gateway.port}"
        self.clients = [Client(host, server, port, self.service, name=f"client-{port}", reconnect=True,
                               session=True) for port in self.ports]  # fmt: skip
        eventually(lambda: len(tunnels(self.gateway)) == 2, what="two tunnels")
        self.storm = Storm(host, f"{LO}:{self.service}", self.ports)
        self.longest_ms = 0
        self.after("before")

    def after(self, what):
        """What was until now, and some time beyond."""
        time.sleep(BETWEEN_S)
        figures = self.storm.mark(what)
        print(brief(figures))
        # While the load itself did not get to run, nobody can say what the gateway did.
        self.longest_ms = max(self.longest_ms, longest_ms(figures) - figures["own_lag_ms"])
        return figures

    def next_control_plane(self):
        before = self.gateway
        self.gateway = Gateway(self.host, before.port, *self.args, env=self.env, wait=False,
                               session=True)  # fmt: skip
        self.gateway.before = before.before

    def end(self):
        for client in self.clients:
            client.stop()
        self.gateway.end(within=10)


def reload(gateway):
    """Returns when the next generation serves."""
    (old,) = (dp_id for dp_id, state in planes(gateway).items() if state == "ACTIVE")
    gateway.send(signal.SIGHUP)
    eventually(lambda: planes(gateway).get(old) != "ACTIVE", what="the next one is ACTIVE")
    eventually(lambda: "ACTIVE" in planes(gateway).values(), what="the next one is ACTIVE")


def test_reloads_lose_nothing(host, first):
    scene = Scene(host)
    before = tunnels(scene.gateway)
    for number in range(TIMES):
        reload(scene.gateway)
        scene.after(f"reload {number}")
    assert tunnels(scene.gateway) == before, "a tunnel was cut"
    total = scene.storm.end()
    print(brief(total))
    assert lost(total) == {}
    assert total["bulk"]["opened"] == total["bulk"]["finished"] == 200
    assert scene.longest_ms < STALL_MS
    assert scene.gateway.metric("quicport_data_plane_deaths_total") == 0
    scene.end()


def test_killed_control_planes_lose_nothing(host, first):
    scene = Scene(host)
    before = tunnels(scene.gateway)
    for number in range(TIMES):
        scene.gateway.kill()
        scene.next_control_plane()
        scene.gateway.wait_ready()
        scene.after(f"kill {number}")
    assert tunnels(scene.gateway) == before, "a tunnel was cut"
    total = scene.storm.end()
    print(brief(total))
    assert lost(total) == {}
    assert total["bulk"]["opened"] == total["bulk"]["finished"] == 200
    assert scene.longest_ms < STALL_MS
    for client in scene.clients:
        client.stop()
    scene.gateway.stop()


def test_killed_data_planes_come_back_and_leak_nothing(host, first):
    scene = Scene(host)
    held = []
    for number in range(TIMES):
        (pid,) = processes(scene.gateway, "data-plane")
        before = set(tunnels(scene.gateway).values())
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: back(scene.gateway, before), what="both clients are back")
        figures = scene.after(f"kill {number}")
        assert outage_ms(figures) < BACK_MS, brief(figures)
        assert figures["wrong_bytes"] == figures["bulk"]["corrupt"] == figures["short"]["corrupt"] == 0
        held.append(Held(scene.gateway))
    total = scene.storm.end()
    print(brief(total))
    assert total["bulk"]["reset"] + total["bulk"]["ended_early"] == total["lost_bulk"] == TIMES * 200
    assert held[0].differs(held[-1]) == []
    scene.end()


def back(gateway, before):
    """Both clients have their tunnels in a data plane that is not one of `before`."""
    now = list(tunnels(gateway).values())
    return len(now) == 2 and not before & set(now)


# ---- the load itself ----


class Middle(threading.Thread):
    """A relay in the way of one connection that does to its bytes what `spoil` says."""

    def __init__(self, host, port, onward, spoil):
        super().__init__(daemon=True)
        self.host, self.onward, self.spoil = host, onward, spoil
        with host.inside():
            self.listener = socket.create_server((LO, port))
        self.start()

    def run(self):
        while True:
            user, _ = self.listener.accept()
            service = self.host.connect(LO, self.onward)
            threading.Thread(target=self.carry, args=(user, service, True), daemon=True).start()
            threading.Thread(target=self.carry, args=(service, user, False), daemon=True).start()

    def carry(self, source, sink, to_service):
        total = 0
        try:
            while data := source.recv(65536):
                sink.sendall(self.spoil(data, total, to_service))
                total += len(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            source.close()


def flip(data, offset, to_service):
    at = 5000 - offset
    return data if to_service or not 0 <= at < len(data) else data[:at] + b"%c" % (data[at] ^ 1) + data[at + 1 :]


def drop(data, offset, to_service):
    at = 5000 - offset
    return data if not to_service or not 0 <= at < len(data) else data[:at] + data[at + 1 :]


def wait(data, offset, to_service):
    if to_service and offset < 5000 <= offset + len(data):
        time.sleep(0.4)
    return data


def cut(data, offset, to_service):
    if offset > 5000:
        raise OSError
    return data


@pytest.mark.parametrize("spoil, ends", [(flip, {"corrupt"}), (drop, {"corrupt"}), (wait, set()),
                                         (cut, {"reset", "ended_early"})])  # fmt: skip
def test_load_sees_what_goes_wrong(host, spoil, ends):
    service, port = new_port(), new_port()
    Middle(host, port, service, spoil)
    storm = Storm(host, f"{LO}:{service}", [port], "--bulk", 1, "--short", 0, seconds=20)
    time.sleep(1)
    total = storm.end()
    seen = {end for end in ("reset", "ended_early", "corrupt", "timed_out", "refused") if total["bulk"][end]}
    assert seen == ends or seen and seen <= ends, total
    assert (total["wrong_bytes"] > 0) == (ends == {"corrupt"})
    assert (storm.popen.returncode != 0) == bool(ends)
    if spoil is wait:
        assert total["bulk"]["stall_ms"] >= 400
        assert total["worst"][0]["to"] == "service"


def test_load_waits_for_nothing_when_all_is_well(host):
    service = new_port()
    storm = Storm(host, f"{LO}:{service}", [service], "--bulk", 20, "--short", 50, seconds=20)
    time.sleep(1)
    total = storm.end()
    assert lost(total) == {}
    assert total["bulk"]["finished"] == 20
    assert total["short"]["finished"] >= 40
    assert storm.popen.returncode == 0
