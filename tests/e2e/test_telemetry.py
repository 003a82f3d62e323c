# SPDX-License-Identifier: Apache-2.0
"""DPDK's telemetry, asked as dpdk-telemetry.py asks: a packet each way over EAL's socket."""

import json
import socket

import pytest
from harness import Client, Gateway, eventually, new_port

LO = "127.0.0.1"


class Telemetry:
    def __init__(self, gateway):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(20)
        self.sock.connect(f"/var/run/dpdk/{gateway.instance}/dpdk_telemetry.v2")
        hello = json.loads(self.sock.recv(1024))
        assert hello["version"].startswith("DPDK")
        self.size = hello["max_output_len"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def ask(self, command):
        self.sock.send(command.encode())
        (answer,) = json.loads(self.sock.recv(self.size)).values()
        return answer


@pytest.fixture
def gateway(host):
    gateway = Gateway(host, new_port())
    yield gateway
    gateway.end()


def test_counters_are_those_of_the_metrics(host, gateway):
    outside = new_port()
    client = Client(host, f"{LO}:{gateway.port}", outside, new_port())
    client.opens(host, LO, outside)
    with Telemetry(gateway) as telemetry:
        (dp,) = telemetry.ask("/quicport/data_planes")
        info = telemetry.ask(f"/quicport/info,{dp}")
        assert info["workers"] == 1
        assert info["pid"] in gateway.members()

        def value(what, name):
            return telemetry.ask(f"/quicport/{what},{dp},0")[name]

        eventually(lambda: value("worker", "tunnels_active") == 1, what="the tunnel is counted")
        # The test's own look at the port was a connection.
        eventually(lambda: value("tcp", "passive_opens") >= 1, what="the connection is counted")
        assert value("tcp", "passive_opens") == gateway.metric("quicport_tcp_passive_opens_total")
        assert value("udp", "flows") == 0
        assert value("drops", "not_ip") == 0
        buckets = telemetry.ask(f"/quicport/rtt,{dp},0")
        assert sum(n for name, n in buckets.items() if name.startswith("tcp_less")) >= 1
    client.stop()


@pytest.mark.parametrize(
    "command",
    ["/quicport/worker", "/quicport/worker,", "/quicport/worker,{dp}", "/quicport/worker,{dp},",
     "/quicport/worker,{dp},1", "/quicport/worker,{dp},0x", "/quicport/worker,{dp},-1",
     "/quicport/worker,0x1,0", "/quicport/worker,99999999999999999999,0", "/quicport/info,{dp},0",
     "/quicport/tcp,{dp};0", "/quicport/nothing"],
)  # fmt: skip
def test_nonsense_is_answered_with_null(gateway, command):
    with Telemetry(gateway) as telemetry:
        (dp,) = telemetry.ask("/quicport/data_planes")
        assert telemetry.ask(command.format(dp=dp)) is None
        assert telemetry.ask(f"/quicport/info,{dp}")["workers"] == 1
