# SPDX-License-Identifier: Apache-2.0
"""
Packets find their generation: UDP and fragments, local forwards, a client that changes its address,
a port that is taken over, the public API; each with a data plane that drains and one that serves.
"""

import signal
import socket

from harness import Client, Gateway, eventually, new_port
from test_drain import LO, echoes, generations_of_tunnels, planes
from test_handover import hand_over
from test_local import LocalClient
from test_paths import GATEWAY, Flow, check_stayed, world  # noqa: F401
from test_ports import ALICE, client_of, granted, start
from test_udp import Echo, pattern


def udp_socket(host, port):
    with host.inside():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(5)
    sock.connect((LO, port))
    return sock


def answers(sock, data):
    sock.send(data)
    return sock.recv(65536) == data


def test_datagrams_and_local_forwards_go_on(host):
    gateway = Gateway(host, new_port(), "--allow-local-forward-any")
    service, outside, tcp, here = new_port(), new_port(), new_port(), new_port()
    echo = Echo(host, service)
    host.service(LO, tcp, "--echo")
    server = f"{LO}:{gateway.port}"
    clients = [Client(host, server, f"{outside}/udp", f"{LO}:{service}/udp", name="udp"),
               LocalClient(host, server, here, f"{LO}:{tcp}")]  # fmt: skip
    for client in clients:
        client.wait_for_line("forward open")
    before = udp_socket(host, outside)
    assert answers(before, b"before")
    held = host.connect(LO, here, timeout=10)
    held.sendall(b"before")
    assert held.recv(6) == b"before"
    for draining in (1, 1):  # the second one has no tunnel, and goes
        hand_over(gateway, draining)
    assert answers(before, b"after") and answers(before, pattern(60000)), "in fragments, too"
    after = udp_socket(host, outside)
    assert answers(after, b"a new sender") and answers(after, pattern(9000))
    held.sendall(b"after")
    assert held.recv(5) == b"after"
    assert echoes(host, here), "a new connection of a local forward"
    held.close()
    before.close()
    after.close()
    for client in clients:
        client.stop()
    echo.close()
    gateway.end()


def test_client_of_a_draining_data_plane_changes_its_address(world):  # noqa: F811
    gateway, client, port = world.tunnel(GATEWAY)
    flow = Flow(world.gateway, port)
    flow.moves_on()
    (old,) = planes(gateway)
    hand_over(gateway, 1)
    world.home.run("ip", "address", "del", "10.1.0.2/24", "dev", "one")
    world.home.run("ip", "address", "add", "10.1.0.3/24", "dev", "one")
    world.home.run("ip", "route", "add", f"{GATEWAY}/32", "via", "10.1.0.1")
    flow.moves_on(within=10)
    flow.finish()
    check_stayed(gateway, client, 1)
    assert generations_of_tunnels(gateway) == {old: 1}


def test_port_moves_from_the_draining_data_plane_to_the_one_that_serves(host):
    gateway = start(host)
    outside, inside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    first = client_of(host, gateway, ALICE, outside, inside, name="first")
    first.opens(host, LO, outside)
    (old,) = planes(gateway)
    new = hand_over(gateway, 1)
    second = client_of(host, gateway, ALICE, outside, inside, name="second")
    granted(second)
    assert first.wait(10) != 0
    assert echoes(host, outside)
    assert generations_of_tunnels(gateway) == {new: 1}
    eventually(lambda: old not in planes(gateway), what="it had no other tunnel")
    assert echoes(host, outside), "the old one's end takes nothing with it"
    second.stop()
    gateway.end()


def ask(sock):
    sock.sendall(b"GET /healthcheck HTTP/1.1\r\nHost: x\r\n\r\n")
    try:
        return sock.recv(4096)[:15]
    except ConnectionResetError:
        return b""


def test_public_api_is_the_new_ones(host):
    gateway = Gateway(host, new_port(), public_api=True)
    public, inside, outside = new_port(), new_port(), new_port()
    assert public == gateway.port + 1
    host.service(LO, inside, "--echo")
    client = Client(host, f"{LO}:{gateway.port}", outside, inside)
    client.opens(host, LO, outside)
    open_before = host.connect(LO, public)
    assert ask(open_before) == b"HTTP/1.1 200 OK"
    hand_over(gateway, 1)
    # What is kept open is cut, at its next request; who asks anew is answered.
    assert ask(open_before) == b""
    with host.connect(LO, public) as fresh:
        assert ask(fresh) == b"HTTP/1.1 200 OK"
    open_before.close()
    client.stop()
    gateway.end(signal.SIGTERM)
