# SPDX-License-Identifier: Apache-2.0
"""
Hugepages that are not there at a start, and packet buffers that run out. What the host has is what its
files in /sys say: a gateway of the test sees others in their place.
"""

import re
import threading
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
