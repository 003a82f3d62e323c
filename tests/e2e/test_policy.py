# SPDX-License-Identifier: Apache-2.0
"""What each client may do, and that it is so at once when the operator changes his mind."""

import os
import signal
import threading
import time
from datetime import datetime, timedelta, timezone

import pytest

import quicport1 as q
from harness import QUICPORT, Client, Gateway, eventually, link, new_port

LO = "127.0.0.1"


class Keys:
    def __init__(self):
        self.private = os.urandom(32)
        self.shown = q.encode_key(q.public_key(self.private))
        self.secret = q.encode_key(self.private)


SERVER, ALICE, BOB = Keys(), Keys(), Keys()
PRIVATE = ("--privkey", SERVER.secret)


def by_key(own):
    return ("--privkey", own.secret, "--server-pubkey", SERVER.shown)


def by_psk(secret):
    return ("--psk", secret)


class Policy:
    """A configuration file, and the gateway that runs with it."""

    def __init__(self, host, logs, text, auth=PRIVATE, args=()):
        self.file = logs / "gateway.yaml"
        self.write(text)
        self.host = host
        self.gateway = Gateway(host, new_port(), "--config", self.file, *args, auth=auth)

    def write(self, text):
        """As an editor does: the whole file or the old one, never a part."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(text)
        fresh.chmod(0o600)
        fresh.rename(self.file)

    def change(self, text):
        self.write(text)
        self.gateway.send(signal.SIGHUP)

    def reloads(self):
        return self.gateway.output().count('"configuration reloaded"')

    def client(self, auth, remote=None, local=None, **options):
        return Client(self.host, f"{LO}:{self.gateway.port}", remote or new_port(),
                      local or self.service(), auth=auth, **options)  # fmt: skip

    def service(self):
        inside = new_port()
        self.host.service(LO, inside, "--echo")
        return inside

    def tunnel(self, auth, **options):
        """A client whose port is open; its port is `.outside`."""
        outside = new_port()
        client = self.client(auth, outside, **options)
        client.opens(self.host, LO, outside)
        client.outside = outside
        return client

    def echoes(self, client, bytes=100_000):
        result = self.host.load(LO, client.outside, "--echo", "--send", bytes, "--half-close",
                                deadline=40)  # fmt: skip
        return result["ok"] == 1

    def refused(self, reason):
        return self.gateway.metric(f'quicport_auth_refused_total{{reason="{reason}"}}')


def clients(**grants):
    """Alice and bob, one a line: clients(alice="ports: [80]", bob="")."""
    keys = {"alice": ALICE, "bob": BOB}
    lines = [f"  - {{name: {name}, public-key: {keys[name].shown}{more and ', ' + more}}}"
             for name, more in grants.items()]  # fmt: skip
    return "clients:\n" + "\n".join(lines) + "\n"


class Traffic:
    """Bytes through a client's port in the background, all of them compared."""

    def __init__(self, policy, client, bytes=40_000_000):
        self.before = policy.gateway.metric("quicport_bytes_sent_total")
        self.policy = policy
        self.thread = threading.Thread(target=self.run, args=(policy, client, bytes))
        self.thread.start()
        eventually(self.flows, what="bytes flow")

    def run(self, policy, client, bytes):
        self.whole = policy.echoes(client, bytes)

    def flows(self):
        return self.policy.gateway.metric("quicport_bytes_sent_total") > self.before + 1_000_000

    def ended_whole(self):
        self.thread.join()
        return self.whole


def forward(policy, own, service):
    """A client's local forward to a service on the gateway's host, and its port there."""
    port = new_port()
    words = ["-s", f"{LO}:{policy.gateway.port}", "-L", port, "-R", f"{LO}:{service}"]
    client = policy.host.start("local", QUICPORT, "client", *words, *by_key(own), "--insecure",
                               "--reconnect", "no")  # fmt: skip
    return client, port


def ends_within_a_second(client, words):
    """From now on; the client's user reads why."""
    start = time.monotonic()
    client.wait()
    took = time.monotonic() - start
    assert took < 1, f"it took {took:.2f} s"
    assert words in client.output()


def test_revoked_key_ends_its_tunnel_under_traffic_and_no_other(host, logs):
    policy = Policy(host, logs, clients(alice="", bob=""))
    alice, bob = policy.tunnel(by_key(ALICE)), policy.tunnel(by_key(BOB))
    doomed, others = host.connect(LO, alice.outside), Traffic(policy, bob)
    doomed.sendall(b"x")
    assert doomed.recv(1) == b"x"
    policy.change(clients(bob=""))
    ends_within_a_second(alice, "does not know this client any more")
    eventually(lambda: not host.port_opens(LO, alice.outside), what="the port is closed")
    assert others.ended_whole(), "the other tunnel lost something"
    assert bob.running()
    again = policy.client(by_key(ALICE))
    assert again.wait() != 0
    assert "does not know" not in again.output(), "a stranger is told"
    assert policy.refused("unknown_key") == 1


def test_keys_of_a_file_are_revoked_by_sighup(host, logs):
    file = logs / "clients"
    file.write_text(f"{ALICE.shown}\n{BOB.shown}\n")
    gateway = Gateway(host, new_port(), auth=(*PRIVATE, "--client-pubkeys-file", file))
    policy = Policy.__new__(Policy)
    policy.host, policy.gateway = host, gateway
    alice, bob = policy.tunnel(by_key(ALICE)), policy.tunnel(by_key(BOB))
    file.write_text(f"{BOB.shown}\n")
    gateway.send(signal.SIGHUP)
    ends_within_a_second(alice, "does not know this client any more")
    assert policy.echoes(bob)


def test_bad_file_changes_nothing(host, logs):
    policy = Policy(host, logs, clients(alice="", bob=""))
    alice = policy.tunnel(by_key(ALICE))
    policy.change("clients:\n  - {name: bob, public-key: nonsense}\n")
    policy.gateway.wait_for_line(r"gateway\.yaml:2")
    assert policy.echoes(alice)


def test_many_tunnels_of_a_revoked_client_end_within_a_second(host, logs):
    many = 60
    policy = Policy(host, logs, clients(alice="", bob=""))
    bob = policy.tunnel(by_key(BOB))
    file = logs / "client.yaml"
    file.write_text(
        f"server: {LO}:{policy.gateway.port}\ninsecure: true\nreconnect: no\n"
        f"privkey: {ALICE.secret}\nserver-pubkey: {SERVER.shown}\nforwards:\n"
        + "".join(f"  - {{name: f{n}, remote-source: 0, local-destination: {new_port()}}}\n" for n in range(many))
    )
    file.chmod(0o600)
    alice = host.start("client", QUICPORT, "client", "--config", file)
    eventually(lambda: policy.gateway.metric("quicport_tunnels_active") == many + 1,
               what="all tunnels are there")  # fmt: skip
    policy.change(clients(bob=""))
    eventually(lambda: policy.gateway.metric("quicport_tunnels_active") == 1, within=1,
               what="only bob's tunnel is left")  # fmt: skip
    alice.wait()
    assert policy.echoes(bob)


@pytest.mark.parametrize(
    "before, after, words",
    [
        ("ports: any", "ports: [1-1023]", "any more"),
        ("ports: any", "ports: none", "any more"),
        ("", "expires: 2020-01-01T00:00:00Z", "time is over"),
    ],
    ids=["other ports", "no port", "expired"],
)
def test_narrowed_policy_ends_what_it_does_not_allow(host, logs, before, after, words):
    policy = Policy(host, logs, clients(alice=before, bob=""))
    alice, bob = policy.tunnel(by_key(ALICE)), policy.tunnel(by_key(BOB))
    policy.change(clients(alice=after, bob=""))
    ends_within_a_second(alice, words)
    assert policy.echoes(bob)


def test_policy_that_changed_while_no_control_plane_was_there_counts(host, logs):
    service = new_port()
    host.service(LO, service, "--echo")
    wide = clients(alice="ports: any", bob="local-forwards: ['127.0.0.1']")
    policy = Policy(host, logs, wide)
    one, other = policy.tunnel(by_key(ALICE)), policy.tunnel(by_key(ALICE))
    local, port = forward(policy, BOB, service)
    local.opens(host, LO, port)
    traffic = Traffic(policy, one)
    policy.gateway.kill()
    policy.write(clients(alice=f"ports: [{one.outside}]", bob="ports: any"))
    policy.gateway = Gateway(host, policy.gateway.port, "--config", policy.file, auth=PRIVATE,
                             env={"QUICPORT_STATE_DIR": str(policy.gateway.state_dir)})  # fmt: skip
    assert other.wait() != 0
    assert f"port {other.outside}/tcp any more" in other.output()
    assert local.wait() != 0
    assert "does not allow this local forward any more" in local.output()
    assert traffic.ended_whole(), "the tunnel that is allowed lost something"


def test_psk_and_key_that_changed_while_no_control_plane_was_there_count(host, logs):
    text = clients(alice="", bob="") + "psks:\n  - {name: shop, secret: s1}\n  - {name: home, secret: s2}\n"
    policy = Policy(host, logs, text)
    alice, bob = policy.tunnel(by_key(ALICE)), policy.tunnel(by_key(BOB))
    shop, home = policy.tunnel(by_psk("s1")), policy.tunnel(by_psk("s2"))
    traffic = Traffic(policy, home)
    policy.gateway.kill()
    # Alice's key is bob's now, and the shop has another PSK.
    policy.write(clients(bob="").replace(BOB.shown, ALICE.shown) + text[text.index("psks"):].replace("s1", "s3"))
    policy.gateway = Gateway(host, policy.gateway.port, "--config", policy.file, auth=PRIVATE,
                             env={"QUICPORT_STATE_DIR": str(policy.gateway.state_dir)})  # fmt: skip
    for client, words in ((alice, "does not know this client any more"), (bob, "key was revoked"),
                          (shop, "pre-shared key was changed")):  # fmt: skip
        assert client.wait() != 0
        assert words in client.output()
    assert traffic.ended_whole(), "the tunnel whose PSK is the same lost something"
    assert policy.echoes(policy.tunnel(by_psk("s3")))
    # And once more: by whom each came is still known.
    policy.gateway.kill()
    policy.gateway = Gateway(host, policy.gateway.port, "--config", policy.file, auth=PRIVATE,
                             env={"QUICPORT_STATE_DIR": str(policy.gateway.state_dir)})  # fmt: skip
    assert policy.echoes(home)


def test_widened_policy_touches_nothing(host, logs):
    policy = Policy(host, logs, clients(alice="ports: any, tunnels: 2, connections: 10"))
    alice = policy.tunnel(by_key(ALICE))
    traffic = Traffic(policy, alice)
    for limit in (20, 30, 40):
        done = policy.reloads()
        policy.change(clients(alice=f"ports: any, tunnels: {limit}, connections: {limit}"))
        eventually(lambda: policy.reloads() > done, what="it is read again")
    assert traffic.ended_whole()
    assert alice.running()


def test_time_ends_a_tunnel(host, logs):
    until = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(seconds=4)
    policy = Policy(host, logs, clients(alice=f"expires: {until:%Y-%m-%dT%H:%M:%SZ}", bob=""))
    alice, bob = policy.tunnel(by_key(ALICE)), policy.tunnel(by_key(BOB))
    alice.wait()
    late = datetime.now(timezone.utc) - until
    assert timedelta(0) <= late < timedelta(seconds=1), f"{late} after its time"
    assert "time is over" in alice.output()
    assert policy.client(by_key(ALICE)).wait() != 0
    assert policy.refused("expired") == 1
    assert policy.echoes(bob)


def test_psks_by_name_and_keys_side_by_side(host, logs):
    text = clients(alice="") + "psks:\n  - {name: shop, secret: s1}\n  - {name: home, secret: s2}\n"
    policy = Policy(host, logs, text)
    tunnels = [policy.tunnel(auth) for auth in (by_key(ALICE), by_psk("s1"), by_psk("s2"))]
    assert all(policy.echoes(tunnel) for tunnel in tunnels)
    for name in ("alice", "shop", "home"):
        assert f'"client":"{name}"' in policy.gateway.output()
    assert policy.client(by_psk("s3")).wait() != 0
    assert policy.client(by_key(BOB)).wait() != 0
    assert policy.gateway.metric("quicport_auth_psk_success_total") == 2
    assert policy.gateway.metric("quicport_auth_x25519_success_total") == 1
    # One is changed and one stays.
    policy.change(text.replace("s1", "another"))
    ends_within_a_second(tunnels[1], "pre-shared key was changed")
    assert policy.echoes(tunnels[0]) and policy.echoes(tunnels[2])


def test_psk_and_keys_of_options_side_by_side(host):
    auth = (*PRIVATE, "--client-pubkeys", ALICE.shown, "--psk", "secret")
    policy = Policy.__new__(Policy)
    policy.host, policy.gateway = host, Gateway(host, new_port(), auth=auth)
    assert policy.echoes(policy.tunnel(by_key(ALICE)))
    assert policy.echoes(policy.tunnel(by_psk("secret")))


def test_port_that_is_not_granted_is_denied_in_words(host, logs):
    policy = Policy(host, logs, clients(alice="ports: [30000-30009/tcp]", bob=""))
    denied = policy.client(by_key(ALICE), 30010)
    assert denied.wait() != 0
    assert "does not give 'alice' port 30010/tcp" in denied.output()
    assert not host.port_opens(LO, 30010)
    udp = policy.client(by_key(ALICE), "30000/udp")
    assert udp.wait() != 0
    granted = policy.client(by_key(ALICE), 30009)
    granted.opens(host, LO, 30009)


def test_local_forward_is_the_clients_own_matter_when_the_policy_says_so(host, logs):
    service = new_port()
    host.service(LO, service, "--echo")
    text = clients(alice="local-forwards: ['127.0.0.1']", bob="")
    policy = Policy(host, logs, text)

    allowed, port = forward(policy, ALICE, service)
    allowed.opens(host, LO, port)
    refused, _ = forward(policy, BOB, service)
    assert refused.wait() != 0
    assert "local-forwards of the policy" in refused.output()
    policy.change(clients(alice="", bob=""))
    ends_within_a_second(allowed, "does not allow this local forward any more")


def test_tunnels_beyond_the_limit_are_refused_in_words(host, logs):
    policy = Policy(host, logs, clients(alice="tunnels: 2"))
    first, second = policy.tunnel(by_key(ALICE)), policy.tunnel(by_key(ALICE))
    third = policy.client(by_key(ALICE))
    assert third.wait() != 0
    assert "and may have 2" in third.output()
    second.stop()
    policy.tunnel(by_key(ALICE))
    policy.change(clients(alice="tunnels: 1"))
    eventually(lambda: policy.gateway.metric("quicport_tunnels_active") == 1, within=1,
               what="one tunnel is left")  # fmt: skip
    assert policy.echoes(first), "the oldest stays"


def test_client_at_its_limit_takes_its_port_over(host, logs):
    policy = Policy(host, logs, clients(alice="tunnels: 1"))
    old = policy.tunnel(by_key(ALICE))
    os.kill(old.pid, signal.SIGSTOP)  # its machine is gone, and the gateway cannot know
    try:
        new = policy.client(by_key(ALICE), old.outside)
        new.wait_for_line("Listening on port")
        new.outside = old.outside
        assert policy.echoes(new)
    finally:
        os.kill(old.pid, signal.SIGCONT)


def test_forwards_beyond_the_limit_are_refused_in_words(host, logs):
    policy = Policy(host, logs, clients(alice="forwards: 1"))
    policy.tunnel(by_key(ALICE))
    second = policy.client(by_key(ALICE))
    assert second.wait() != 0
    assert "and may have 1" in second.output()


def test_failures_slow_their_address_down_and_the_right_key_gets_in(hosts):
    server, good = hosts("server"), hosts("good")
    link(server, good, ["192.0.2.1/24"], ["192.0.2.2/24"], "g0", "g1")
    gateway = Gateway(server, new_port(), data_plane="0.0.0.0:" + str(port := new_port()))

    def attempt(psk, host=good):
        return Client(host, f"192.0.2.1:{port}", new_port(), new_port(), auth=("--psk", psk))

    took = []
    for _ in range(3):
        start = time.monotonic()
        assert attempt("wrong").wait() != 0
        took.append(time.monotonic() - start)
    assert 0.25 <= took[0] < took[1] < took[2], took
    assert 1 <= took[2] < 3, took
    assert gateway.metric('quicport_auth_refused_total{reason="wrong_psk"}') == 3
    # Others of another address are not slowed, and the right key of this one is not either.
    start = time.monotonic()
    attempt("secret").wait_for_line("Listening on port")
    assert time.monotonic() - start < 1
    start = time.monotonic()
    assert attempt("wrong").wait() != 0
    assert time.monotonic() - start < 1, "a success has wiped the slate"


def test_flood_of_wrong_keys_is_not_looked_at_for_long(host):
    gateway = Gateway(host, new_port())
    wrong = [Client(host, f"{LO}:{gateway.port}", new_port(), new_port(), auth=("--psk", str(n)))
             for n in range(8)]  # fmt: skip
    for client in wrong:
        assert client.wait() != 0
    refused = gateway.metric("quicport_auth_refused_total")
    assert refused == 8
    assert gateway.output().count("authentication failed") <= 6
    start = time.monotonic()
    client = Client(host, f"{LO}:{gateway.port}", new_port(), new_port())
    client.wait_for_line("Listening on port")
    assert time.monotonic() - start < 10
