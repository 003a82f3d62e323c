# SPDX-License-Identifier: Apache-2.0
"""
A process is out of file descriptors: what runs goes on, what is new is refused with a reason or waits,
nothing spins, and when there are some again it is as before.
"""

import contextlib
import os
import resource
import time
from pathlib import Path

import pytest

from harness import QUICPORT, Client, Gateway, cpu_seconds, eventually, new_port
from hostkit import talks

LO = "127.0.0.1"
WHY = "too many open files; raise the limit (ulimit -n)"


def descriptors(pid):
    return {int(name) for name in os.listdir(f"/proc/{pid}/fd")}


def first_free(pid):
    used = descriptors(pid)
    return next(n for n in range(len(used) + 1) if n not in used)


@contextlib.contextmanager
def limited(pid, to):
    """Descriptors below `to` for a while."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (to, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def member(gateway, program):
    return next(p for p in gateway.members() if Path(f"/proc/{p}/exe").resolve().name == program)


def tunnel(host, gateway, name="client", **options):
    """A client and its port, which is not waited for."""
    outside, inside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    client = Client(host, f"{LO}:{gateway.port}", outside, inside, name=name, **options)
    return client, outside


@pytest.fixture
def served(host):
    """A gateway, a client of it, and a conversation that goes on to the end of the test."""
    gateway = Gateway(host, new_port())
    client, port = tunnel(host, gateway)
    client.opens(host, LO, port)
    with talks((host, LO, port)) as (talk,):
        yield gateway, client, port, talk
        talk.goes_on()


def test_control_plane_has_none_left(host, served):
    gateway, _, _, talk = served
    with limited(gateway.pid, first_free(gateway.pid)):
        waiting = [host.connect(LO, gateway.port) for _ in range(5)]
        gateway.wait_for_line("connections to the API have to wait")
        used, start = cpu_seconds([gateway.pid]), time.monotonic()
        refused, _ = tunnel(host, gateway, "refused")
        assert refused.wait() != 0
        assert WHY in refused.output()
        stays, port = tunnel(host, gateway, "stays", reconnect=True)
        eventually(lambda: WHY in stays.output(), what="it is refused")
        talk.goes_on()
        time.sleep(max(0, start + 1 - time.monotonic()))
        used, took = cpu_seconds([gateway.pid]) - used, time.monotonic() - start
        assert used < took / 10, f"{used:.2f} s of processor time in {took:.2f} s"
        assert gateway.output().count("connections to the API have to wait") == 1
    stays.opens(host, LO, port)
    eventually(gateway.healthy, what="the API answers")
    for sock in waiting:
        sock.close()


def test_ports_leave_some_to_the_control_plane_itself(host, served):
    """A quarter of a small limit, 128 of a great one: the API answers, and it can be followed."""
    gateway, _, _, talk = served
    used = descriptors(gateway.pid)
    # Ports may take what is free among these, and one more.
    room = max(used) + 1 - len(used) + 1
    with limited(gateway.pid, (max(used) + 2) * 4 // 3 + 1):
        clients = [tunnel(host, gateway, f"client-{i}", reconnect=True) for i in range(room + 2)]
        eventually(lambda: any(WHY in client.output() for client, _ in clients), what="one is refused")
        assert gateway.healthy()
    for client, port in clients:
        client.opens(host, LO, port)


def test_data_plane_has_none_left_and_answers_new_clients(host, served):
    gateway, _, _, talk = served
    pid = member(gateway, "quicport-data-plane")
    with limited(pid, first_free(pid)):
        for name in ("second", "third"):
            client, port = tunnel(host, gateway, name)
            client.opens(host, LO, port)
        talk.goes_on()


def test_client_has_none_left(host, served):
    _, client, port, talk = served
    with limited(client.pid, first_free(client.pid)):
        for _ in range(5):
            # The reset may come before connect() has returned.
            with pytest.raises(OSError), host.connect(LO, port) as sock:
                sock.sendall(b"x")
                if sock.recv(1) == b"":
                    raise ConnectionError
        assert client.output().count("cannot connect to the local destination") == 1
        talk.goes_on()
    with host.connect(LO, port) as sock:
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"


def test_local_forward_takes_connections_again_once_there_are_some(host):
    """Whatever had the descriptors: no connection of this forward ends to tell of it."""
    gateway = Gateway(host, new_port(), "--allow-local-forward-any")
    inside, here = new_port(), new_port()
    host.service(LO, inside, "--echo")
    client = host.start("local", QUICPORT, "client", "-s", f"{LO}:{gateway.port}", "-L", here, "-R",
                        f"{LO}:{inside}", "--psk", "secret", "--insecure")  # fmt: skip
    client.wait_for_line("forward open")
    with limited(client.pid, first_free(client.pid)):
        sock = host.connect(LO, here)
        sock.sendall(b"x")
        client.wait_for_line("cannot accept a connection")
        used, start = cpu_seconds([client.pid]), time.monotonic()
        time.sleep(0.5)
        used, took = cpu_seconds([client.pid]) - used, time.monotonic() - start
        assert used < took / 5, f"{used:.2f} s of processor time in {took:.2f} s"
        assert client.output().count("cannot accept a connection") == 1
    with sock:
        assert sock.recv(1) == b"x"
