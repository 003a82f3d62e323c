# SPDX-License-Identifier: Apache-2.0
"""The audit log: who opened what, when, from where, how much, and why it ended. No row is lost."""

import contextlib
import json
import os
import random
import re
import signal
import socket
import threading
import time
from pathlib import Path

from harness import Client, Gateway, eventually, new_port
from test_local import LocalClient
from test_ports import ALICE, BOTH, LO, SERVER, Keys, as_client, granted

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
STRANGER = Keys()


def rows_of(*files):
    """All rows in order; each line must be one."""
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert all(re.fullmatch(TIME, row["time"]) for row in rows)
    return rows


def named(rows, event):
    return [row for row in rows if row["event"] == event]


def start(host, logs, *args, **options):
    path = logs / "audit.log"
    gateway = Gateway(host, new_port(), "--audit-log", path, *args, auth=BOTH, **options)
    return gateway, path


def test_a_tunnels_whole_story_is_told(host, logs):
    gateway, path = start(host, logs, "--audit-connections")
    outside, inside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    client = Client(host, f"{LO}:{gateway.port}", outside, inside, auth=as_client(ALICE))
    granted(client)
    result = host.load(LO, outside, "--echo", "--send", 5000, "--half-close", "--connections", 3)
    assert result["ok"] == 3
    refused = Client(host, f"{LO}:{gateway.port}", outside, inside,
                     auth=("--privkey", STRANGER.secret, "--server-pubkey", SERVER.shown))  # fmt: skip
    assert refused.wait(10) != 0
    eventually(lambda: len(named(rows_of(path), "connection")) == 3, what="connections are told")
    client.stop()
    eventually(lambda: named(rows_of(path), "tunnel_closed"), what="the tunnel's end is told")
    gateway.end()
    rows = rows_of(path)
    assert [row["event"] for row in rows if row["event"] not in ("connection", "auth_failed")] == [
        "gateway_started", "tunnel_opened", "port_opened", "port_closed", "tunnel_closed",
        "gateway_stopped"]  # fmt: skip

    opened, closed = named(rows, "tunnel_opened")[0], named(rows, "tunnel_closed")[0]
    assert opened["client"] == ALICE.shown[:8] and opened["key"] == ALICE.shown
    assert opened["method"] == "x25519"
    assert opened["peer_address"] == LO and opened["peer_port"] > 0
    assert closed == {**opened, "time": closed["time"], "event": "tunnel_closed",
                      "reason": "client left", "bytes_in": 15000, "bytes_out": 15000,
                      "connections": 3, "connections_refused": 0}  # fmt: skip
    port, gone = named(rows, "port_opened")[0], named(rows, "port_closed")[0]
    assert port["port"] == outside and port["protocol"] == "tcp"
    assert port["destination"] == f"{LO}:{inside}" and port["tunnel"] == opened["tunnel"]
    assert gone["reason"] == "client left" and gone["connections"] == 3
    assert gone["bytes_in"] == gone["bytes_out"] == 15000
    for row in named(rows, "connection"):
        assert row["tunnel"] == opened["tunnel"] and row["client"] == opened["client"]
        assert row["port"] == outside and row["outside_address"] == LO
        assert row["bytes_in"] == row["bytes_out"] == 5000 and row["reason"] == "finished"
    failed = named(rows, "auth_failed")
    assert len(failed) == 1 and failed[0]["peer_address"] == LO and failed[0]["reason"]
    text = path.read_text()
    assert SERVER.secret not in text and STRANGER.secret not in text


def test_taken_over_port_and_dead_data_plane_are_told(host, logs):
    gateway, path = start(host, logs)
    outside = new_port()
    first = Client(host, f"{LO}:{gateway.port}", outside, new_port(), auth=as_client(ALICE))
    granted(first)
    first.kill()
    second = Client(host, f"{LO}:{gateway.port}", outside, new_port(), auth=as_client(ALICE))
    granted(second)
    eventually(lambda: named(rows_of(path), "tunnel_closed"), what="the old tunnel's end is told")
    rows = rows_of(path)
    old, new = named(rows, "port_opened")
    assert [row["reason"] for row in named(rows, "port_closed")] == ["taken over"]
    assert named(rows, "port_closed")[0]["tunnel"] == old["tunnel"] != new["tunnel"]
    for pid in gateway.members():
        if "quicport-data-plane" in Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0]:
            os.kill(pid, signal.SIGKILL)
    eventually(lambda: len(named(rows_of(path), "tunnel_closed")) == 2, what="its end is told")
    last = named(rows_of(path), "port_closed")[-1]
    assert last["tunnel"] == new["tunnel"] and last["reason"] == "data plane ended"
    assert "bytes_in" not in last  # nobody knows


def test_rotation_under_load_loses_no_row(host, logs):
    gateway, path = start(host, logs, "--audit-connections")
    outside, inside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    client = Client(host, f"{LO}:{gateway.port}", outside, inside, auth=as_client(ALICE))
    granted(client)
    results = []
    load = threading.Thread(
        target=lambda: results.append(
            host.load(LO, outside, "--echo", "--send", 100, "--half-close",
                      "--connections", 3000, "--parallel", 20, deadline=60)))  # fmt: skip
    load.start()
    files = []
    while load.is_alive() or len(files) < 3:
        files.append(path.rename(logs / f"audit.log.{len(files)}"))
        gateway.send(signal.SIGUSR1)
        eventually(path.exists, what="a new file is there")
        load.join(0.1)
    load.join()
    assert results[0]["ok"] == 3000
    eventually(lambda: len(named(rows_of(*files, path), "connection")) >= 3000,
               what="all connections are told")  # fmt: skip
    gateway.end()
    rows = rows_of(*files, path)
    ids = [row["connection"] for row in named(rows, "connection")]
    assert len(ids) == len(set(ids)) == 3000
    assert rows[0]["event"] == "gateway_started" and rows[-1]["event"] == "gateway_stopped"
    assert len(files) >= 3 and all(row["event"] != "rows_lost" for row in rows)


def test_killed_control_plane_has_told_every_port_that_a_client_heard_of(host, logs):
    path = logs / "audit.log"
    state = {"QUICPORT_STATE_DIR": str(logs / "state")}
    heard = {}
    rng = random.Random(7)
    for round in range(4):
        gateway = Gateway(host, new_port(), "--audit-log", path, auth=BOTH, env=state)
        clients = [Client(host, f"{LO}:{gateway.port}", 0, new_port(), auth=as_client(ALICE))
                   for _ in range(6)]  # fmt: skip
        deadline = time.monotonic() + rng.uniform(0.01, 0.2)
        eventually(lambda: time.monotonic() >= deadline, what="the moment", every=0.001)
        members = gateway.members()
        gateway.kill()
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: "qp" not in host.run("ip", "-br", "link"), what="interfaces are gone")
        for client in clients:
            client.kill()
            told = re.search(r"Listening on port (\d+)", client.output())
            if told:
                heard[round, int(told[1])] = gateway.port
    rows = rows_of(path)
    starts = [i for i, row in enumerate(rows) if row["event"] == "gateway_started"] + [len(rows)]
    for round, port in heard:
        ports = [row["port"] for row in named(rows[starts[round]:starts[round + 1]], "port_opened")]
        assert port in ports
    assert heard, "no client heard of its port: the test shows nothing"
    assert not named(rows, "gateway_stopped")


def test_control_plane_that_takes_over_tells_again_what_lives_on(host, logs):
    gateway, path = start(host, logs, env={"QUICPORT_STATE_DIR": str(logs / "state")})
    inside = new_port()
    host.service(LO, inside, "--echo")
    client = Client(host, f"{LO}:{gateway.port}", 0, inside, auth=as_client(ALICE))
    port = granted(client)
    gateway.kill()
    assert host.load(LO, port, "--echo", "--send", 1000, "--half-close")["ok"] == 1
    again = Gateway(host, gateway.port, "--audit-log", path, auth=BOTH,
                    env={"QUICPORT_STATE_DIR": str(logs / "state")})  # fmt: skip
    eventually(lambda: len(named(rows_of(path), "port_opened")) == 2, what="the port is told again")
    client.stop()
    eventually(lambda: named(rows_of(path), "tunnel_closed"), what="its end is told")
    again.stop()
    rows = rows_of(path)
    assert [row["event"] for row in rows] == [
        "gateway_started", "tunnel_opened", "port_opened",
        "gateway_started", "port_opened", "port_closed", "tunnel_closed", "gateway_stopped"]  # fmt: skip
    first, second = named(rows, "port_opened")
    assert second["adopted"] is True and "adopted" not in first
    assert (second["tunnel"], second["port"], second["client"]) == (
        first["tunnel"], port, first["client"])  # fmt: skip
    assert named(rows, "port_closed")[0]["bytes_in"] == 1000  # what went over it meanwhile counts
    # Its lease came along.
    third = Gateway(host, gateway.port, auth=BOTH, env={"QUICPORT_STATE_DIR": str(logs / "state")})
    assert granted(Client(host, f"{LO}:{third.port}", 0, inside, auth=as_client(ALICE))) == port


def test_full_disk_is_told_and_stops_nobody(host, logs):
    gateway = Gateway(host, new_port(), "--audit-log", "/dev/full", auth=BOTH)
    outside = new_port()
    granted(Client(host, f"{LO}:{gateway.port}", outside, new_port(), auth=as_client(ALICE)))
    assert gateway.metric("quicport_audit_rows_lost_total") >= 3
    assert gateway.metric("quicport_audit_rows_total") == 0
    assert gateway.output().count("the audit log loses rows") == 1


def test_file_of_another_gateway_and_a_folder_are_refused(host, logs):
    _, path = start(host, logs)
    second = Gateway(host, new_port(), "--audit-log", path, auth=BOTH, wait=False)
    assert second.wait(10) == 1
    assert "another gateway's" in second.output()
    third = Gateway(host, new_port(), "--audit-log", logs, auth=BOTH, wait=False)
    assert third.wait(10) == 1
    assert str(logs) in third.output()


def test_local_forward_is_told_with_what_its_destination_sees(host, logs):
    path, inside = logs / "audit.log", new_port()
    gateway = Gateway(host, new_port(), "--audit-log", path, "--audit-connections",
                      "--allow-local-forward", f"{LO}:{inside}")  # fmt: skip
    host.service(LO, inside, "--echo")
    here = new_port()
    client = LocalClient(host, f"{LO}:{gateway.port}", here, f"{LO}:{inside}")
    client.wait_for_line("forward open")
    with host.inside():
        server = socket.create_server((LO, 0))
    refused = LocalClient(host, f"{LO}:{gateway.port}", new_port(),
                          f"{LO}:{server.getsockname()[1]}")  # fmt: skip
    assert refused.wait(10) != 0
    assert host.load(LO, here, "--echo", "--send", 700, "--half-close")["ok"] == 1
    eventually(lambda: named(rows_of(path), "connection"), what="the connection is told")
    rows = rows_of(path)
    opened = named(rows, "local_forward_opened")[0]
    assert opened["client"] == "psk" and opened["destination"] == f"{LO}:{inside}"
    assert (opened["outside_address"], opened["outside_port"]) == (LO, inside)
    assert opened["source_address"] == LO
    row = named(rows, "connection")[0]
    assert row["direction"] == "client to outside" and row["tunnel"] == opened["tunnel"]
    assert (row["outside_address"], row["outside_port"]) == (LO, inside)
    assert 0 <= row["port"] - opened["source_port_first"] < opened["source_ports"]
    no = named(rows, "local_forward_refused")[0]
    assert "policy does not allow" in no["reason"]
