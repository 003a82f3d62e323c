# SPDX-License-Identifier: Apache-2.0
"""Starting, ending and dying: how fast, how completely, and beside each other."""

import os
import signal
import time

import pytest

from harness import (
    FULL,
    Client,
    Gateway,
    Traces,
    alive,
    cpu_seconds,
    eventually,
    files_of,
    new_port,
)

LO = "127.0.0.1"


def tunnel_on(host, gateway, echo=True):
    """A client on a gateway; its outside port once it is open."""
    outside, inside = new_port(), new_port()
    if echo:
        host.service(LO, inside, "--echo")
    client = Client(host, f"{LO}:{gateway.port}", outside, inside)
    client.opens(host, LO, outside)
    return client, outside


def echoes(host, port):
    result = host.load(LO, port, "--echo", "--send", 100000, "--half-close", deadline=20)
    return result["ok"] == 1


def test_ready_within_a_second_and_port_open_within_a_second(host):
    gateway = Gateway(host, new_port())
    assert gateway.ready_after <= 1
    outside, inside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    client = Client(host, f"{LO}:{gateway.port}", outside, inside)
    client.opens(host, LO, outside)
    assert time.monotonic() - client.started <= 1
    assert echoes(host, outside)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_gateway_ends_in_two_seconds_and_leaves_nothing(host, number):
    gateway = Gateway(host, new_port())
    assert len(gateway.members()) >= 3
    client, outside = tunnel_on(host, gateway)
    with host.connect(LO, outside) as sock:
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
        gateway.end(number, within=2)
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    # The client was told, and need not wait for a timeout.
    assert client.wait(2) != 0


def kill(pids, number=signal.SIGKILL):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass
    eventually(lambda: not alive(pids), what="they are dead")


def test_after_everything_is_killed_the_next_start_undoes_and_serves(host):
    before = Traces(host)
    port = new_port()
    gateway = Gateway(host, port)
    tunnel_on(host, gateway)
    assert files_of(gateway.instance) != []
    kill(gateway.members())
    gateway.kill()
    second = Gateway(host, port)
    _, outside = tunnel_on(host, second)
    assert echoes(host, outside)
    second.before = before
    second.end()


def data_planes(gateway):
    """How many it has started so far; -1 when it does not answer."""
    try:
        return gateway.metric("quicport_data_plane_starts_total")
    except OSError:
        return -1


@pytest.mark.parametrize("victims", ["control plane", "all but the control plane"])
def test_after_some_are_killed_all_end_or_serve(host, victims):
    """Whoever is killed: what remains serves, or ends and can be started again."""
    port = new_port()
    gateway = Gateway(host, port)
    members, instance = gateway.members(), gateway.instance
    kill(members[:1] if victims == "control plane" else members[1:])
    if victims == "control plane":
        gateway.wait()
    else:
        # Supervision brings the data plane back, or the gateway says that it cannot and ends.
        eventually(lambda: not gateway.running() or data_planes(gateway) == 2, what="a decision")
    if gateway.running():
        eventually(gateway.healthy, what="healthy again")
        _, outside = tunnel_on(host, gateway)
        assert echoes(host, outside)
        gateway.end()
    else:
        second = Gateway(host, port)
        _, outside = tunnel_on(host, second)
        assert echoes(host, outside)
        second.before = gateway.before
        second.end()
    eventually(lambda: not alive(members), what="nobody of the first gateway is left")
    assert files_of(instance) == []


def test_killed_client_frees_its_port_within_the_idle_timeout(host):
    gateway = Gateway(host, new_port(), "--quic-idle-timeout", "2", "--quic-keep-alive", "1")
    client, outside = tunnel_on(host, gateway)
    client.send(signal.SIGKILL)
    client.wait()
    eventually(lambda: not host.port_opens(LO, outside), 3.5, "port is closed")
    eventually(lambda: gateway.metric("quicport_tunnels_active") == 0, what="tunnel is gone")


def test_idle_gateway_uses_little_of_a_core(host):
    gateway = Gateway(host, new_port())
    tunnel_on(host, gateway)
    members = gateway.members()
    time.sleep(1)  # what the start-up leaves to be done; not a synchronisation
    start, used = time.monotonic(), cpu_seconds(members)
    time.sleep(10 if FULL else 4)  # the measurement itself
    share = (cpu_seconds(members) - used) / (time.monotonic() - start)
    assert share < 0.05, f"{share:.1%} of a core"


def test_eight_gateways_serve_side_by_side(host):
    gateways = [Gateway(host, new_port(), wait=False, name=f"gateway-{n}") for n in range(8)]
    for gateway in gateways:
        gateway.wait_ready()
    ports = [tunnel_on(host, gateway)[1] for gateway in gateways]
    assert all(echoes(host, port) for port in ports)
    names = [gateway.instance for gateway in gateways]
    for gateway in gateways:
        gateway.stop()
    assert gateways[0].before.left() == []
    assert [path for name in names for path in files_of(name)] == []


def test_gateway_at_an_address_in_use_is_refused(host):
    first = Gateway(host, new_port())
    second = Gateway(host, first.port, wait=False, name="second")
    assert second.wait(5) != 0
    assert str(first.port) in second.output()
    assert first.healthy()
    _, outside = tunnel_on(host, first)
    assert echoes(host, outside)
    first.end()


def test_port_of_a_host_program_is_refused(host):
    gateway = Gateway(host, new_port())
    taken = new_port()
    service = host.service("0.0.0.0", taken, "--echo")
    client = Client(host, f"{LO}:{gateway.port}", taken, new_port())
    assert client.wait(5) != 0
    assert "in use" in client.output()
    assert service.running() and echoes(host, taken)
    _, outside = tunnel_on(host, gateway)
    assert echoes(host, outside)


def test_port_of_another_tunnel_is_refused(host):
    gateway = Gateway(host, new_port())
    _, outside = tunnel_on(host, gateway)
    second = Client(host, f"{LO}:{gateway.port}", outside, new_port(), name="second")
    assert second.wait(5) != 0
    assert "in use" in second.output()
    assert echoes(host, outside)


def test_host_program_cannot_take_a_forwarded_port(host):
    gateway = Gateway(host, new_port())
    _, outside = tunnel_on(host, gateway)
    with host.inside():
        import socket

        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with pytest.raises(OSError):
                sock.bind((LO, outside))
                sock.listen()
    assert echoes(host, outside)


def test_traffic_that_is_not_the_gateways_is_left_alone(host):
    """A host program beside the gateway is served by the kernel as before."""
    gateway = Gateway(host, new_port())
    _, outside = tunnel_on(host, gateway)
    other = new_port()
    host.service(LO, other, "--echo")
    received = gateway.metric("quicport_rx_frames_total")
    result = host.load(LO, other, "--echo", "--send", 1 << 20, "--half-close", "--connections", 50)
    assert result["ok"] == 50
    # The metrics request itself, keep-alives; not 50 connections' worth of segments.
    assert gateway.metric("quicport_rx_frames_total") - received < 100
