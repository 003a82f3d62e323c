# SPDX-License-Identifier: Apache-2.0
"""What /metrics says of clients, of round trips and of drops, on a gateway with traffic."""

import re

from harness import Client, Gateway, eventually, new_port

LO = "127.0.0.1"
MIB = 1 << 20


def samples(gateway, name):
    """{labels: value} of a metric."""
    status, text = gateway.get("/metrics")
    assert status == 200
    found = re.findall(rf"^quicport_{name}({{[^}}]*}})? ([0-9.e+-]+)$", text, re.M)
    return {labels: float(value) for labels, value in found}


def of_client(gateway, name):
    return sum(samples(gateway, f"client_{name}").values())


def test_a_clients_traffic_is_in_its_account_and_stays_there(host):
    gateway = Gateway(host, new_port())
    outside, inside = new_port(), new_port()
    client = Client(host, f"{LO}:{gateway.port}", outside, inside)
    client.opens(host, LO, outside)
    host.service(LO, inside, "--after-eof", "--send", 2 * MIB)
    host.load(LO, outside, "--send", MIB, "--half-close")
    assert of_client(gateway, "tunnels") == 1

    def told():
        # Asking again is what keeps the figures fresh.
        sent = of_client(gateway, "bytes_sent_total")
        return sent == MIB and of_client(gateway, "bytes_received_total") == 2 * MIB

    eventually(told, what="the client's bytes are in its account")
    assert client.stop() == 0
    eventually(lambda: of_client(gateway, "tunnels") == 0, what="the tunnel has ended")
    assert told()
    assert of_client(gateway, "connections") == 0
    assert of_client(gateway, "connections_total") >= 1
    gateway.end()


def test_round_trips_are_histograms(host):
    gateway = Gateway(host, new_port())
    outside = new_port()
    client = Client(host, f"{LO}:{gateway.port}", outside, new_port())
    client.opens(host, LO, outside)
    for name in ("tcp_rtt_seconds", "quic_rtt_seconds"):
        eventually(lambda n=name: samples(gateway, f"{n}_count")[""] > 0, what=f"{name} has samples")
        buckets = list(samples(gateway, f"{name}_bucket").values())
        assert buckets == sorted(buckets)
    assert client.stop() == 0
    gateway.end()
