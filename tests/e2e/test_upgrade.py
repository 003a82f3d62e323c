# SPDX-License-Identifier: Apache-2.0
"""SIGUSR2: the control plane becomes the program on the disk, in the same process, and nobody sees it."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

import harness
from harness import BUILD, FULL, TOOLS, Client, Gateway, alive, eventually, new_port
from test_service import heard
from test_takeover import Visitor, rows_of, tunnels

LO = "127.0.0.1"
CAP_SYS_ADMIN = 21
TOOK_OVER = "took over from the control plane that this one was before"


class Caller(threading.Thread):
    """Asks the private API again and again, a connection each; what went wrong is kept."""

    def __init__(self, gateway):
        super().__init__(daemon=True)
        self.gateway, self.calls, self.wrong, self.longest = gateway, 0, [], 0.0
        self.done = threading.Event()
        self.start()

    def run(self):
        while not self.done.wait(0.002):
            start = time.monotonic()
            try:
                with self.gateway.host.inside():
                    connection = http.client.HTTPConnection(LO, self.gateway.port, timeout=10)
                    connection.connect()
                connection.request("GET", "/healthcheck")
                answer = connection.getresponse()
                json.loads(answer.read())
                connection.close()
            except (OSError, http.client.HTTPException) as error:
                self.wrong.append(f"call {self.calls}: {error!r}")
            self.longest = max(self.longest, time.monotonic() - start)
            self.calls += 1

    def stop(self):
        self.done.set()
        self.join()
        return self.wrong


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A copy of the gateway's programs, which a test may replace."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("quicport", "quicport-control-plane", "quicport-data-plane", "quicport-port-owner"):
        shutil.copy2(BUILD / name, folder / name)
    monkeypatch.setattr(harness, "QUICPORT", folder / "quicport")
    return folder


def replace(path, content=None, mode=0o755):
    """As a package manager does: a new file takes the name."""
    fresh = path.with_name(path.name + ".new")
    if content is None:
        shutil.copy2(BUILD / path.name, fresh)
    else:
        fresh.write_bytes(content)
    fresh.chmod(mode)
    fresh.rename(path)


def times(gateway, line):
    return gateway.output().count(line)


def upgrade(gateway, line=TOOK_OVER, within=20):
    before = times(gateway, line)
    gateway.send(signal.SIGUSR2)

    def done():
        assert gateway.running(), gateway.output()
        return times(gateway, line) > before

    eventually(done, within, what=line)


def zombies(gateway):
    found = []
    for pid in gateway.host.pids():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] == "Z":
            found.append(pid)
    return found


def descriptors(gateway):
    return len(os.listdir(f"/proc/{gateway.pid}/fd"))


def pid_of(gateway, program):
    return next((pid for pid in gateway.members()
                 if Path(f"/proc/{pid}/exe").resolve().name == program), 0)  # fmt: skip


def test_upgrade_waits_for_a_data_plane_that_is_starting(host):
    gateway = Gateway(host, new_port(), wait=False)
    owner = eventually(lambda: pid_of(gateway, "quicport-port-owner"), what="the gateway starts")
    upgrade(gateway)
    eventually(gateway.healthy, what="it serves")
    for _ in range(3):
        died = times(gateway, "data plane died")
        os.kill(pid_of(gateway, "quicport-data-plane"), signal.SIGKILL)
        eventually(lambda: times(gateway, "data plane died") > died, what="its death is seen")  # noqa: B023
        upgrade(gateway)
        eventually(gateway.healthy, what="it serves again")
    assert pid_of(gateway, "quicport-port-owner") == owner, "all was started anew"
    gateway.end()


def test_gateway_that_is_ended_while_it_takes_over_ends_in_order(host):
    gateway = Gateway(host, new_port())
    os.kill(pid_of(gateway, "quicport-data-plane"), signal.SIGSTOP)  # so that it is taken over by nobody
    gateway.send(signal.SIGUSR2)
    gateway.wait_for_line("becoming the control plane on the disk")
    gateway.end(within=5)
    assert TOOK_OVER not in gateway.output()
    assert "the port owner takes too long" not in gateway.output(), "it had to be killed"


def test_upgrade_is_refused_while_the_port_owner_hangs(host):
    """Nobody could attach to its memory: neither the new one nor, afterwards, the one before."""
    gateway = Gateway(host, new_port())
    owner = pid_of(gateway, "quicport-port-owner")
    os.kill(owner, signal.SIGSTOP)
    try:
        gateway.send(signal.SIGUSR2)
        gateway.wait_for_line("this one goes on as it was.*the port owner does not answer")
    finally:
        os.kill(owner, signal.SIGCONT)
    upgrade(gateway)
    eventually(gateway.healthy, what="it serves")
    gateway.end()


def test_data_plane_that_cannot_be_started_at_once_is_started_later(host, programs):
    """The one that runs is its predecessor's; the program is away while a package is put in its place."""
    gateway = Gateway(host, new_port())
    upgrade(gateway)
    eventually(gateway.healthy, what="it serves")
    program = programs / "quicport-data-plane"
    program.rename(programs / "away")
    (plane,) = [pid for pid in gateway.members()
                if Path(f"/proc/{pid}/exe").resolve().name == "away"]  # fmt: skip
    os.kill(plane, signal.SIGKILL)
    gateway.wait_for_line("cannot start a data plane")
    (programs / "away").rename(program)
    eventually(gateway.healthy, what="it serves again")
    gateway.end()


def test_upgraded_control_plane_is_seen_by_nobody(host, logs, programs):
    audit = logs / "audit.log"
    gateway = Gateway(host, new_port(), "--audit-log", audit)
    outside, inside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    client = Client(host, f"{LO}:{gateway.port}", outside, inside)
    client.opens(host, LO, outside)
    before = eventually(lambda: tunnels(gateway), what="the tunnel is listed")
    members = sorted(gateway.members())
    visitor, caller = Visitor(host, outside), Caller(gateway)
    image = Path(f"/proc/{gateway.pid}/exe")
    carried = gateway.metric("quicport_bytes_sent_total")

    replace(programs / "quicport-control-plane")
    assert os.readlink(image).endswith("(deleted)")
    upgrade(gateway)
    eventually(gateway.healthy, what="it serves")
    assert os.readlink(image) == str(programs / "quicport-control-plane")
    assert sorted(gateway.members()) == members, "the processes are others"
    had = descriptors(gateway)
    for _ in range(3):
        upgrade(gateway)
        eventually(gateway.healthy, what="it serves")
    late = Client(host, f"{LO}:{gateway.port}", new_port(), inside, name="late")
    late.opens(host, LO, int(late.popen.args[late.popen.args.index("-r") + 1]))
    visitor.done.set()
    visitor.join()
    assert caller.stop() == []
    print(f"{caller.calls} calls, the longest {caller.longest:.3f} s; {visitor.visits} visits, "
          f"the longest {visitor.longest:.3f} s")  # fmt: skip

    assert visitor.wrong == []
    assert descriptors(gateway) <= had + 4, "descriptors are left behind"
    assert before[0]["tunnel_id"] in {row["tunnel_id"] for row in tunnels(gateway)}
    assert gateway.metric("quicport_bytes_sent_total") >= carried
    assert client.running() and "WARN" not in client.output() and "ERROR" not in client.output()
    assert [row["reason"] for row in rows_of(audit, "gateway_stopped")] == [
        "replaced by the program on the disk"] * 4  # fmt: skip
    assert not rows_of(audit, "port_closed")
    client.stop()
    late.stop()
    gateway.end()


FAILED = "the new control plane cannot run"


def failures(gateway):
    return [row["reason"] for row in gateway.lines() if FAILED in row["message"]]


@pytest.mark.parametrize(
    "content, mode, why",
    [
        (None, 0o644, "Permission denied"),
        (b"#!/bin/sh\nkill -SEGV $$\n", 0o755, "signal 11"),
        (b"", None, "No such file"),
    ]
    + [
        (b"\x7fELF nonsense", 0o755, "Exec format error"),
        (b"#!/bin/sh\nexit 3\n", 0o755, "exited with status 3"),
    ]
    * FULL,
)
def test_program_that_cannot_run_changes_nothing(host, programs, content, mode, why):
    gateway = Gateway(host, new_port())
    outside, inside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    client = Client(host, f"{LO}:{gateway.port}", outside, inside)
    client.opens(host, LO, outside)
    if mode is None:
        (programs / "quicport-control-plane").unlink()
    else:
        replace(programs / "quicport-control-plane", content, mode)
    gateway.send(signal.SIGUSR2)
    (reason,) = eventually(lambda: failures(gateway), what=FAILED)
    assert why in reason
    assert gateway.healthy() and zombies(gateway) == []
    # It is put right, and the next try works.
    if mode is None:
        shutil.copy2(BUILD / "quicport-control-plane", programs)
    else:
        replace(programs / "quicport-control-plane")
    upgrade(gateway)
    eventually(gateway.healthy, what="it serves")
    assert client.running() and host.port_opens(LO, outside)
    client.stop()
    gateway.end()


def test_configuration_with_a_mistake_changes_nothing(host, programs, tmp_path):
    config = tmp_path / "gateway.yaml"
    config.write_text("log-level: info\n")
    gateway = Gateway(host, new_port(), "--config", config)
    config.write_text("log-level: loud\n")
    gateway.send(signal.SIGUSR2)
    (reason,) = eventually(lambda: failures(gateway), what=FAILED)
    assert "loud" in reason
    (programs / "quicport-data-plane").rename(programs / "elsewhere")
    config.write_text("log-level: debug\n")
    gateway.send(signal.SIGUSR2)
    _, reason = eventually(lambda: len(failures(gateway)) > 1 and failures(gateway), what=FAILED)
    assert "quicport-data-plane" in reason
    (programs / "elsewhere").rename(programs / "quicport-data-plane")
    assert gateway.healthy()
    upgrade(gateway)
    eventually(gateway.healthy, what="it serves")
    assert '"level":"debug"' in gateway.output()
    gateway.end()


def test_address_that_is_taken_changes_nothing(host, programs, tmp_path):
    config, taken, port = tmp_path / "gateway.yaml", new_port(), new_port()
    config.write_text("log-level: info\n")
    gateway = Gateway(host, port, "--config", config)
    host.service(LO, taken, "--echo")
    config.write_text(f"private-api-listen: {LO}:{taken}\n")
    gateway.send(signal.SIGUSR2)
    (reason,) = eventually(lambda: failures(gateway), what=FAILED)
    assert f"{taken} is in use" in reason
    moved = new_port()
    config.write_text(f"private-api-listen: {LO}:{moved}\n")
    upgrade(gateway)
    gateway.port = moved
    eventually(gateway.healthy, what="it serves at the new address")
    assert not host.port_opens(LO, port)
    gateway.end()


def test_program_that_fails_after_all_gives_way_to_the_one_before(host, programs):
    """What a trial cannot see. The secret of the environment survives all of it."""
    env = {"QUICPORT_PSK": "of the environment"}
    gateway = Gateway(host, new_port(), auth=(), env=env)
    outside, inside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    auth = ("--psk", env["QUICPORT_PSK"])
    client = Client(host, f"{LO}:{gateway.port}", outside, inside, auth=auth)
    client.opens(host, LO, outside)
    (before,) = tunnels(gateway)
    replace(programs / "quicport-control-plane", (TOOLS / "qpbroken").read_bytes())
    caller = Caller(gateway)
    upgrade(gateway)
    eventually(gateway.healthy, what="the old one serves")
    assert caller.stop() == []
    assert "qpbroken: giving back" in gateway.output()
    assert [row["tunnel_id"] for row in tunnels(gateway)] == [before["tunnel_id"]]
    replace(programs / "quicport-control-plane")
    upgrade(gateway)
    eventually(gateway.healthy, what="the new one serves")
    late = Client(host, f"{LO}:{gateway.port}", new_port(), inside, auth=auth, name="late")
    late.wait_for_line("forward open")
    late.stop()
    client.stop()
    gateway.end()


def test_upgrades_in_a_row_and_an_end_in_between(host, programs):
    gateway = Gateway(host, new_port(), wait=False)
    gateway.wait_for_line('"ready"')
    for _ in range(5):  # one that comes while another is under way is the same one
        gateway.send(signal.SIGUSR2)
    eventually(lambda: times(gateway, TOOK_OVER) > 0, what=TOOK_OVER)
    gateway.send(signal.SIGUSR2)
    eventually(lambda: times(gateway, "becoming the control plane") > 1, what="on its way")
    gateway.end(within=10)


def test_upgrade_without_a_data_plane_starts_anew(host, programs):
    gateway = Gateway(host, new_port(), "--no-auto-dataplane", wait=False)
    gateway.wait_for_line("Waiting for a data plane")
    gateway.send(signal.SIGUSR2)
    eventually(lambda: times(gateway, "Waiting for a data plane") == 2, what="it waits again")
    assert zombies(gateway) == []
    gateway.end()


def test_service_manager_hears_of_an_upgrade(host, programs, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        notices.bind(str(tmp_path / "notify"))
        notices.settimeout(20)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "10000000"}
        gateway = Gateway(host, new_port(), env=env)
        heard(notices, "READY=1")
        gateway.send(signal.SIGUSR2)
        heard(notices, "RELOADING=1")
        assert ["STOPPING=1"] not in heard(notices, "READY=1")
        gateway.end()


def test_unix_socket_of_the_api_stays(host, programs, tmp_path):
    path = str(tmp_path / "api.sock")
    gateway = Gateway(host, new_port(), "--private-api-socket", path)
    inode = os.stat(path).st_ino
    upgrade(gateway)
    assert os.stat(path).st_ino == inode
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(path)
        s.sendall(b"GET /healthcheck HTTP/1.0\r\n\r\n")
        assert b"200 OK" in s.recv(4096)
    gateway.end()
    assert not os.path.exists(path)


def test_ended_processes_of_before_are_waited_for(host, programs):
    gateway = Gateway(host, new_port())
    (data_plane,) = [pid for pid in gateway.members()
                     if os.readlink(f"/proc/{pid}/exe").endswith("quicport-data-plane")]  # fmt: skip
    upgrade(gateway)
    os.kill(data_plane, signal.SIGKILL)
    gateway.wait_for_line("data plane died")
    eventually(gateway.healthy, what="the next data plane serves")
    assert zombies(gateway) == []
    assert data_plane not in alive([data_plane])
    gateway.end()


def test_upgrade_without_the_right_to_look_for_maps(host, programs, monkeypatch):
    """As the service's unit runs it: the classifier's maps go along, nobody could find them again."""
    wrapper = programs / "unprivileged"
    wrapper.write_text("#!/bin/sh\nexec setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin "
                       f'{programs}/quicport "$@"\n')  # fmt: skip
    wrapper.chmod(0o755)
    monkeypatch.setattr(harness, "QUICPORT", wrapper)
    gateway = Gateway(host, new_port())
    status = Path(f"/proc/{gateway.pid}/status").read_text()
    rights = int(re.search(r"CapEff:\s*([0-9a-f]+)", status)[1], 16)
    assert not rights >> CAP_SYS_ADMIN & 1
    outside, inside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    client = Client(host, f"{LO}:{gateway.port}", outside, inside)
    client.opens(host, LO, outside)
    visitor = Visitor(host, outside)
    for _ in range(3):
        upgrade(gateway)
        eventually(gateway.healthy, what="it serves")
    visitor.done.set()
    visitor.join()
    assert visitor.wrong == [] and client.running()
    late = Client(host, f"{LO}:{gateway.port}", new_port(), inside, name="late")
    late.wait_for_line("forward open")
    late.stop()
    client.stop()
    gateway.end(within=10)
