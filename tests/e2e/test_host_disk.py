# SPDX-License-Identifier: Apache-2.0
"""
Disks that are full: of state, log and audit log, and /run. The gateway serves on and says so once; nothing
is half-written; when there is room again it is written.
"""

import contextlib
import json
import os
from pathlib import Path

import pytest

from apikit import Api
from harness import FULL, QUICPORT, Client, Gateway, eventually, new_port, run
from hostkit import talks

LO = "127.0.0.1"
FULL_TEXT = "No space left on device"


class Disk:
    """A small disk of the test's own."""

    def __init__(self, folder):
        self.folder = folder
        self.filler = folder / "filler"

    def fill(self):
        with open(self.filler, "wb", buffering=0) as file:
            for size in (4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def clear(self):
        os.unlink(self.filler)


@pytest.fixture
def disk(logs):
    folder = logs / "disk"
    folder.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", folder)
    yield Disk(folder)
    run("umount", "-l", folder)


def gateway_on(host, disk, *args, **options):
    return Gateway(host, new_port(), "--log-output", disk.folder / "log", "--audit-log", disk.folder / "audit",
                   *args, env={"QUICPORT_STATE_DIR": str(disk.folder / "state")}, **options)  # fmt: skip


def tunnel(host, gateway):
    outside, inside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    client = Client(host, f"{LO}:{gateway.port}", outside, inside)
    client.opens(host, LO, outside)
    return outside


def comes_and_goes(host, gateway, times=3):
    for _ in range(times):
        client = Client(host, f"{LO}:{gateway.port}", 0, 9, name="guest")
        client.wait_for_line("forward open")
        client.stop()


def whole_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def messages(path, text):
    return [line for line in whole_lines(path) if line.get("message") == text]


def test_disk_of_state_log_and_audit_log_is_full_and_has_room_again(host, disk):
    gateway = gateway_on(host, disk)
    port = tunnel(host, gateway)
    api = Api(host, gateway.port)
    with talks((host, LO, port)) as (talk,):
        disk.fill()
        comes_and_goes(host, gateway, 5)
        api.call("BlockSource", source="192.0.2.0/24")
        talk.goes_on()
        assert gateway.healthy()
        eventually(lambda: gateway.metric("quicport_state_on_disk") == 0, what="it is in memory only")
        eventually(lambda: gateway.metric("quicport_log_lines_lost_total") > 0, what="lines are lost")
        eventually(lambda: gateway.metric("quicport_audit_rows_lost_total") > 0, what="rows are lost")
        # What needs a file is refused.
        refused = api.post("PutClient", {"name": "x", "psk": "a secret of enough length"})
        assert refused.status >= 400 and str(disk.folder) in refused.json()["detail"], refused
        disk.clear()
        comes_and_goes(host, gateway)
        eventually(lambda: gateway.metric("quicport_state_on_disk") == 1, 40, "the state is written")
        talk.goes_on()
    lost = gateway.metric("quicport_log_lines_lost_total")
    assert gateway.output().count("log lines are lost: cannot write") == 1  # on standard error
    log, audit = disk.folder / "log", disk.folder / "audit"
    told = messages(log, "log lines were lost: their file could not be written")
    assert sum(line["lines"] for line in told) == lost
    assert len(messages(log, "the state is kept in memory until its file can be written")) <= 1
    assert [row["rows"] for row in whole_lines(audit) if row["event"] == "rows_lost"]
    assert [path for path in disk.folder.rglob("*") if "psk" in path.name] == []
    gateway.popen.kill()  # nothing is left to be written at an end
    gateway.popen.wait()
    after = gateway_again(host, disk, gateway)
    rows = Api(host, after.port).call("ListBlockedSources")["blocked_sources"]
    assert [row["source"] for row in rows] == ["192.0.2.0/24"]


def gateway_again(host, disk, gateway):
    return Gateway(host, gateway.port, "--log-output", disk.folder / "log", name="after",
                   env={"QUICPORT_STATE_DIR": str(disk.folder / "state")})  # fmt: skip


def test_start_on_a_full_disk_serves_from_memory(host, disk):
    disk.fill()
    gateway = gateway_on(host, disk)
    assert "log lines are lost: cannot write" in gateway.output()
    port = tunnel(host, gateway)
    with talks((host, LO, port)) as (talk,):
        if FULL:
            disk.clear()
            eventually(lambda: gateway.metric("quicport_state_on_disk") == 1, 40, "it is written")
        talk.goes_on()


# ---- /run, a small one that the gateway alone sees ----

ON_OWN_RUN = 'mount -t tmpfs -o size=64k tmpfs /run/quicport && {} exec "$0" "$@"'


@pytest.fixture
def own_run(monkeypatch):
    """`with_run(before)`: control planes of the test get /run/quicport for themselves."""
    Path("/run/quicport").mkdir(exist_ok=True)

    def with_run(host, before=""):
        plain = host.command

        def command(*words):
            is_one = list(map(str, words[:2])) == [str(QUICPORT), "control-plane"]
            return plain(*(["sh", "-c", ON_OWN_RUN.format(before)] if is_one else []), *words)

        monkeypatch.setattr(host, "command", command)

    return with_run


def test_run_is_full_new_interfaces_and_data_planes_wait(host, own_run):
    own_run(host)
    gateway = Gateway(host, new_port(), "--memory", "240")
    port = tunnel(host, gateway)
    api = Api(host, gateway.port)
    disk = Disk(Path(f"/proc/{gateway.pid}/root/run/quicport"))
    with talks((host, LO, port)) as (talk,):
        disk.fill()
        host.run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
        gateway.wait_for_line("an interface goes without the classifier")
        (before,) = api.call("ListDataPlanes")["data_planes"]
        api.call("DrainDataPlane", dp_id=before["dp_id"])
        told = gateway.wait_for_line("nothing drains.*reason.:.(.*).}")[1]
        assert "/run/quicport/" in told and FULL_TEXT in told
        (after,) = api.call("ListDataPlanes")["data_planes"]
        assert (after["dp_id"], after["state"]) == (before["dp_id"], "ACTIVE")
        talk.goes_on()
        disk.clear()
        gateway.wait_for_line("all interfaces have the classifier again")
        assert "qp_ingress" in host.run("tc", "filter", "show", "dev", "v0", "ingress")
        talk.goes_on()
    for name in ("v0", "v1"):
        assert gateway.output().count(f'goes without the classifier","interface":"{name}"') == 1
    assert gateway.stop() == 0


def test_start_with_a_full_run_is_refused_with_the_path(host, own_run):
    own_run(host, "dd if=/dev/zero of=/run/quicport/filler bs=1k 2>/dev/null;")
    gateway = Gateway(host, new_port(), wait=False)
    assert gateway.wait() != 0
    assert "cannot write /run/quicport/" in gateway.output() and FULL_TEXT in gateway.output()
