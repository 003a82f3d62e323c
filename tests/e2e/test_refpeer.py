# SPDX-License-Identifier: Apache-2.0
"""The reference peer against itself: what it can do, before anything is blamed on the product."""

import signal

import pytest

from harness import RefPeer, eventually, new_port

MIB = 1 << 20


@pytest.fixture
def tunnel(host):
    """refpeer server and client; outside port and service port."""
    quic, outside, inside = new_port(), new_port(), new_port()
    server = RefPeer(host, "server", "--listen", f"127.0.0.1:{quic}", "--psk", "secret")
    server.event("listening")
    client = RefPeer(host, "client", "--server", f"127.0.0.1:{quic}", "--psk", "secret",
                     "--remote", outside, "--local", f"127.0.0.1:{inside}")  # fmt: skip
    assert client.event("forward")["status"] == 0
    return host, outside, inside, server, client


def test_echo_through_many_connections(tunnel):
    host, outside, inside, *_ = tunnel
    host.service("127.0.0.1", inside, "--echo")
    result = host.load("127.0.0.1", outside, "--echo", "--send", 20000, "--half-close",
                       "--connections", 300, "--parallel", 150, deadline=150)  # fmt: skip
    assert (result["ok"], result["errors"]) == (300, {})


def test_half_close_lets_the_answer_back(tunnel):
    host, outside, inside, *_ = tunnel
    service = host.service("127.0.0.1", inside, "--after-eof", "--send", MIB, "--sha")
    result = host.load("127.0.0.1", outside, "--send", 4 * MIB, "--half-close", "--sha")
    there = eventually(lambda: [e for e in service.lines() if "conn" in e], what="service reports")
    assert result["connections"][0]["rx_sha"] == there[0]["tx_sha"]
    assert result["connections"][0]["tx_sha"] == there[0]["rx_sha"]


def test_reset_outside_reaches_the_service(tunnel):
    host, outside, inside, *_ = tunnel
    service = host.service("127.0.0.1", inside, "--after-eof", "--sha")
    host.load("127.0.0.1", outside, "--send", 1000, "--reset-after", 1000)
    there = eventually(lambda: [e for e in service.lines() if "conn" in e], what="service reports")
    assert there[0]["end"] == "rst"


def test_reset_by_the_service_comes_back(tunnel):
    host, outside, inside, *_ = tunnel
    host.service("127.0.0.1", inside, "--after-eof", "--reset-after", 500)
    result = host.load("127.0.0.1", outside, "--send", 1000)
    assert result["errors"] == {"ECONNRESET": 1}


def test_no_service_resets_the_outside_connection(tunnel):
    host, outside, *_ = tunnel
    result = host.load("127.0.0.1", outside, "--send", 1000, deadline=5)
    assert result["errors"] == {"ECONNRESET": 1}


def test_leaving_client_frees_its_port(tunnel):
    host, outside, _, _, client = tunnel
    assert host.port_opens("127.0.0.1", outside)
    assert client.stop(signal.SIGTERM) == 0
    eventually(lambda: not host.port_opens("127.0.0.1", outside), 2, "port is closed")
