# SPDX-License-Identifier: Apache-2.0
"""
Programs of neighbouring releases work together, those of others are refused and harm nobody. The
releases to come are built from this one (tests/release): they speak ring protocols that are one and
two versions newer, with a message type and a counter more.
"""

import shutil
import signal
import threading

import pytest

import harness
from harness import BUILD, Client, Gateway, eventually, files_of, new_port
from test_drain import echoes, generations_of_tunnels, planes
from test_takeover import next_gateway, tunnels
from test_telemetry import Telemetry

LO = "127.0.0.1"
NEXT, AFTER_NEXT = "next", "after-next"
THIS = None


class Releases:
    """The folder of a gateway's programs, as packages of several releases leave it."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("quicport", "quicport-port-owner"):
            shutil.copy2(BUILD / name, folder / name)
        self.install(control_plane=THIS, data_plane=THIS)

    def install(self, **programs):
        for name, release in programs.items():
            name = "quicport-" + name.replace("_", "-")
            source = BUILD / name if release is THIS else BUILD / f"tests/release/{name}-{release}"
            shutil.copy2(source, self.folder / "fresh")
            (self.folder / "fresh").rename(self.folder / name)


@pytest.fixture
def releases(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setattr(harness, "QUICPORT", folder / "quicport")
    return Releases(folder)


class Scene:
    """A gateway with a tunnel, and a transfer that is checked byte by byte across all that happens."""

    def __init__(self, host, logs):
        self.host = host
        self.args = ("--log-level", "debug", "--audit-log", logs / "audit.log", "--state-dir",
                     logs / "state")  # fmt: skip
        self.gateway = Gateway(host, new_port(), *self.args)
        self.outside, self.inside = new_port(), new_port()
        host.service(LO, self.inside, "--echo")
        self.client = self.connect(self.outside)
        (self.old,) = planes(self.gateway)
        self.tunnel = tunnels(self.gateway)[0]["tunnel_id"]
        self.results = []
        self.bulk = threading.Thread(target=lambda: self.results.append(host.load(
            LO, self.outside, "--echo", "--send", 30_000_000, "--half-close", "--connections", 4,
            "--parallel", 2, deadline=120)))  # fmt: skip
        self.bulk.start()
        eventually(lambda: self.gateway.metric("quicport_bytes_sent_total") > 1_000_000, what="bulk")

    def connect(self, outside):
        client = Client(self.host, f"{LO}:{self.gateway.port}", outside, self.inside)
        client.opens(self.host, LO, outside)
        return client

    def kill_control_plane(self):
        self.gateway.kill()

    def start_control_plane(self):
        self.gateway = next_gateway(self.gateway, self.args)
        self.gateway.wait_ready()
        self.gateway.wait_for_line("took over from")

    def check_adopted(self, carried):
        """Tunnels, ports and counters are known, and go on."""
        assert [row["tunnel_id"] for row in tunnels(self.gateway)] == [self.tunnel]
        assert planes(self.gateway) == {self.old: "ACTIVE"}
        assert self.gateway.metric("quicport_bytes_sent_total") >= carried
        assert self.gateway.metric("quicport_tunnels_active") == 1
        assert self.gateway.metric("quicport_tcp_passive_opens_total") > 0
        assert self.gateway.metric("quicport_worker_loops_total") > 0
        (row,) = self.gateway.call("ListDataPlanes")[1]["data_planes"]
        assert row["active_tunnels"] == 1 and row["bytes_sent"] >= carried
        assert echoes(self.host, self.outside)

    def hand_over(self):
        """To the data plane that is installed now; its id."""
        assert self.gateway.call("DrainDataPlane", dp_id=self.old)[0] == 200
        eventually(lambda: sorted(planes(self.gateway).values()) == ["ACTIVE", "DRAINING"],
                   what="DRAINING")  # fmt: skip
        later = new_port()
        second = self.connect(later)
        (new,) = [dp_id for dp_id in planes(self.gateway) if dp_id != self.old]
        assert generations_of_tunnels(self.gateway) == {self.old: 1, new: 1}
        assert echoes(self.host, self.outside) and echoes(self.host, later)
        return new, second

    def end(self, *clients):
        self.bulk.join()
        assert self.results[0]["ok"] == 4, self.results
        for client in (self.client, *clients):
            client.stop()
        assert self.gateway.metric("quicport_data_plane_deaths_total") == 0
        instance, others = self.gateway.instance, {p.pid for p in self.host.processes}
        assert self.gateway.stop(signal.SIGTERM) == 0
        eventually(lambda: not set(self.host.pids()) - others, what="all have ended")
        assert self.gateway.before.left() == []
        assert files_of(instance) == []


def spoken(gateway):
    """The ring protocol that was agreed with each data plane, by the control plane's log."""
    return [row["ring_protocol"] for row in gateway.lines()
            if row["message"] == "data plane attached"]  # fmt: skip


def ahead_messages(gateway, dp_id):
    """The counter that only the next release has, as the port owner of this one shows it."""
    with Telemetry(gateway) as telemetry:
        return telemetry.ask(f"/quicport/worker,{dp_id},0").get("ahead_messages")


def test_next_control_plane_takes_over_and_hands_over(host, logs, releases):
    scene = Scene(host, logs)
    carried = scene.gateway.metric("quicport_bytes_sent_total")
    scene.kill_control_plane()
    releases.install(control_plane=NEXT)
    scene.start_control_plane()
    scene.check_adopted(carried)
    assert spoken(scene.gateway) == [4]
    # It told something that the older one does not know.
    assert scene.gateway.metric("quicport_ctl_unknown_total") >= 1
    assert ahead_messages(scene.gateway, scene.old) is None

    releases.install(data_plane=NEXT)
    new, second = scene.hand_over()
    assert spoken(scene.gateway) == [4, 5]
    assert ahead_messages(scene.gateway, new) == 1
    assert scene.gateway.metric("quicport_control_messages_ignored_total") == 0

    # Back again, with data planes of both releases.
    scene.kill_control_plane()
    releases.install(control_plane=THIS)
    scene.start_control_plane()
    assert planes(scene.gateway) == {scene.old: "DRAINING", new: "ACTIVE"}
    assert generations_of_tunnels(scene.gateway) == {scene.old: 1, new: 1}
    assert spoken(scene.gateway) == [4, 4]
    assert scene.gateway.metric("quicport_tunnels_active") == 2
    scene.end(second)


def test_control_plane_of_before_takes_over_and_hands_over(host, logs, releases):
    releases.install(control_plane=NEXT, data_plane=NEXT)
    scene = Scene(host, logs)
    assert spoken(scene.gateway) == [5]
    carried = scene.gateway.metric("quicport_bytes_sent_total")
    scene.kill_control_plane()
    releases.install(control_plane=THIS)
    scene.start_control_plane()
    scene.check_adopted(carried)
    assert spoken(scene.gateway) == [4]
    assert scene.gateway.metric("quicport_control_messages_ignored_total") >= 1

    # The packages are of the next release still, then they are put back.
    new, second = scene.hand_over()
    assert ahead_messages(scene.gateway, new) == 0
    scene.bulk.join()
    scene.client.stop()
    eventually(lambda: planes(scene.gateway) == {new: "ACTIVE"}, what="the old one has ended")
    releases.install(data_plane=THIS)
    assert scene.gateway.call("DrainDataPlane", dp_id=new)[0] == 200
    eventually(lambda: sorted(planes(scene.gateway).values()) == ["ACTIVE", "DRAINING"],
               what="DRAINING")  # fmt: skip
    second.stop()
    eventually(lambda: list(planes(scene.gateway).values()) == ["ACTIVE"], what="one is left")
    scene.end(second)


REFUSED = ("the running data plane speaks ring protocol 3 to 4, this control plane 5 to 6: its "
           "tunnels run on; start a control plane of its release, or of the one before or after it")  # fmt: skip


def test_control_plane_two_versions_off_is_refused_and_harms_nobody(host, logs, releases):
    scene = Scene(host, logs)
    carried = scene.gateway.metric("quicport_bytes_sent_total")
    scene.kill_control_plane()
    releases.install(control_plane=AFTER_NEXT)
    wrong = next_gateway(scene.gateway, scene.args)
    assert wrong.wait() != 0
    assert REFUSED in wrong.output()
    assert echoes(host, scene.outside), "the data plane runs on"

    releases.install(control_plane=THIS)
    scene.start_control_plane()
    scene.check_adopted(carried)
    scene.end()


def test_data_plane_two_versions_off_changes_nothing(host, logs, releases):
    scene = Scene(host, logs)
    releases.install(data_plane=AFTER_NEXT)
    assert scene.gateway.call("DrainDataPlane", dp_id=scene.old)[0] == 200
    scene.gateway.wait_for_line("the data plane speaks ring protocol 5 to 6, this control plane "
                                "3 to 4: install both from one release, or from two that follow")
    eventually(lambda: planes(scene.gateway) == {scene.old: "ACTIVE"}, what="it serves as before")
    assert echoes(host, scene.outside)
    releases.install(data_plane=NEXT)
    _, second = scene.hand_over()
    scene.end(second)


def test_upgrade_in_place_to_two_versions_off_gives_way(host, logs, releases):
    scene = Scene(host, logs)
    releases.install(control_plane=AFTER_NEXT)
    scene.gateway.send(signal.SIGUSR2)
    scene.gateway.wait_for_line("this control plane 5 to 6")
    eventually(scene.gateway.healthy, what="the one before serves again")
    assert [row["tunnel_id"] for row in tunnels(scene.gateway)] == [scene.tunnel]
    releases.install(control_plane=NEXT)
    scene.gateway.send(signal.SIGUSR2)
    eventually(lambda: spoken(scene.gateway)[-1:] == [4] and scene.gateway.healthy(), what="adopted")
    assert [row["tunnel_id"] for row in tunnels(scene.gateway)] == [scene.tunnel]
    scene.end()
