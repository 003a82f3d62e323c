# SPDX-License-Identifier: Apache-2.0
"""Bytes through gateway and client: plain Linux sockets outside and behind, one host, only `lo`."""

import signal
import socket
import struct
import threading

import pytest

from harness import FULL, Client, Gateway, eventually, new_port

LO = "127.0.0.1"
MIB, GIB = 1 << 20, 1 << 30


class Tunnel:
    """A gateway, a client, and the two ports that they tie together."""

    def __init__(self, host):
        self.host = host
        self.outside, self.inside = new_port(), new_port()
        self.gateway = Gateway(host, new_port())
        self.client = Client(host, f"{LO}:{self.gateway.port}", self.outside, self.inside)
        self.client.wait_for_line("forward open")

    def service(self, *args):
        return self.host.service(LO, self.inside, *args)

    def load(self, *args, **options):
        return self.host.load(LO, self.outside, *args, **options)

    def connect(self):
        return self.host.connect(LO, self.outside)


@pytest.fixture
def tunnel(host):
    tunnel = Tunnel(host)
    yield tunnel
    assert tunnel.gateway.running() and tunnel.client.running()


def one_connection(service):
    """What the service says of its only connection."""
    seen = eventually(lambda: [e for e in service.lines() if "conn" in e], what="service reports")
    assert len(seen) == 1
    return seen[0]


def test_gibibyte_from_outside_to_the_service(tunnel):
    service = tunnel.service("--after-eof", "--sha")
    result = tunnel.load("--send", GIB, "--half-close", "--sha", deadline=120)
    assert (result["ok"], result["errors"]) == (1, {})
    there = one_connection(service)
    assert (there["rx"], there["end"]) == (GIB, "fin")
    assert there["rx_sha"] == result["connections"][0]["tx_sha"]


def test_gibibyte_from_the_service_to_outside(tunnel):
    service = tunnel.service("--send", GIB, "--sha")
    result = tunnel.load("--half-close", "--sha", deadline=120)
    assert (result["ok"], result["rx_bytes"]) == (1, GIB)
    assert one_connection(service)["tx_sha"] == result["connections"][0]["rx_sha"]


def test_both_directions_at_once_on_one_connection(tunnel):
    service = tunnel.service("--send", 64 * MIB, "--sha")
    result = tunnel.load("--send", 64 * MIB, "--half-close", "--sha")
    assert (result["ok"], result["rx_bytes"]) == (1, 64 * MIB)
    there, here = one_connection(service), result["connections"][0]
    assert (there["rx_sha"], there["tx_sha"]) == (here["tx_sha"], here["rx_sha"])


def test_500_connections_at_once_echo_a_mebibyte_each(tunnel):
    tunnel.service("--echo")
    result = tunnel.load("--echo", "--send", MIB, "--half-close", "--connections", 500,
                         "--parallel", 500, deadline=120)  # fmt: skip
    assert (result["ok"], result["failed"], result["errors"]) == (500, 0, {})


@pytest.mark.parametrize("parallel", [1, 64])
def test_10000_short_connections(tunnel, parallel):
    tunnel.service("--echo")
    result = tunnel.load("--echo", "--send", 100, "--half-close", "--connections", 10000,
                         "--parallel", parallel, deadline=120)  # fmt: skip
    assert (result["ok"], result["failed"], result["errors"]) == (10000, 0, {})


def test_half_close_outside_lets_the_whole_answer_back(tunnel):
    service = tunnel.service("--after-eof", "--send", 16 * MIB, "--sha")
    result = tunnel.load("--send", 4 * MIB, "--half-close", "--sha")
    there, here = one_connection(service), result["connections"][0]
    assert (there["rx"], here["rx"]) == (4 * MIB, 16 * MIB)
    assert (there["rx_sha"], there["tx_sha"]) == (here["tx_sha"], here["rx_sha"])


def test_half_close_by_the_service_lets_outside_go_on(tunnel):
    service = tunnel.service("--send", 1000, "--sha")
    with tunnel.connect() as sock:
        assert len(recv_all(sock)) == 1000  # the service's end came through
        sock.sendall(b"x" * 300000)
        sock.shutdown(socket.SHUT_WR)
        assert one_connection(service)["rx"] == 300000


def test_half_close_without_any_data(tunnel):
    service = tunnel.service("--after-eof", "--sha")
    with tunnel.connect() as sock:
        sock.shutdown(socket.SHUT_WR)
        assert recv_all(sock) == b""
    assert one_connection(service)["end"] == "fin"


def test_reset_outside_reaches_the_service_as_reset(tunnel):
    service = tunnel.service("--after-eof", "--sha")
    assert tunnel.load("--send", 100000, "--reset-after", 100000)["ok"] == 1
    assert one_connection(service)["end"] == "rst"


def test_reset_by_the_service_reaches_outside_as_reset(tunnel):
    tunnel.service("--after-eof", "--reset-after", 1000)
    result = tunnel.load("--send", 100000)
    assert result["errors"] in ({"ECONNRESET": 1}, {"EPIPE": 1})


def test_service_that_is_not_there_resets_at_once(tunnel):
    result = tunnel.load("--connections", 20, "--parallel", 20, deadline=5)
    assert result["errors"] == {"ECONNRESET": 20}
    assert result["slowest_ms"] < 500


def test_slow_reader_holds_the_sender_back(tunnel):
    """Nothing between the two ends takes in more than bounded buffers."""
    tunnel.service("--hold")
    with tunnel.connect() as sock:
        sock.setblocking(False)
        taken = send_until_stalled(sock)
        assert taken < 64 * MIB
        assert tunnel.gateway.metric("quicport_relay_queued_bytes") < 32 * MIB
        # Others are not held up by it.
        result = tunnel.load("--send", 1000, "--reset-after", 1000)
        assert result["ok"] == 1


def test_silent_connections_stay_and_do_not_disturb(tunnel):
    tunnel.service("--echo")
    idle = [tunnel.connect() for _ in range(200)]
    result = tunnel.load("--echo", "--send", MIB, "--half-close")
    assert result["ok"] == 1
    for sock in idle:
        sock.sendall(b"still here")
        assert sock.recv(100) == b"still here"
        sock.close()
    eventually(lambda: tunnel.gateway.metric("quicport_conns_active") == 0, what="relays end")


def test_urgent_small_writes_arrive_in_order(tunnel):
    tunnel.service("--echo")
    with tunnel.connect() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        words = [struct.pack(">I", n) for n in range(5000)]
        sender = threading.Thread(target=lambda: [sock.sendall(word) for word in words])
        sender.start()
        got = b""
        while len(got) < 20000:
            got += sock.recv(65536)
        sender.join()
        assert got == b"".join(words)


@pytest.mark.skipif(not FULL, reason="QP_FULL=1 runs the long ones")
def test_many_gibibytes_leave_memory_as_it_was(tunnel):
    tunnel.service("--echo")
    tunnel.load("--echo", "--send", 64 * MIB, "--half-close")
    before = tunnel.gateway.metric("quicport_mbufs_in_use")
    for _ in range(8):
        result = tunnel.load("--echo", "--send", GIB, "--half-close", deadline=300)
        assert result["ok"] == 1
    eventually(lambda: tunnel.gateway.metric("quicport_mbufs_in_use") <= before, what="mbufs back")


def test_client_that_is_stopped_frees_its_port_at_once(tunnel):
    tunnel.service("--echo")
    assert tunnel.host.port_opens(LO, tunnel.outside)
    with tunnel.connect() as sock:
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
        assert tunnel.client.stop(signal.SIGTERM, within=1) == 0
        eventually(lambda: not tunnel.host.port_opens(LO, tunnel.outside), 0.5, "port is closed")
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    # The next client gets the same port at once.
    tunnel.client = Client(tunnel.host, f"{LO}:{tunnel.gateway.port}", tunnel.outside,
                           tunnel.inside)  # fmt: skip
    eventually(lambda: tunnel.host.port_opens(LO, tunnel.outside), 2, "port is open again")


def recv_all(sock):
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data


def send_until_stalled(sock):
    """How much is taken until nothing more is for a second."""
    import select

    total = 0
    while select.select([], [sock], [], 1)[1]:
        try:
            total += sock.send(b"\0" * 65536)
        except BlockingIOError:
            pass
        assert total < 256 * MIB
    return total
