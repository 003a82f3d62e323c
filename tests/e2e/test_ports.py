# SPDX-License-Identifier: Apache-2.0
"""Which port a client gets, which it gets back, and which it takes over from itself."""

import os
import signal
import time

import pytest

import quicport1 as q
from harness import Client, Gateway, alive, eventually, new_port

LO = "127.0.0.1"


class Keys:
    def __init__(self):
        self.private = os.urandom(32)
        self.shown = q.encode_key(q.public_key(self.private))
        self.secret = q.encode_key(self.private)


SERVER, ALICE, BOB, NEW_KEY = Keys(), Keys(), Keys(), Keys()
BOTH = ("--privkey", SERVER.secret, "--client-pubkeys", f"{ALICE.shown},{BOB.shown}")


def as_client(own):
    return ("--privkey", own.secret, "--server-pubkey", SERVER.shown)


def granted(client):
    """The port that the client was told."""
    return int(client.wait_for_line(r"Listening on port (\d+)")[1])


def client_of(host, gateway, who, remote, inside, **options):
    return Client(host, f"{LO}:{gateway.port}", remote, inside, auth=as_client(who), **options)


def echoes(host, port):
    return host.load(LO, port, "--echo", "--send", 1000, "--half-close", deadline=20)["ok"] == 1


def restarted(host, gateway, how):
    """Another gateway in its place, after it was ended in this way."""
    members = gateway.members()
    if how == "stopped":
        gateway.stop()
        eventually(lambda: not alive(members), what="the old gateway is gone")
    elif how == "killed":  # the control plane alone
        gateway.kill()
    else:
        for pid in members:
            os.kill(pid, signal.SIGKILL)
        gateway.wait()
        eventually(lambda: not alive(members) and "qp" not in host.run("ip", "-br", "link"),
                   what="the old gateway and its interfaces are gone")  # fmt: skip
    return Gateway(host, gateway.port, *gateway.popen_args, auth=gateway.auth,
                   env={"QUICPORT_STATE_DIR": str(gateway.state_dir)})  # fmt: skip


def start(host, *args, auth=BOTH, **options):
    gateway = Gateway(host, new_port(), *args, auth=auth, **options)
    gateway.popen_args = args
    return gateway


def test_port_zero_is_one_of_the_range_and_comes_back(host):
    gateway = start(host, "--port-range", "41000-41999", "--reserved-ports", "41500-41999,7/udp")
    inside = new_port()
    host.service(LO, inside, "--echo")
    first = client_of(host, gateway, ALICE, 0, inside)
    port = granted(first)
    assert 41000 <= port < 41500
    assert echoes(host, port)
    assert first.stop() is not None
    # As long as she is away nobody else is given it.
    others = [client_of(host, gateway, BOB, 0, new_port(), name=f"bob{i}") for i in range(3)]
    assert port not in [granted(other) for other in others]
    again = client_of(host, gateway, ALICE, 0, inside)
    assert granted(again) == port
    assert echoes(host, port)
    # Another service of hers is another port.
    assert granted(client_of(host, gateway, ALICE, 0, new_port())) != port


@pytest.mark.parametrize("how", ["stopped", "killed", "all killed"])
def test_port_comes_back_after_the_gateways_restart(host, how):
    gateway = start(host)
    inside = new_port()
    host.service(LO, inside, "--echo")
    # It goes on by itself when the gateway is back.
    staying = client_of(host, gateway, ALICE, 0, inside, reconnect=True, name="alice")
    leaving = client_of(host, gateway, BOB, "0/udp", f"{inside}/udp", name="bob")
    port, left_port = granted(staying), granted(leaving)
    leaving.stop()
    gateway = restarted(host, gateway, how)
    eventually(lambda: host.port_opens(LO, port), what=f"port {port} is open again")
    assert echoes(host, port)
    assert granted(client_of(host, gateway, BOB, "0/udp", f"{inside}/udp", name="bob again")) == left_port
    assert gateway.metric("quicport_port_leases") == 2
    assert gateway.metric("quicport_state_on_disk") == 1


def test_state_is_broken_and_the_gateway_starts_all_the_same(host):
    gateway = start(host)
    inside = new_port()
    port = granted(client_of(host, gateway, ALICE, 0, inside))
    gateway.stop()
    database = next(gateway.state_dir.glob("gateway-*.db"))
    database.write_bytes(b"this is no database" * 1000)
    gateway = restarted(host, gateway, "stopped")
    assert "THE STATE FILE IS BROKEN" in gateway.output()
    assert list(gateway.state_dir.glob("gateway-*.db.bad-*"))
    assert granted(client_of(host, gateway, ALICE, port, inside)) == port


def test_new_client_takes_over_what_its_dead_machine_held(host):
    gateway = start(host)
    outside, inside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    dead = client_of(host, gateway, ALICE, outside, inside, name="dead")
    dead.opens(host, LO, outside)
    dead.kill()  # nobody says goodbye, and the idle timeout is far
    began = time.monotonic()
    granted(client_of(host, gateway, ALICE, outside, inside, name="alive"))
    granted_after = time.monotonic() - began
    assert echoes(host, outside)
    assert time.monotonic() - began < 1, f"granted after {granted_after:.2f} s"
    # Not from somebody else.
    stranger = client_of(host, gateway, BOB, outside, inside, name="bob")
    assert stranger.wait(10) != 0
    assert f"port {outside}/tcp is taken by another tunnel" in stranger.output()
    assert echoes(host, outside)


def test_killed_client_that_asks_for_any_port_gets_its_own_at_once(host):
    gateway = start(host)
    inside = new_port()
    host.service(LO, inside, "--echo")
    dead = client_of(host, gateway, ALICE, 0, inside, name="dead")
    port = granted(dead)
    dead.kill()
    assert granted(client_of(host, gateway, ALICE, 0, inside, name="alive")) == port
    assert echoes(host, port)


def test_port_is_taken_over_from_worker_to_worker(host):
    gateway = start(host, "--workers", "2")
    outside, inside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    for i in range(5):  # the kernel spreads clients by their source port
        granted(client_of(host, gateway, ALICE, outside, inside, name=f"client{i}"))
        assert echoes(host, outside)


@pytest.mark.parametrize(
    "takeover, auth, works",
    [("auto", "psk", False), ("always", "psk", True), ("never", "key", False)],
)
def test_takeover_is_as_the_operator_says(host, takeover, auth, works):
    gateway = start(host, "--port-takeover", takeover,
                    auth=BOTH if auth == "key" else ("--psk", "secret"))  # fmt: skip
    outside, inside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    options = {"auth": as_client(ALICE) if auth == "key" else ("--psk", "secret")}
    first = Client(host, f"{LO}:{gateway.port}", outside, inside, name="first", **options)
    first.opens(host, LO, outside)
    second = Client(host, f"{LO}:{gateway.port}", outside, inside, name="second", **options)
    if works:
        granted(second)
        assert first.wait(10) != 0
    else:
        assert second.wait(10) != 0
        assert first.running()
    assert echoes(host, outside)


def test_reserved_port_is_denied(host):
    reserved = new_port()
    gateway = start(host, "--reserved-ports", f"{reserved}/tcp")
    tried = client_of(host, gateway, ALICE, reserved, new_port())
    assert tried.wait(10) != 0
    assert f"port {reserved}/tcp is reserved by the gateway's operator" in tried.output()
    udp = client_of(host, gateway, ALICE, f"{reserved}/udp", f"{new_port()}/udp")
    assert granted(udp) == reserved


def test_policy_decides_which_port_any_is(host, logs):
    first, last = new_port(), new_port()
    config = logs / "gateway.yaml"
    config.write_text(f"""
clients:
  - {{name: alice, public-key: {ALICE.shown}, ports: {first}/tcp}}
  - {{name: bob, public-key: {BOB.shown}, ports: "{last}/udp"}}
""")
    gateway = Gateway(host, new_port(), "--config", config, auth=("--privkey", SERVER.secret))
    inside = new_port()
    host.service(LO, inside, "--echo")
    assert granted(client_of(host, gateway, ALICE, 0, inside)) == first
    assert echoes(host, first)
    # Her only port is in use now.
    second = client_of(host, gateway, ALICE, 0, new_port())
    assert second.wait(10) != 0
    assert "none of the 1 tcp ports" in second.output()
    none = client_of(host, gateway, BOB, 0, inside)
    assert none.wait(10) != 0
    assert "the gateway's policy gives 'bob' no tcp port" in none.output()
    assert echoes(host, first)
    # A new key is the same client: its lease and its port follow the name.
    config.write_text(config.read_text().replace(ALICE.shown, NEW_KEY.shown))
    gateway.send(signal.SIGHUP)
    eventually(lambda: not host.port_opens(LO, first), what="the old key's tunnel ends")
    assert granted(client_of(host, gateway, NEW_KEY, 0, inside)) == first
