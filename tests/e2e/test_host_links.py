# SPDX-License-Identifier: Apache-2.0
"""The gateway's host changes under it: interfaces, addresses, routes and neighbours come and go."""

import re
import time

import pytest

from harness import FULL, Client, Gateway, eventually, link, new_port
from hostkit import talks

OUTSIDE = {4: "198.51.100.2", 6: "2001:db8:1::2"}
OUTER = {4: "198.51.100.1", 6: "2001:db8:1::1"}  # the gateway's, towards outside
INNER = {4: "203.0.113.1", 6: "2001:db8:2::1"}  # the gateway's, towards the client
HOME = {4: "203.0.113.2", 6: "2001:db8:2::2"}
# From the network's return to the next byte: a retransmission a second, and a busy machine.
BACK_S = 2 if FULL else 5
OUTAGE_S = 10 if FULL else 1


def with_prefix(addresses):
    return [f"{addresses[4]}/24", f"{addresses[6]}/64"]


class World:
    """outside ── gateway ── home, where the client and its services are."""

    def __init__(self, hosts):
        self.outside, self.host, self.home = hosts("outside"), hosts("gateway"), hosts("home")
        self.cable(self.outside, OUTSIDE, OUTER, "out")
        self.cable(self.home, HOME, INNER, "in")

    def cable(self, host, theirs, ours, name):
        link(host, self.host, with_prefix(theirs), with_prefix(ours), "gw", name)

    def tunnel(self, *args, family=4):
        self.gateway = Gateway(self.host, port := new_port(), *args, data_plane=f"[::]:{port}")
        return self.client_of(self.home, INNER[family])

    def client_of(self, host, server, **options):
        outside, inside = new_port(), new_port()
        host.service("127.0.0.1", inside, "--echo")
        server = f"[{server}]" if ":" in server else server
        self.client = Client(host, f"{server}:{self.gateway.port}", outside, inside, **options)
        self.client.opens(self.host, "127.0.0.1", outside)
        return outside


@pytest.fixture
def world(hosts):
    return World(hosts)


def has_filter(host, name):
    return "qp_ingress" in host.run("tc", "filter", "show", "dev", name, "ingress", check=False)


def both(world, port):
    return (world.outside, OUTER[4], port), (world.outside, OUTER[6], port)


def index_of(host, name):
    return int(host.run("cat", f"/sys/class/net/{name}/ifindex"))


def lies_between(world, port, down, up):
    """Two conversations over an outage; seconds from its end until both go on."""
    with talks(*both(world, port)) as pair:
        down()
        time.sleep(OUTAGE_S)  # the outage itself
        since = time.monotonic()
        up()
        return max(talk.goes_on(since) for talk in pair)


@pytest.mark.parametrize(
    "where, name",
    [("gateway", "out"), ("peer", "in"), *([("gateway", "in"), ("peer", "out")] if FULL else [])],
)
def test_interface_or_its_carrier_goes_and_comes_back(world, where, name):
    """The peer's end of a cable down is the carrier lost."""
    port = world.tunnel()
    peer, theirs, ours = {"out": (world.outside, OUTSIDE, OUTER), "in": (world.home, HOME, INNER)}[name]
    host, device, addresses = (world.host, name, ours) if where == "gateway" else (peer, "gw", theirs)

    def up():
        host.run("ip", "link", "set", device, "up")
        # Linux takes IPv6 addresses away from an interface that goes down.
        host.run("ip", "address", "add", f"{addresses[6]}/64", "dev", device, "nodad")

    took = lies_between(world, port, lambda: host.run("ip", "link", "set", device, "down"), up)
    print(f"\n{name} back at the {where}: {took:.2f} s")
    assert took < BACK_S
    assert world.gateway.metric("quicport_tunnels_total") == 1


NAMED = ["--interface", "lo", "--interface", "out", "--interface", "in"]


@pytest.mark.parametrize("args", [[], NAMED] if FULL else [NAMED], ids=["all", "named"][not FULL :])
def test_interface_is_made_anew_with_another_index(world, args):
    port = world.tunnel(*args)
    cables = (("out", world.outside, OUTSIDE, OUTER), ("in", world.home, HOME, INNER))
    for name, peer, theirs, ours in cables:
        before = index_of(world.host, name)

        def remove():
            world.host.run("ip", "link", "del", name)
            world.host.run("ip", "link", "add", f"{name}-other", "type", "veth",
                           "peer", "name", f"{name}-else")  # fmt: skip

        took = lies_between(world, port, remove, lambda: world.cable(peer, theirs, ours, name))
        print(f"\n{name} made anew: {took:.2f} s")
        assert took < BACK_S
        assert index_of(world.host, name) != before
        # Whoever names interfaces means these, and no others that come.
        eventually(lambda: has_filter(world.host, name), what="the new one has the classifier")
        assert has_filter(world.host, f"{name}-other") == (args == [])
    assert world.gateway.metric("quicport_tunnels_total") == 1
    assert world.gateway.stop() == 0
    left = world.gateway.before.left()  # the test's own links and routes, too
    assert [what for what in left if what.startswith(("+ filter", "+ qdisc clsact"))] == []


def test_interface_that_is_added_is_served_at_once(world, hosts):
    port = world.tunnel()
    new = hosts("new")
    world.cable(new, {4: "192.0.2.2", 6: "2001:db8:3::2"}, {4: "192.0.2.1", 6: "2001:db8:3::1"}, "new")
    for address in ("192.0.2.1", "2001:db8:3::1"):
        world.client.opens(new, address, port, within=3)
    inside = new_port()
    Client(new, f"192.0.2.1:{world.gateway.port}", inside, new_port(), name="new-client").opens(
        world.outside, OUTER[4], inside
    )


def test_addresses_come_go_and_come_back(world):
    """Of an address that goes, connections wait for their timers; it may be back before."""
    port = world.tunnel()
    second = {4: "198.51.100.9", 6: "2001:db8:1::9"}

    def address(what):
        for family, bits in ((4, 24), (6, 64)):
            world.host.run("ip", "address", what, f"{second[family]}/{bits}", "dev", "out",
                           *(["nodad"] if (family, what) == (6, "add") else []))  # fmt: skip

    with talks(*both(world, port)) as stay:
        address("add")
        with talks(*((world.outside, second[f], port) for f in (4, 6))) as wait:
            address("del")
            eventually(lambda: all(time.monotonic() - t.last > 0.5 for t in wait), what="they wait")
            for talk in stay:
                talk.goes_on(within=3)
            assert not world.outside.port_opens(second[4], port)
            since = time.monotonic()
            address("add")
            took = max(talk.goes_on(since) for talk in wait)
            assert took < BACK_S
            print(f"\naddress back: {took:.2f} s")


def test_default_route_moves_to_another_interface(world, hosts):
    """Requests still come in by the one, and answers leave by the other, as the host's own do."""
    router, far = hosts("router"), hosts("far")
    east, west = {4: "198.51.101.2", 6: "2001:db8:5::2"}, {4: "198.51.102.2", 6: "2001:db8:6::2"}
    at_east, at_west = {4: "198.51.101.1", 6: "2001:db8:5::1"}, {4: "198.51.102.1", 6: "2001:db8:6::1"}
    world.cable(router, east, at_east, "east")
    link(router, world.host, with_prefix(west), with_prefix(at_west), "gw2", "west")
    link(router, far, ["192.0.2.1/24", "2001:db8:9::1/64"], ["192.0.2.2/24", "2001:db8:9::2/64"],
         "far", "rt")  # fmt: skip
    router.run("sysctl", "-q", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    for gateway in ("192.0.2.1", "2001:db8:9::1"):
        far.run("ip", "route", "add", "default", "via", gateway)

    def by(next_hops, families=(4, 6)):
        for family in families:
            world.host.run("ip", "route", "replace", "default", "via", next_hops[family])

    by(east)
    port = world.tunnel()
    tunnel_from_far = world.client_of(far, at_east[4], name="far-client")
    with talks((far, at_east[4], port), (far, at_east[6], port),
               (world.outside, OUTER[4], tunnel_from_far)) as three:  # fmt: skip
        # The last time IPv6's stays: that is no way back for IPv4.
        for move in ([west], [east], [west, [4]]):
            since = time.monotonic()
            by(*move)
            took = max(talk.goes_on(since) for talk in three)
            print(f"\ndefault route moved: {took:.2f} s")
            assert took < BACK_S
    _, metrics = world.gateway.get("/metrics")
    (other,) = re.findall(r'_packets_total{verdict="answer_other"} (\d+)', metrics)
    assert int(other) > 0
    assert world.gateway.metric("quicport_tunnels_total") == 2


def test_neighbour_has_another_mac_address(world):
    """The router was replaced, and says so, as routers do; a silent one costs Linux's own probes."""
    port = world.tunnel()
    for host in (world.outside, world.home):
        host.run("sysctl", "-q", "net.ipv4.conf.gw.arp_notify=1", "net.ipv6.conf.gw.ndisc_notify=1")
    with talks(*both(world, port)) as pair:
        since = time.monotonic()
        for number, host in enumerate((world.outside, world.home)):
            host.run("ip", "link", "set", "gw", "address", f"02:00:00:00:00:{number:02x}")
        took = max(talk.goes_on(since) for talk in pair)
        print(f"\nneighbours replaced: {took:.2f} s")
        assert took < BACK_S
