# SPDX-License-Identifier: Apache-2.0
"""
What the processes hold: nothing grows however many tunnels and connections come and go, budgets refuse
what is new and harm nothing else, and who has nothing to do does next to nothing. QP_FULL=1: 10,000
tunnels and 1,000,000 connections.
"""

import contextlib
import http.client
import json
import mmap
import os
import re
import resource
import signal
import struct
import subprocess
import time
from pathlib import Path

import pytest

from harness import FULL, PATIENCE_S, QUICPORT, TOOLS, Client, Gateway, alive, eventually, new_port

LO = "127.0.0.1"
ROUNDS = 3
TUNNELS = 10000 if FULL else 400  # in a round
CONNECTIONS = 333334 if FULL else 4000
MIB = 1 << 20
pytestmark = pytest.mark.timeout(1800 if FULL else 180)
# Tables that doubled once, and pools that keep some for the next time: paid in the first round.
SLACK = 512 << 10
# What a tunnel that lives has more or less of at a moment: a leak of 8 bytes a connection is more.
MOMENT = 32 << 10


def read(gateway):
    """All samples of /metrics, with their labels."""
    status, text = gateway.get("/metrics")
    assert status == 200
    found = re.findall(r"^quicport_(\w+(?:{[^}]*})?) ([0-9.e+-]+)$", text, re.M)
    return {name: float(value) for name, value in found}


def heap(metrics, process):
    found = [v for name, v in metrics.items()
             if name.startswith(f'heap_bytes{{process="{process}"')]  # fmt: skip
    assert len(found) == 1
    return found[0]


def held(gateway):
    """What must be as before when all has ended."""
    metrics = read(gateway)
    kept = {name: metrics[name] for name in metrics if name.startswith("map_entries")}
    for name in ("tunnels", "tunnels_waiting", "ports", "queries"):
        kept[name] = metrics[f'table_entries{{table="{name}"}}']
    for name in ("quic_connections", "tcp_conns", "udp_flows", "conns_active", "relay_queued_bytes"):
        kept[name] = metrics[name]
    # Each process opens one or two when it first needs them.
    kept["descriptors"] = sum(v for name, v in metrics.items() if name.startswith("open_desc")) // 8
    # What the port's queue and the pool's cache hold varies by a burst.
    kept["mbufs are back"] = metrics["mbufs_in_use"] <= 512
    return kept


def wait_until_as_before(gateway, before, within=PATIENCE_S):
    differs = {}

    def same():
        now = held(gateway)
        differs.clear()
        differs.update({name: (before[name], now[name]) for name in now if now[name] != before[name]})
        if differs.get("descriptors", (0, 1e9))[1] <= before["descriptors"] + 1:
            del differs["descriptors"]
        return not differs

    try:
        eventually(same, within, every=0.2)
    except AssertionError:
        raise AssertionError(f"before and now: {differs}") from None


def heaps(gateway):
    read(gateway)  # whatever the first reader costs
    metrics = read(gateway)
    return {process: heap(metrics, process) for process in ("control_plane", "data_plane")}


def expect_flat(what, start, rounds):
    """The first round may pay for tables; after that nothing grows."""
    print(what, start, *rounds)
    for process, before in start.items():
        after = [r[process] for r in rounds]
        assert after[0] <= before + SLACK, f"{what}: {process} from {before} to {after}"
        assert after[-1] <= max(after[:-1]) + MOMENT, f"{what}: {process} grows: {after}"


class Tunnels:
    """qptunnels: many tunnels in one process, a line after each round."""

    def __init__(self, host, gateway, *args):
        self.popen = subprocess.Popen(
            host.command(TOOLS / "qptunnels", f"{LO}:{gateway.port}", "secret", *args),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def round(self):
        line = self.popen.stdout.readline()
        assert line, "qptunnels has ended"
        return json.loads(line)

    def go_on(self):
        self.popen.stdin.write("\n")
        self.popen.stdin.flush()

    def end(self):
        self.popen.stdin.close()
        assert self.popen.wait(30) == 0
        self.popen.stdout.close()


# ---- nothing grows ----


def test_tunnels_that_come_and_go_leave_nothing(host):
    gateway = Gateway(host, new_port(), "--audit-log", f"{os.environ['QP_E2E_LOGS']}/audit.json")
    before, start = held(gateway) | {"queries": 0}, heaps(gateway)
    tunnels = Tunnels(host, gateway, "--count", TUNNELS, "--rounds", ROUNDS)
    rounds, own = [], []
    for _ in range(ROUNDS):
        told = tunnels.round()
        assert (told["opened"], told["refused"]) == (TUNNELS, 0)
        print(told)
        own.append({"client": told["heap_bytes"]})
        wait_until_as_before(gateway, before)
        rounds.append(heaps(gateway))
        tunnels.go_on()
    tunnels.end()
    expect_flat(f"{TUNNELS} tunnels a round", start, rounds)
    expect_flat("the client of these tunnels", {"client": 0}, own)
    assert read(gateway)["tunnels_total"] == ROUNDS * TUNNELS
    gateway.end()


def status_of(host, client):
    text = host.run(QUICPORT, "status", "--json", client.pid)
    return json.loads(text)[0]


def test_connections_that_come_and_go_leave_nothing(host):
    gateway = Gateway(host, new_port())
    outside, inside = new_port(), new_port()
    service = host.service(LO, inside, "--echo")
    client = Client(host, f"{LO}:{gateway.port}", outside, inside)
    client.opens(host, LO, outside)
    load = (LO, outside, "--echo", "--send", 100, "--half-close", "--parallel", 64)
    eventually(lambda: read(gateway)["tcp_conns"] == 0, what="the first one has ended")
    before, start = held(gateway) | {"queries": 0}, heaps(gateway)
    start["client"] = status_of(host, client)["heap_bytes"]
    rounds = []
    for _ in range(ROUNDS):
        done = host.load(*load, "--connections", CONNECTIONS, deadline=900 if FULL else 60)
        print(done["ok"], "connections in", done["seconds"], "s")
        assert (done["ok"], done["failed"], done["mismatches"]) == (CONNECTIONS, 0, 0)
        wait_until_as_before(gateway, before, within=90)
        rounds.append(heaps(gateway))
        rounds[-1]["client"] = status_of(host, client)["heap_bytes"]
    expect_flat(f"{CONNECTIONS} connections a round", start, rounds)
    assert read(gateway)["conns_total"] >= ROUNDS * CONNECTIONS
    service.stop()
    assert client.stop() == 0
    gateway.end()


# ---- budgets ----


def echoes(connection):
    try:
        connection.sendall(b"x")
        return connection.recv(1) == b"x"
    except OSError:
        return False


def crowd(host, port, most):
    """Connections that stay, each after an echo, until one is refused."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, most + 512)), hard))
    made = []
    while len(made) < most:
        try:
            connection = host.connect(LO, port)
        except OSError:
            return made
        if not echoes(connection):
            connection.close()
            return made
        made.append(connection)
    return made


def warnings(process, what):
    return [line for line in process.output().splitlines() if what in line]


def reload(host, gateway):
    host.run(QUICPORT, "admin", "reload", "--api", f"http://{LO}:{gateway.port}")


REACHED = "the memory budget is reached"


def test_tunnels_beyond_the_data_planes_budget_are_refused(host, logs):
    config = logs / "gateway.yaml"
    config.write_text("data-plane-heap: 8\n")
    gateway = Gateway(host, new_port(), "--config", config)
    outside, inside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    client = Client(host, f"{LO}:{gateway.port}", outside, inside)
    client.opens(host, LO, outside)
    tunnels = Tunnels(host, gateway, "--hold", "--count", 150)
    told = tunnels.round()
    assert told["opened"] > 10 and told["refused"] > 10, told
    metrics = read(gateway)
    assert metrics["drop_quic_budget_total"] >= told["refused"]
    assert metrics['heap_budget_bytes{process="data_plane"}'] == 8 * MIB
    # What shook hands while there was room may still take some.
    assert heap(metrics, "data_plane") <= 8 * MIB
    assert metrics[next(n for n in metrics if n.startswith('heap_failures_total{process="data'))] == 0
    # Who is there notices nothing.
    done = host.load(LO, outside, "--echo", "--send", 10000, "--half-close", "--connections", 200, "--parallel", 10)
    assert (done["ok"], done["failed"], done["mismatches"]) == (200, 0, 0)
    assert len(warnings(gateway, REACHED)) == 1

    # More counts at once; less, too, and it ends nobody.
    config.write_text("data-plane-heap: 64\n")
    reload(host, gateway)
    late = Client(host, f"{LO}:{gateway.port}", new_port(), inside, name="late")
    late.wait_for_line("forward open")
    config.write_text("data-plane-heap: 4\n")
    reload(host, gateway)
    eventually(lambda: read(gateway)['heap_budget_bytes{process="data_plane"}'] == 4 * MIB,
               what="the budget is less")  # fmt: skip
    assert read(gateway)["tunnels_active"] == told["opened"] + 2
    tunnels.end()
    eventually(lambda: read(gateway)["quic_connections"] == 2, what="the held tunnels have ended")
    assert late.stop() == 0 and client.stop() == 0
    gateway.end()


def test_connections_beyond_the_data_planes_budget_are_refused(host):
    gateway = Gateway(host, new_port(), "--data-plane-heap", 4)
    outside, inside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    client = Client(host, f"{LO}:{gateway.port}", outside, inside)
    client.opens(host, LO, outside)
    made = crowd(host, outside, 6000)
    assert 100 < len(made) < 6000
    assert read(gateway)["conns_refused_budget_total"] > 0
    assert all(echoes(connection) for connection in made)
    assert len(warnings(gateway, REACHED)) == 1
    for connection in made:
        connection.close()
    eventually(lambda: read(gateway)["conns_active"] == 0, what="they have ended")
    eventually(lambda: heap(read(gateway), "data_plane") < 3.5 * MIB, what="their memory is back")
    again = crowd(host, outside, 100)
    assert len(again) == 100
    for connection in again:
        connection.close()
    assert client.stop() == 0
    gateway.end()


def test_connections_beyond_the_clients_budget_are_refused(host):
    gateway = Gateway(host, new_port())
    outside, inside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    client = Client(host, f"{LO}:{gateway.port}", outside, inside, "--memory-budget", 1)
    client.opens(host, LO, outside)
    made = crowd(host, outside, 6000)
    assert 50 < len(made) < 6000
    status = status_of(host, client)
    assert status["memory_budget_bytes"] == MIB
    assert 3 / 4 * MIB <= status["heap_bytes"] <= MIB
    assert status["forwards"][0]["refused"] > 0
    assert all(echoes(connection) for connection in made)
    assert len(warnings(client, REACHED)) == 1
    for connection in made:
        connection.close()

    def ended():
        return status_of(host, client)["forwards"][0]["connections_active"] == 0

    eventually(ended, what="they have ended")
    again = crowd(host, outside, len(made) // 2)
    assert len(again) == len(made) // 2
    assert status_of(host, client)["heap_bytes"] <= MIB
    for connection in again:
        connection.close()
    assert client.stop() == 0
    gateway.end()


def test_the_control_planes_budget_refuses_calls_and_clients_but_no_figures(host, logs):
    config = logs / "gateway.yaml"
    config.write_text("control-plane-heap: 64\n")
    gateway = Gateway(host, new_port(), "--config", config)
    outside, inside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    client = Client(host, f"{LO}:{gateway.port}", outside, inside)
    client.opens(host, LO, outside)
    config.write_text("control-plane-heap: 1\n")
    reload(host, gateway)
    status, body = gateway.get("/api/v1/events")
    assert status == 503 and "--control-plane-heap" in json.loads(body)["detail"]
    assert gateway.healthy()
    assert read(gateway)['heap_budget_bytes{process="control_plane"}'] == MIB
    refused = Client(host, f"{LO}:{gateway.port}", new_port(), inside, name="refused")
    assert refused.wait() != 0
    assert read(gateway)['auth_refused_total{reason="busy"}'] == 1
    done = host.load(LO, outside, "--echo", "--send", 1000, "--half-close", "--connections", 50)
    assert (done["ok"], done["failed"]) == (50, 0)
    assert len(warnings(gateway, REACHED)) == 1
    # What the operator raises counts, though calls are refused.
    config.write_text("control-plane-heap: 64\n")
    gateway.send(signal.SIGHUP)
    eventually(lambda: read(gateway)['heap_budget_bytes{process="control_plane"}'] == 64 * MIB,
               what="the budget is back")  # fmt: skip
    late = Client(host, f"{LO}:{gateway.port}", new_port(), inside, name="late")
    late.wait_for_line("forward open")
    assert late.stop() == 0 and client.stop() == 0
    gateway.end()


# ---- malloc that has none ----


class Failures:
    """LD_PRELOAD for a program of the gateway's or the client's: malloc fails when told to."""

    def __init__(self, logs, program):
        path = logs / f"fail-{program}"
        path.write_bytes(bytes(24))
        self.file = open(path, "r+b")
        self.map = mmap.mmap(self.file.fileno(), 24)
        self.env = {"LD_PRELOAD": str(TOOLS / "failmalloc.so"), "QP_FAIL_FILE": str(path),
                    "QP_FAIL_PROGRAM": program}  # fmt: skip

    def one_in(self, n, seed=1):
        self.map[0:8] = struct.pack("=II", n, seed)

    def failed(self):
        return struct.unpack("=Q", self.map[16:24])[0]


def hurry(host, gateway, outside):
    """What a gateway has to do, whether it can or not."""
    host.load(LO, outside, "--echo", "--send", 2000, "--half-close", "--connections", 200,
              "--parallel", 20, deadline=3)  # fmt: skip
    many = subprocess.Popen(
        host.command(TOOLS / "qptunnels", f"{LO}:{gateway.port}", "secret", "--count", 20),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    for path in ("/metrics", "/healthcheck", "/", "/api/v1/nothing"):
        with contextlib.suppress(OSError, http.client.HTTPException):
            gateway.get(path)
    with contextlib.suppress(subprocess.TimeoutExpired):
        many.wait(2)
    many.kill()
    many.wait()


@pytest.mark.parametrize("program, one_in", [
    ("quicport-data-plane", 25), ("quicport-control-plane", 40), ("quicport", 10)])  # fmt: skip
def test_malloc_that_fails_costs_what_was_asked_for_and_no_process(host, logs, program, one_in):
    fail = Failures(logs, program)
    of_client = program == "quicport"
    gateway = Gateway(host, new_port(), env=None if of_client else fail.env)
    outside, inside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    client = Client(host, f"{LO}:{gateway.port}", outside, inside, "--reconnect-delay", 1,
                    reconnect=True, env=fail.env if of_client else None)  # fmt: skip
    client.opens(host, LO, outside)
    members = gateway.members()
    for seed in range(40 if FULL else 2):
        fail.one_in(one_in, seed)
        hurry(host, gateway, outside)
        fail.one_in(0)
        assert client.running(), f"seed {seed}: {client.output()}"
        assert sorted(alive(members)) == sorted(members), f"seed {seed}: {gateway.output()}"
    assert fail.failed() > 0
    # With memory all is well again.
    client.opens(host, LO, outside, within=70)
    done = host.load(LO, outside, "--echo", "--send", 2000, "--half-close", "--connections", 200, "--parallel", 20)
    assert (done["ok"], done["failed"], done["mismatches"]) == (200, 0, 0)
    if not of_client:
        assert gateway.metric("quicport_heap_failures_total") > 0
    assert client.stop() == 0
    gateway.end()


# ---- idle ----


def threads(pids):
    """{(pid, thread): (name, times that it was woken, ticks of CPU time)}"""
    seen = {}
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            status = (task / "status").read_text()
            fields = (task / "stat").read_text().rpartition(")")[2].split()
            seen[pid, task.name] = (
                re.search(r"Name:\s*(.*)", status)[1],
                int(re.search(r"\nvoluntary_ctxt_switches:\s*(\d+)", status)[1]),
                int(fields[11]) + int(fields[12]),
            )
    return seen


def test_who_has_nothing_to_do_sleeps(host):
    gateway = Gateway(host, new_port())
    outside = new_port()
    client = Client(host, f"{LO}:{gateway.port}", outside, new_port())
    client.opens(host, LO, outside)
    pids = [*gateway.members(), client.pid]
    time.sleep(1)  # what the start has left to do; not waited for, since it is not known from outside
    seconds = 30 if FULL else 5
    before, begin = threads(pids), time.monotonic()
    time.sleep(seconds)
    after, took = threads(pids), time.monotonic() - begin
    for key, (name, wakes, ticks) in after.items():
        _, wakes_before, ticks_before = before.get(key, (name, 0, 0))
        a_second = (wakes - wakes_before) / took
        cpu = (ticks - ticks_before) / os.sysconf("SC_CLK_TCK") / took
        print(f"{name:16} {a_second:6.1f} wake-ups a second, {100 * cpu:.2f} % of a core")
        assert a_second <= 20, f"{name} wakes {a_second:.1f} times a second"
        assert cpu < (0.01 if FULL else 0.03), f"{name} takes {100 * cpu:.1f} % of a core"
    assert client.stop() == 0
    gateway.end()
