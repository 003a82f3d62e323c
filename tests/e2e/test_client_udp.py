# SPDX-License-Identifier: Apache-2.0
"""The client's UDP forwards, both ways, at a server that is not ours: an independent implementation."""

import os
import random
import socket
import threading

import pytest

from harness import QUICPORT, Client, RefPeer, eventually, new_port

LO = "127.0.0.1"
LONGEST = 65507


@pytest.fixture
def quic(host):
    port = new_port()
    RefPeer(host, "server", "--listen", f"{LO}:{port}", "--psk", "secret").event("listening")
    return port


class EchoService(threading.Thread):
    """Answers each datagram by itself, reversed; counts from whom it heard."""

    def __init__(self, host):
        super().__init__(daemon=True)
        self.sock = bound(host)
        self.port = self.sock.getsockname()[1]
        self.senders = set()
        self.start()

    def run(self):
        try:
            while True:
                data, sender = self.sock.recvfrom(65536)
                self.senders.add(sender)
                self.sock.sendto(data[::-1], sender)
        except OSError:
            pass


def bound(host):
    with host.inside():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.bind((LO, 0))
    return sock


def asker(host, port, timeout=5):
    sock = bound(host)
    sock.connect((LO, port))
    sock.settimeout(timeout)
    return sock


def ask(sock, data):
    sock.send(data)
    return sock.recv(65536)


def forwarded(host, quic, way, service_port, *args):
    """A client with one UDP forward; the process, and the port to ask."""
    port = new_port()
    if way == "remote":
        client = Client(host, f"{LO}:{quic}", f"{port}/udp", f"{service_port}/udp", *args)
    else:
        client = host.start("client", QUICPORT, "client", "-s", f"{LO}:{quic}", "--psk", "secret",
                            "--insecure", "-L", f"{port}/udp", "-R", f"{LO}:{service_port}/udp",
                            *args)  # fmt: skip
    client.wait_for_line("forward open")
    return client, port


@pytest.fixture(params=["remote", "local"])
def way(request):
    return request.param


def test_datagrams_of_every_size_come_back(host, quic, way):
    service = EchoService(host)
    _, port = forwarded(host, quic, way, service.port)
    sock = asker(host, port)
    chance = random.Random(7)
    for size in (0, 1, 512, 1200, 1472, 1473, 9000, 65000, LONGEST, *(chance.randrange(3000) for _ in range(50))):
        data = os.urandom(size)
        assert ask(sock, data) == data[::-1], f"{size} bytes"


def test_each_sender_is_answered_apart(host, quic, way):
    service = EchoService(host)
    client, port = forwarded(host, quic, way, service.port)
    socks = [asker(host, port) for _ in range(50)]
    for turn in range(3):
        for number, sock in enumerate(socks):
            sock.send(b"%d of %d" % (turn, number))
        for number, sock in enumerate(socks):
            assert sock.recv(100) == (b"%d of %d" % (turn, number))[::-1]
    assert len(service.senders) == len(socks)
    assert client.stop() == 0


def test_sender_is_forgotten_after_silence(host, quic, way):
    service = EchoService(host)
    _, port = forwarded(host, quic, way, service.port, "--udp-idle-timeout", "1")
    sock = asker(host, port)
    assert ask(sock, b"a") == b"a"
    (first,) = service.senders

    def another():
        # A new virtual connection has a socket of its own at the service.
        assert ask(sock, b"b") == b"b"
        return len(service.senders) > 1

    eventually(another, 10, "a new virtual connection", every=1.5)


def test_nobody_listens_costs_only_that_sender(host, quic, way):
    service = bound(host)
    number = service.getsockname()[1]
    client, port = forwarded(host, quic, way, number)
    service.close()
    asker(host, port).send(b"anybody?")
    with host.inside():
        again = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    again.settimeout(5)
    again.bind((LO, number))
    sock = asker(host, port)

    def heard():
        sock.send(b"hello")
        return again.recvfrom(100)[0] == b"hello"

    eventually(heard, 10, "the service, once it is there")
    assert client.running()
