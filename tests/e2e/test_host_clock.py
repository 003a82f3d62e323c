# SPDX-License-Identifier: Apache-2.0
"""
The system's clock is set while gateway and clients run, by a year: what lasts for a time lasts as long
as before, what has a date follows the new one. Each process gets a clock of its own, preloaded; the
machine's is not touched.
"""

import struct
import time
from datetime import datetime, timedelta, timezone

import pytest

from apikit import Api
from harness import TOOLS, Client, Gateway, eventually, new_port
from hostkit import talks
from test_policy import ALICE, BOB, PRIVATE, by_key, clients

LO = "127.0.0.1"
YEAR = 365 * 86400


class Clock:
    """By how many seconds a process's clock is ahead."""

    def __init__(self, folder, name):
        self.file = folder / f"{name}.clock"
        self.file.write_bytes(struct.pack("=q", 0))
        self.env = {"LD_PRELOAD": str(TOOLS / "testclock.so"), "QP_TEST_CLOCK": str(self.file)}

    def set(self, ahead):
        with open(self.file, "r+b") as file:  # in place: it is mapped
            file.write(struct.pack("=q", ahead))


@pytest.fixture
def clocks(logs):
    return Clock(logs, "gateway"), Clock(logs, "client")


def tunnel(host, gateway, auth, env, name="client", **options):
    outside, inside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    client = Client(host, f"{LO}:{gateway.port}", outside, inside, auth=auth, env=env, name=name,
                    **options)  # fmt: skip
    client.opens(host, LO, outside)
    return client, outside


@pytest.mark.parametrize("by", [YEAR, -YEAR], ids=["ahead", "back"])
def test_clock_is_set_and_nothing_ends_that_lasts_for_a_time(host, clocks, by):
    ours, theirs = clocks
    auth = (*PRIVATE, "--psk", "secret", "--client-pubkeys", ALICE.shown)
    gateway = Gateway(host, new_port(), auth=auth, env=ours.env)
    api = Api(host, gateway.port)
    client, port = tunnel(host, gateway, by_key(ALICE), theirs.env, reconnect=True)
    leased = any_port(host, gateway)
    api.call("BlockSource", source="192.0.2.0/24", seconds=2)
    api.call("BlockSource", source="198.51.100.0/24", seconds=3600)
    with talks((host, LO, port)) as (talk,):
        since = time.monotonic()
        for clock in (ours, theirs):
            clock.set(by)
        assert talk.goes_on(since) < 3
        eventually(lambda: blocked(api) == ["198.51.100.0/24"], 15, "the short block is over")
        assert time.monotonic() - since > 1
        theirs.set(0)  # a pre-shared key is shown with the time: see below
        ours.set(0)
        assert any_port(host, gateway) == leased
        ours.set(by)
        # A control plane that comes now takes all over.
        gateway.popen.kill()
        gateway.popen.wait()
        after = Gateway(host, gateway.port, auth=auth, name="after",
                        env={**ours.env, "QUICPORT_STATE_DIR": str(gateway.state_dir)})  # fmt: skip
        talk.goes_on()
        assert blocked(Api(host, after.port)) == ["198.51.100.0/24"]
    year = (datetime.now(timezone.utc) + timedelta(seconds=by)).year
    assert f'"time":"{year}-' in after.output()
    assert after.metric("quicport_worker_tunnels_active") == 1
    assert client.output().count("forward open") == 1, client.output()
    after.before = gateway.before
    after.end()


def any_port(host, gateway):
    """The port that a client gets who leaves it to the gateway, and goes away again."""
    before = gateway.output().count("port closed")
    client = Client(host, f"{LO}:{gateway.port}", 0, 9, name="any")
    port = int(client.wait_for_line(r"forward open.* port=(\d+)")[1])
    client.stop()
    eventually(lambda: gateway.output().count("port closed") > before, what="its port is closed")
    return port


def blocked(api):
    return sorted(row["source"] for row in api.call("ListBlockedSources")["blocked_sources"])


def test_what_has_a_date_follows_the_new_time(host, clocks, logs):
    """Also back again: the clock was wrong, and was put right."""
    ours, _ = clocks
    until = datetime.now(timezone.utc) + timedelta(days=100)
    config = logs / "gateway.yaml"
    config.write_text(clients(alice=f"expires: {until:%Y-%m-%dT%H:%M:%SZ}", bob=""))
    config.chmod(0o600)
    gateway = Gateway(host, new_port(), "--config", config, auth=PRIVATE, env=ours.env)
    alice, _ = tunnel(host, gateway, by_key(ALICE), None, name="alice")
    bob, port = tunnel(host, gateway, by_key(BOB), None, name="bob")
    with talks((host, LO, port)) as (talk,):
        ours.set(YEAR)
        assert alice.wait() != 0
        assert "time is over" in alice.output()
        talk.goes_on()
        ours.set(0)
        tunnel(host, gateway, by_key(ALICE), None, name="alice-again")
    assert bob.running()


def test_pre_shared_key_needs_clocks_that_agree_and_says_so(host, clocks):
    """Keys do not. Tunnels that are open need neither."""
    ours, _ = clocks
    gateway = Gateway(host, new_port(), env=ours.env)
    client, port = tunnel(host, gateway, ("--psk", "secret"), None)
    with talks((host, LO, port)) as (talk,):
        ours.set(YEAR)
        refused = Client(host, f"{LO}:{gateway.port}", new_port(), 9, name="refused")
        assert refused.wait() != 0
        gateway.wait_for_line("client's clock is more than 30 s off")
        talk.goes_on()
        ours.set(0)
        tunnel(host, gateway, ("--psk", "secret"), None, name="again")
    assert client.running()
