# SPDX-License-Identifier: Apache-2.0
"""
What a person sees of a control plane that is away, for a moment or for long: clients that come
meanwhile wait or come again by themselves, quietly.
"""

import contextlib
import glob
import mmap
import os
import random
import re
import signal
import time

import pytest

from harness import FULL, Client, Gateway, alive, eventually, new_port
from test_takeover import next_gateway, tunnels

LO = "127.0.0.1"
MEMORY_LOCK, WRITER = 32, 2  # struct rte_mem_config's memory_hotplug_lock, RTE_RWLOCK_WRITE
SEED = 20240301


def loud(client):
    """The lines that a person would worry about."""
    return [line for line in client.output().splitlines() if re.search(r"\b(WARN|ERROR)\b", line)]


@pytest.fixture
def served(host):
    """A gateway with a tunnel that keeps its data plane alive, and a service."""
    gateway = Gateway(host, new_port())
    inside = new_port()
    host.service(LO, inside, "--echo")
    keeper = Client(host, f"{LO}:{gateway.port}", new_port(), inside, name="keeper", reconnect=True)
    keeper.wait_for_line("forward open")
    return gateway, inside


def test_clients_that_come_in_a_long_absence_are_told_nothing_bad(host, served):
    gateway, inside = served
    gateway.kill()
    port = new_port()
    client = Client(host, f"{LO}:{gateway.port}", port, inside, reconnect=True)
    eventually(lambda: "does not answer: try again" in client.output(), 15, "it is put off")
    assert loud(client) == []
    gateway = next_gateway(gateway, ())
    client.opens(host, LO, port)
    assert loud(client) == []
    client.stop()


def test_client_that_waits_gets_in_with_the_next_control_plane(host, served):
    gateway, inside = served
    gateway.kill()
    port = new_port()
    client = Client(host, f"{LO}:{gateway.port}", port, inside)  # --reconnect no: one try
    client.wait_for_line("connecting")
    time.sleep(0.5)  # that it still waits cannot be waited for
    gateway = next_gateway(gateway, ())
    client.opens(host, LO, port)
    assert loud(client) == []
    client.stop()


def test_kills_while_clients_come_are_seen_by_none_of_them(host, served):
    """The moments of a client's way in: each kill hits another one."""
    gateway, inside = served
    chance = random.Random(SEED)
    put_off = 0
    for number in range(40 if FULL else 6):
        crowd = [(port, Client(host, f"{LO}:{gateway.port}", port, inside, "--reconnect-delay", 1,
                               name=f"c{number}", reconnect=True))
                 for port in (new_port() for _ in range(4))]  # fmt: skip
        eventually(lambda c=crowd: any("connecting" in client.output() for _, client in c),
                   what="one is on its way")  # fmt: skip
        time.sleep(chance.random() * 0.02)
        gateway.kill()
        gateway = next_gateway(gateway, ())
        for port, client in crowd:
            client.opens(host, LO, port)
            assert loud(client) == [], f"seed {SEED}, kill {number}"
            put_off += client.output().count("try again")
        for _, client in crowd:
            client.stop()
    print(f"{put_off} clients were asked to come again")
    gateway.wait_ready()


# ---- a lock that a killed process has left ----


def test_control_plane_that_hangs_at_a_lock_says_so_and_ends(host):
    """In EAL's shared configuration; the port owner is stopped, lest it helps."""
    gateway = Gateway(host, new_port())
    client = Client(host, f"{LO}:{gateway.port}", new_port(), new_port())
    client.wait_for_line("forward open")
    (owner,) = port_owners(gateway)
    (config,) = glob.glob(f"/var/run/dpdk/{gateway.instance}/config")
    gateway.kill()
    os.kill(owner, signal.SIGSTOP)
    with open(config, "r+b") as file, mmap.mmap(file.fileno(), 4096) as words:
        taken = words[MEMORY_LOCK]
        assert taken == 0
        words[MEMORY_LOCK] = WRITER
        try:
            start = time.monotonic()
            hangs = next_gateway(gateway, ())
            assert hangs.wait(within=20) == 1
            assert time.monotonic() - start < 15
            assert "port owner" in hangs.output() and "ERROR" in hangs.output().upper()
        finally:
            words[MEMORY_LOCK] = 0
            os.kill(owner, signal.SIGCONT)
    assert client.running()
    again = next_gateway(gateway, ())
    again.wait_ready()
    assert len(tunnels(again)) == 1
    client.stop()
    again.end()


# ---- data planes that nobody looks after ----


def members(gateway, program):
    """The port owner may have a network of its own: it is not found by the host's."""
    found = []
    for pid in gateway.members():
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/exe").endswith(program):
                found.append(pid)
    return found


def data_planes(gateway):
    return members(gateway, "quicport-data-plane")


def port_owners(gateway):
    return members(gateway, "quicport-port-owner")


def test_data_plane_whose_last_tunnel_ends_in_the_absence_ends(host):
    gateway = Gateway(host, new_port(), "--orphan-timeout", "2")
    inside = new_port()
    client = Client(host, f"{LO}:{gateway.port}", new_port(), inside)
    client.wait_for_line("forward open")
    (data_plane,), (owner,) = data_planes(gateway), port_owners(gateway)
    gateway.kill()
    time.sleep(3)  # longer than the timeout: its tunnel keeps it, which cannot be waited for
    assert alive([data_plane, owner]) == [data_plane, owner]
    client.stop()
    eventually(lambda: not alive([data_plane]), what="the data plane has ended")
    eventually(lambda: not alive([owner]), what="the port owner has ended")
    again = next_gateway(gateway, ("--orphan-timeout", "2"))
    again.wait_ready()
    again.end()


def test_draining_data_plane_ends_in_the_absence_and_the_other_stays(host):
    gateway = Gateway(host, new_port(), "--orphan-timeout", "2", "--memory", "240")
    from test_drain import call, planes

    inside = new_port()
    first = Client(host, f"{LO}:{gateway.port}", new_port(), inside, name="first")
    first.wait_for_line("forward open")
    (old,) = planes(gateway)
    (old_pid,) = data_planes(gateway)
    assert call(gateway, "DrainDataPlane", dp_id=old)[0] == 200
    eventually(lambda: sorted(planes(gateway).values()) == ["ACTIVE", "DRAINING"], what="DRAINING")
    second = Client(host, f"{LO}:{gateway.port}", new_port(), inside, name="second")
    second.wait_for_line("forward open")
    (new_pid,) = set(data_planes(gateway)) - {old_pid}
    (owner,) = port_owners(gateway)
    gateway.kill()
    first.stop()
    eventually(lambda: not alive([old_pid]), what="the draining one has ended")
    assert alive([new_pid, owner]) == [new_pid, owner]
    again = next_gateway(gateway, ("--orphan-timeout", "2", "--memory", "240"))
    again.wait_ready()
    assert list(planes(again).values()) == ["ACTIVE"]
    assert len(tunnels(again)) == 1 and second.running()
    second.stop()
    again.end()


def test_orphan_timeout_counts_from_the_last_control_plane(host):
    gateway = Gateway(host, new_port(), "--orphan-timeout", "4")
    (data_plane,) = data_planes(gateway)
    for _ in range(3):  # each time for less than the timeout, together for more
        gateway.send(signal.SIGKILL)
        gateway.wait()
        time.sleep(2)
        gateway = next_gateway(gateway, ("--orphan-timeout", "4"))
        gateway.wait_ready()
    assert alive([data_plane]) == [data_plane]
    gateway.end()
