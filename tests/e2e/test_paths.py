# SPDX-License-Identifier: Apache-2.0
"""Clients on the move: another address, another link, no network, a name that leads elsewhere."""

import contextlib
import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from harness import FULL, Client, Gateway, eventually, exactly, link, new_port

GATEWAY = "192.0.2.1"  # on neither link: reached by whichever there is
GATEWAY6 = "2001:db8::1"
MIB = 1 << 20


class World:
    """A gateway and a client behind two links; only the first has addresses and a route at first."""

    def __init__(self, hosts):
        self.gateway, self.home = hosts("gateway"), hosts("home")
        link(self.gateway, self.home, ["10.1.0.1/24", "fd01::1/64"], ["10.1.0.2/24", "fd01::2/64"],
             "one", "one")  # fmt: skip
        link(self.gateway, self.home, ["10.2.0.1/24", "fd02::1/64"], [], "two", "two")
        self.gateway.run("ip", "address", "add", f"{GATEWAY}/32", "dev", "lo")
        self.gateway.run("ip", "address", "add", f"{GATEWAY6}/128", "dev", "lo", "nodad")
        self.home.run("ip", "route", "add", f"{GATEWAY}/32", "via", "10.1.0.1")
        self.home.run("ip", "route", "add", f"{GATEWAY6}/128", "via", "fd01::1")

    def tunnel(self, server=GATEWAY, *args):
        """A gateway and a client that stays; the forwarded port, open."""
        port, outside, inside = new_port(), new_port(), new_port()
        gateway = Gateway(self.gateway, port, data_plane=f"[::]:{port}")
        self.home.service("127.0.0.1", inside, "--echo")
        server = f"[{server}]" if ":" in server else server
        client = Client(self.home, f"{server}:{port}", outside, inside, *args, reconnect=True)
        client.opens(self.gateway, "127.0.0.1", outside)
        return gateway, client, outside


@pytest.fixture
def world(hosts):
    return World(hosts)


class Flow(threading.Thread):
    """An outside client that has random bytes echoed, on and on, until it is told to finish."""

    def __init__(self, host, port):
        super().__init__(daemon=True)
        self.sock = host.connect("127.0.0.1", port, timeout=90)
        self.echoed = 0
        self.enough = threading.Event()
        self.error = None
        self.start()

    def run(self):
        try:
            while not self.enough.is_set():
                sent = os.urandom(256 * 1024)
                sender = threading.Thread(target=self.sock.sendall, args=(sent,), daemon=True)
                sender.start()
                if exactly(self.sock, len(sent)) != sent:
                    raise ValueError("other bytes than were sent")
                self.echoed += len(sent)
        except (OSError, ValueError) as error:
            self.error = error
        finally:
            self.sock.close()

    def moves_on(self, size=4 * MIB, within=20):
        """Waits until so much more went round."""
        goal = self.echoed + size
        eventually(lambda: self.error or self.echoed >= goal, within, f"{size} bytes go round")
        assert self.error is None

    def finish(self):
        self.enough.set()
        self.join(20)
        assert not self.is_alive() and self.error is None


def moves(client):
    return client.output().count("connection moves to another path")


def opens(client):
    return client.output().count("forward open")


def drop(host, packets):
    """Such packets vanish as they leave, and nobody is told."""
    host.run("nft", "-f", "-", input=f"""
table inet dropped {{
	chain postrouting {{
		type filter hook postrouting priority filter;
		{packets} drop
	}}
}}
""")  # fmt: skip


def check_stayed(gateway, client, moved):
    """The same connection all the time, by another path: nobody had to authenticate again."""
    assert (opens(client), moves(client) >= moved) == (1, True), client.output()
    assert gateway.metric("quicport_tunnels_total") == 1


@pytest.mark.parametrize("server", [GATEWAY, GATEWAY6], ids=["IPv4", "IPv6"])
def test_client_gets_another_address_in_a_transfer_that_survives(world, server):
    gateway, client, port = world.tunnel(server)
    flow = Flow(world.gateway, port)
    flow.moves_on()
    if server == GATEWAY:
        world.home.run("ip", "address", "del", "10.1.0.2/24", "dev", "one")
        world.home.run("ip", "address", "add", "10.1.0.3/24", "dev", "one")
        world.home.run("ip", "route", "add", f"{GATEWAY}/32", "via", "10.1.0.1")
    else:
        world.home.run("ip", "address", "add", "fd01::3/64", "dev", "one", "nodad")
        world.home.run("ip", "address", "del", "fd01::2/64", "dev", "one")
    flow.moves_on(within=10)
    flow.finish()
    check_stayed(gateway, client, 1)
    # The gateway has validated the new path.
    assert gateway.metric("quicport_quic_migrations_total") >= 1


def test_client_changes_links_twice_in_a_transfer_that_survives(world):
    """Wi-Fi and cable: the second link comes, then the first one goes, and back."""
    gateway, client, port = world.tunnel()
    flow = Flow(world.gateway, port)
    flow.moves_on()
    world.home.run("ip", "address", "add", "10.2.0.2/24", "dev", "two")
    world.home.run("ip", "route", "replace", f"{GATEWAY}/32", "via", "10.2.0.1")
    eventually(lambda: moves(client) == 1, 5, "the client takes the other link")
    world.home.run("ip", "link", "set", "one", "down")
    flow.moves_on(within=10)
    world.home.run("ip", "link", "set", "one", "up")
    world.home.run("ip", "route", "replace", f"{GATEWAY}/32", "via", "10.1.0.1")
    world.home.run("ip", "link", "set", "two", "down")
    eventually(lambda: moves(client) == 2, 5, "the client goes back")
    flow.moves_on(within=10)
    flow.finish()
    check_stayed(gateway, client, 2)


def test_bulk_transfer_survives_ten_new_addresses(world):
    gateway, client, port = world.tunnel()
    results = []
    bulk = threading.Thread(target=lambda: results.append(world.gateway.load(
        "127.0.0.1", port, "--echo", "--send", 400 * MIB, "--half-close", "--sha", deadline=90)))  # fmt: skip
    bulk.start()
    for number in range(10, 20):
        before = moves(client)
        world.home.run("ip", "address", "add", f"10.1.0.{number}/24", "dev", "one")
        world.home.run("ip", "route", "replace", f"{GATEWAY}/32", "via", "10.1.0.1",
                       "src", f"10.1.0.{number}")  # fmt: skip
        eventually(lambda: moves(client) > before, 5, "the client moves")
        # The next move needs an id, which comes once this one is confirmed.
        validated = before + 1
        eventually(
            lambda: gateway.metric("quicport_quic_migrations_total") >= validated, 10, "validated"
        )
    bulk.join()
    (result,) = results
    assert (result["ok"], result["connections"][0]["rx"]) == (1, 400 * MIB)
    assert result["connections"][0]["rx_sha"] == result["connections"][0]["tx_sha"]
    check_stayed(gateway, client, 10)


def test_network_is_down_for_a_minute_and_the_transfer_goes_on(world):
    gateway, client, port = world.tunnel()
    flow = Flow(world.gateway, port)
    flow.moves_on()
    world.home.run("ip", "link", "set", "one", "down")
    time.sleep(60 if FULL else 20)  # the outage itself
    world.home.run("ip", "link", "set", "one", "up")
    world.home.run("ip", "route", "replace", f"{GATEWAY}/32", "via", "10.1.0.1")
    # Not when retransmission's next doubled timeout comes, but now.
    flow.moves_on(within=5)
    flow.finish()
    check_stayed(gateway, client, 1)


def test_path_swallows_everything_unseen_and_silence_moves_the_client(world):
    """No event tells: only the port that the connection uses has died, as with a router's mapping."""
    port, outside, inside = new_port(), new_port(), new_port()
    gateway = Gateway(world.gateway, port, data_plane=f"0.0.0.0:{port}")
    world.home.service("127.0.0.1", inside, "--echo")
    client = Client(world.home, f"{GATEWAY}:{port}", outside, inside,
                    "--quic-idle-timeout", 18, reconnect=True)  # fmt: skip
    client.opens(world.gateway, "127.0.0.1", outside)
    flow = Flow(world.gateway, outside)
    flow.moves_on()
    (shown,) = world.home.run("ss", "-Hun", "dport", "=", f":{port}").splitlines()
    used = shown.split()[-2].rpartition(":")[2]
    drop(world.home, f"udp sport {used}")
    flow.moves_on(within=10)  # a sixth of the idle timeout, and then some
    flow.finish()
    check_stayed(gateway, client, 1)


def test_gateway_is_gone_for_good_client_gives_the_connection_up_and_comes_back(world):
    gateway, client, port = world.tunnel(GATEWAY, "--quic-idle-timeout", 6, "--quic-keep-alive", 1)
    drop(world.home, f"ip daddr {GATEWAY}")
    client.wait_for_line("the connection to .* was lost")
    assert 1 <= moves(client) <= 6
    world.home.run("nft", "delete", "table", "inet", "dropped")
    eventually(lambda: opens(client) == 2, 30, "the forward is open again")
    flow = Flow(world.gateway, port)
    flow.moves_on()
    flow.finish()


def test_waiting_client_tries_as_soon_as_the_network_is_back(world):
    """It has waited for long already: the next try by itself would be 45 s away."""
    port, outside, inside = new_port(), new_port(), new_port()
    Gateway(world.gateway, port, data_plane=f"0.0.0.0:{port}")
    world.home.run("ip", "route", "del", f"{GATEWAY}/32")
    client = Client(world.home, f"{GATEWAY}:{port}", outside, inside, "--reconnect-delay", 2,
                    reconnect=True)  # fmt: skip
    eventually(lambda: client.output().count("retry_ms") >= 4, 40, "four tries have failed")
    world.home.run("ip", "route", "add", f"{GATEWAY}/32", "via", "10.1.0.1")
    client.wait_for_line("forward open", within=4)


# ---- names ----


@contextlib.contextmanager
def names(host, text):
    """What the resolver knows inside the namespace; yields a function that changes it."""
    folder = Path("/etc/netns") / host.name
    folder.mkdir(parents=True)
    hosts = folder / "hosts"
    hosts.write_text(text)
    try:
        yield hosts.write_text
    finally:
        shutil.rmtree(folder)
        with contextlib.suppress(OSError):
            folder.parent.rmdir()


def test_name_resolves_elsewhere_client_follows(world, hosts):
    other = hosts("other")
    link(other, world.home, ["10.3.0.1/24"], ["10.3.0.2/24"], "home", "three")
    port, outside, inside = new_port(), new_port(), new_port()
    first = Gateway(world.gateway, port, data_plane=f"0.0.0.0:{port}")
    Gateway(other, port, data_plane=f"0.0.0.0:{port}", name="second")
    world.home.service("127.0.0.1", inside, "--echo")
    with names(world.home, f"{GATEWAY} gateway.test\n") as resolve_to:
        client = Client(world.home, f"gateway.test:{port}", outside, inside, reconnect=True)
        client.opens(world.gateway, "127.0.0.1", outside)
        resolve_to("10.3.0.1 gateway.test\n")
        first.stop()
        client.opens(other, "127.0.0.1", outside)
    flow = Flow(other, outside)
    flow.moves_on()
    flow.finish()


def test_first_addresses_do_not_answer_the_next_joins_in(world):
    """Happy Eyeballs: two addresses swallow everything; each is given 250 ms."""
    port, outside, inside = new_port(), new_port(), new_port()
    Gateway(world.gateway, port, data_plane=f"[::]:{port}")
    world.home.service("127.0.0.1", inside, "--echo")
    link(world.gateway, world.home, [], ["fd09::2/64", "10.9.0.2/24"], "hole", "hole")
    for address in ("fd09::1", "10.9.0.1"):  # nobody's
        world.home.run("ip", "neigh", "add", address, "lladdr", "02:00:00:00:00:01", "dev", "hole")
    known = f"fd09::1 gateway.test\n10.9.0.1 gateway.test\n{GATEWAY} gateway.test\n"
    with names(world.home, known):
        client = Client(world.home, f"gateway.test:{port}", outside, inside, reconnect=True)
        client.wait_for_line("forward open", within=2.5)
    tried = client.output().count("connecting ")
    assert tried == 3, client.output()
    client.opens(world.gateway, "127.0.0.1", outside)
