# SPDX-License-Identifier: Apache-2.0
"""The event stream of a running gateway, and sources that are kept out."""

import os
import signal
import socket

import pytest
from apikit import Events, validate
from harness import Client, Gateway, eventually, link
from test_api_lists import World, pages

PORT = 5000
LO = "127.0.0.1"
SCHEMAS = {
    "tunnel_opened": "TunnelEvent", "tunnel_closed": "TunnelEvent", "port_opened": "PortEvent",
    "port_closed": "PortEvent", "auth_failed": "AuthFailedEvent", "data_plane": "DataPlaneEvent",
    "port_owner": "PortOwnerEvent",
    "config": "ConfigEvent", "policy": "PolicyEvent", "stats": "StatsEvent",
}  # fmt: skip


@pytest.fixture
def world(host):
    made = World(host)
    yield made
    made.gateway.end()


def next_of(events, *kinds):
    """The next events of these kinds, in this order; what comes between is checked, too."""
    found = []
    while len(found) < len(kinds):
        event = events.next()
        assert event is not None, "the stream ended"
        number, kind, data = event
        validate({"$ref": f"#/components/schemas/{SCHEMAS[kind]}"}, data)
        assert (number is None) == (kind == "stats")
        if kind == kinds[len(found)]:
            found.append(data)
    return found


def test_a_tunnels_life_is_told(world):
    events = Events(world.api)
    (client,) = world.forward(9000)
    opened, port = next_of(events, "tunnel_opened", "port_opened")
    assert port["port"] == 9000 and port["tunnel_id"] == opened["tunnel_id"]
    tunnel = world.api.call("ListTunnels")["tunnels"][0]
    for key in ("tunnel_id", "client", "method", "peer", "since"):
        assert opened[key] == tunnel[key]
    with world.host.inside(), socket.create_connection((LO, 9000), 10) as user:
        user.sendall(bytes(1000))
        eventually(lambda: world.api.call("ListTunnels")["tunnels"][0]["bytes_sent"] == 1000, what="bytes")
    client.stop()
    port, closed = next_of(events, "port_closed", "tunnel_closed")
    assert port["port"] == 9000
    assert closed["tunnel_id"] == opened["tunnel_id"]
    # One has asked whether the port is open.
    assert closed["bytes_sent"] == 1000 and closed["connections_total"] == 2
    assert closed["reason"] == "client left"

    stranger = Client(world.host, f"{LO}:{PORT}", 9001, 8000, auth=("--psk", "wrong"), name="stranger")
    (failed,) = next_of(events, "auth_failed")
    assert failed["method"] == "psk" and failed["reason"]
    stranger.wait()
    events.close()


def test_figures_come_each_second_with_rates(world):
    events = Events(world.api, "?types=stats")
    world.forward(9000)
    first, second = next_of(events, "stats", "stats")
    assert first["interval_ms"] == 0
    assert 500 <= second["interval_ms"] <= 3000
    assert second["time_ms"] - first["time_ms"] >= 500
    eventually(lambda: next_of(events, "stats")[0]["tunnels"] == 1, what="one tunnel is counted")
    with world.host.inside(), socket.create_connection((LO, 9000), 10) as user:
        user.sendall(bytes(100000))

        def counted():
            (stats,) = next_of(events, "stats")
            return stats["totals"]["bytes_sent"] == 100000 and stats

        assert eventually(counted, what="100,000 bytes are counted")["connections"] == 1
    assert [row["state"] for row in second["data_planes"]] == ["ACTIVE"]
    events.close()


def test_who_comes_back_misses_nothing(world):
    events = Events(world.api, "?types=port_opened,port_closed")
    (client,) = world.forward(9000)
    number, kind, _ = events.next()
    assert kind == "port_opened"
    events.close()
    client.stop()
    eventually(lambda: not world.api.call("ListPorts")["ports"], what="the port is closed")
    again = Events(world.api, "?types=port_opened,port_closed", {"Last-Event-ID": number})
    later, kind, _ = again.next()
    assert kind == "port_closed" and int(later) > int(number)
    again.close()
    lost = Events(world.api, "?types=port_closed", {"Last-Event-ID": "1"})
    assert lost.next()[1] == "lost"
    lost.close()
    assert world.api.ask("GET", "/api/v1/events", headers={"Last-Event-ID": "x"}).status == 400


def test_changes_by_the_operator_are_told(world):
    events = Events(world.api, "?types=data_plane,config,policy")
    world.api.call("BlockSource", source="198.51.100.0/24")
    world.api.call("UnblockSource", source="198.51.100.0/24")
    blocked, unblocked = next_of(events, "policy", "policy")
    assert (blocked["action"], blocked["source"]) == ("block_source", "198.51.100.0/24")
    assert unblocked["action"] == "unblock_source"
    world.api.call("ReloadConfig")
    assert next_of(events, "config")[0]["status"] == "reloaded"
    dp = world.api.call("ListDataPlanes")["data_planes"][0]
    os.kill(dp["pid"], signal.SIGKILL)
    gone, starting, active = next_of(events, "data_plane", "data_plane", "data_plane")
    assert (gone["dp_id"], gone["state"]) == (dp["dp_id"], "TERMINATED")
    assert (starting["state"], active["state"]) == ("STARTING", "ACTIVE")
    assert starting["dp_id"] == active["dp_id"] != dp["dp_id"]
    events.close()
    eventually(world.gateway.healthy, what="the next data plane serves")


ME, ONE, TWO = "198.51.100.1", "198.51.100.2", "198.51.100.3"
EVERYWHERE = {"data_plane": f"0.0.0.0:{PORT}"}


@pytest.fixture
def outside(hosts, host):
    """A host with two addresses, by cable."""
    made = hosts("outside")
    link(made, host, [f"{ONE}/24", f"{TWO}/24"], [f"{ME}/24"], "gw", "out")
    return made


def reaches(outside, port, source):
    with outside.inside():
        try:
            socket.create_connection((ME, port), 1.5, (source, 0)).close()
            return True
        except OSError:
            return False


def test_blocked_source_is_kept_out_and_let_in_again(host, outside):
    world = World(host, **EVERYWHERE)
    api = world.api
    world.forward(9000)
    assert reaches(outside, 9000, ONE) and reaches(outside, 9000, TWO)
    blocked = api.call("BlockSource", source=ONE, reason="scan")["blocked"]
    assert blocked["source"] == f"{ONE}/32" and blocked["reason"] == "scan"
    assert "expires" not in blocked
    assert not reaches(outside, 9000, ONE) and reaches(outside, 9000, TWO)
    assert api.call("ListBlockedSources")["blocked_sources"] == [blocked]
    assert api.call("UnblockSource", source=f"{ONE}/32") == {"status": "unblocked"}
    assert reaches(outside, 9000, ONE)
    assert api.post("UnblockSource", {"source": ONE}).status == 404

    short = api.call("BlockSource", source="198.51.100.0/24", seconds=2)["blocked"]
    assert short["expires"] > short["since"]
    assert not reaches(outside, 9000, TWO)
    eventually(lambda: reaches(outside, 9000, TWO), 10, "its time is over")
    assert api.call("ListBlockedSources") == {"blocked_sources": []}
    for wrong in ("0.0.0.0/0", "::/0", "10.0.0.1/8", "example.com", "10.0.0.0/33"):
        answer = api.post("BlockSource", {"source": wrong})
        assert (answer.status, answer.json()["field"]) == (400, "source"), answer
    assert world.gateway.stop() == 0


def test_blocks_outlive_the_gateway(host, outside, logs):
    args = ("--state-dir", str(logs / "state"))
    world = World(host, *args, **EVERYWHERE)
    world.api.call("BlockSource", source=ONE)
    world.api.call("BlockSource", source="2001:db8::/32", seconds=3600)
    assert world.gateway.stop() == 0
    world.gateway = Gateway(host, PORT, *args, **EVERYWHERE)
    rows = world.api.call("ListBlockedSources")["blocked_sources"]
    assert [row["source"] for row in rows] == [f"{ONE}/32", "2001:db8::/32"]
    assert [row["source"] for row in pages(world.api, "ListBlockedSources", "blocked_sources", 1)] == [
        f"{ONE}/32", "2001:db8::/32"]  # fmt: skip
    world.forward(9000)
    assert not reaches(outside, 9000, ONE) and reaches(outside, 9000, TWO)
    assert world.gateway.stop() == 0


def test_kicked_tunnel_stays_out_for_a_while(host, outside):
    world = World(host, **EVERYWHERE)
    outside.service(LO, 8000)
    client = Client(outside, f"{ME}:{PORT}", 9000, 8000, reconnect=True)
    client.opens(host, LO, 9000)
    tunnel = world.api.call("ListTunnels")["tunnels"][0]
    kicked = world.api.call("KickTunnel", tunnel_id=tunnel["tunnel_id"], block_seconds=60)
    address = tunnel["peer"].rpartition(":")[0]
    assert address in (ONE, TWO)
    assert kicked["blocked"]["source"] == f"{address}/32"
    eventually(lambda: world.api.call("ListTunnels") == {"tunnels": []}, what="the tunnel is gone")
    client.wait_for_line("(?s)connecting.*connecting")
    assert world.api.call("ListTunnels") == {"tunnels": []}
    world.api.call("UnblockSource", source=address)
    client.opens(host, LO, 9000)
    assert world.gateway.stop() == 0


def test_gateway_ends_while_somebody_listens(world):
    events = [Events(world.api) for _ in range(5)]
    for one in events:
        next_of(one, "stats")
    world.gateway.end()
    for one in events:
        while one.next() is not None:
            pass
        one.close()
    world.gateway = Gateway(world.host, PORT)
