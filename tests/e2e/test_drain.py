# SPDX-License-Identifier: Apache-2.0
"""
A data plane is drained under load: it carries on what it has, a new one takes new clients, and it
ends by itself with its last tunnel.
"""

import json
import socket
import threading

from harness import Client, Gateway, eventually, new_port

LO = "127.0.0.1"


def call(gateway, name, **args):
    body = json.dumps(args).encode()
    with gateway.host.inside():
        sock = socket.create_connection((LO, gateway.port), 5)
    with sock:
        sock.sendall(b"POST /api/v1/admin/%s HTTP/1.1\r\nHost: localhost\r\n"
                     b"Content-Type: application/json\r\nContent-Length: %d\r\n"
                     b"Connection: close\r\n\r\n%s" % (name.encode(), len(body), body))  # fmt: skip
        text = b""
        while data := sock.recv(65536):
            text += data
    head, _, body = text.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def planes(gateway):
    return {row["dp_id"]: row["state"] for row in call(gateway, "ListDataPlanes")[1]["data_planes"]}


def generations_of_tunnels(gateway):
    """How many tunnels each data plane has."""
    ids = [row["dp_id"] for row in call(gateway, "ListTunnels")[1]["tunnels"]]
    return {dp_id: ids.count(dp_id) for dp_id in ids}


def echoes(host, port):
    with host.connect(LO, port, timeout=10) as sock:
        sock.sendall(b"hello")
        sock.shutdown(socket.SHUT_WR)
        return sock.recv(100) == b"hello"


def test_drained_data_plane_loses_nothing(host):
    gateway = Gateway(host, new_port())
    outside, inside, later = new_port(), new_port(), new_port()
    host.service(LO, inside, "--echo")
    client = Client(host, f"{LO}:{gateway.port}", outside, inside)
    client.opens(host, LO, outside)
    (old,) = planes(gateway)

    results = []
    bulk = threading.Thread(target=lambda: results.append(host.load(
        LO, outside, "--echo", "--send", 40_000_000, "--half-close", "--connections", 4,
        "--parallel", 2, deadline=90)))  # fmt: skip
    bulk.start()
    eventually(lambda: gateway.metric("quicport_bytes_sent_total") > 1_000_000, what="bulk runs")
    assert call(gateway, "DrainDataPlane", dp_id=old) == (200, {"status": "draining"})
    eventually(lambda: sorted(planes(gateway).values()) == ["ACTIVE", "DRAINING"], what="DRAINING")
    assert bulk.is_alive(), "the transfer was over too soon to show anything"
    assert planes(gateway)[old] == "DRAINING"
    assert call(gateway, "DrainDataPlane", dp_id=old)[0] == 409

    assert echoes(host, outside), "a new outside connection to the old tunnel"
    second = Client(host, f"{LO}:{gateway.port}", later, inside, name="later")
    second.opens(host, LO, later)
    new = next(dp_id for dp_id in planes(gateway) if dp_id != old)
    assert generations_of_tunnels(gateway) == {old: 1, new: 1}
    bulk.join()
    assert results[0]["ok"] == 4, results
    assert echoes(host, outside) and echoes(host, later)

    client.stop()
    eventually(lambda: planes(gateway) == {new: "ACTIVE"}, what="the old one has ended")
    assert gateway.metric("quicport_data_plane_deaths_total") == 0
    assert echoes(host, later)
    second.stop()
    gateway.end()
