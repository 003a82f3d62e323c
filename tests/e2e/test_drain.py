# SPDX-License-Identifier: Apache-2.0
"""
A data plane is drained under load: it carries on what it has, a new one takes new clients, and it
ends by itself with its last tunnel.
"""

import socket
import threading
import time

from harness import Client, Gateway, eventually, new_port

LO = "127.0.0.1"


def planes(gateway):
    return {row["dp_id"]: row["state"] for row in gateway.call("ListDataPlanes")[1]["data_planes"]}


def generations_of_tunnels(gateway):
    """How many tunnels each data plane has."""
    ids = [row["dp_id"] for row in gateway.call("ListTunnels")[1]["tunnels"]]
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
    assert gateway.call("DrainDataPlane", dp_id=old) == (200, {"status": "draining"})
    eventually(lambda: sorted(planes(gateway).values()) == ["ACTIVE", "DRAINING"], what="DRAINING")
    assert bulk.is_alive(), "the transfer was over too soon to show anything"
    assert planes(gateway)[old] == "DRAINING"
    assert gateway.call("DrainDataPlane", dp_id=old)[0] == 409

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


def test_workers_end_together_with_the_last_tunnel(host):
    gateway = Gateway(host, new_port(), "--workers", "2", "--memory", "240")
    inside, ports = new_port(), [new_port() for _ in range(4)]
    host.service(LO, inside, "--echo")
    clients = [Client(host, f"{LO}:{gateway.port}", port, inside, name=f"c{port}") for port in ports]
    for client, port in zip(clients, ports):
        client.opens(host, LO, port)
    (old,) = planes(gateway)
    assert gateway.call("DrainDataPlane", dp_id=old)[0] == 200
    eventually(lambda: sorted(planes(gateway).values()) == ["ACTIVE", "DRAINING"], what="DRAINING")
    assert all(echoes(host, port) for port in ports)
    for client in clients[1:]:
        client.stop()
    assert echoes(host, ports[0])
    assert planes(gateway)[old] == "DRAINING"
    assert generations_of_tunnels(gateway) == {old: 1}
    clients[0].stop()
    eventually(lambda: old not in planes(gateway), what="the old one has ended")
    assert gateway.metric("quicport_data_plane_deaths_total") == 0
    gateway.end()


def test_drain_timeout_moves_the_client(host):
    gateway = Gateway(host, new_port(), "--drain-timeout", "1")
    inside, outside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    client = Client(host, f"{LO}:{gateway.port}", outside, inside, reconnect=True)
    client.opens(host, LO, outside)
    (old,) = planes(gateway)
    assert gateway.call("DrainDataPlane", dp_id=old)[0] == 200
    eventually(lambda: old not in planes(gateway), what="the old one has ended")
    client.opens(host, LO, outside)
    (new,) = planes(gateway)
    assert generations_of_tunnels(gateway) == {new: 1}
    assert gateway.metric("quicport_data_plane_deaths_total") == 0
    client.stop()
    gateway.end()


def test_memory_for_one_data_plane_only_is_told(host):
    gateway = Gateway(host, new_port(), "--memory", "80")
    (only,) = planes(gateway)
    status, problem = gateway.call("DrainDataPlane", dp_id=only)
    assert status == 409
    assert "raise --memory" in problem["detail"]
    assert planes(gateway) == {only: "ACTIVE"}
    gateway.end()


def test_after_the_timeout_tunnels_leave_in_good_order(host):
    gateway = Gateway(host, new_port(), "--drain-timeout", "1", "--drain-grace", "8")
    inside = new_port()
    host.service(LO, inside, "--echo")
    names = ("unused", "idle", "busy")
    ports = {name: new_port() for name in names}
    clients = {name: Client(host, f"{LO}:{gateway.port}", ports[name], inside, name=name, reconnect=True)
               for name in names}  # fmt: skip
    for name in names:
        clients[name].opens(host, LO, ports[name])
    (old,) = planes(gateway)
    quiet, busy = host.connect(LO, ports["idle"], 30), host.connect(LO, ports["busy"], 30)
    for sock in (quiet, busy):
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"

    went, over = {}, threading.Event()
    start = time.monotonic()

    def talk():
        """Until it is cut, which it must not be before the others."""
        try:
            while not over.wait(0.05):
                busy.sendall(b"y")
                if busy.recv(1) != b"y":
                    break
        except OSError:
            pass
        went["busy"] = time.monotonic() - start

    def left():
        """By the client's own words: the connection to the old one is over."""
        for name in ("unused", "idle"):
            if name not in went and clients[name].output().count("forward open") == 2:
                went[name] = time.monotonic() - start
        return "busy" in went and len(went) == 3

    talker = threading.Thread(target=talk)
    talker.start()
    assert gateway.call("DrainDataPlane", dp_id=old)[0] == 200
    try:
        eventually(left, within=60, what="all have left")
    finally:
        over.set()
        talker.join()
    # 1 s; 1 s and at least 5 of silence; 9 s: never sooner than is promised, and in this order.
    assert 1 <= went["unused"] < went["idle"] < went["busy"], went
    assert went["idle"] >= 5 and went["busy"] >= 8.9, went
    for name in names:
        clients[name].opens(host, LO, ports[name])
    eventually(lambda: old not in planes(gateway), what="the old one has ended")
    assert gateway.metric("quicport_data_plane_deaths_total") == 0
    assert clients["busy"].output().count("forward open") == 2, "it came back once"
    for client in clients.values():
        client.stop()
    quiet.close()
    busy.close()
    gateway.end()
