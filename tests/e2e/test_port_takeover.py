# SPDX-License-Identifier: Apache-2.0
"""
A client's new tunnel takes its port over while outside users knock all the time: at no moment
does the port answer as one that is closed, whichever workers the two tunnels are on.
"""

import contextlib
import socket
import threading

import pytest

from harness import Client, eventually, new_port
from storm import planes
from test_ports import ALICE, LO, as_client, granted, start
from test_storm import reload
from test_udp import Echo

AT_ONCE = 4  # takeovers of one port: the gateway allows five within two minutes


class Knocking(threading.Thread):
    """Outside users of a port, one after the other, and how it answered them."""

    def __init__(self, host, protocol, port):
        super().__init__(daemon=True)
        self.host, self.port = host, port
        self.knock = self.connect if protocol == "tcp" else self.send
        self.done, self.socket = threading.Event(), None
        self.refused = self.opened = self.broken = 0

    def run(self):
        while not self.done.is_set():
            try:
                self.knock()
                self.opened += 1
            except ConnectionRefusedError:
                self.refused += 1
            except ConnectionError:
                self.broken += 1  # it was the old tunnel's already

    def connect(self):
        self.host.connect(LO, self.port).close()

    def send(self):
        """Of a port that is closed, the next datagram's sender is told so."""
        self.socket = self.socket or udp_socket(self.host, self.port)
        self.socket.send(b"knock")
        self.done.wait(0.001)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc):
        self.done.set()
        self.join()
        if self.socket:
            self.socket.close()


def udp_socket(host, port):
    with host.inside():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(0.2)
    sock.connect((LO, port))
    return sock


def echoes(host, protocol, port):
    if protocol == "tcp":
        return host.load(LO, port, "--echo", "--send", 1000, "--half-close", deadline=20)["ok"] == 1
    with udp_socket(host, port) as sock:
        return eventually(lambda: answers(sock), what="UDP port answers")


def answers(sock):
    """A datagram may be lost."""
    sock.send(b"echo")
    with contextlib.suppress(TimeoutError):
        return sock.recv(100) == b"echo"


def place(gateway):
    """The data plane and worker of the tunnel, once it is the only one."""
    rows = eventually(lambda: (rows := gateway.call("ListTunnels")[1]["tunnels"]) and len(rows) == 1 and rows,
                      what="one tunnel is left")  # fmt: skip
    return rows[0]["dp_id"], rows[0]["worker"]


class Scene:
    def __init__(self, host, protocol, *args):
        self.host, self.protocol, self.gateway = host, protocol, start(host, *args)
        self.inside = new_port()
        self.echo = Echo(host, self.inside) if protocol == "udp" else host.service(LO, self.inside, "--echo")
        self.moves = 0

    def tunnel(self, outside, name):
        client = Client(self.host, f"{LO}:{self.gateway.port}", f"{outside}/{self.protocol}",
                        f"{self.inside}/{self.protocol}", auth=as_client(ALICE), name=name)  # fmt: skip
        assert granted(client) == outside
        assert echoes(self.host, self.protocol, outside), "at once"
        return client

    def take_over(self, before_each=lambda: None):
        """A new port, and one tunnel after the other takes it over."""
        outside = new_port()
        last = self.tunnel(outside, f"{outside}-0")
        where = place(self.gateway)
        with Knocking(self.host, self.protocol, outside) as knocking:
            for i in range(AT_ONCE):
                before_each()
                new = self.tunnel(outside, f"{outside}-{i + 1}")
                assert last.wait() != 0
                assert "has taken its port over" in last.output()
                now = place(self.gateway)
                self.moves += now != where
                last, where = new, now
        print(f"{knocking.opened} opened, {knocking.broken} reset, {self.moves} moves")
        assert knocking.refused == 0
        assert knocking.opened > 0
        assert echoes(self.host, self.protocol, outside)
        last.stop()

    def end(self):
        if self.protocol == "udp":
            self.echo.close()
        self.gateway.end(within=10)


@pytest.fixture(params=["tcp", "udp"])
def protocol(request):
    return request.param


def test_by_the_same_worker(host, protocol):
    scene = Scene(host, protocol)
    scene.take_over()
    assert scene.moves == 0
    scene.end()


def test_by_another_worker(host, protocol):
    scene = Scene(host, protocol, "--workers", "2")
    for _ in range(6):  # the kernel spreads clients by their source port
        scene.take_over()
        if scene.moves >= AT_ONCE:
            break
    assert scene.moves >= 2
    scene.end()


def test_by_another_generation(host, protocol):
    scene = Scene(host, protocol)

    def next_generation():
        eventually(lambda: len(planes(scene.gateway)) == 1, what="the one before has ended")
        reload(scene.gateway)

    scene.take_over(before_each=next_generation)
    assert scene.moves == AT_ONCE
    scene.end()
