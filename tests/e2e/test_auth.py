# SPDX-License-Identifier: Apache-2.0
"""Who may open a port, and who may not: nothing opens, nobody learns why, the counters show it."""

import os

import pytest

import quicport1 as q
from harness import QUICPORT, Client, Gateway, new_port, run

LO = "127.0.0.1"


class Keys:
    def __init__(self):
        self.private = os.urandom(32)
        self.public = q.public_key(self.private)

    @property
    def secret(self):
        return q.encode_key(self.private)

    @property
    def shown(self):
        return q.encode_key(self.public)


SERVER, CLIENT, STRANGER = Keys(), Keys(), Keys()
X25519_SERVER = ("--privkey", SERVER.secret, "--client-pubkeys", CLIENT.shown)


def x25519_client(own, server):
    return ("--privkey", own.secret, "--server-pubkey", server.shown)


@pytest.mark.parametrize(
    "server, client, counter",
    [
        (("--psk", "right"), ("--psk", "wrong"), "psk_failed"),
        (X25519_SERVER, x25519_client(STRANGER, SERVER), "x25519_failed"),
        (X25519_SERVER, x25519_client(CLIENT, STRANGER), None),
        (("--psk", "right"), x25519_client(CLIENT, SERVER), "failed"),
        (X25519_SERVER, ("--psk", "right"), "failed"),
    ],
    ids=["wrong psk", "unknown client", "wrong server", "x25519 at psk", "psk at x25519"],
)
def test_wrong_credentials_open_no_port(host, server, client, counter):
    gateway = Gateway(host, new_port(), auth=server)
    outside = new_port()
    tried = Client(host, f"{LO}:{gateway.port}", outside, new_port(), auth=client)
    assert tried.wait(10) != 0
    assert not host.port_opens(LO, outside)
    for secret in ("right", "wrong", CLIENT.secret, SERVER.secret, STRANGER.secret):
        assert secret not in gateway.output()
    if counter:
        _, text = gateway.get("/metrics")
        failed = [line for line in text.splitlines() if f"{counter}_total" in line]
        assert sum(float(line.split()[-1]) for line in failed if line[0] != "#") == 1
    assert gateway.metric("quicport_tunnels_total") == 0


def opens(host, gateway, auth, **options):
    outside, inside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    client = Client(host, f"{LO}:{gateway.port}", outside, inside, auth=auth, **options)
    client.opens(host, LO, outside)
    return client


def test_x25519_with_keys_in_options(host):
    gateway = Gateway(host, new_port(), auth=X25519_SERVER)
    opens(host, gateway, x25519_client(CLIENT, SERVER))
    assert gateway.metric("quicport_auth_x25519_success_total") == 1


def test_x25519_with_keys_in_files(host, logs):
    (logs / "server").write_text(f"# the gateway's\n\n{SERVER.secret}\n")
    (logs / "clients").write_text(f"# comment\n{STRANGER.shown}\n\n{CLIENT.shown}\n")
    (logs / "client").write_text(CLIENT.secret)
    (logs / "server.pub").write_text(SERVER.shown + "\n")
    for name in ("server", "client"):
        (logs / name).chmod(0o600)
    gateway = Gateway(host, new_port(), auth=("--privkey-file", logs / "server",
                                              "--client-pubkeys-file", logs / "clients"))  # fmt: skip
    opens(host, gateway, ("--privkey-file", logs / "client", "--server-pubkey-file",
                          logs / "server.pub"))  # fmt: skip


def test_credentials_in_environment_variables(host):
    gateway = Gateway(host, new_port(), auth=(), env={"QUICPORT_PSK": "from the environment"})
    opens(host, gateway, (), env={"QUICPORT_PSK": "from the environment"})


def test_without_options_a_psk_is_made_and_kept(host, logs):
    gateway = Gateway(host, new_port(), auth=())
    kept = logs / ".config/quicport/psk"
    assert str(kept) in gateway.output()
    psk = kept.read_text().strip()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert len(q.decode_key(psk)) == 32
    assert psk not in gateway.output()
    opens(host, gateway, ("--psk", psk))
    gateway.stop()
    again = Gateway(host, new_port(), auth=(), name="again")
    assert kept.read_text().strip() == psk
    opens(host, again, ("--psk", psk))


def test_certificate_is_the_same_after_a_restart(host, logs):
    def fingerprints():
        pems = [p for p in logs.rglob("*.pem")] + [p for p in logs.rglob("*.crt")]
        return {p: p.read_bytes() for p in pems}

    Gateway(host, new_port()).stop()
    first = fingerprints()
    assert first
    Gateway(host, new_port()).stop()
    assert fingerprints() == first
    keys = [p for p, data in first.items() if b"PRIVATE KEY" in data]
    assert keys and all(p.stat().st_mode & 0o777 == 0o600 for p in keys)


def test_keygen_and_pubkey_agree_with_the_reference():
    private = run(QUICPORT, "keygen").strip()
    public = run(QUICPORT, "pubkey", input=private + "\n").strip()
    assert q.encode_key(q.public_key(q.decode_key(private))) == public
