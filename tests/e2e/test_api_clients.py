# SPDX-License-Identifier: Apache-2.0
"""Clients that the API writes: in force at once, kept over restarts, never the operator's."""

import base64
import concurrent.futures
import json
import signal
import sqlite3
import threading
import time

import pytest
from apikit import Api
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from harness import FULL, Client, Gateway
from test_api_lists import pages

PORT = 5000
LO = "127.0.0.1"


def key_pair():
    key = X25519PrivateKey.generate()
    raw = serialization.Encoding.Raw
    private = key.private_bytes(raw, serialization.PrivateFormat.Raw, serialization.NoEncryption())
    public = key.public_key().public_bytes(raw, serialization.PublicFormat.Raw)
    return base64.b64encode(private).decode(), base64.b64encode(public).decode()


SERVER, SERVER_PUBLIC = key_pair()
_, FILES_PUBLIC = key_pair()


def auth(private):
    return ("--privkey", private, "--server-pubkey", SERVER_PUBLIC)


@pytest.fixture
def config(logs):
    path = logs / "gateway.yaml"
    path.write_text(
        "groups:\n- {name: homes, ports: [9000-9009/tcp], tunnels: 3}\n"
        f"clients:\n- {{name: boss, public-key: {FILES_PUBLIC}}}\n"
    )
    return path


def start(host, config, *args):
    gateway = Gateway(host, PORT, "--config", str(config), *args, auth=("--privkey", SERVER))
    return gateway, Api(host, PORT)


def test_client_is_written_comes_and_goes(host, config):
    gateway, api = start(host, config)
    host.service(LO, 8000)
    private, public = key_pair()
    made = api.call("PutClient", name="alice", public_key=public, group="homes", ports=["9001/tcp"],
                    bandwidth_in=8000000, expires="2099-01-01T00:00:00Z")  # fmt: skip
    assert made["status"] == "created"
    alice = made["client"]
    assert alice["ports"] == ["9001/tcp"] and alice["tunnels"] == 3 and alice["group"] == "homes"
    assert alice["origin"] == "api" and alice["public_keys"] == [public] and alice["kind"] == "x25519"
    assert alice["bandwidth_in"] == 8000000 and alice["expires"] == "2099-01-01T00:00:00Z"
    assert api.call("GetClient", name="alice")["client"] == alice

    client = Client(host, f"{LO}:{PORT}", 9001, 8000, auth=auth(private))
    client.opens(host, LO, 9001)
    row = api.call("ListTunnels", client="alice")["tunnels"][0]
    assert row["method"] == "x25519" and row["public_key"] == public
    assert api.call("GetClient", name="alice")["client"]["tunnels_now"] == 1
    denied = Client(host, f"{LO}:{PORT}", 9002, 8000, auth=auth(private), name="denied")
    assert denied.wait() != 0

    # Still allowed: nothing happens to its tunnel. Not any more: it ends within a second.
    made = api.call("PutClient", name="alice", public_key=public, ports=["9001-9005"])
    assert made["status"] == "replaced" and made["client"].get("group") is None
    assert api.call("ListTunnels", client="alice")["tunnels"][0]["tunnel_id"] == row["tunnel_id"]
    assert api.call("DeleteClient", name="alice") == {"status": "deleted"}
    assert client.wait(3) != 0
    assert api.call("ListTunnels")["tunnels"] == []
    assert api.post("GetClient", {"name": "alice"}).status == 404
    assert api.post("DeleteClient", {"name": "alice"}).status == 404
    gateway.end()


def test_psk_is_written_and_never_shown(host, config, logs):
    state = logs / "state"
    gateway, api = start(host, config, "--state-dir", str(state), "--audit-log", str(logs / "audit"))
    host.service(LO, 8000)
    secret = "a secret of the shop's"
    shop = api.call("PutClient", name="shop", psk=secret, ports=["9000"])["client"]
    assert shop["kind"] == "psk" and secret not in json.dumps(shop)
    client = Client(host, f"{LO}:{PORT}", 9000, 8000, auth=("--psk", secret))
    client.opens(host, LO, 9000)
    assert api.call("ListTunnels")["tunnels"][0]["client"] == "shop"
    files = [p for p in state.glob("psk-shop-*")]
    assert len(files) == 1 and files[0].stat().st_mode & 0o777 == 0o600

    # Another one: who has the old one is out.
    other = "another secret of the shop's"
    api.call("PutClient", name="shop", psk=other, ports=["9000"])
    assert client.wait(3) != 0
    late = Client(host, f"{LO}:{PORT}", 9000, 8000, auth=("--psk", secret), name="late")
    assert late.wait() != 0
    now = Client(host, f"{LO}:{PORT}", 9000, 8000, auth=("--psk", other), name="now")
    now.opens(host, LO, 9000)
    assert len(list(state.glob("psk-shop-*"))) == 1

    bad = api.post("PutClient", {"name": "shop", "psk": "too short"})
    assert bad.status == 400 and "too short" not in bad.body.decode()
    api.call("DeleteClient", name="shop")
    assert list(state.glob("psk-*")) == []
    gateway.end()
    for text in (gateway.output(), (logs / "audit").read_text()):
        assert secret not in text and other not in text


def test_clients_of_the_operator_are_not_written(host, config):
    gateway, api = start(host, config)
    _, public = key_pair()
    for name, body in (("PutClient", {"name": "boss", "public_key": public}), ("DeleteClient", {"name": "boss"})):
        answer = api.post(name, body)
        assert answer.status == 409, answer
        problem = answer.json()
        assert problem["file"] == str(config) and problem["line"] == 4
    answer = api.post("PutClient", {"name": "thief", "public_key": FILES_PUBLIC})
    assert answer.status == 409 and "boss" in answer.json()["detail"], answer
    answer = api.post("PutClient", {"name": "x", "public_key": public, "group": "nobody"})
    assert (answer.status, answer.json()["field"]) == (400, "group")
    for wrong, field in (
        ({"public_key": "x"}, "public_key"),
        ({"public_keys": []}, "public_keys"),
        ({"public_keys": [public, "x"]}, "public_keys[1]"),
        ({}, "public_key"),
        ({"public_key": public, "psk": "0123456789abcdef"}, "psk"),
        ({"public_key": public, "ports": ["9000-8000"]}, "ports[0]"),
        ({"public_key": public, "ports": ["80", "any"]}, "ports[1]"),
        ({"public_key": public, "ports": ["80,81"]}, "ports[0]"),
        ({"public_key": public, "local_forwards": ["10.0.0.0/33"]}, "local_forwards[0]"),
        ({"public_key": public, "sources": ["198.51.100.1/24"]}, "sources[0]"),
        ({"public_key": public, "expires": "2027-02-30"}, "expires"),
        ({"public_key": public, "tunnels": -1}, "tunnels"),
    ):
        answer = api.post("PutClient", {"name": "x", **wrong})
        assert (answer.status, answer.json()["field"]) == (400, field), f"{wrong}: {answer}"
    assert [c["name"] for c in api.call("ListClients")["clients"]] == ["boss"]
    gateway.end()


def test_clients_are_kept_over_kills_and_reloads(host, config, logs):
    args = ("--state-dir", str(logs / "state"))
    gateway, api = start(host, config, *args)
    keys = {f"c{n:02}": key_pair() for n in range(10)}
    for name, (_, public) in keys.items():
        api.call("PutClient", name=name, public_key=public, group="homes")
    api.call("DeleteClient", name="c05")
    api.call("PutClient", name="shop", psk="0123456789abcdef")
    names = ["boss"] + [n for n in keys if n != "c05"] + ["shop"]
    assert [c["name"] for c in pages(api, "ListClients", "clients", 3)] == names
    assert [c["name"] for c in api.call("ListClients", prefix="c0")["clients"]] == names[1:10]
    assert [c["name"] for c in pages(api, "ListClients", "clients", 2, group="homes")] == names[1:10]
    assert api.call("ReloadConfig")["status"] == "reloaded"
    assert [c["name"] for c in api.call("ListClients")["clients"]] == names

    # Killed right behind an answer: what it said is there. Its data plane lives on.
    api.call("PutClient", name="last", psk="fedcba9876543210")
    names.insert(-1, "last")
    gateway.send(signal.SIGKILL)
    gateway.wait()
    before = gateway.before
    gateway, api = start(host, config, *args)
    gateway.before = before
    assert [c["name"] for c in api.call("ListClients")["clients"]] == names

    # A name that the operator takes is the operator's.
    _, public = key_pair()
    config.write_text(config.read_text() + f"- {{name: c03, public-key: {public}}}\n")
    api.call("ReloadConfig")
    assert api.call("GetClient", name="c03")["client"]["origin"] == f"{config}:5"
    assert api.post("PutClient", {"name": "c03", "public_key": public}).status == 409
    # A file that is wrong changes nothing.
    config.write_text(config.read_text() + "workers: many\n")
    answer = api.post("ReloadConfig", {})
    assert answer.status == 400 and answer.json()["file"] == str(config), answer
    assert answer.json()["line"] == 6
    assert [c["name"] for c in api.call("ListClients")["clients"]] == names
    gateway.end()


def test_others_are_answered_while_clients_are_written(host, config, logs):
    """A policy of 10,000 clients is built beside the loop, and its answer waits for the disk alone."""
    args = ("--state-dir", str(logs / "state"))
    gateway, api = start(host, config, *args)
    gateway.end()
    database, = (logs / "state").glob("*.db")
    rows = []
    for n in range(10000):
        key = base64.b64encode((n + 1).to_bytes(32, "big")).decode()
        entry = {"name": f"c{n:05}", "public-keys": [key], "ports": [f"{10000 + n}/tcp"]}
        rows.append((entry["name"], json.dumps(entry)))
    with sqlite3.connect(database) as db:
        db.executemany("INSERT INTO clients VALUES(?, ?)", rows)
    db.close()
    gateway, api = start(host, config, *args)
    answered, over = [], threading.Event()

    def ask():
        while not over.is_set():
            began = time.monotonic()
            assert gateway.get("/healthcheck")[0] == 200
            answered.append((began, time.monotonic()))

    with concurrent.futures.ThreadPoolExecutor() as pool:
        asking = pool.submit(ask)
        written = []
        for n in range(5):
            began = time.monotonic()
            made = api.call("PutClient", name=f"new{n}", public_key=key_pair()[1])
            written.append((began, time.monotonic()))
            assert made["status"] == "created"
        over.set()
        asking.result()
    during = [sum(began < a and b < end for a, b in answered) for began, end in written]
    assert max(during) >= 5, f"while each of five was written, so many were answered: {during}"
    if FULL:
        longest = max(b - a for a, b in answered)
        assert longest < 0.1, f"one waited for {longest * 1000:.0f} ms"
    assert api.call("GetClient", name="c09999")["client"]["ports"] == ["19999/tcp"]
    gateway.end()


def test_clients_written_at_once_are_written_in_order(host, config, logs):
    """Through reloads that come between; and all that was answered is there after a kill."""
    args = ("--state-dir", str(logs / "state"))
    gateway, api = start(host, config, *args)
    done = threading.Event()
    reloads = []

    def write(n):
        for port in range(9000, 9010):
            made = api.call("PutClient", name=f"c{n}", psk=f"secret number {n}, {port}", ports=[f"{port}/tcp"])
            assert made["client"]["ports"] == [f"{port}/tcp"], made

    def reload():
        while not done.is_set():
            reloads.append(api.call("ReloadConfig")["status"])

    with concurrent.futures.ThreadPoolExecutor() as pool:
        reloading = pool.submit(reload)
        for writing in [pool.submit(write, n) for n in range(6)]:
            writing.result()
        # The same one is removed by many: one has done it.
        gone = list(pool.map(lambda _: api.post("DeleteClient", {"name": "c0"}).status, range(6)))
        done.set()
        reloading.result()
    assert sorted(gone) == [200] + [404] * 5
    assert len(reloads) > 1 and set(reloads) == {"reloaded"}
    assert len(list((logs / "state").glob("psk-*"))) == 5
    gateway.send(signal.SIGKILL)
    gateway.wait()
    before = gateway.before
    gateway, api = start(host, config, *args)
    gateway.before = before
    clients = {c["name"]: c["ports"] for c in api.call("ListClients")["clients"] if c["name"] != "boss"}
    assert clients == {f"c{n}": ["9009/tcp"] for n in range(1, 6)}
    gateway.end()
