# SPDX-License-Identifier: Apache-2.0
"""
Nic mode over memif: MTUs that a TAP does not take, several ports, several workers. Clients and users
are quicport-bench's, which compares every byte; no kernel stands between.
"""

import json
import subprocess

import pytest

from harness import BUILD, Gateway, eventually, new_port
from nickit import counters
from test_service import Owner

BENCH = BUILD / "quicport-bench"


def memif(path, number, role):
    return f"net_memif{number},id={number},socket={path},socket-abstract=no,role={role}"


class Lab:
    """A gateway at one end of memifs, the load generator at the other."""

    def __init__(self, host, logs, *args, ports=1, own="10.0.0.1/24", **options):
        self.host, self.logs = host, logs
        self.path = [logs / f"memif{i}.sock" for i in range(ports)]
        words = [word for i in range(ports) for word in ("--port", memif(self.path[i], i, "server"))]
        self.port = new_port()
        self.gateway = Gateway(host, self.port, *words, "--memory", 128, "--ip", own, *args, data_plane=f"0.0.0.0:{self.port}",
                               **options)  # fmt: skip
        eventually(lambda: all(path.exists() for path in self.path), what="the gateway's memifs are there")

    def bench(self, *args, own="10.0.0.2/24", target="10.0.0.1", seconds=1):
        out = self.logs / "out.json"
        target = f"[{target}]:{self.port}" if ":" in target else f"{target}:{self.port}"
        words = [BENCH, *[word for i, path in enumerate(self.path) for word in ("--port", memif(path, i, "client"))],
                 "--ip", own, "--target", target, "--psk", "secret", "--warmup", 1,
                 "--seconds", seconds, "--json", out, *args]  # fmt: skip
        done = subprocess.run(self.host.command(*words), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr + self.gateway.output()[-2000:]
        return json.loads(out.read_text())


@pytest.fixture
def lab(host, logs):
    def make(*args, **options):
        return Lab(host, logs, *args, **options)

    return make


@pytest.mark.parametrize("mtu", [1500, 9000, 9216, 4321])
@pytest.mark.parametrize("direction", ["in", "out"])
def test_bulk_arrives_whole_at_each_mtu(lab, mtu, direction):
    made = lab("--mtu", mtu)
    made.bench("--mtu", mtu, "--scenario", "bulk", "--direction", direction, "--users", 2)
    drops = {name: n for name, n in counters(made.gateway, r"quicport_net_drop_(?:too_big|no_memory).*").items() if n}
    assert drops == {}


def test_two_workers_by_memif(lab):
    made = lab("--workers", 2)
    made.bench("--scenario", "requests", "--clients", 4, "--users", 8)
    _, text = made.gateway.get("/metrics")
    carried = [float(line.split()[-1]) for line in text.splitlines()
               if line.startswith("quicport_worker_tunnels_total{")]  # fmt: skip
    assert len(carried) == 2 and min(carried) > 0, carried


def slots(gateway):
    return counters(gateway, "quicport_port_slots")["quicport_port_slots"]


def test_fewer_generations_need_fewer_queues_at_the_other_end(lab):
    made = lab("--port-generations", 2)
    assert slots(made.gateway) == 2
    made.bench("--scenario", "requests", "--users", 2, "--queues", 2)


def test_ipv6_by_memif(lab):
    made = lab(own="2001:db8::1/64")
    made.bench("--scenario", "requests", "--users", 2, own="2001:db8::2/64", target="2001:db8::1")


def test_datagrams_by_memif(lab):
    made = lab()
    made.bench("--scenario", "udp", "--users", 4, "--size", "1-1400", "--rate", 500)


def test_port_owner_of_a_service_manager_opens_the_ports(lab, tmp_path):
    owner = Owner(tmp_path)
    try:
        made = lab("--port-owner-socket", owner.path, "--port-generations", 3)
        assert slots(made.gateway) == 3
        made.bench("--scenario", "requests", "--users", 2, "--queues", 3)
        made.gateway.end()
        assert owner.process.wait(20) == 0
    finally:
        owner.process.kill()
        owner.process.wait(20)
