# SPDX-License-Identifier: Apache-2.0
"""quicport-starter over a made-up /sys: what it writes there, and how it explains that it cannot."""

import os
import subprocess
from pathlib import Path

import pytest

STARTER = Path(__file__).parents[2] / "service/quicport-starter"
NIC = "0000:01:00.0"


@pytest.fixture
def sys_tree(tmp_path):
    pages = tmp_path / "sys/kernel/mm/hugepages/hugepages-2048kB"
    pages.mkdir(parents=True)
    (pages / "nr_hugepages").write_text("10\n")
    (pages / "free_hugepages").write_text("4\n")
    pci = tmp_path / "sys/bus/pci"
    for driver in ("ixgbe", "vfio-pci"):
        (pci / "drivers" / driver).mkdir(parents=True)
    (pci / "devices" / NIC).mkdir(parents=True)
    (pci / "devices" / NIC / "driver").symlink_to(pci / "drivers/ixgbe")
    return tmp_path / "sys"


def starter(sys_tree, *words, **variables):
    env = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "QUICPORT_STARTER_SYS": str(sys_tree),
        "QUICPORT_STARTER_STATE": str(sys_tree.parent / "state"),
        "QUICPORT_HUGEPAGES_DIR": str(sys_tree.parent / "huge"),
        "QUICPORT_HUGEPAGES_MIB": "0",
        **variables,
    }
    return subprocess.run([STARTER, *words], env=env, capture_output=True, text=True, timeout=20)


def test_too_few_pages_after_reserving_is_explained(sys_tree):
    done = starter(sys_tree, "start", QUICPORT_HUGEPAGES_MIB="32")
    pages = sys_tree / "kernel/mm/hugepages/hugepages-2048kB"
    assert done.returncode == 1
    assert "32 MiB of huge pages are wanted (QUICPORT_HUGEPAGES_MIB) and 8 MiB are free" in done.stderr
    assert "hugepages=22" in done.stderr
    assert pages.joinpath("nr_hugepages").read_text() == "22\n"
    assert starter(sys_tree, "stop").returncode == 0
    assert pages.joinpath("nr_hugepages").read_text() == "10\n"


def test_second_start_does_not_forget_what_was_before(sys_tree):
    pages = sys_tree / "kernel/mm/hugepages/hugepages-2048kB"
    starter(sys_tree, "start", QUICPORT_HUGEPAGES_MIB="32")
    starter(sys_tree, "start", QUICPORT_HUGEPAGES_MIB="64")
    starter(sys_tree, "stop")
    assert pages.joinpath("nr_hugepages").read_text() == "10\n"


@pytest.mark.parametrize("text", ["many", "-1", "1.5", "$(id)"])
def test_number_that_is_none_is_named(sys_tree, text):
    done = starter(sys_tree, "start", QUICPORT_HUGEPAGES_MIB=text)
    assert done.returncode != 0
    assert f'QUICPORT_HUGEPAGES_MIB is "{text}"' in done.stderr


def test_kernel_without_huge_pages_is_explained(tmp_path):
    done = starter(tmp_path / "sys", "start", QUICPORT_HUGEPAGES_MIB="32")
    assert done.returncode == 1
    assert "no 2 MiB huge pages" in done.stderr


def test_unknown_user_is_named(sys_tree):
    done = starter(sys_tree, "start", QUICPORT_HUGEPAGES_MIB="8", QUICPORT_USER="nobody-at-all")
    assert done.returncode == 1
    assert "there is no user nobody-at-all" in done.stderr


def test_unknown_device_is_named(sys_tree):
    done = starter(sys_tree, "start", QUICPORT_NICS="0000:99:00.0")
    assert done.returncode == 1
    assert "there is no PCI device 0000:99:00.0" in done.stderr


def test_unknown_driver_is_named(sys_tree):
    done = starter(sys_tree, "start", QUICPORT_NICS=NIC, QUICPORT_NIC_DRIVER="no-driver")
    assert done.returncode == 1
    assert "there is no driver no-driver" in done.stderr


def test_device_is_taken_from_its_driver_and_given_to_the_other(sys_tree):
    done = starter(sys_tree, "start", QUICPORT_NICS=NIC)
    pci = sys_tree / "bus/pci"
    # Nobody is there who binds: the starter notices.
    assert done.returncode == 1
    assert f"{NIC} does not take the driver vfio-pci" in done.stderr
    assert (pci / "devices" / NIC / "driver_override").read_text() == "vfio-pci\n"
    assert (pci / "drivers/ixgbe/unbind").read_text() == f"{NIC}\n"
    assert (pci / "drivers_probe").read_text() == f"{NIC}\n"
    assert (sys_tree.parent / f"state/nic-{NIC}").read_text() == "ixgbe\n"


def test_device_that_has_the_driver_is_left_alone(sys_tree):
    driver = sys_tree / f"bus/pci/devices/{NIC}/driver"
    driver.unlink()
    driver.symlink_to(sys_tree / "bus/pci/drivers/vfio-pci")
    done = starter(sys_tree, "start", QUICPORT_NICS=NIC)
    assert done.returncode == 0, done.stderr
    assert f"{NIC} is bound to vfio-pci" in done.stdout
    assert not (sys_tree / "bus/pci/drivers_probe").exists()


def test_interface_in_use_is_not_taken_from_the_host(sys_tree, tmp_path):
    (sys_tree / f"bus/pci/devices/{NIC}/net/eth7").mkdir(parents=True)
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "ip").write_text("#!/bin/sh\necho '2: eth7 inet 192.0.2.1/24 scope global eth7'\n")
    (fake / "ip").chmod(0o755)
    done = starter(sys_tree, "start", QUICPORT_NICS=NIC, PATH=f"{fake}:{os.environ['PATH']}")
    assert done.returncode == 1
    assert "is eth7, which has an address of this host" in done.stderr
    assert not (sys_tree / "bus/pci/drivers/ixgbe/unbind").exists()


def test_word_that_is_no_command_shows_the_usage(sys_tree):
    assert starter(sys_tree, "begin").returncode == 2
    assert "QUICPORT_NICS" in starter(sys_tree, "--help").stdout
