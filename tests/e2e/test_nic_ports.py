# SPDX-License-Identifier: Apache-2.0
"""
The port owner's dedicated ports, without a gateway around them: processes that attach later, one that
is killed, a peer that comes and goes, what is found out about DPDK's devices.
"""

import os
import re
import shutil
import signal
import socket
import struct
import subprocess
from pathlib import Path

import pytest
from harness import BUILD, clean_environment, eventually

RECLAIM = 5
MBUFS = 4096


class Owner:
    """A port owner that lives as long as this does."""

    def __init__(self, logs, *args, instance=None):
        self.instance = instance or f"quicport-ports{os.getpid()}"
        self.log = logs / "owner.log"
        mine, self.lifeline = os.pipe()
        self.process = subprocess.Popen(
            [BUILD / "quicport-port-owner", "--instance", self.instance, "--memory", "64", "--ready-fd",
             "1", "--lifeline-fd", str(mine), "--log-output", self.log, *map(str, args)],
            stdout=subprocess.PIPE, pass_fds=(mine,), text=True, env=clean_environment({}))  # fmt: skip
        os.close(mine)
        self.told = self.process.stdout.read()

    def reclaim(self, server_id):
        """That data plane is dead. Why not, if it is refused."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.connect(f"/run/dpdk/{self.instance}/owner.sock")
            sock.settimeout(20)
            sock.send(struct.pack("<IIIIQ32s", 0x51504F4C, 1, RECLAIM, server_id, 0, b""))
            answer = sock.recv(4096)
        ok, why = struct.unpack_from("<I", answer, 12)[0], answer[108:].split(b"\0")[0].decode()
        return "" if ok else why

    def end(self):
        os.close(self.lifeline)
        return self.process.wait(timeout=20)


class Probe:
    """tests/nic/nicprobe."""

    def __init__(self, *args):
        self.process = subprocess.Popen([BUILD / "tests/nic/nicprobe", *map(str, args)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)  # fmt: skip
        line = self.process.stdout.readline()
        assert line == "ready\n", line + self.process.stderr.read()

    def ask(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def answer(self):
        return self.process.stdout.readline().strip()

    def __call__(self, *words):
        self.ask(*words)
        return self.answer()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=20)

    def link_is(self, what):
        eventually(lambda: self("link", 0) == what, what=f"the link {what}")


def carries(sender, receiver, queue, frames=20, size=100):
    """A receiver gives its buffers at its first look; then all comes, whole, by the same queue."""
    receiver("rx", 0, queue, 1, 1)
    assert sender("tx", 0, queue, frames, size) == f"sent {frames}"
    assert receiver("rx", 0, queue, frames, 5000) == f"got {frames} bytes {frames * size} bad 0 segs {frames}"


@pytest.fixture
def lab(logs):
    """Owners, data planes and peers; all end, and leave no memory behind."""
    made = []
    prefix = f"quicport-peer{os.getpid()}"

    class Lab:
        memif = f"net_memif0,socket={logs}/memif.sock,socket-abstract=no,role="
        vhost = f"{logs}/vhost.sock"

        def owner(self, *args):
            made.append(Owner(logs, "--port-mbufs", MBUFS, *args))
            return made[-1]

        def secondary(self, owner, lcore):
            made.append(Probe("secondary", owner.instance, f"{lcore}@0"))
            return made[-1]

        def peer(self, devargs, workers=1, slots=4, mtu=1500):
            made.append(Probe("peer", f"{prefix}-{len(made)}", "0@0", devargs, workers, slots, mtu))
            return made[-1]

    yield Lab()
    for one in made:
        if isinstance(one, Probe) and one.process.poll() is None:
            one.kill()
    for one in made:
        if isinstance(one, Owner) and one.process.poll() is None:
            one.end()
    for left in Path("/dev/hugepages").glob(f"{prefix}-*map_*"):
        left.unlink()
    for left in Path("/run/dpdk").glob(f"{prefix}-*"):
        shutil.rmtree(left)


def test_data_planes_share_a_memif_and_one_that_is_killed_leaves_it_whole(lab):
    owner = lab.owner("--port", lab.memif + "server", "--queues", 2, "--slots", 2)
    assert owner.told == "R"
    peer = lab.peer(lab.memif + "client", workers=2, slots=2)
    first = lab.secondary(owner, 1)
    first.link_is("up")
    for queue in range(4):
        carries(peer, first, queue)
        carries(first, peer, queue)
    first.kill()
    second = lab.secondary(owner, 2)
    for queue in range(4):
        carries(peer, second, queue, size=1500)
        carries(second, peer, queue, size=1500)


def test_memif_peer_comes_back(lab):
    owner = lab.owner("--port", lab.memif + "server")
    plane = lab.secondary(owner, 1)
    for _ in range(3):
        peer = lab.peer(lab.memif + "client")
        plane.link_is("up")
        carries(peer, plane, 0)
        carries(plane, peer, 3)
        peer.kill()
        plane.link_is("down")
    assert "the link of a port is down" in owner.log.read_text()


def test_memif_peer_that_is_back_in_a_moment(lab):
    """Its link was never seen down, and its memory is another."""
    owner = lab.owner("--port", lab.memif + "server")
    plane, other = lab.secondary(owner, 1), lab.secondary(owner, 2)
    peer = lab.peer(lab.memif + "client")
    for _ in range(5):
        plane.link_is("up")
        carries(peer, plane, 0)
        carries(plane, peer, 0)
        other.link_is("up")
        carries(peer, other, 1)
        assert peer("restart", 0) == "0"
        peer.link_is("up")
        # Until the port owner has looked: what is sent meanwhile is lost.
        eventually(lambda: (peer("rx", 0, 0, 1, 1), plane("tx", 0, 0, 1, 60),
                            peer("rx", 0, 0, 1, 20))[2].startswith("got 1"), what="a frame")  # fmt: skip
        peer("rx", 0, 0, 100, 100)
        plane("rx", 0, 0, 100000, 100)


def test_memif_client_connects_to_a_server_that_comes_back(lab, logs):
    peer = lab.peer(lab.memif + "server")
    owner = lab.owner("--port", lab.memif + "client")
    assert owner.told == "R"
    plane = lab.secondary(owner, 1)
    plane.link_is("up")
    peer.kill()
    plane.link_is("down")
    (logs / "memif.sock").unlink()
    peer = lab.peer(lab.memif + "server")
    plane.link_is("up")
    carries(peer, plane, 1)
    carries(plane, peer, 0)


def test_jumbo_frames_over_memif(lab):
    owner = lab.owner("--port", lab.memif + "server", "--mtu", 9000)
    peer = lab.peer(lab.memif + "client", mtu=9000)
    plane = lab.secondary(owner, 1)
    plane.link_is("up")
    plane("rx", 0, 0, 1, 1)
    for _ in range(3):  # more than the ring has, then short ones in the same places
        assert peer("tx", 0, 0, 600, 9014, 5).startswith("sent")
        got = re.match(r"got (\d+) bytes (\d+) bad 0 segs", plane("rx", 0, 0, 600, 2000))
        assert got and int(got[1]) > 0 and int(got[2]) == int(got[1]) * 9014


def test_what_a_dead_data_plane_received_into_comes_back(lab):
    owner = lab.owner("--port", lab.memif + "server")
    peer = lab.peer(lab.memif + "client")
    for server_id in range(1, 7):
        plane = lab.secondary(owner, server_id)
        plane.link_is("up")
        plane("rx", 0, 0, 1, 1)
        held = 0
        while held < MBUFS / 2:
            assert peer("tx", 0, 0, 500, 60) == "sent 500"
            held += int(re.match(r"got (\d+)", plane("hold", 0, 0, 500, 5000))[1])
        plane.kill()
        assert owner.reclaim(server_id) == ""
    # Six times half a pool: without reclaiming there would be none left.
    assert owner.log.read_text().count("free again") == 6
    plane = lab.secondary(owner, 9)
    plane.link_is("up")
    carries(peer, plane, 0, frames=200)


def test_virtio_user_serves_vhost_that_comes_back(lab):
    vhost = f"net_vhost0,iface={lab.vhost},queues=2,client=1"
    # A server's start waits for its first peer, so that one is there before.
    peer = lab.peer(vhost, slots=2)
    owner = lab.owner("--port", f"net_virtio_user0,path={lab.vhost},queues=2,queue_size=1024,server=1",
                      "--slots", 2)  # fmt: skip
    assert owner.told == "R"
    plane = lab.secondary(owner, 1)
    for _ in range(2):
        plane.link_is("up")
        peer.link_is("up")
        for queue in range(2):
            carries(peer, plane, queue)
            carries(plane, peer, queue)
        peer.kill()
        plane.link_is("down")
        peer = lab.peer(vhost, slots=2)


def test_frames_that_a_dead_data_plane_sent_leave_the_ring(lab):
    """net_virtio_user keeps what it has sent until its place in the ring is used again."""
    peer = lab.peer(f"net_vhost0,iface={lab.vhost},queues=1,client=1", slots=1)
    owner = lab.owner("--port", f"net_virtio_user0,path={lab.vhost},queues=1,queue_size=256,server=1",
                      "--slots", 1)  # fmt: skip
    plane = lab.secondary(owner, 1)
    plane.link_is("up")
    peer("rx", 0, 0, 1, 1)
    assert plane("tx", 0, 0, 100, 100) == "sent 100"
    plane.kill()
    peer.ask("rx", 0, 0, 1000, 3000)
    assert owner.reclaim(1) == ""
    # The peer has all of it; what has taken its places in the ring is not looked at.
    assert peer.answer() == "got 100 bytes 10000 bad 0 segs 100"
    plane = lab.secondary(owner, 2)
    plane.link_is("up")
    carries(plane, peer, 0)


@pytest.mark.parametrize("args,says", [
    (["--port", "net_foo0"], "net_foo0"),
    (["--port", "0000:ff:1f.7"], "bind-nic.sh"),
    (["--port", "net_null0", "--port", "net_null0"], "twice"),
    (["--port", "net_memif0,role=client,socket=/nowhere/x,socket-abstract=no"], "net_memif0"),
    (["--port", "eth0"], "eth0"),
    (["--port", "net_virtio_user0,path=/dev/vhost-net"], "/dev/vhost-net"),
    (["--port", "net_vhost0,iface=/nowhere/x"], "net_vhost0"),
    (["--port", "net_null0", "--queues", "4", "--port-mbufs", "600000"], "hugepages"),
])  # fmt: skip
def test_port_that_cannot_be_opened_is_named(logs, args, says):
    owner = Owner(logs, *args)
    assert owner.process.wait(timeout=20) == 1
    assert says in owner.told
    os.close(owner.lifeline)


def test_owner_of_ports_keeps_what_they_need_and_no_more(lab):
    owner = lab.owner("--port", lab.memif + "server")
    status = Path(f"/proc/{owner.process.pid}/status").read_text()
    # CAP_DAC_OVERRIDE alone, no new privileges, a filter; the network is the host's.
    assert int(re.search(r"CapEff:\s*(\w+)", status)[1], 16) == 1 << 1
    assert re.search(r"NoNewPrivs:\s*1", status) and re.search(r"Seccomp:\s*2", status)
    own = os.readlink("/proc/self/ns/net")
    assert os.readlink(f"/proc/{owner.process.pid}/ns/net") == own


def test_host_mode_owner_has_a_network_of_its_own(lab):
    owner = lab.owner()
    assert owner.told == "R"
    assert os.readlink(f"/proc/{owner.process.pid}/ns/net") != os.readlink("/proc/self/ns/net")
