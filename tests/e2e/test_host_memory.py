# SPDX-License-Identifier: Apache-2.0
"""
Hugepages that are not there at a start, and packet buffers that run out. What the host has is what its
files in /sys say: a gateway of the test sees others in their place.
"""

import contextlib
import re
import socket
import struct
import time
from pathlib import Path

import pytest

from apikit import Api
from harness import QUICPORT, Client, Gateway, eventually, new_port
from hostkit import talks

LO = "127.0.0.1"
PAGES = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
MOUNTS = "umount -l -a -t hugetlbfs"


@pytest.fixture
def before(monkeypatch):
    """`before(host, commands)`: run in the mount namespace of each control plane that starts then."""

    def make(host, commands):
        plain = type(host).command

        def command(*words):
            is_one = list(map(str, words[:2])) == [str(QUICPORT), "control-plane"]
            shell = ["sh", "-ec", f'{commands}\nexec "$0" "$@"'] if is_one else []
            return plain(host, *shell, *words)

        monkeypatch.setattr(host, "command", command)

    return make


def host_has(folder, free, reserved):
    """Commands that make it so."""
    lines = []
    for name, number in (("free_hugepages", free), ("nr_hugepages", reserved)):
        file = folder / name
        file.write_text(f"{number}\n")
        lines.append(f"mount --bind {file} {PAGES / name}")
    return "\n".join(lines)


def refusal(host):
    gateway = Gateway(host, new_port(), "--memory", 128, wait=False)
    assert gateway.wait() != 0
    return gateway.output()


def test_start_without_enough_hugepages_says_what_to_do(host, logs, before):
    command = f"echo {{}} >{PAGES}/nr_hugepages"
    before(host, host_has(logs, 0, 0))
    text = refusal(host)
    assert "128 MiB of hugepages are wanted and none are reserved on this host" in text
    assert command.format(64) in text
    before(host, host_has(logs, 10, 100))  # somebody else has the other 90
    text = refusal(host)
    assert "128 MiB of hugepages are wanted and 20 MiB of the host's 200 MiB are free" in text
    assert command.format(100 + 54) in text and "end another program that uses them" in text
    before(host, MOUNTS)
    assert "no hugetlbfs is mounted: run scripts/setup.sh, or mkdir -p /dev/hugepages" in refusal(host)
    before(host, f"{MOUNTS}; mount -t hugetlbfs -o ro hugetlbfs /dev/hugepages")
    text = refusal(host)
    assert "cannot write to /dev/hugepages (hugetlbfs): Read-only file system" in text
    assert "mount -o remount,rw,uid=0 /dev/hugepages" in text
    before(host, "")
    assert Gateway(host, new_port(), "--memory", 128).healthy()


def test_new_data_plane_needs_no_more_hugepages_than_the_start(host, logs, before):
    before(host, host_has(logs, 512, 512))
    gateway = Gateway(host, new_port(), "--memory", 240)
    (logs / "free_hugepages").write_text("0\n")
    api = Api(host, gateway.port)
    (old,) = api.call("ListDataPlanes")["data_planes"]
    api.call("DrainDataPlane", dp_id=old["dp_id"])

    def active():
        rows = api.call("ListDataPlanes")["data_planes"]
        return [row["dp_id"] for row in rows if row["state"] == "ACTIVE" and row["dp_id"] != old["dp_id"]]

    eventually(active, what="the next one serves")


# ---- packet buffers ----


def drops(gateway):
    """Everything that was dropped, by layer and reason; and receiving without a buffer."""
    _, text = gateway.get("/metrics")
    found = dict(re.findall(r"^quicport_drops_total{([^}]*)} (\d+)$", text, re.M))
    return {key: int(value) for key, value in found.items() if int(value) > 0}


def rested(gateway):
    """Buffers in use once nothing happens: the same number three times in a row."""
    seen = []

    def steady():
        seen.append(gateway.metric("quicport_worker_mbufs_in_use"))
        return len(seen) > 3 and len(set(seen[-3:])) == 1

    eventually(steady, every=0.2, what="buffers in use do not change")
    return seen[-1]


def test_packet_buffers_run_out_and_come_back(host):
    """The fewest that there can be, and many connections whose receiver does not read."""
    gateway = Gateway(host, new_port(), "--no-auto-dataplane", wait=False)
    gateway.wait_for_line("Waiting for a data plane")
    plane = host.start("data-plane", QUICPORT, "data-plane", "--instance", gateway.instance,
                       "--mbufs", 2048, "--log-format", "json")  # fmt: skip
    gateway.wait_ready()
    ports = []
    for how in ("--hold", "--echo"):
        outside, inside = new_port(), new_port()
        host.service(LO, inside, how)
        client = Client(host, f"{LO}:{gateway.port}", outside, inside, name=f"client{how}")
        client.opens(host, LO, outside)
        ports.append(outside)
    hold, echo = ports
    start = rested(gateway)
    most = 0
    with talks((host, LO, echo)) as (talk,):
        stuck = []
        for _ in range(200):
            try:
                sock = host.connect(LO, hold, 2)
            except OSError:
                break  # refused: there is no room for one more
            sock.setblocking(False)
            stuck.append(sock)
        for _ in range(8):
            for sock in stuck:
                with contextlib.suppress(OSError):
                    sock.send(bytes(1 << 20))
            most = max(most, gateway.metric("quicport_worker_mbufs_in_use"))
            time.sleep(0.1)
        dropped = drops(gateway)
        print(f"\n{len(stuck)} connections, {start:.0f} buffers before, {most:.0f} at most, {dropped}")
        assert most > 2048 * 3 / 4 and dropped['layer="tcp",reason="no_memory"'] > 0
        talk.goes_on()
        for sock in stuck:  # a reset: who holds would never end a connection
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        talk.goes_on()
    eventually(lambda: gateway.metric("quicport_worker_mbufs_in_use") <= start + 64,
               what="the buffers are free again")  # fmt: skip
    assert gateway.metric("quicport_worker_tunnels_active") == 2
    result = host.load(LO, echo, "--echo", "--send", 4 << 20, "--half-close", "--connections", 4)
    assert result["ok"] == 4
    assert plane.running()
