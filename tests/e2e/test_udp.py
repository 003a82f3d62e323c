# SPDX-License-Identifier: Apache-2.0
"""UDP forwards: plain sockets outside and behind, the reference peer as the client."""

import errno
import socket
import threading
import time

import pytest

from harness import Gateway, Host, RefPeer, eventually, link, new_port

SO_RCVBUFFORCE = 33
LO = "127.0.0.1"
GATEWAY = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
BOTH = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])


class Echo:
    """A UDP service that answers each datagram with itself; it knows whom it has heard."""

    def __init__(self, host, port):
        self.peers = set()
        with host.inside():
            self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        self.sock.bind((LO, port))
        self.sock.settimeout(0.2)
        self.stop = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stop:
            try:
                data, peer = self.sock.recvfrom(65536)
            except TimeoutError:
                continue
            self.peers.add(peer)
            self.sock.sendto(data, peer)
        self.sock.close()

    def close(self):
        self.stop = True
        self.thread.join()


class Tunnel:
    """A gateway and its client on `host`, a forwarded UDP port, an outside on `outside`."""

    def __init__(self, host, outside, *args):
        self.host, self.outside = host, outside
        self.port, self.service = new_port(), new_port()
        self.gateway = Gateway(host, new_port(), *args)
        self.client = RefPeer(host, "client", "--server", f"{LO}:{self.gateway.port}", "--psk",
                              "secret", "--udp", "--remote", self.port, "--local",
                              f"{LO}:{self.service}")  # fmt: skip
        assert self.client.event("forward")["status"] == 0

    def socket(self, address=LO):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.outside.inside():
            sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        sock.settimeout(5)
        sock.connect((address, self.port))
        return sock

    def metric(self, name):
        return self.gateway.metric(f"quicport_udp_{name}")


@pytest.fixture
def local(host):
    tunnel = Tunnel(host, host)
    yield tunnel
    assert tunnel.gateway.running()


@pytest.fixture
def cable(host):
    """The outside is another host, behind a cable whose MTU is 1,500 bytes."""
    outside = Host("outside")
    try:
        link(host, outside, ["192.0.2.1/24", "2001:db8::1/64"],
             ["192.0.2.2/24", "2001:db8::2/64"], "qpu0", "qpu1")  # fmt: skip
        tunnel = Tunnel(host, outside)
        yield tunnel
        assert tunnel.gateway.running()
    finally:
        outside.remove()


def pattern(length, salt=0):
    return bytes((i * 7 + (i >> 8) + salt) & 0xFF for i in range(length))


def exchange(sock, data):
    sock.send(data)
    return sock.recv(65536)


def test_question_is_answered(local):
    echo = Echo(local.host, local.service)
    with local.socket() as sock:
        for length in (0, 1, 4, 512, 513, 1472, 9000):
            assert exchange(sock, pattern(length)) == pattern(length)
    assert local.metric("flows") == 1
    assert local.metric("datagrams_in_total") == local.metric("datagrams_out_total") == 7
    echo.close()


@BOTH
@pytest.mark.parametrize("length", [1452, 1453, 1472, 1473, 8000, 65507])
def test_datagrams_of_any_length_over_a_cable(cable, family, length):
    echo = Echo(cable.host, cable.service)
    with cable.socket(GATEWAY[family]) as sock:
        for salt in range(3):
            assert exchange(sock, pattern(length, salt)) == pattern(length, salt)
    if length >= 1473:
        assert cable.metric("reassembled_total") == 3
        assert cable.metric("fragments_out_total") >= 6
    echo.close()


@pytest.mark.parametrize("address", [LO, "::1"])
def test_longest_datagram_over_lo(host, address):
    tunnel = Tunnel(host, host)
    echo = Echo(host, tunnel.service)
    with tunnel.socket(address) as sock:
        assert exchange(sock, pattern(65507)) == pattern(65507)
    echo.close()


@BOTH
def test_nobody_behind_is_port_unreachable(cable, family):
    with cable.socket(GATEWAY[family]) as sock:

        def refused():
            try:
                sock.send(b"anybody?")
                sock.settimeout(1)
                sock.recv(100)
            except OSError as error:
                return error.errno == errno.ECONNREFUSED
            return False

        assert eventually(refused)
    assert cable.metric("icmp_sent_total") >= 1
    eventually(lambda: cable.metric("flows") == 0, what="the virtual connection ended")


def test_outside_that_closed_ends_its_virtual_connection(cable):
    """The answer meets a closed port: its ICMP error reaches the client as a reset."""
    with cable.host.inside():
        service = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    service.bind((LO, cable.service))
    service.settimeout(5)
    sock = cable.socket(GATEWAY[socket.AF_INET])
    sock.send(b"question")
    _, peer = service.recvfrom(100)
    sock.close()
    service.sendto(b"answer", peer)
    eventually(lambda: cable.metric("flows_unreachable_total") == 1, what="ICMP is heard")
    eventually(lambda: cable.metric("flows") == 0, what="the virtual connection ended")
    service.close()


def test_silence_ends_a_virtual_connection(host):
    tunnel = Tunnel(host, host, "--udp-idle-timeout", "1")
    echo = Echo(host, tunnel.service)
    with tunnel.socket() as sock:
        end = time.monotonic() + 2.5
        while time.monotonic() < end:  # who speaks stays
            assert exchange(sock, b"x") == b"x"
            time.sleep(0.2)
        assert tunnel.metric("flows_opened_total") == 1
        eventually(lambda: tunnel.metric("flows") == 0, 5, "the virtual connection ended")
        assert tunnel.metric("flows_idle_total") == 1
        assert exchange(sock, b"again") == b"again"
        assert tunnel.metric("flows_opened_total") == 2
    assert len(echo.peers) == 2
    echo.close()


@pytest.mark.parametrize("option, counter", [
    ("--udp-max-flows", "drop_limit_total"),
    ("--udp-max-flows-per-tunnel", "drop_tunnel_limit_total"),
])  # fmt: skip
def test_limit_keeps_who_is_there(host, option, counter):
    tunnel = Tunnel(host, host, option, "10")
    echo = Echo(host, tunnel.service)
    socks = [tunnel.socket() for _ in range(12)]
    for sock in socks[:10]:
        assert exchange(sock, b"in") == b"in"
    for sock in socks[10:]:
        sock.send(b"out")
    eventually(lambda: tunnel.metric(counter) == 2, what=counter)
    for sock in socks[:10]:
        assert exchange(sock, b"still in") == b"still in"
    for sock in socks:
        sock.close()
    echo.close()


def test_1000_senders_with_100_streams(local):
    """The reference peer allows 100 streams: silent ones give theirs to those that wait."""
    echo = Echo(local.host, local.service)
    socks = [local.socket() for _ in range(1000)]
    for number, sock in enumerate(socks):
        sock.settimeout(60)
        sock.send(b"%d" % number)
    served = 0
    end = time.monotonic() + 60
    for number, sock in enumerate(socks):
        sock.settimeout(max(0.1, end - time.monotonic()))
        assert sock.recv(100) == b"%d" % number
        served += 1
    assert served == 1000
    for sock in socks:
        sock.close()
    echo.close()


def test_end_of_the_tunnel_frees_port_and_flows(host):
    local = Tunnel(host, host)
    echo = Echo(local.host, local.service)
    with local.socket() as sock:
        assert exchange(sock, b"x") == b"x"
        local.client.stop()
        eventually(lambda: local.gateway.metric("quicport_ports_open") == 0, what="port is closed")
        assert local.metric("flows") == 0
    with local.outside.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mine:
        mine.bind((LO, local.port))  # the port is anybody's again
    echo.close()
    local.gateway.end()
