# SPDX-License-Identifier: Apache-2.0
"""The reference peer itself, checked against the golden bytes that the product is checked against."""

import json
import os
from pathlib import Path

import pytest

import quicport1 as q


def vectors_path() -> Path:
    beside = Path(__file__).resolve().parents[3] / "shared/vectors/quicport-1.json"
    return Path(os.environ.get("QP_VECTORS") or beside)


if not vectors_path().exists():
    pytest.skip(f"no golden vectors at {vectors_path()} (QP_VECTORS)", allow_module_level=True)
VECTORS = json.loads(vectors_path().read_text())


def run_both(client, server):
    """Lets two authentication generators talk; returns what each sent, in order."""
    sent = {"client": [], "server": []}
    sides = {"client": client, "server": server}
    buffers = {"client": b"", "server": b""}
    want = {name: next(side) for name, side in sides.items()}
    while want:
        progress = False
        for name in list(want):
            other = "server" if name == "client" else "client"
            verb, arg = want[name]
            if verb == "send":
                sent[name].append(arg)
                buffers[other] += arg
                answer = None
            elif len(buffers[name]) >= arg:
                answer, buffers[name] = buffers[name][:arg], buffers[name][arg:]
            else:
                continue
            progress = True
            try:
                want[name] = sides[name].send(answer)
            except StopIteration:
                del want[name]
        assert progress, "both sides wait for each other"
    return sent


def raw(section, name):
    return bytes.fromhex(VECTORS[section][name])


def test_x25519_steps_match_the_golden_bytes():
    client = q.x25519_client(
        raw("x25519", "client_private"),
        raw("x25519", "server_public"),
        raw("x25519", "client_challenge"),
    )
    server = q.x25519_server(
        raw("x25519", "server_private"),
        [b"\0" * 32, raw("x25519", "client_public")],
        raw("x25519", "server_ephemeral_private"),
        raw("x25519", "server_challenge"),
    )
    sent = run_both(client, server)
    assert sent["client"] == [raw("x25519", "step1_client"), raw("x25519", "step3_client")]
    assert sent["server"] == [raw("x25519", "step2_server")]


def test_psk_steps_match_the_golden_bytes():
    v = VECTORS["psk"]
    client = q.psk_client(v["psk"], raw("psk", "client_ephemeral_private"), v["time"])
    server = q.psk_server(
        v["psk"], raw("psk", "server_ephemeral_private"), raw("psk", "challenge"), v["time"] + 30
    )
    sent = run_both(client, server)
    assert sent["client"] == [raw("psk", "step1_client"), raw("psk", "step3_client")]
    assert sent["server"] == [raw("psk", "step2_server")]


@pytest.mark.parametrize(
    "client, server",
    [
        (lambda: q.psk_client("a"), lambda: q.psk_server("b")),
        (lambda: q.psk_client("a", now=1000), lambda: q.psk_server("a", now=1031)),
        (lambda: q.psk_client("a"), lambda: q.x25519_server(b"\1" * 32, [q.public_key(b"\2" * 32)])),
        (
            lambda: q.x25519_client(b"\2" * 32, q.public_key(b"\1" * 32)),
            lambda: q.x25519_server(b"\1" * 32, [q.public_key(b"\3" * 32)]),
        ),
        (
            lambda: q.x25519_client(b"\2" * 32, q.public_key(b"\3" * 32)),
            lambda: q.x25519_server(b"\1" * 32, [q.public_key(b"\2" * 32)]),
        ),
    ],
    ids=["wrong psk", "old clock", "wrong magic", "unknown client", "wrong server"],
)
def test_wrong_credentials_are_refused(client, server):
    with pytest.raises(q.AuthError):
        run_both(client(), server())


def test_low_order_point_is_refused():
    with pytest.raises(q.AuthError):
        q.x25519(b"\1" * 32, b"\0" * 32)


def test_wireguard_key_pair():
    private = q.decode_key("mBJ3XsDyuJxqU2bk0XEa+rUH+XD1lYwMlx9xH8ZTMUg=")
    assert q.encode_key(q.public_key(private)) == "IexqQqW8ngM33aoJWqheXfW+11hL6A3h6kpO8uNl9Ws="


@pytest.mark.parametrize("case", VECTORS["control_messages"], ids=lambda c: c["name"])
def test_control_message_round_trip(case):
    data = bytes.fromhex(case["hex"])
    assert q.encode(q.decode_bytes(data)) == data


@pytest.mark.parametrize("case", VECTORS["malformed_control_messages"], ids=lambda c: c["why"])
def test_malformed_control_message_is_refused(case):
    with pytest.raises(q.ProtocolError):
        q.decode_bytes(bytes.fromhex(case["hex"]))
