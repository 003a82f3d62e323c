# SPDX-License-Identifier: Apache-2.0
"""The log as an operator reads it: fields, files that are rotated, the journal, and no secret in any."""

import base64
import json
import os
import signal
import socket

import pytest
from harness import QUICPORT, Client, Gateway, eventually, new_port

LO = "127.0.0.1"
PSK = "orange-velvet-submarine-4711"
OTHER_PSK = "violet-cotton-zeppelin-0815"


def entries(path):
    """Each line is one whole JSON object."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def forward(host, gateway, *args, auth=("--psk", "secret")):
    """A client with an open port."""
    outside = new_port()
    client = Client(host, f"{LO}:{gateway.port}", outside, new_port(), *args, auth=auth)
    client.opens(host, LO, outside)
    return client


def test_every_line_of_every_process_is_one_object(host, logs):
    path = logs / "gateway.json"
    gateway = Gateway(host, new_port(), "--log-output", str(path), "--log-level", "trace")
    forward(host, gateway).stop()
    gateway.end()
    lines = entries(path)
    assert {line["process"] for line in lines} >= {"control-plane", "data-plane"}
    for line in lines:
        assert {"time", "level", "process", "module", "message"} <= set(line)
        assert ("generation" in line) == (line["process"] == "data-plane")
    assert gateway.output() == ""


def test_renamed_file_is_left_by_all_processes(host, logs):
    path, moved = logs / "gateway.json", logs / "gateway.json.1"
    gateway = Gateway(host, new_port(), "--log-output", str(path), "--log-level", "debug")
    path.rename(moved)
    holders = gateway.members()
    gateway.send(signal.SIGUSR1)

    def left():
        open_files = {
            os.readlink(f"/proc/{pid}/fd/{fd}")
            for pid in holders
            for fd in os.listdir(f"/proc/{pid}/fd")
        }
        return str(path) in open_files and str(moved) not in open_files

    eventually(left, what=f"{holders} have left {moved}")
    before = moved.read_text()
    forward(host, gateway).stop()
    gateway.end()
    assert moved.read_text() == before
    messages = [line["message"] for line in entries(path)]
    assert "port opened" in messages and "ending" in messages


def test_a_module_has_its_own_level(host, logs):
    path = logs / "gateway.json"
    gateway = Gateway(host, new_port(), "--log-output", str(path), "--log-level", "error,ports=info")
    forward(host, gateway).stop()
    gateway.end()
    lines = entries(path)
    assert {line["module"] for line in lines} == {"ports"}
    assert "port opened" in [line["message"] for line in lines]


@pytest.fixture
def journal(host, logs):
    """A journal's socket in a folder of its own, and the command that puts it where it belongs."""
    folder = logs / "journal"
    folder.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(folder / "socket"))
        sock.settimeout(20)
        place = (
            "mkdir -p /run/systemd && mount -t tmpfs tmpfs /run/systemd && mkdir /run/systemd/journal"
            f' && mount --bind {folder} /run/systemd/journal && exec "$@"'
        )
        yield sock, ("unshare", "--mount", "sh", "-c", place, "sh")


def fields_of(datagram):
    """The fields of an entry in the journal's native protocol, text ones only."""
    return dict(line.split("=", 1) for line in datagram.decode().splitlines() if "=" in line)


def test_events_are_entries_of_the_journal(host, journal):
    sock, before = journal
    port = new_port()
    gateway = host.start(
        "gateway", *before, QUICPORT, "control-plane", "--control-plane-addr",
        f"{LO}:{port}", "--data-plane-addr", f"{LO}:{port}", "--no-public-api", "--psk", "secret",
        "--log-output", "journald",
    )  # fmt: skip
    seen = []
    while not seen or not seen[-1]["MESSAGE"].startswith("ready"):
        seen.append(fields_of(sock.recv(65536)))
    ready = seen[-1]
    assert ready["PRIORITY"] == "6"
    assert ready["SYSLOG_IDENTIFIER"] == "quicport-control-plane"
    assert ready["QUICPORT_CLIENTS"] == f"{LO}:{port}"
    assert ready["QUICPORT_MODULE"]
    assert gateway.stop() == 0
    assert gateway.output() == ""


# ---- secrets ----


def new_key(host):
    private = host.run(QUICPORT, "keygen").strip()
    return private, host.run(QUICPORT, "pubkey", input=private + "\n").strip()


def forms_of(secret):
    """A secret as a careless line could show it."""
    raw = secret.encode()
    forms = {secret, raw.hex(), base64.b64encode(raw).decode().rstrip("=")}
    try:
        forms.add(base64.b64decode(secret, validate=True).hex())
    except ValueError:
        pass
    return {form for form in forms if len(form) >= 8}


def check_no_secret(logs, secrets):
    texts = {path: path.read_text(errors="replace") for path in logs.rglob("*.log")}
    assert any("authenticat" in text for text in texts.values())
    for path, text in texts.items():
        for secret in secrets:
            for form in forms_of(secret):
                assert form not in text, f"{form} of a secret is in {path}"


def test_no_psk_in_any_log(host, logs):
    gateway = Gateway(host, new_port(), "--log-level", "trace", auth=("--psk", PSK))
    trace = ("--log-level", "trace")
    forward(host, gateway, *trace, auth=("--psk", PSK)).stop()
    wrong = Client(host, f"{LO}:{gateway.port}", new_port(), new_port(), *trace,
                   auth=("--psk", OTHER_PSK))  # fmt: skip
    assert wrong.wait() != 0
    for pid in gateway.members():
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as line:
            assert PSK not in line.read()
    gateway.end()
    check_no_secret(logs, (PSK, OTHER_PSK))


def test_no_private_key_in_any_log(host, logs):
    server, server_public = new_key(host)
    client, client_public = new_key(host)
    stranger, _ = new_key(host)
    gateway = Gateway(host, new_port(), "--log-level", "trace",
                      auth=("--privkey", server, "--client-pubkeys", client_public))  # fmt: skip
    trace = ("--log-level", "trace")
    as_client = ("--privkey", client, "--server-pubkey", server_public)
    forward(host, gateway, *trace, auth=as_client).stop()
    wrong = Client(host, f"{LO}:{gateway.port}", new_port(), new_port(), *trace,
                   auth=("--privkey", stranger, "--server-pubkey", server_public))  # fmt: skip
    assert wrong.wait() != 0
    gateway.end()
    check_no_secret(logs, (server, client, stranger))
