# SPDX-License-Identifier: Apache-2.0
"""What the private API shows of tunnels, ports and connections, in pages and through filters."""

import pytest
from apikit import Api
from harness import Client, Gateway, eventually

PORT = 5000
LO = "127.0.0.1"


class World:
    """A gateway, a service, and a client a forward."""

    def __init__(self, host, *args):
        self.host = host
        self.gateway = Gateway(host, PORT, *args)
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


LISTS = ["ListTunnels", "ListPorts", "ListDataPlanes"]


def test_cursors_of_others_are_refused_or_lead_nowhere(world):
    for name in LISTS:
        for cursor in ("x", "tcp:99999", "tcp:080", "3039-0-1f ", "-1", "%s%n", "é", "/", "1/x"):
            answer = world.api.post(name, {"cursor": cursor})
            assert answer.status in (200, 400), answer
            if answer.status == 400:
                assert answer.json()["field"] == "cursor"
