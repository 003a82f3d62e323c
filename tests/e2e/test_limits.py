# SPDX-License-Identifier: Apache-2.0
"""What a client may use, on a real gateway: bandwidth each way, connections, sources, and a reload."""

import signal
import socket

import pytest

from harness import Client, Gateway, eventually

LO = "127.0.0.1"
PORT, OUTSIDE, INSIDE = 26900, 9003, 26903
MB = 1_000_000


class Limited:
    """A gateway whose client `shop` has these grants, its client, and a service behind it."""

    def __init__(self, host, folder, grants, *service):
        self.host, self.file = host, folder / "gateway.yaml"
        self.write(grants)
        self.gateway = Gateway(host, PORT, "--config", str(self.file), auth=())
        self.client = Client(host, f"{LO}:{PORT}", OUTSIDE, INSIDE, auth=("--psk", "topsecret"))
        self.client.wait_for_line("forward open")
        self.service = host.service(LO, INSIDE, *service)

    def write(self, grants):
        self.file.write_text(f"psks:\n  - {{name: shop, secret: topsecret{grants}}}\n")

    def reload(self, grants):
        def reloads():
            return sum(line["message"] == "configuration reloaded" for line in self.gateway.lines())

        before = reloads()
        self.write(grants)
        self.gateway.send(signal.SIGHUP)
        eventually(lambda: reloads() > before, what="reload")

    def answered(self, source=LO):
        with self.host.inside(), socket.socket() as sock:
            sock.settimeout(5)
            sock.bind((source, 0))
            try:
                sock.connect((LO, OUTSIDE))
            except ConnectionRefusedError:
                return False
            return True


@pytest.mark.parametrize("connections", [1, 8])
def test_bandwidth_to_the_service_is_kept(host, logs, connections):
    """16 Mbit/s are 2 MB/s; a ninth of a second's worth is in advance."""
    Limited(host, logs, ", bandwidth-in: 16M", "--after-eof", "--sha")
    result = host.load(LO, OUTSIDE, "--send", 16 * MB // connections, "--half-close", "--sha",
                       "--connections", connections, "--parallel", connections)  # fmt: skip
    assert (result["ok"], result["errors"]) == (connections, {})
    assert 7.2 < result["seconds"] < 9.5, result


def test_bandwidth_from_the_service_is_kept(host, logs):
    Limited(host, logs, ", bandwidth-out: 16M", "--send", 16 * MB, "--sha")
    result = host.load(LO, OUTSIDE, "--half-close", "--sha")
    assert (result["ok"], result["errors"]) == (1, {})
    assert 7.2 < result["seconds"] < 9.5, result


def test_one_connection_more_than_allowed_is_refused_until_one_goes(host, logs):
    limited = Limited(host, logs, ", connections: 2", "--echo")
    held = [host.connect(LO, OUTSIDE) for _ in range(2)]
    eventually(lambda: not limited.answered(), what="a third connection is refused")
    assert limited.gateway.metric("quicport_client_conns_refused_total") > 0
    held.pop().close()
    eventually(limited.answered, what="there is room again")
    assert limited.client.running()


def test_sources_are_kept_out_like_from_a_closed_port(host, logs):
    limited = Limited(host, logs, ", sources: [127.0.0.2/32]", "--echo")
    assert not limited.answered()
    assert limited.answered("127.0.0.2")
    assert limited.gateway.metric("quicport_client_sources_refused_total") == 1


def test_reload_widens_and_narrows_while_the_tunnel_runs(host, logs):
    limited = Limited(host, logs, ", sources: [127.0.0.2/32]", "--echo")
    assert not limited.answered()
    limited.reload("")
    eventually(limited.answered, what="anybody may come")
    limited.reload(", sources: [127.0.0.3/32]")
    eventually(lambda: not limited.answered("127.0.0.2"), what="others may come")
    assert limited.answered("127.0.0.3")
    assert limited.client.running()
