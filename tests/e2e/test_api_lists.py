# SPDX-License-Identifier: Apache-2.0
"""What the private API shows of tunnels, ports and connections, in pages and through filters."""

import concurrent.futures
import json
import os
import signal
import socket
import time

import pytest
from apikit import Api, Events
from harness import Client, Gateway, eventually

PORT = 5000
LO = "127.0.0.1"


class World:
    """A gateway, a service, and a client a forward."""

    def __init__(self, host, *args, **more):
        self.host = host
        self.gateway = Gateway(host, PORT, *args, **more)
        self.api = Api(host, PORT)
        host.service(LO, 8000)
        self.clients = []

    def forward(self, *ports):
        for port in ports:
            client = Client(self.host, f"{LO}:{PORT}", port, "8000/udp" if "udp" in str(port) else 8000, 
                            name=f"client-{str(port).replace('/', '-')}")  # fmt: skip
            self.clients.append(client)
        for client, port in zip(self.clients[-len(ports):], ports):
            if not isinstance(port, str):
                client.opens(self.host, LO, port)
        return self.clients[-len(ports):]


@pytest.fixture
def world(host):
    made = World(host)
    yield made
    made.gateway.end()


def pages(api, name, key, limit, **filters):
    """All rows, page by page; each page but the last is full."""
    rows, cursor = [], {}
    while True:
        answer = api.call(name, limit=limit, **filters, **cursor)
        rows += answer[key]
        assert len(answer[key]) <= limit
        if "next_cursor" not in answer:
            return rows
        assert len(answer[key]) == limit
        cursor = {"cursor": answer["next_cursor"]}


def test_tunnels_and_ports_are_listed(world):
    api = world.api
    assert api.call("ListTunnels") == {"tunnels": []}
    assert api.call("ListPorts") == {"ports": []}
    world.forward(9000, 9001, 9002, 9003, "9004/udp")
    eventually(lambda: len(api.call("ListPorts")["ports"]) == 5, what="five ports are open")
    tunnels = api.call("ListTunnels")["tunnels"]
    assert len(tunnels) == 5
    dp_id = api.call("ListDataPlanes")["data_planes"][0]["dp_id"]
    assert {t["dp_id"] for t in tunnels} == {dp_id}
    assert {t["tunnel_id"].partition("-")[0] for t in tunnels} == {dp_id[2:]}
    assert {t["method"] for t in tunnels} == {"psk"}
    held = sorted((p["protocol"], p["port"]) for t in tunnels for p in t["ports"])
    assert held == [("tcp", 9000), ("tcp", 9001), ("tcp", 9002), ("tcp", 9003), ("udp", 9004)]
    ports = api.call("ListPorts")["ports"]
    assert [(p["protocol"], p["port"]) for p in ports] == held
    assert {p["state"] for p in ports} == {"open"}
    assert {p["tunnel_id"] for p in ports} == {t["tunnel_id"] for t in tunnels}

    for limit in (1, 2, 5):
        assert [t["tunnel_id"] for t in pages(api, "ListTunnels", "tunnels", limit)] == [
            t["tunnel_id"] for t in tunnels
        ]
        assert pages(api, "ListPorts", "ports", limit) == ports

    assert [p["port"] for p in api.call("ListPorts", protocol="udp")["ports"]] == [9004]
    assert [p["port"] for p in api.call("ListPorts", port=9002)["ports"]] == [9002]
    assert api.call("ListPorts", port=9002, protocol="udp")["ports"] == []
    client = tunnels[0]["client"]
    assert len(api.call("ListTunnels", client=client)["tunnels"]) == 5
    assert api.call("ListTunnels", client="nobody")["tunnels"] == []
    assert len(api.call("ListTunnels", peer="127.0.0.0/8")["tunnels"]) == 5
    assert len(api.call("ListTunnels", peer=LO)["tunnels"]) == 5
    assert api.call("ListTunnels", peer="198.51.100.0/24")["tunnels"] == []
    assert len(api.call("ListTunnels", dp_id=dp_id)["tunnels"]) == 5
    assert api.post("ListTunnels", {"dp_id": "0x1"}).status == 404
    assert api.call("GetDataPlaneStatus", dp_id=dp_id)["active_tunnels"] == 5


def hold(host, port, count=1):
    """Outside users who stay."""
    users = []
    for _ in range(count):
        with host.inside():
            users.append(socket.create_connection((LO, port), 10))
    return users


def is_cut(user):
    user.settimeout(5)
    try:
        return user.recv(1) == b""
    except ConnectionResetError:
        return True


def test_connections_are_listed_with_what_they_carry(world):
    api = world.api
    assert api.call("ListConnections") == {"connections": []}
    world.forward(9000, 9001)
    users = hold(world.host, 9000, 7) + hold(world.host, 9001, 3)
    eventually(lambda: len(api.call("ListConnections")["connections"]) == 10, what="ten connections")
    rows = api.call("ListConnections")["connections"]
    names = {f"{a}:{p}" for a, p in (user.getsockname() for user in users)}
    assert {row["remote_addr"] for row in rows} == names
    assert {row["protocol"] for row in rows} == {"tcp"}
    assert sorted(row["port"] for row in rows) == [9000] * 7 + [9001] * 3
    assert all(not row["local"] and row["age_ms"] < 60000 for row in rows)
    for limit in (1, 3, 10):
        found = pages_of_connections(api, limit)
        assert {(r["tunnel_id"], r["connection_id"]) for r in found} == {
            (r["tunnel_id"], r["connection_id"]) for r in rows}  # fmt: skip
        assert len(found) == 10

    assert len(api.call("ListConnections", port=9001)["connections"]) == 3
    assert api.call("ListConnections", protocol="udp")["connections"] == []
    assert len(api.call("ListConnections", peer="127.0.0.0/8")["connections"]) == 10
    assert api.call("ListConnections", peer="2001:db8::/32")["connections"] == []
    tunnels = {t["ports"][0]["port"]: t for t in api.call("ListTunnels")["tunnels"]}
    mine = api.call("ListConnections", tunnel_id=tunnels[9000]["tunnel_id"])["connections"]
    assert len(mine) == 7 and {row["port"] for row in mine} == {9000}
    dp_id = tunnels[9000]["dp_id"]
    assert len(api.call("GetConnections", dp_id=dp_id)["connections"]) == 10
    assert api.post("GetConnections", {"dp_id": "0x1"}).status == 404
    assert api.post("ListConnections", {"tunnel_id": "0001-0-1"}).status == 404
    assert tunnels[9000]["connections"] == 7 and tunnels[9001]["connections"] == 3
    assert tunnels[9000]["rtt_us"] > 0

    with users[0] as user:
        user.sendall(bytes(10000))

        def carried():
            return next(row for row in api.call("ListConnections")["connections"]
                        if row["remote_addr"].endswith(f":{user.getsockname()[1]}"))  # fmt: skip

        eventually(lambda: carried()["bytes_sent"] == 10000, what="10,000 bytes are counted")
    for user in users:
        user.close()
    eventually(lambda: api.call("ListConnections") == {"connections": []}, what="all are gone")


def pages_of_connections(api, limit):
    """Pages may be short before the end: a worker looks at so much at a time."""
    rows, cursor = [], {}
    while True:
        answer = api.call("ListConnections", limit=limit, **cursor)
        assert len(answer["connections"]) <= limit
        rows += answer["connections"]
        if "next_cursor" not in answer:
            return rows
        cursor = {"cursor": answer["next_cursor"]}


def test_one_connection_is_kicked_and_no_other(world):
    api = world.api
    world.forward(9000)
    users = hold(world.host, 9000, 3)
    eventually(lambda: len(api.call("ListConnections")["connections"]) == 3, what="three connections")
    victim = users[1].getsockname()[1]
    row = next(r for r in api.call("ListConnections")["connections"]
               if r["remote_addr"] == f"{LO}:{victim}")  # fmt: skip
    which = {"tunnel_id": row["tunnel_id"], "connection_id": row["connection_id"]}
    assert api.call("KickConnection", **which) == {"status": "kicked"}
    assert is_cut(users[1])
    eventually(lambda: len(api.call("ListConnections")["connections"]) == 2, what="two are left")
    assert api.post("KickConnection", which).status == 404
    assert api.post("KickConnection", {**which, "tunnel_id": "0001-0-1"}).status == 404
    for user in (users[0], users[2]):
        user.sendall(b"still here")


def test_tunnel_is_kicked_in_the_words_of_the_operator(world):
    api = world.api
    (client, other) = world.forward(9000, 9001)
    tunnels = {t["ports"][0]["port"]: t["tunnel_id"] for t in api.call("ListTunnels")["tunnels"]}
    events = Events(api, "?types=tunnel_closed")
    gone = {"tunnel_id": tunnels[9000], "reason": "moved to the other site"}
    assert api.call("KickTunnel", **gone) == {"status": "kicked"}
    client.wait()
    assert "moved to the other site" in client.output()
    told = events.wait("tunnel_closed")
    assert told["tunnel_id"] == tunnels[9000]
    events.close()
    assert [t["tunnel_id"] for t in api.call("ListTunnels")["tunnels"]] == [tunnels[9001]]
    assert [p["port"] for p in api.call("ListPorts")["ports"]] == [9001]
    assert api.post("KickTunnel", gone).status == 404
    assert other.running()


def test_changes_are_written_to_the_audit_log(host, logs):
    path = logs / "audit.log"
    world = World(host, "--audit-log", str(path))
    world.forward(9000)
    tunnel = world.api.call("ListTunnels")["tunnels"][0]["tunnel_id"]
    world.api.call("KickTunnel", tunnel_id=tunnel, reason="why not")
    world.api.call("SetLogLevel", level="debug")
    world.api.post("KickTunnel", {"tunnel_id": "0001-0-1"})
    world.api.call("ShutdownDataPlane", dp_id=world.api.call("ListDataPlanes")["data_planes"][0]["dp_id"])
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    did = [(row["action"], row["actor"].split()[0]) for row in rows if row["event"] == "admin"]
    assert did == [("KickTunnel", "api"), ("SetLogLevel", "api"), ("ShutdownDataPlane", "api")]
    kick = next(row for row in rows if row.get("action") == "KickTunnel")
    assert (kick["tunnel_id"], kick["reason"]) == (tunnel, "why not")
    assert kick["actor"].startswith("api 127.0.0.1:")
    eventually(world.gateway.healthy, what="the next data plane serves")
    world.gateway.end()


LISTS = ["ListTunnels", "ListPorts", "ListDataPlanes", "ListConnections"]


def test_cursors_of_others_are_refused_or_lead_nowhere(world):
    for name in LISTS:
        for cursor in ("x", "tcp:99999", "tcp:080", "3039-0-1f ", "-1", "%s%n", "é", "/", "1/x"):
            answer = world.api.post(name, {"cursor": cursor})
            assert answer.status in (200, 400), answer
            if answer.status == 400:
                assert answer.json()["field"] == "cursor"


def test_silent_data_plane_holds_nobody_else_up(host):
    world = World(host, "--hang-timeout", "0")  # it is not replaced meanwhile
    api = world.api
    world.forward(9000)
    pid = api.call("ListDataPlanes")["data_planes"][0]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        with concurrent.futures.ThreadPoolExecutor(80) as pool:
            lists = [pool.submit(api.post, "ListConnections", {}) for _ in range(80)]
            start = time.monotonic()
            assert api.ask("GET", "/healthcheck").status in (200, 503)
            assert api.ask("GET", "/metrics").status == 200
            assert time.monotonic() - start < 1.5, "others waited, too"
            answers = [done.result() for done in lists]
        assert {answer.status for answer in answers} == {503}
        took = time.monotonic() - start
        assert took < 6, f"{took} s for what gives up after two"
        (tunnel,) = api.call("ListTunnels")["tunnels"]
        assert tunnel["ports"] == [{"protocol": "tcp", "port": 9000}]
        assert "rtt_us" not in tunnel
    finally:
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: "rtt_us" in api.call("ListTunnels")["tunnels"][0], what="figures are back")


def test_next_control_plane_shows_and_kicks_what_lives(world):
    api, before = world.api, world.gateway.before
    (client,) = world.forward(9000)
    users = hold(world.host, 9000, 2)
    eventually(lambda: len(api.call("ListConnections")["connections"]) == 2, what="two connections")
    (tunnel,) = api.call("ListTunnels")["tunnels"]
    world.gateway.send(signal.SIGKILL)
    world.gateway.wait()
    world.gateway = Gateway(world.host, PORT)
    world.gateway.before = before
    (again,) = eventually(lambda: api.call("ListTunnels")["tunnels"], what="the tunnel is known")
    for key in ("tunnel_id", "dp_id", "client", "method", "peer", "since", "ports"):
        assert again[key] == tunnel[key], key
    (port,) = api.call("ListPorts")["ports"]
    assert (port["port"], port["state"], port["tunnel_id"]) == (9000, "open", tunnel["tunnel_id"])
    rows = api.call("ListConnections", tunnel_id=tunnel["tunnel_id"])["connections"]
    assert {row["remote_addr"] for row in rows} == {f"{LO}:{u.getsockname()[1]}" for u in users}
    victim = next(r for r in rows if r["remote_addr"] == f"{LO}:{users[0].getsockname()[1]}")
    api.call("KickConnection", tunnel_id=tunnel["tunnel_id"], connection_id=victim["connection_id"])
    assert is_cut(users[0])
    api.call("KickTunnel", tunnel_id=tunnel["tunnel_id"], reason="by the next one")
    client.wait()
    assert "by the next one" in client.output()
