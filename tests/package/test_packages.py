# SPDX-License-Identifier: Apache-2.0
"""The packages: installed, run by systemd, upgraded, removed and purged, on a machine of their own."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from conftest import (
    INSTALLED,
    Conversation,
    configure,
    debs,
    give,
    pids,
    reachable,
    start,
)
from machine import eventually

UNITS = [
    "quicport-control-plane.service",
    "quicport-control-plane@one.service",
    "quicport-port-owner.service",
    "quicport-port-owner@one.service",
    "quicport-port-owner.socket",
    "quicport-port-owner@one.socket",
    "quicport-starter.service",
    "quicport-client@one.service",
]
# What `systemd-analyze security` says at most, from 0 (tight) to 100.
EXPOSURE = {
    "quicport-control-plane.service": 23,
    "quicport-port-owner.service": 11,
    "quicport-client@.service": 14,
    "quicport-starter.service": 43,
}
# What dpkg and what it calls write for themselves; and the user, which stays (docs/service.md).
DPKGS = re.compile(
    r"(var/lib/dpkg/|var/log/|var/cache/|etc/ld\.so\.cache$|var/lib/systemd/"
    r"|etc/(passwd|group|shadow|gshadow|subuid|subgid|\.pwd\.lock)-?$)"
)


def test_client_and_library_need_no_dpdk():
    for deb in debs("quicport", "libquicport1", "libquicport-dev"):
        fields = subprocess.run(
            ["dpkg-deb", "-f", deb, "Depends"], capture_output=True, text=True, check=True
        ).stdout
        assert "dpdk" not in fields and "quicport-gateway" not in fields and "numa" not in fields


def test_units_are_valid(installed):
    paths = [f"/lib/systemd/system/{unit}" for unit in UNITS]
    done = installed.try_run("systemd-analyze", "verify", *paths)
    assert done.returncode == 0, done.stderr
    assert "quicport" not in done.stderr, done.stderr


@pytest.mark.parametrize("unit", EXPOSURE)
def test_unit_is_no_more_exposed_than(unit, tmp_path):
    for deb in debs("quicport", "quicport-gateway"):
        subprocess.run(["dpkg-deb", "-x", deb, tmp_path], check=True)
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE[unit]}",
         tmp_path / "lib/systemd/system" / unit],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_installed_package_starts_nothing(installed):
    assert not installed.active("quicport-control-plane.service")
    assert pids(installed, "quicport-control-plane") == []
    assert "quicport" in installed.run("id", "quicport")


def test_gateway_runs_as_its_user_with_what_it_needs_only(forwarded):
    for program, capabilities in (
        ("quicport-control-plane", "cap_net_bind_service,cap_net_admin,cap_bpf"),
        ("quicport-data-plane", "cap_net_bind_service,cap_net_admin,cap_bpf"),
        ("quicport-port-owner", ""),
    ):
        (pid,) = pids(forwarded, program)
        status = forwarded.read(f"/proc/{pid}/status")
        assert forwarded.run("ps", "-o", "user=", "-p", pid).strip() == "quicport"
        for field in ("CapEff", "CapBnd"):
            mask = re.search(rf"^{field}:\s*(\w+)$", status, re.M)[1]
            shown = forwarded.run("capsh", f"--decode={mask}").strip()
            assert shown.partition("=")[2] == capabilities, program
        assert re.search(r"^NoNewPrivs:\s*1$", status, re.M)
        assert re.search(r"^Seccomp:\s*2$", status, re.M)
    assert "failed" not in forwarded.run("systemctl", "--failed", "--no-legend")


def test_example_configurations_are_valid(installed):
    examples = "/usr/share/doc/quicport-gateway/examples"
    installed.run("sh", "-c", "quicport keygen -o /etc/quicport/gateway.key")
    installed.run("chown", "quicport", "/etc/quicport/gateway.key")
    installed.run("quicport", "check-config", f"{examples}/gateway.yaml")
    path = "/etc/default/quicport-gateway"
    installed.run("sed", "-i", "s/^#Q/Q/", path)
    for line in installed.read(path).splitlines():
        assert re.match(r"#|$|QUICPORT_[A-Z0-9_]+=\S", line), line


def test_control_plane_that_leaves_cuts_no_connection(forwarded):
    talk = Conversation(forwarded, 9022)
    assert talk.says("before")
    (owner,), (data_plane,) = pids(forwarded, "quicport-port-owner"), pids(
        forwarded, "quicport-data-plane"
    )
    forwarded.run("systemctl", "kill", "--kill-who=main", "--signal=SIGQUIT",
                  "quicport-control-plane.service")  # fmt: skip
    eventually(lambda: pids(forwarded, "quicport-control-plane") == [], what="it has left")
    assert pids(forwarded, "quicport-port-owner") == [owner]
    assert pids(forwarded, "quicport-data-plane") == [data_plane]
    assert talk.says("without a control plane")
    talk.end()
    start(forwarded, "quicport-control-plane.service")
    reachable(forwarded, 9022)


@pytest.mark.parametrize(
    "words",
    [("restart",), ("kill", "--kill-who=main", "--signal=SIGKILL")],
    ids=["restarted", "killed"],
)
def test_connection_outlives_a_control_plane_that_is(words, forwarded):
    talk = Conversation(forwarded, 9022)
    assert talk.says("before")
    before = {name: pids(forwarded, f"quicport-{name}") for name in ("port-owner", "data-plane")}
    (old,) = pids(forwarded, "quicport-control-plane")
    forwarded.run("systemctl", *words, "quicport-control-plane.service")
    eventually(
        lambda: pids(forwarded, "quicport-control-plane") not in ([], [old])
        and forwarded.active("quicport-control-plane.service"),
        what="the next control plane is ready",
    )
    assert talk.says("after")
    for name, there in before.items():
        assert pids(forwarded, f"quicport-{name}") == there, forwarded.journal("quicport*")
    talk.end()
    reachable(forwarded, 9022)
    forwarded.run("systemctl", "stop", "quicport-control-plane.service")
    eventually(lambda: pids(forwarded, "quicport-port-owner") == [], what="all end together")
    assert pids(forwarded, "quicport-.*plane") == []


def test_control_plane_that_hangs_is_found_and_replaced(forwarded):
    (pid,) = pids(forwarded, "quicport-control-plane")
    assert forwarded.property("quicport-control-plane.service", "WatchdogUSec") == "10s"
    forwarded.run("kill", "-STOP", pid)
    eventually(
        lambda: pids(forwarded, "quicport-control-plane") not in ([], [pid]),
        within=40,
        what="the watchdog has had it replaced",
    )
    reachable(forwarded, 9022)


def test_stop_ends_all_and_leaves_nothing(forwarded):
    unit = "quicport-control-plane.service"
    talk = Conversation(forwarded, 9022)
    assert talk.says("before")
    # By itself, not by the service manager's SIGKILL at the end of its patience.
    forwarded.run("systemctl", "stop", unit)
    assert forwarded.property(unit, "Result") == "success"
    assert forwarded.property(unit, "ExecMainStatus") == "0"
    assert "timed out" not in forwarded.journal(unit)
    talk.end()
    eventually(lambda: pids(forwarded, "quicport-port-owner") == [], what="the port owner ends")
    assert pids(forwarded, "quicport-data-plane") == []
    links = forwarded.run("ip", "-o", "link").splitlines()
    assert [line for line in links if ": lo:" not in line] == []
    assert forwarded.run("tc", "filter", "show", "dev", "lo", "ingress") == ""
    assert forwarded.run("sh", "-c", "ls /dev/hugepages-quicport") == ""
    assert forwarded.property("quicport-port-owner.service", "Result") == "success"


def test_port_owner_refuses_to_be_stopped(gateway):
    done = gateway.try_run("systemctl", "stop", "quicport-port-owner.service")
    assert done.returncode != 0
    assert "may be requested by dependency only" in done.stderr
    assert gateway.active("quicport-port-owner.service")


def test_reload_is_done_in_place(gateway):
    (pid,) = pids(gateway, "quicport-control-plane")
    gateway.run("systemctl", "reload", "quicport-control-plane.service")
    eventually(lambda: gateway.active("quicport-control-plane.service"), what="reloaded")
    assert pids(gateway, "quicport-control-plane") == [pid]


def planes(machine):
    """Pids of the data planes by their state, as the API tells."""
    shown = machine.run("quicport", "admin", "list-data-planes", "--json")
    return {row["state"]: row["pid"] for row in json.loads(shown)["data_planes"]}


def test_reload_hands_over_to_a_new_data_plane_and_cuts_no_connection(roomy):
    unit = "quicport-control-plane.service"
    (control_plane,), (owner,) = pids(roomy, "quicport-control-plane"), pids(roomy, "quicport-port-owner")
    (first,) = pids(roomy, "quicport-data-plane")
    talk = Conversation(roomy, 9022)
    assert talk.says("before")
    roomy.run("systemctl", "reload", unit)

    def handed_over():
        assert talk.says("meanwhile"), roomy.journal(unit)
        return planes(roomy).keys() == {"ACTIVE", "DRAINING"}

    try:
        eventually(handed_over, what="a new data plane is ACTIVE")
    except AssertionError as e:
        raise AssertionError(f"{e}\n{roomy.journal(unit)}") from None
    assert planes(roomy)["DRAINING"] == first
    for name, value in (("MainPID", str(control_plane)), ("ActiveState", "active"), ("SubState", "running"),
                        ("Result", "success"), ("NRestarts", "0")):  # fmt: skip
        assert roomy.property(unit, name) == value, name
    assert pids(roomy, "quicport-port-owner") == [owner]
    assert talk.says("after")

    # Its last tunnel comes again, to the new one; then the first one has nothing left to do.
    talk.end()
    roomy.run("systemctl", "restart", "quicport-client@home.service")
    reachable(roomy, 9022)
    eventually(lambda: planes(roomy).keys() == {"ACTIVE"}, what="the first one has ended")
    assert first not in pids(roomy, "quicport-data-plane")
    assert "failed" not in roomy.run("systemctl", "--failed", "--no-legend")


def test_two_gateways_stand_side_by_side(gateway):
    configure(gateway, "two", port=39100)
    start(gateway, "quicport-control-plane@two.service")
    assert len(pids(gateway, "quicport-port-owner")) == 2
    assert gateway.active("quicport-port-owner@two.service")
    gateway.run("systemctl", "stop", "quicport-control-plane@two.service")
    eventually(lambda: len(pids(gateway, "quicport-port-owner")) == 1, what="its owner has ended")
    assert gateway.active("quicport-control-plane.service")


def test_files_are_rotated_without_loss(gateway):
    path = "/var/log/quicport/audit.jsonl"
    gateway.run("test", "-f", path)
    (pid,) = pids(gateway, "quicport-control-plane")
    gateway.run("sh", "-c", f"echo '{{}}' >> {path}")
    gateway.run("logrotate", "--force", "/etc/logrotate.d/quicport-gateway")
    opened = f"readlink /proc/{pid}/fd/* | grep audit"
    eventually(lambda: gateway.try_run("sh", "-c", opened).stdout.strip() == path, what="anew")
    assert gateway.run("stat", "-c", "%U", path).strip() == "quicport"


@pytest.mark.skipif(os.environ.get("QP_FULL") != "1", reason="builds again: only with QP_FULL=1")
def test_same_tree_makes_the_same_bytes(tmp_path):
    root = Path(__file__).parents[2]
    subprocess.run(
        [root / "scripts/package.sh", "--no-lintian", "--output", tmp_path],
        check=True, capture_output=True,
        env={**os.environ, "CCACHE_DISABLE": "1", "TZ": "Pacific/Apia", "LC_ALL": "C"},
    )  # fmt: skip
    for deb in debs("quicport", "libquicport1", "libquicport-dev", "quicport-gateway"):
        assert deb.read_bytes() == (tmp_path / deb.name).read_bytes(), deb.name


def newer(machine):
    """The same packages under a higher version."""
    paths = []
    for deb in debs(*INSTALLED):
        tree = machine.share / "repack"
        subprocess.run(["dpkg-deb", "-R", deb, tree], check=True)
        control = tree / "DEBIAN/control"
        text = control.read_text()
        version = re.search(r"^Version: (.*)$", text, re.M)[1]
        control.write_text(text.replace(f"Version: {version}", f"Version: {version}+next")
                           .replace(f"(= {version})", f"(= {version}+next)"))  # fmt: skip
        out = machine.share / f"next-{deb.name}"
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "-b", tree, out], check=True,
                       capture_output=True)  # fmt: skip
        subprocess.run(["rm", "-rf", tree], check=True)
        paths.append(f"/run/test/{out.name}")
    return paths


def test_upgrade_keeps_what_runs_and_what_was_configured(forwarded):
    (before,) = pids(forwarded, "quicport-control-plane")
    lives = pids(forwarded, "quicport-data-plane") + pids(forwarded, "quicport-port-owner")
    forwarded.run("dpkg", "-i", *newer(forwarded))
    eventually(lambda: forwarded.active("quicport-control-plane.service"), what="it runs again")
    (after,) = pids(forwarded, "quicport-control-plane")
    assert before != after
    assert pids(forwarded, "quicport-data-plane") + pids(forwarded, "quicport-port-owner") == lives
    assert "packaged secret" in forwarded.read("/etc/default/quicport-gateway")
    reachable(forwarded, 9022)


def test_nothing_is_left_after_purge(machine):
    before = machine.layer()
    memory = machine.read("/proc/sys/vm/nr_hugepages")
    machine.run("dpkg", "-i", *give(machine, *INSTALLED))
    configure(machine)
    machine.run("systemctl", "enable", "quicport-control-plane.service")
    start(machine, "quicport-control-plane.service")
    machine.run("dpkg", "--remove", *INSTALLED)
    assert pids(machine, "quicport-.*") == []
    assert machine.read("/proc/sys/vm/nr_hugepages") == memory
    machine.run("dpkg", "--purge", *INSTALLED)
    left = {path for path in machine.layer() - before if not DPKGS.match(path)}
    assert left == set()
    assert "quicport" not in machine.run("sh", "-c", "ls /run /dev /var/lib /var/log")
    assert machine.try_run("dpkg", "-l", "quicport*").stdout.count("\nii") == 0
