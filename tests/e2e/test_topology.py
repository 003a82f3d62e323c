# SPDX-License-Identifier: Apache-2.0
"""Three hosts and a NAT router between two of them: addresses, families, and who answers where."""

import socket

import pytest

from harness import Client, Gateway, eventually, link, new_port

MIB = 1 << 20
OUTSIDE = {4: "198.51.100.2", 6: "2001:db8:1::2"}
GATEWAY_OUTER = {4: "198.51.100.1", 6: "2001:db8:1::1"}  # towards outside
GATEWAY_INNER = {4: "203.0.113.1", 6: "2001:db8:2::1"}  # towards the router
ROUTER = {4: "203.0.113.2", 6: "2001:db8:2::2"}
BEHIND = {4: "10.0.0.2", 6: "fd00:1::2"}

NAT = """
table inet home {
	chain nat {
		type nat hook postrouting priority srcnat;
		oifname "gw" masquerade
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state established,related accept
		iifname "lan" accept
	}
	chain input {
		type filter hook input priority filter; policy drop;
		ct state established,related accept
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
	}
}
"""


def with_prefix(addresses):
    return [f"{addresses[4]}/24", f"{addresses[6]}/64"]


class World:
    """outside ── gateway ── router (NAT, nothing inbound) ── behind"""

    def __init__(self, hosts):
        self.outside, self.gateway = hosts("outside"), hosts("gateway")
        self.router, self.behind = hosts("router"), hosts("behind")
        link(self.outside, self.gateway, with_prefix(OUTSIDE), with_prefix(GATEWAY_OUTER),
             "gw", "out")  # fmt: skip
        link(self.gateway, self.router, with_prefix(GATEWAY_INNER), with_prefix(ROUTER),
             "rt", "gw")  # fmt: skip
        link(self.router, self.behind, ["10.0.0.1/24", "fd00:1::1/64"], with_prefix(BEHIND),
             "lan", "rt")  # fmt: skip
        for host, v4, v6 in ((self.outside, GATEWAY_OUTER[4], GATEWAY_OUTER[6]),
                             (self.router, GATEWAY_INNER[4], GATEWAY_INNER[6]),
                             (self.behind, "10.0.0.1", "fd00:1::1")):  # fmt: skip
            host.run("ip", "route", "add", "default", "via", v4)
            host.run("ip", "-6", "route", "add", "default", "via", v6)
        self.router.run("sysctl", "-q", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        self.router.run("nft", "-f", "-", input=NAT)

    def tunnel(self, family, *args, data_plane, server=None, echo=True):
        """A gateway and a client behind the NAT; the forwarded port, not yet tried."""
        port, outside, inside = new_port(), new_port(), new_port()
        gateway = Gateway(self.gateway, port, *args, data_plane=data_plane.format(port=port))
        if echo:
            self.behind.service("127.0.0.1", inside, "--echo")
        server = server or GATEWAY_INNER[family]
        server = f"[{server}]:{port}" if ":" in server else f"{server}:{port}"
        client = Client(self.behind, server, outside, inside)
        return gateway, client, outside, inside


@pytest.fixture
def world(hosts):
    return World(hosts)


def echoes(host, address, port, size=MIB):
    result = host.load(address, port, "--echo", "--send", size, "--half-close", deadline=20)
    return result["ok"] == 1


@pytest.mark.parametrize("family", [4, 6])
def test_outside_reaches_the_service_behind_nat(world, family):
    _, client, port, _ = world.tunnel(family, data_plane="[::]:{port}")
    client.opens(world.outside, GATEWAY_OUTER[family], port)
    for other in (4, 6):
        # The tunnel's family decides nothing about the outside client's.
        assert echoes(world.outside, GATEWAY_OUTER[other], port, 8 * MIB)
    result = world.outside.load(GATEWAY_OUTER[family], port, "--echo", "--send", 20000,
                                "--half-close", "--connections", 300, "--parallel", 50)  # fmt: skip
    assert (result["ok"], result["errors"]) == (300, {})


def test_gateway_that_ends_leaves_no_trace_on_any_interface(world):
    gateway, client, port, _ = world.tunnel(4, data_plane="0.0.0.0:{port}")
    client.opens(world.outside, GATEWAY_OUTER[4], port)
    assert echoes(world.outside, GATEWAY_OUTER[4], port)
    gateway.end()


def test_host_itself_and_both_sides_reach_the_forwarded_port(world):
    _, client, port, _ = world.tunnel(4, data_plane="0.0.0.0:{port}")
    client.opens(world.outside, GATEWAY_OUTER[4], port)
    for host, address in ((world.outside, GATEWAY_INNER[4]), (world.gateway, "127.0.0.1"),
                          (world.gateway, GATEWAY_OUTER[4]), (world.gateway, "::1"),
                          (world.router, GATEWAY_INNER[4]), (world.behind, GATEWAY_OUTER[4])):  # fmt: skip
        assert echoes(host, address, port), f"{host.name} to {address}"


def test_data_plane_at_one_address_serves_that_alone(world):
    gateway, client, port, _ = world.tunnel(4, data_plane=GATEWAY_INNER[4] + ":{port}")
    client.opens(world.outside, GATEWAY_OUTER[4], port)  # forwarded ports answer on all addresses
    assert echoes(world.outside, GATEWAY_OUTER[4], port)
    other = new_port()
    elsewhere = Client(world.outside, f"{GATEWAY_OUTER[4]}:{gateway.port}", other, new_port(),
                       name="elsewhere")  # fmt: skip
    assert not elsewhere_got_in(world, elsewhere, other)


def elsewhere_got_in(world, client, port):
    """Whether the client at the unserved address gets its port within a second or two."""
    try:
        eventually(
            lambda: not client.running() or world.outside.port_opens(GATEWAY_OUTER[4], port), 2
        )
    except AssertionError:
        return False
    return client.running()


@pytest.mark.parametrize(
    "data_plane, served, unserved",
    [("0.0.0.0:{port}", [4], []), ("[::]:{port}", [4, 6], []), ("[2001:db8:2::1]:{port}", [6], [4])],
    ids=["any IPv4", "any", "one IPv6"],
)
def test_tunnels_come_by_the_families_of_the_address(world, data_plane, served, unserved):
    port = new_port()
    Gateway(world.gateway, port, data_plane=data_plane.format(port=port))
    for family in served:
        outside, inside = new_port(), new_port()
        world.behind.service("127.0.0.1", inside, "--echo")
        server = GATEWAY_INNER[family]
        server = f"[{server}]" if family == 6 else server
        client = Client(world.behind, f"{server}:{port}", outside, inside, name=f"client-v{family}")
        client.opens(world.outside, GATEWAY_OUTER[4], outside)
        assert echoes(world.outside, GATEWAY_OUTER[4], outside)


@pytest.mark.parametrize("family", [4, 6])
def test_forward_addr_limits_where_ports_answer(world, family):
    _, client, port, _ = world.tunnel(
        family, "--forward-addr", GATEWAY_OUTER[family], data_plane="[::]:{port}"
    )
    client.opens(world.outside, GATEWAY_OUTER[family], port)
    assert echoes(world.outside, GATEWAY_OUTER[family], port)
    for address in (GATEWAY_INNER[4], GATEWAY_INNER[6], GATEWAY_OUTER[10 - family]):
        assert not world.outside.port_opens(address, port), f"{address} answers"
    assert not world.gateway.port_opens("127.0.0.1", port)


def test_outside_address_is_not_changed_on_the_way(world):
    """The gateway sees the outside client's own address: no NAT is in between on its side."""
    gateway, client, port, _ = world.tunnel(4, "--log-level", "debug", data_plane="0.0.0.0:{port}")
    client.opens(world.outside, GATEWAY_OUTER[4], port)
    assert echoes(world.outside, GATEWAY_OUTER[4], port)
    assert not world.outside.port_opens(ROUTER[4], port)  # the NAT admits nothing


def test_ip_forwarding_of_the_gateway_host_stays_off(world):
    _, client, port, _ = world.tunnel(4, data_plane="0.0.0.0:{port}")
    client.opens(world.outside, GATEWAY_OUTER[4], port)
    assert world.gateway.run("sysctl", "-n", "net.ipv4.ip_forward").strip() == "0"


def test_tunnel_survives_a_new_address_of_the_nat(world):
    """NAT rebinding: the router's public address changes in the middle of a transfer."""
    gateway, client, port, inside = world.tunnel(4, data_plane="0.0.0.0:{port}")
    client.opens(world.outside, GATEWAY_OUTER[4], port)
    with world.outside.connect(GATEWAY_OUTER[4], port) as sock:
        sock.sendall(b"before")
        assert sock.recv(6, socket.MSG_WAITALL) == b"before"
        world.router.run("ip", "address", "add", "203.0.113.77/24", "dev", "gw")
        # Losing its address makes masquerading forget its mappings.
        world.router.run("sysctl", "-q", "net.ipv4.conf.gw.promote_secondaries=1")
        world.router.run("ip", "address", "del", f"{ROUTER[4]}/24", "dev", "gw")
        sock.settimeout(15)
        sock.sendall(b"after!")
        assert sock.recv(6, socket.MSG_WAITALL) == b"after!"
    assert echoes(world.outside, GATEWAY_OUTER[4], port)
    assert client.running()
