# SPDX-License-Identifier: Apache-2.0
"""
SIGHUP: the configuration is read again and a new data plane takes over. Tunnels of each generation
live on; a newcomer that fails changes nothing.
"""

import signal

from harness import BUILD, Client, Gateway, eventually, new_port
from test_drain import LO, echoes, generations_of_tunnels, planes
from test_upgrade import programs, replace  # noqa: F401


def hand_over(gateway, draining):
    """SIGHUP, until `draining` old ones and a new one are there; the new one's id."""
    before = set(planes(gateway))
    gateway.send(signal.SIGHUP)

    def done():
        now = planes(gateway)
        if sorted(now.values()) != ["ACTIVE"] + ["DRAINING"] * draining:
            return None
        return [dp_id for dp_id in now if now[dp_id] == "ACTIVE" and dp_id not in before]

    (new,) = eventually(done, what=f"{draining} drain")
    return new



def test_four_generations_live_side_by_side(host):
    gateway = Gateway(host, new_port())
    inside = new_port()
    host.service(LO, inside, "--echo")
    clients, held = {}, []

    def arrive(generation):
        port = new_port()
        clients[generation] = (port, Client(host, f"{LO}:{gateway.port}", port, inside))
        clients[generation][1].opens(host, LO, port)
        held.append(host.connect(LO, port, timeout=10))
        held[-1].sendall(b"before")
        assert held[-1].recv(6) == b"before"

    (first,) = planes(gateway)
    arrive(first)
    for draining in (1, 2, 3):
        arrive(hand_over(gateway, draining))
    assert generations_of_tunnels(gateway) == {generation: 1 for generation in clients}
    for port, _ in clients.values():
        assert echoes(host, port), "a new outside connection"
    for sock in held:
        sock.sendall(b"after")
        assert sock.recv(5) == b"after"
        sock.close()
    assert gateway.metric('quicport_handovers_total{result="done"}') == 3

    # The fifth has no room; then the middle ones end, in their own order, and there is.
    gateway.send(signal.SIGHUP)
    gateway.wait_for_line("raise --memory")
    assert sorted(planes(gateway).values()) == ["ACTIVE"] + ["DRAINING"] * 3
    assert gateway.metric('quicport_handovers_total{result="refused"}') == 1
    order = list(clients)
    for generation in (order[1], order[2]):
        clients[generation][1].stop()
        eventually(lambda: generation not in planes(gateway), what="it ends with its last tunnel")
    hand_over(gateway, 2)
    assert echoes(host, clients[order[0]][0]) and echoes(host, clients[order[3]][0])
    assert gateway.metric("quicport_data_plane_deaths_total") == 0
    for generation in (order[0], order[3]):
        clients[generation][1].stop()
    gateway.end()


def test_two_workers_change_with_the_memory_by_default(host):
    gateway = Gateway(host, new_port(), "--workers", "2")
    inside, ports = new_port(), [new_port() for _ in range(4)]
    host.service(LO, inside, "--echo")
    clients = [Client(host, f"{LO}:{gateway.port}", port, inside, name=f"c{port}") for port in ports]
    for client, port in zip(clients, ports):
        client.opens(host, LO, port)
    for draining in (1, 1):
        hand_over(gateway, draining)
    assert all(echoes(host, port) for port in ports)
    for client in clients:
        client.stop()
    gateway.end()


def test_signals_that_come_while_one_starts_are_one_more(host, programs):  # noqa: F811
    gateway = Gateway(host, new_port())
    real = str(BUILD / "quicport-data-plane").encode()
    replace(programs / "quicport-data-plane", b'#!/bin/sh\nsleep 1\nexec %s "$@"\n' % real)
    gateway.send(signal.SIGHUP)
    gateway.wait_for_line("a new data plane is started")
    for count in (1, 2):
        gateway.send(signal.SIGHUP)
        eventually(lambda: gateway.output().count("SIGHUP is done afterwards") == count,
                   what="it is remembered")  # fmt: skip
    (old,) = (dp_id for dp_id, state in planes(gateway).items() if state == "ACTIVE")
    assert gateway.call("DrainDataPlane", dp_id=old)[0] == 409
    done = 'quicport_handovers_total{result="done"} 2\n'
    eventually(lambda: done in gateway.get("/metrics")[1], what="two changes")
    eventually(lambda: list(planes(gateway).values()) == ["ACTIVE"], what="only the last is left")
    assert gateway.output().count("a new data plane is started") == 2
    gateway.end()


def test_options_count_for_the_next_data_plane(host, logs):
    config = logs / "gateway.yaml"
    config.write_text("quic-idle-timeout: 77\nworkers: 1\n")
    gateway = Gateway(host, new_port(), "--config", config)

    def setting(name):
        rows = gateway.call("GetConfig")[1]["settings"]
        return next(row["value"] for row in rows if row["name"] == name)

    config.write_text("quic-idle-timeout: 78\nworkers: 2\nlease-time: 5\n")
    detail = gateway.call("ReloadConfig")[1]["detail"]
    assert "quic-idle-timeout stays at 77 until data planes change (SIGHUP), not 78" in detail
    assert "lease-time stays at" in detail and "until a restart" in detail
    assert setting("workers") == "1"
    new = hand_over_alone(gateway)
    assert gateway.call("GetDataPlaneStatus", dp_id=new)[1]["workers"] == 2
    assert (setting("workers"), setting("quic-idle-timeout")) == ("2", "78")

    # By the API, too; and a mistake in the file stops all of it.
    config.write_text("workers: 1\n")
    assert gateway.call("DrainDataPlane", dp_id=new) == (200, {"status": "draining"})
    eventually(lambda: new not in planes(gateway), what="the one with two workers has ended")
    (last,) = planes(gateway)
    assert gateway.call("GetDataPlaneStatus", dp_id=last)[1]["workers"] == 1
    config.write_text("workers: 1\nworkers-of-the-world: 2\n")
    status, problem = gateway.call("DrainDataPlane", dp_id=last)
    assert status == 400 and problem["line"] == 2, problem
    gateway.send(signal.SIGHUP)
    eventually(lambda: gateway.output().count("nothing was reloaded") == 2, what="refused again")
    assert planes(gateway) == {last: "ACTIVE"}

    # No room for so many: the file is in force but for what the next one would have read.
    config.write_text("workers: 8\nport-range: 40000-40999\n")
    gateway.send(signal.SIGHUP)
    gateway.wait_for_line("nothing drains")
    assert planes(gateway) == {last: "ACTIVE"}
    assert (setting("workers"), setting("port-range")) == ("1", "40000-40999")
    gateway.end()


def hand_over_alone(gateway):
    """The same while no tunnel is there: the old one ends at once."""
    (old,) = planes(gateway)
    gateway.send(signal.SIGHUP)
    eventually(lambda: list(planes(gateway).values()) == ["ACTIVE"] and old not in planes(gateway),
               what="the old one has ended")  # fmt: skip
    (new,) = planes(gateway)
    return new


def test_a_data_plane_started_by_hand_is_not_replaced(host):
    gateway = Gateway(host, new_port(), "--no-auto-dataplane", wait=False)
    gateway.wait_for_line("Waiting for a data plane")
    gateway.send(signal.SIGHUP)
    gateway.wait_for_line("configuration reloaded")
    assert planes(gateway) == {}
    gateway.end()


def test_signal_that_is_remembered_outlives_an_upgrade_of_the_control_plane(host, programs):  # noqa: F811
    gateway = Gateway(host, new_port())
    real = str(BUILD / "quicport-data-plane").encode()
    replace(programs / "quicport-data-plane", b'#!/bin/sh\nsleep 1\nexec %s "$@"\n' % real)
    gateway.send(signal.SIGHUP)
    gateway.wait_for_line("a new data plane is started")
    gateway.send(signal.SIGHUP)
    gateway.wait_for_line("SIGHUP is done afterwards")
    gateway.send(signal.SIGUSR2)
    # Whichever of the two comes first: both are done, and the gateway serves.
    gateway.wait_for_line("took over from the control plane that this one was before")
    eventually(lambda: gateway.output().count("a new data plane is started") == 2, what="the second")
    eventually(lambda: list(planes(gateway).values()) == ["ACTIVE"], what="only the last is left")
    gateway.end()
