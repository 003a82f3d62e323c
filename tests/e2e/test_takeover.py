# SPDX-License-Identifier: Apache-2.0
"""
A control plane that is killed under load, again and again: its data plane goes on, the next one
takes over. No connection is lost or refused, no tunnel, port or audit row.
"""

import json
import random
import signal
import socket
import threading
import time

from harness import FULL, Client, Gateway, eventually, files_of, new_port

LO = "127.0.0.1"
KILLS = 60 if FULL else 10
SEED = 20240229


class Visitor(threading.Thread):
    """Comes again and again to a port, a new connection each time, and counts what went wrong."""

    def __init__(self, host, port):
        super().__init__(daemon=True)
        self.host, self.port = host, port
        self.visits, self.wrong, self.longest = 0, [], 0.0
        self.done = threading.Event()
        self.start()

    def visit(self):
        word = b"hello %d\n" % self.visits
        with self.host.connect(LO, self.port, timeout=10) as sock:
            sock.sendall(word)
            sock.shutdown(socket.SHUT_WR)
            got = b""
            while data := sock.recv(100):
                got += data
        assert got == word, f"{got!r} came back for {word!r}"

    def run(self):
        while not self.done.wait(0.02):
            start = time.monotonic()
            try:
                self.visit()
            except (OSError, AssertionError) as error:
                self.wrong.append(f"visit {self.visits}: {error}")
            self.longest = max(self.longest, time.monotonic() - start)
            self.visits += 1


def tunnels(gateway):
    with gateway.host.inside():
        sock = socket.create_connection((LO, gateway.port), 5)
    with sock:
        sock.sendall(b"POST /api/v1/admin/ListTunnels HTTP/1.1\r\nHost: localhost\r\n"
                     b"Content-Type: application/json\r\nContent-Length: 2\r\n"
                     b"Connection: close\r\n\r\n{}")  # fmt: skip
        text = b""
        while data := sock.recv(65536):
            text += data
    return json.loads(text.partition(b"\r\n\r\n")[2])["tunnels"]


def rows_of(path, event):
    return [row for row in map(json.loads, path.read_text().splitlines()) if row["event"] == event]


def next_gateway(gateway, args):
    """The control plane that comes after one that was killed."""
    after = Gateway(gateway.host, gateway.port, *args, wait=False)
    after.before = gateway.before
    return after


def test_killed_control_planes_lose_nothing(host, logs):
    chance = random.Random(SEED)
    audit = logs / "audit.log"
    args = ("--audit-log", audit, "--state-dir", logs / "state")
    gateway = Gateway(host, new_port(), *args)
    outside, inside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    client = Client(host, f"{LO}:{gateway.port}", outside, inside)
    client.opens(host, LO, outside)
    before = eventually(lambda: tunnels(gateway), what="the tunnel is listed")
    data_plane = set(host.pids())

    visitor = Visitor(host, outside)
    results = []
    bulk = threading.Thread(target=lambda: results.append(host.load(
        LO, outside, "--echo", "--send", 2_000_000 * KILLS, "--half-close", "--connections", 8,
        "--parallel", 2, deadline=150)))  # fmt: skip
    bulk.start()
    latecomers = []
    for number in range(KILLS):
        if number % 3 == 0:  # it comes back by itself when it meets nobody
            port = new_port()
            latecomers.append((port, Client(host, f"{LO}:{gateway.port}", port, inside,
                                            name=f"late{number}", reconnect=True)))  # fmt: skip
        # At any moment: while it starts, takes over, or long afterwards.
        time.sleep(chance.choice((0.01, 0.1, 0.2, 0.4, 1)) * chance.random())
        gateway.kill()
        time.sleep(chance.choice((0, 0.3)) * chance.random())
        gateway = next_gateway(gateway, args)
    gateway.wait_ready()
    for port, late in latecomers:
        late.opens(host, LO, port)
    bulk.join()
    visitor.done.set()
    visitor.join()

    assert visitor.wrong == [], f"of {visitor.visits} visits"
    assert visitor.visits > KILLS
    assert results[0]["ok"] == 8, results
    now = {row["tunnel_id"]: row for row in tunnels(gateway)}
    assert before[0]["tunnel_id"] in now, "the tunnel is another one"
    assert client.running()
    opened = [row for row in rows_of(audit, "port_opened") if row["port"] == outside]
    assert [row.get("adopted", False) for row in opened].count(False) == 1, opened
    assert not [row for row in rows_of(audit, "port_closed") if row["port"] == outside]
    print(f"{KILLS} kills, {visitor.visits} visits, the longest {visitor.longest:.3f} s")

    instance = gateway.instance
    for _, late in latecomers:
        late.stop()
    client.stop()
    assert gateway.stop(signal.SIGTERM) == 0
    gone = lambda: not data_plane & set(host.pids()) - {p.pid for p in host.processes}  # noqa: E731
    eventually(gone, what="data plane and port owner have ended")
    assert gateway.before.left() == []
    assert files_of(instance) == []
