# SPDX-License-Identifier: Apache-2.0
"""
Nic mode over virtio: the gateway has net_virtio_user, the other end is a vhost-user device of
quicport-bench's, which compares every byte. The gateway is the socket's server, so that other ends
may go and come; its start waits for the first one.
"""

import json
import os
import signal
import time

import pytest

from harness import BUILD, Gateway, Process, eventually, new_port
from nickit import NicGateway, counters, wait_active

BENCH = BUILD / "quicport-bench"
PATIENCE = 30  # seconds, the generator's: it is there before the gateway
MSS = 1448


class VirtioGateway(Gateway):
    planes, active, data_plane_pid = NicGateway.planes, NicGateway.active, NicGateway.data_plane_pid


class Lab:
    """`virtio`, `vhost`: more arguments of either end's device."""

    def __init__(self, host, logs, queues=4, own="10.0.0.1/24", virtio="", vhost="", memory=128):
        self.host, self.out, self.queues, self.own = host, logs / "out.json", queues, own
        self.memory, self.port, self.gateway, self.bench = memory, new_port(), None, None
        path = logs / "vhost.sock"
        self.vhost = f"net_vhost0,iface={path},client=1,queues={queues}{vhost}"
        self.virtio = f"net_virtio_user0,path={path},server=1,queues={queues},queue_size=1024{virtio}"

    def begin(self, *args, own="10.0.0.2/24", target="10.0.0.1", seconds=1):
        """The generator, which waits for the gateway."""
        target = f"[{target}]:{self.port}" if ":" in target else f"{target}:{self.port}"
        words = [BENCH, "--port", self.vhost, "--queues", self.queues, "--ip", own, "--target", target,
                 "--psk", "secret", "--warmup", 1, "--patience", PATIENCE, "--seconds", seconds,
                 "--json", self.out, *args]  # fmt: skip
        self.bench = Process(self.host, "bench", words)

    def start(self, *args):
        self.gateway = VirtioGateway(self.host, self.port, "--port", self.virtio, "--memory", self.memory,
                                     "--ip", self.own, *args, data_plane=f"0.0.0.0:{self.port}")  # fmt: skip

    def end(self):
        """The generator's figures; it has found nothing lost and nothing wrong."""
        status = self.bench.popen.wait(120)
        assert status == 0, self.bench.output() + self.gateway.output()[-2000:]
        return json.loads(self.out.read_text())

    def run(self, *args, gateway=(), **options):
        self.begin(*args, **options)
        if self.gateway is None:
            self.start(*gateway)
        return self.end()


@pytest.fixture
def lab(host, logs):
    def make(**options):
        return Lab(host, logs, **options)

    return make


RINGS = {
    "split": {},
    "packed": {"virtio": ",packed_vq=1"},
    "out of order": {"virtio": ",in_order=0"},
    "a buffer a frame": {"virtio": ",mrg_rxbuf=0"},
    "packed, a buffer a frame": {"virtio": ",packed_vq=1,mrg_rxbuf=0"},
}


@pytest.mark.parametrize("ring", RINGS)
def test_bulk_arrives_whole_by_each_kind_of_ring(lab, ring):
    made = lab(**RINGS[ring])
    made.run("--scenario", "bulk", "--direction", "both", "--users", 2)
    drops = {name: n for name, n in counters(made.gateway, r"quicport_(?:net_drop_|nic_drop_).*").items() if n}
    assert drops == {}


@pytest.mark.parametrize("ring", ["split", "packed"])
def test_device_cuts_segments_where_it_is_negotiated(lab, ring):
    made = lab(virtio=RINGS[ring].get("virtio", ""), vhost=",tso=1")
    figures = made.run("--scenario", "bulk", "--direction", "out", "--users", 2)
    # The other end is no wire: it gets them uncut.
    assert figures["measured"]["user_rx_bytes"] > figures["measured"]["rx_frames"] * MSS


@pytest.mark.parametrize("ring", ["split", "a buffer a frame"])
@pytest.mark.parametrize("mtu", [9000, 4321])
def test_jumbo_frames_by_virtio(lab, mtu, ring):
    made = lab(**RINGS[ring])
    made.run("--mtu", mtu, "--scenario", "bulk", "--direction", "both", "--users", 2, gateway=["--mtu", mtu])


def test_two_workers_by_virtio(lab):
    made = lab(queues=8)
    made.run("--scenario", "requests", "--clients", 4, "--users", 8, gateway=["--workers", 2])


def test_handshakes_by_virtio(lab):
    lab().run("--scenario", "handshakes", "--clients", 4)


def test_ipv6_by_virtio(lab):
    made = lab(own="2001:db8::1/64")
    made.run("--scenario", "requests", "--users", 2, own="2001:db8::2/64", target="2001:db8::1")


def test_datagrams_by_virtio(lab):
    lab().run("--scenario", "udp", "--users", 4, "--size", "1-1400", "--rate", 500)


def connected(lab, users):
    eventually(lambda: lab.gateway.metric("quicport_conns_active") == users, what="the users are connected")


def test_data_plane_that_is_replaced_under_load_loses_nothing(lab):
    made = lab(memory=240)
    made.begin("--scenario", "requests", "--users", 4, seconds=4)
    made.start()
    connected(made, 4)
    before = made.gateway.active()
    made.gateway.send(signal.SIGHUP)
    wait_active(made.gateway, not_this=before)
    made.end()


def is_quiet(gateway):
    before = gateway.metric("quicport_worker_rx_frames_total")
    time.sleep(0.2)
    return gateway.metric("quicport_worker_rx_frames_total") == before


@pytest.mark.parametrize("ring", ["split", "packed"])
def test_killed_data_plane_is_followed_by_one_that_serves(lab, ring):
    """With an other end that reads, and with none. In the midst of a burst it may leave the ring half-done: docs/nic.md."""
    made = lab(**RINGS[ring])
    made.begin("--scenario", "idle", "--users", 2, seconds=60)
    made.start()
    connected(made, 2)
    for _ in range(2):
        eventually(lambda: is_quiet(made.gateway), what="nothing moves")
        before = made.gateway.active()
        os.kill(made.gateway.data_plane_pid(), signal.SIGKILL)
        wait_active(made.gateway, not_this=before)
        made.bench.kill()
    made.run("--scenario", "bulk", "--direction", "both", "--users", 2)


def test_gateway_that_was_killed_leaves_no_socket_in_the_way(lab):
    made = lab()
    made.begin("--scenario", "requests", "--users", 1, seconds=60)
    made.start()
    for pid in made.gateway.members():
        os.kill(pid, signal.SIGKILL)
    made.gateway.popen.wait(20)
    made.bench.kill()
    made.gateway = None
    made.run("--scenario", "requests", "--users", 4)
