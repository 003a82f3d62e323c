# SPDX-License-Identifier: Apache-2.0
import os
import re
from pathlib import Path

import pytest
from machine import Impossible, Machine, eventually

PACKAGES = Path(os.environ.get("QP_PACKAGES") or Path(__file__).parents[2] / "build-packages")
INSTALLED = ("quicport", "libquicport1", "quicport-gateway")


def debs(*names):
    found = [next(iter(PACKAGES.glob(f"{name}_*_*.deb")), None) for name in names]
    assert all(found), f"no packages in {PACKAGES}: scripts/package.sh makes them"
    return found


@pytest.fixture
def machine():
    try:
        made = Machine()
    except Impossible as why:
        pytest.skip(f"a machine of its own cannot be made here (overlayfs, namespaces): {why}")
    yield made
    made.remove()


def give(machine, *names):
    """Puts packages where the machine sees them; their paths there."""
    paths = []
    for deb in debs(*names):
        (machine.share / deb.name).write_bytes(deb.read_bytes())
        paths.append(f"/run/test/{deb.name}")
    return paths


@pytest.fixture
def installed(machine):
    machine.run("dpkg", "-i", *give(machine, *INSTALLED))
    return machine


def configure(machine, name="", port=39000, memory=64):
    suffix = f"-{name}" if name else ""
    lines = [
        f"QUICPORT_MEMORY={memory}",
        "QUICPORT_HUGEPAGES_MIB=160",
        "QUICPORT_PSK=packaged secret",
        f"QUICPORT_DATA_PLANE_ADDR=127.0.0.1:{port}",
        f"QUICPORT_CONTROL_PLANE_ADDR=127.0.0.1:{port}",
    ]
    machine.write(f"/etc/default/quicport-gateway{suffix}", "\n".join(lines) + "\n")


def start(machine, unit):
    done = machine.try_run("systemctl", "start", unit)
    assert done.returncode == 0, done.stderr + machine.journal("quicport*")


@pytest.fixture
def gateway(installed):
    configure(installed)
    start(installed, "quicport-control-plane.service")
    return installed


def pids(machine, program):
    """Of the machine's processes, by their program's path."""
    shown = machine.run("ps", "-e", "-o", "pid=,exe=")
    return [int(m[1]) for m in re.finditer(rf"^\s*(\d+) \S*/{program}( \(deleted\))?$", shown, re.M)]


class Conversation:
    """A connection of an outside client's to a port of the gateway's, to a service that echoes."""

    def __init__(self, machine, port):
        self.process = machine.start("socat", "-t", "60", "-", f"TCP:127.0.0.1:{port}")

    def says(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline() == text + "\n"

    def end(self):
        self.process.kill()
        self.process.communicate()


def reachable(machine, port):
    def heard():
        done = machine.try_run(
            "sh", "-c", f"echo hello | timeout 2 socat -t 1 - TCP:127.0.0.1:{port}"
        )
        return done.stdout == "hello\n"

    eventually(heard, what=f"port {port} leads to the service")


def forward(gateway):
    """Gives it a client of the package's, whose port 9022 leads to a service."""
    gateway.run("systemd-run", "--unit=echo", "socat", "TCP-LISTEN:8000,fork,reuseaddr", "EXEC:cat")
    gateway.write(
        "/etc/quicport/client-home.yaml",
        "server: 127.0.0.1:39000\ninsecure: true\nforwards:\n"
        "  - name: echo\n    remote-source: 9022\n    local-destination: 127.0.0.1:8000\n",
    )
    gateway.write("/etc/quicport/client-home.env", "QUICPORT_PSK='packaged secret'\n")
    start(gateway, "quicport-client@home.service")
    reachable(gateway, 9022)
    return gateway


@pytest.fixture
def forwarded(gateway):
    """The gateway with a client."""
    return forward(gateway)


@pytest.fixture
def roomy(installed):
    """The same with memory for two data planes."""
    configure(installed, memory=128)
    start(installed, "quicport-control-plane.service")
    return forward(installed)
