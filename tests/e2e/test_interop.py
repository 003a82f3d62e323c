# SPDX-License-Identifier: Apache-2.0
"""A client of the original tool at this gateway, and this client at a server of it."""

import signal

import pytest

from harness import Client, Gateway, RefPeer, eventually, new_port
from test_auth import CLIENT, SERVER, X25519_SERVER, x25519_client

LO = "127.0.0.1"
MIB = 1 << 20

AUTH = {
    "psk": {
        "gateway": ("--psk", "ein Geheimnis: ü"),
        "client": ("--psk", "ein Geheimnis: ü"),
        "ref server": ("--psk", "ein Geheimnis: ü"),
        "ref client": ("--psk", "ein Geheimnis: ü"),
    },
    "x25519": {
        "gateway": X25519_SERVER,
        "client": x25519_client(CLIENT, SERVER),
        "ref server": ("--privkey", SERVER.secret, "--client-pubkey", CLIENT.shown),
        "ref client": x25519_client(CLIENT, SERVER),
    },
}


@pytest.fixture(params=list(AUTH))
def auth(request):
    return AUTH[request.param]


class Pair:
    """Either way round: what listens, what connects, and the ports that they tie together."""

    def __init__(self, host, server, client, outside, inside):
        self.host, self.server, self.client = host, server, client
        self.outside, self.inside = outside, inside
        client.opens(host, LO, outside)


def foreign_client(host, auth):
    outside, inside = new_port(), new_port()
    gateway = Gateway(host, new_port(), auth=auth["gateway"])
    client = RefPeer(host, "client", "--server", f"{LO}:{gateway.port}", *auth["ref client"],
                     "--remote", outside, "--local", f"{LO}:{inside}")  # fmt: skip
    assert client.event("forward")["status"] == 0
    return Pair(host, gateway, client, outside, inside)


def foreign_server(host, auth):
    outside, inside, quic = new_port(), new_port(), new_port()
    server = RefPeer(host, "server", "--listen", f"{LO}:{quic}", *auth["ref server"])
    server.event("listening")
    client = Client(host, f"{LO}:{quic}", outside, inside, auth=auth["client"])
    return Pair(host, server, client, outside, inside)


@pytest.fixture(params=[foreign_client, foreign_server], ids=lambda f: f.__name__)
def pair(host, auth, request):
    return request.param(host, auth)


def test_data_both_ways_half_close_reset_and_refusal(pair):
    host = pair.host
    # Nobody listens: a reset at once.
    result = host.load(LO, pair.outside, deadline=5)
    assert result["errors"] == {"ECONNRESET": 1}

    service = host.service(LO, pair.inside, "--after-eof", "--send", 2 * MIB, "--sha")
    result = host.load(LO, pair.outside, "--send", 3 * MIB, "--half-close", "--sha")
    there = eventually(lambda: [e for e in service.lines() if "conn" in e], what="report")[0]
    here = result["connections"][0]
    assert (there["rx_sha"], there["tx_sha"]) == (here["tx_sha"], here["rx_sha"])
    assert (there["rx"], here["rx"]) == (3 * MIB, 2 * MIB)

    def resets():
        """A reset may overtake all that came before it: then the service hears of no connection."""
        host.load(LO, pair.outside, "--send", 5000, "--reset-after", 5000)
        return [e for e in service.lines() if "conn" in e][1:]

    reports = eventually(resets, what="reset")
    assert {report["end"] for report in reports} == {"rst"}
    service.stop()

    host.service(LO, pair.inside, "--after-eof", "--reset-after", 100)
    result = host.load(LO, pair.outside, "--send", 5000)
    assert result["errors"] in ({"ECONNRESET": 1}, {"EPIPE": 1})


def test_more_connections_at_once_than_streams_are_granted(pair):
    """Peers grant 100 streams: the 101st connection waits for one, and none fails."""
    pair.host.service(LO, pair.inside, "--echo")
    result = pair.host.load(LO, pair.outside, "--echo", "--send", 2000, "--half-close",
                            "--connections", 600, "--parallel", 250, deadline=150)  # fmt: skip
    assert (result["ok"], result["errors"]) == (600, {})


def test_leaving_client_frees_the_port(pair):
    assert pair.client.stop(signal.SIGTERM) == 0
    eventually(lambda: not pair.host.port_opens(LO, pair.outside), 1, "port is closed")


def test_client_notices_that_the_server_leaves(pair):
    pair.server.stop(signal.SIGTERM)
    pair.client.wait(5)


def test_port_in_use_is_told(pair):
    """
    The port that the first client has: status 1, and the second client gives up. A second tunnel
    of the same X25519 client takes the port over instead (test_ports.py).
    """
    host = pair.host
    if isinstance(pair.server, Gateway):
        if pair.server.auth == X25519_SERVER:
            pytest.skip("who comes with the same key is the same client")
        second = RefPeer(host, "client", "--server", f"{LO}:{pair.server.port}",
                         *AUTH_OF[pair.server.auth], "--remote", pair.outside,
                         "--local", f"{LO}:{pair.inside}")  # fmt: skip
        assert second.event("forward")["status"] == 1
    else:
        taken = new_port()
        host.service(LO, taken, "--echo")
        port = pair.server.event("listening")["port"]
        second = Client(host, f"{LO}:{port}", taken, new_port(), auth=pair.client.auth)
        assert second.wait(5) != 0
        assert "in use" in second.output()


AUTH_OF = {kind["gateway"]: kind["ref client"] for kind in AUTH.values()}
