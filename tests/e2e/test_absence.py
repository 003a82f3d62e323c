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
    for number in range(40 if FULL else 3):
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


@pytest.mark.skipif(not FULL, reason="takes 10 s; the guard has a unit test")
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
    gateway = Gateway(host, new_port(), "--orphan-timeout", "1")
    inside = new_port()
    client = Client(host, f"{LO}:{gateway.port}", new_port(), inside)
    client.wait_for_line("forward open")
    (data_plane,), (owner,) = data_planes(gateway), port_owners(gateway)
    gateway.kill()
    time.sleep(1.5)  # longer than the timeout: its tunnel keeps it, which cannot be waited for
    assert alive([data_plane, owner]) == [data_plane, owner]
    client.stop()
    eventually(lambda: not alive([data_plane]), what="the data plane has ended")
    eventually(lambda: not alive([owner]), what="the port owner has ended")
    again = next_gateway(gateway, ("--orphan-timeout", "1"))
    again.wait_ready()
    again.end()


def test_draining_data_plane_ends_in_the_absence_and_the_other_stays(host):
    gateway = Gateway(host, new_port(), "--orphan-timeout", "2", "--memory", "240")
    from test_drain import planes

    inside = new_port()
    first = Client(host, f"{LO}:{gateway.port}", new_port(), inside, name="first")
    first.wait_for_line("forward open")
    (old,) = planes(gateway)
    (old_pid,) = data_planes(gateway)
    assert gateway.call("DrainDataPlane", dp_id=old)[0] == 200
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


@pytest.mark.skipif(not FULL, reason="takes 10 s")
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


# ---- counters ----


def counters(gateway):
    """All that only grow, by name and labels; those of single workers end with them."""
    _, text = gateway.get("/metrics")
    found = {}
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        # Those of processes and of the files' writers start anew with them.
        if re.match(r"quicport_(?!worker_|state_|audit_|heap_)\w+_total\b", name):
            found[name] = int(float(value))
    return found


@pytest.mark.parametrize("how", ["killed", "upgraded"] if FULL else ["killed"])
def test_counters_go_on(host, how):
    from test_drain import planes

    args = ("--memory", "240")
    gateway = Gateway(host, new_port(), *args)
    outside, inside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    client = Client(host, f"{LO}:{gateway.port}", outside, inside, name="first")
    client.opens(host, LO, outside)
    wrong = Client(host, f"{LO}:{gateway.port}", new_port(), inside, auth=("--psk", "wrong"))
    assert wrong.wait() != 0
    assert host.load(LO, outside, "--echo", "--send", 100_000, "--half-close")["ok"] == 1
    (old,) = planes(gateway)
    assert gateway.call("DrainDataPlane", dp_id=old)[0] == 200
    client.stop()
    eventually(lambda: old not in planes(gateway), what="one has ended")
    client = Client(host, f"{LO}:{gateway.port}", outside, inside, name="second")
    client.opens(host, LO, outside)

    number = 0
    for _ in range(2):
        before = counters(gateway)
        if how == "killed":
            gateway.kill()
            gateway = next_gateway(gateway, args)
            gateway.wait_ready()
        else:
            gateway.send(signal.SIGUSR2)
            number += 1
            eventually(lambda g=gateway, n=number: g.output().count('"took over') == n,
                       what="taken over")  # fmt: skip
            eventually(gateway.healthy, what="it serves")
        after = counters(gateway)
        fallen = {n: (v, after.get(n)) for n, v in before.items() if after.get(n, -1) < v}
        assert fallen == {}
    assert sum(v for n, v in after.items() if n.startswith("quicport_auth_refused_total")) == 1
    assert after["quicport_data_plane_starts_total"] == 2
    tunnels_total = after["quicport_tunnels_total"]
    assert tunnels_total == 2, "they are counted once"
    client.stop()
    gateway.end()


def test_data_plane_that_died_in_the_absence_is_counted_once(host):
    gateway = Gateway(host, new_port(), "--memory", "240")
    from test_drain import planes

    inside = new_port()
    first = Client(host, f"{LO}:{gateway.port}", new_port(), inside, name="first")
    first.wait_for_line("forward open")
    (old_pid,) = data_planes(gateway)
    (old,) = planes(gateway)
    assert gateway.call("DrainDataPlane", dp_id=old)[0] == 200
    eventually(lambda: sorted(planes(gateway).values()) == ["ACTIVE", "DRAINING"], what="DRAINING")
    before = counters(gateway)
    gateway.kill()
    os.kill(old_pid, signal.SIGKILL)
    eventually(lambda: not alive([old_pid]), what="it is dead")
    for _ in range(2):
        gateway = next_gateway(gateway, ("--memory", "240"))
        gateway.wait_ready()
        eventually(lambda g=gateway: counters(g)["quicport_tunnels_total"] == 1, what="counted")
        after = counters(gateway)
        assert {n: v for n, v in before.items() if after[n] < v} == {}
        gateway.kill()
    gateway = next_gateway(gateway, ("--memory", "240"))
    gateway.wait_ready()
    gateway.end()
