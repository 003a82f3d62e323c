# SPDX-License-Identifier: Apache-2.0
"""bind-nic.sh over a made-up /sys, with a kernel in it that does what is written there."""

import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/bind-nic.sh"
ETH0, ETH1, AUDIO, MLX = "0000:03:00.0", "0000:04:00.0", "0000:04:00.1", "0000:05:00.0"


class Machine:
    """eth0 has the default route, eth1 and a sound card share an IOMMU group."""

    def __init__(self, root):
        self.root, self.sys, self.stop = root, root / "sys", False
        self.pci = self.sys / "bus/pci"
        for driver in ("ixgbe", "vfio-pci", "snd", "mlx5_core", "virtio-pci"):
            (self.pci / "drivers" / driver).mkdir(parents=True)
        (self.sys / "devices/system/node/node1").mkdir(parents=True)
        (self.sys / "devices/system/node/node1/cpulist").write_text("8-15\n")
        self.add(ETH0, "0x020000", "ixgbe", "11", "eth0", numa=0)
        self.add(ETH1, "0x020000", "ixgbe", "12", "eth1", numa=1)
        self.add(AUDIO, "0x040300", "snd", "12", None)
        self.add(MLX, "0x020000", "mlx5_core", "13", "eth2", numa=1)
        (root / "bin").mkdir()
        self.routes("default via 192.0.2.254 dev eth0 proto static")
        self.thread = threading.Thread(target=self.kernel, daemon=True)
        self.thread.start()

    def add(self, at, kind, driver, group, net, numa=-1):
        device = self.pci / "devices" / at
        device.mkdir(parents=True)
        for name, value in (("class", kind), ("vendor", "0x8086"), ("device", "0x10fb"), ("numa_node", numa),
                            ("current_link_width", 4), ("max_link_width", 8)):  # fmt: skip
            (device / name).write_text(f"{value}\n")
        (device / "driver").symlink_to(self.pci / "drivers" / driver)
        if group is not None:
            folder = self.sys / "kernel/iommu_groups" / group / "devices"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / at).symlink_to(device)
            (device / "iommu_group").symlink_to(folder.parent)
        if net:
            self.interface(net, device)

    def interface(self, net, device):
        if device is not None:
            (device / "net" / net).mkdir(parents=True)
        there = self.sys / "class/net" / net
        there.mkdir(parents=True)
        (there / "operstate").write_text("up\n")
        (there / "speed").write_text("10000\n")
        if device is not None:
            (there / "device").symlink_to(device)

    def routes(self, default, address=""):
        tool = self.root / "bin/ip"
        tool.write_text(f'#!/bin/sh\ncase "$*" in *-4*default*) echo "{default}";; *"address show to"*) echo "{address}";; esac\n')
        tool.chmod(0o755)

    def driver(self, at):
        link = self.pci / "devices" / at / "driver"
        return link.resolve().name if link.exists() else "none"

    def set_driver(self, at, name):
        link = self.pci / "devices" / at / "driver"
        link.unlink(missing_ok=True)
        if name:
            link.symlink_to(self.pci / "drivers" / name)

    def kernel(self):
        own = {ETH0: "ixgbe", ETH1: "ixgbe", AUDIO: "snd", MLX: "mlx5_core"}
        while not self.stop:
            probe = self.pci / "drivers_probe"
            for unbind in self.pci.glob("drivers/*/unbind"):
                at = unbind.read_text().strip()
                if at:
                    self.set_driver(at, None)
                    unbind.unlink()
            at = probe.read_text().strip() if probe.exists() else ""
            if at and self.driver(at) == "none":
                override = (self.pci / "devices" / at / "driver_override").read_text().strip()
                self.set_driver(at, override or own[at])
                probe.unlink()
            time.sleep(0.005)

    def run(self, *words, status=0, **env):
        done = subprocess.run(
            [SCRIPT, *words], capture_output=True, text=True, timeout=30,
            env={"PATH": f"{self.root}/bin:{os.environ['PATH']}", "QUICPORT_SYSFS": str(self.sys),
                 **env})  # fmt: skip
        assert done.returncode == status, done
        return done.stdout + done.stderr


@pytest.fixture
def machine(tmp_path):
    made = Machine(tmp_path)
    yield made
    made.stop = True
    made.thread.join()


def free_group(machine):
    machine.set_driver(AUDIO, None)


def test_status_shows_each_network_card(machine):
    lines = machine.run("status").splitlines()
    assert len(lines) == 4
    assert lines[2].split() == [ETH1, "8086:10fb", "ixgbe", "1", "12", "up,", "10000", "Mbit/s", "eth1"]
    assert AUDIO not in "".join(lines)


def test_card_goes_to_vfio_and_back(machine):
    free_group(machine)
    assert f"--port {ETH1}" in machine.run("bind", "eth1")
    assert machine.driver(ETH1) == "vfio-pci"
    assert "nothing to do" in machine.run("bind", "04:00.0")
    assert "ixgbe" in machine.run("unbind", ETH1)
    assert machine.driver(ETH1) == "ixgbe"
    assert "kernel's already" in machine.run("unbind", ETH1)


def test_card_of_the_default_route_needs_force(machine):
    said = machine.run("bind", "eth0", status=1)
    assert "carries the default route" in said and "--force" in said
    assert machine.driver(ETH0) == "ixgbe"
    machine.run("bind", "--force", "eth0")
    assert machine.driver(ETH0) == "vfio-pci"


def test_interface_of_a_virtio_card_is_the_cards(machine):
    """It is the interface of the virtio device that the PCI device has."""
    at = "0000:06:00.0"
    machine.add(at, "0x020000", "virtio-pci", "14", None)
    machine.interface("eth3", machine.pci / "devices" / at / "virtio2")
    machine.routes("default via 192.0.2.254 dev eth3 proto static")
    assert "eth3" in machine.run("status").splitlines()[4]
    assert "carries the default route" in machine.run("explain", at, status=1)
    assert "--force" in machine.run("bind", at, status=1)
    assert machine.driver(at) == "virtio-pci"


def test_card_beneath_a_bond_that_has_the_route_is_found(machine):
    machine.routes("default via 192.0.2.254 dev bond0.7")
    machine.interface("bond0.7", None)
    machine.interface("bond0", None)
    (machine.sys / "class/net/bond0.7/lower_bond0").symlink_to(machine.sys / "class/net/bond0")
    (machine.sys / "class/net/bond0/lower_eth1").symlink_to(machine.sys / "class/net/eth1")
    free_group(machine)
    assert "carries the default route (eth1)" in machine.run("bind", "eth1", status=1)
    machine.run("bind", "eth0")


def test_card_of_the_ssh_session_needs_force(machine):
    machine.routes("", "4: eth1    inet 198.51.100.7/24 scope global eth1")
    free_group(machine)
    said = machine.run("bind", "eth1", status=1, SSH_CONNECTION="203.0.113.9 50000 198.51.100.7 22")
    assert "carries this ssh session" in said
    machine.run("bind", "eth1")


def test_without_the_ip_command_it_does_not_guess(machine):
    free_group(machine)
    tools = machine.root / "tools"
    tools.mkdir()
    for name in ("bash", "cat", "cut", "sed", "head", "grep", "sort", "basename", "dirname", "readlink", "paste", "sleep"):
        (tools / name).symlink_to(shutil.which(name))
    said = machine.run("bind", "eth1", status=1, PATH=str(tools))
    assert "iproute2" in said and machine.driver(ETH1) == "ixgbe"


def test_one_that_may_not_be_taken_holds_up_all(machine):
    free_group(machine)
    machine.run("bind", "eth1", "eth0", status=1)
    assert machine.driver(ETH1) == "ixgbe", "nothing is touched before all were looked at"


def test_group_that_the_kernel_uses_is_explained(machine):
    said = machine.run("bind", "eth1", status=1)
    assert "IOMMU group 12" in said and f"{AUDIO} snd" in said
    said = machine.run("explain", "eth1", status=1)
    assert f"{AUDIO} (driver snd)" in said and "whole groups" in said
    assert "x4 in use, the card has x8" in said and "--lcores, out of 8-15" in said
    free_group(machine)
    assert f"ready: bind-nic.sh bind {ETH1}" in machine.run("explain", "eth1")
    machine.run("bind", "eth1")
    assert f"bound: --port {ETH1}" in machine.run("explain", ETH1)


def test_without_an_iommu_it_warns_and_asks(machine):
    (machine.pci / "devices" / ETH1 / "iommu_group").unlink()
    said = machine.run("bind", "eth1", status=1)
    assert "intel_iommu=on" in said and "--no-iommu" in said
    assert "no IOMMU" in machine.run("explain", "eth1", status=1)
    unsafe = machine.sys / "module/vfio/parameters/enable_unsafe_noiommu_mode"
    unsafe.parent.mkdir(parents=True)
    unsafe.write_text("N\n")
    assert "WARNING" in machine.run("bind", "--no-iommu", "eth1")
    assert unsafe.read_text() == "Y\n"
    assert machine.driver(ETH1) == "vfio-pci"


def test_card_that_dpdk_shares_with_the_kernel_stays_there(machine):
    assert f"--port {MLX}" in machine.run("bind", "eth2")
    assert machine.driver(MLX) == "mlx5_core"
    assert "nothing to bind" in machine.run("explain", "eth2")


@pytest.mark.parametrize("words, said", [
    (["bind"], "needs a device"),
    (["bind", "eth9"], "eth9 is no PCI device"),
    (["bind", AUDIO], "no network card"),
    (["bind", "--driver", "nothing", ETH1], "there is no driver nothing"),
    (["explain", "--what", ETH1], "unknown option --what"),
])  # fmt: skip
def test_mistakes_are_named(machine, words, said):
    free_group(machine)
    assert said in machine.run(*words, status=1)
    assert machine.driver(ETH1) == "ixgbe"


def test_no_command_shows_what_there_is(machine):
    assert "Usage:" in machine.run(status=2)
    assert "--no-iommu" in machine.run("--help")
