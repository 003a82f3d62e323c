# SPDX-License-Identifier: Apache-2.0
"""quicport preflight over a made-up /sys and /proc: each thing that is wrong is named with its way out."""

import json
import subprocess

import pytest

from harness import QUICPORT

NIC = "0000:03:00.0"


class Tree:
    """A host on which nothing is to be changed for workers on CPUs 2 and 3 at node 0."""

    def __init__(self, root):
        self.root = root
        self.put("proc/sys/kernel/osrelease", "6.6.1-amd64")
        self.put("proc/sys/kernel/numa_balancing", "0")
        self.put("proc/cpuinfo", "processor : 0\nflags\t\t: fpu constant_tsc nonstop_tsc")
        self.put("proc/mounts", "none /dev/hugepages hugetlbfs rw,pagesize=2M 0 0")
        self.put("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc")
        cpus = "sys/devices/system/cpu"
        self.put(f"{cpus}/online", "0-7")
        self.put(f"{cpus}/isolated", "2-3")
        self.put(f"{cpus}/nohz_full", "2-3")
        for cpu in range(8):
            self.put(f"{cpus}/cpu{cpu}/cpufreq/scaling_governor", "performance")
            self.put(f"{cpus}/cpu{cpu}/cpuidle/state0/latency", "2")
            self.put(f"{cpus}/cpu{cpu}/topology/thread_siblings_list", f"{cpu}")
        for node, its in ((0, "0-3"), (1, "4-7")):
            pages = f"sys/devices/system/node/node{node}/hugepages/hugepages-2048kB"
            self.put(f"sys/devices/system/node/node{node}/cpulist", its)
            self.put(f"{pages}/nr_hugepages", "1024")
            self.put(f"{pages}/free_hugepages", "1024")
        self.put(f"sys/bus/pci/devices/{NIC}/vendor", "0x8086")
        self.put(f"sys/bus/pci/devices/{NIC}/numa_node", "0")
        self.put(f"sys/bus/pci/devices/{NIC}/current_link_width", "8")
        self.put(f"sys/bus/pci/devices/{NIC}/max_link_width", "8")
        self.link(f"sys/bus/pci/devices/{NIC}/driver", "../../drivers/vfio-pci")
        self.link(f"sys/bus/pci/devices/{NIC}/iommu_group", "../../../kernel/iommu_groups/7")

    def put(self, path, text):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")

    def interface(self, at):
        self.put(f"sys/bus/pci/devices/{NIC}/{at}/ifindex", "7")
        self.put(f"sys/class/net/{at.split('/')[-1]}/operstate", "down")

    def link(self, path, target):
        path = self.root / path
        path.unlink(missing_ok=True)
        path.symlink_to(target)

    def remove(self, path):
        (self.root / path).unlink()

    def run(self, *words, ports=(NIC,), lcores="2-3"):
        """The exit status, and each check's findings."""
        words = [*(w for port in ports for w in ("--port", port)), *(["--lcores", lcores] if lcores else []), *words]
        done = subprocess.run(
            [QUICPORT, "preflight", "--json", *words], capture_output=True, text=True, timeout=30,
            env={"QUICPORT_SYSFS": f"{self.root}/sys", "QUICPORT_PROCFS": f"{self.root}/proc", "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
        said = json.loads(done.stdout)
        assert {"ok": 0, "should": 3, "must": 1}[said["status"]] == done.returncode
        return said


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def test_host_that_is_ready_has_nothing_to_change(tree):
    said = tree.run()
    assert said["status"] == "ok", said
    assert all("change" not in check for check in said["checks"])
    assert {"kernel", "clock", "hugetlbfs", "hugepages", "isolation", "ticks", "governor", "C-states", "driver",
            "IOMMU", "link", "NUMA"} <= {check["check"] for check in said["checks"]}  # fmt: skip


CPUS = "sys/devices/system/cpu"
PAGES = "sys/devices/system/node/node0/hugepages/hugepages-2048kB"


@pytest.mark.parametrize("change, check, status, way_out", [
    (lambda t: t.put("proc/sys/kernel/osrelease", "5.4.0"), "kernel", "must", "Linux 6.1"),
    (lambda t: t.put("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet"), "clock", "should",
     "clocksource=tsc"),
    (lambda t: t.put("proc/mounts", "proc /proc proc rw 0 0"), "hugetlbfs", "must", "mount -t hugetlbfs"),
    (lambda t: t.put(f"{PAGES}/free_hugepages", "10"), "hugepages", "must", "nr_hugepages"),
    (lambda t: t.put("proc/sys/kernel/numa_balancing", "1"), "numa balancing", "should", "sysctl -w"),
    (lambda t: t.put(f"{CPUS}/isolated", "3"), "isolation", "should", "isolcpus=managed_irq,domain,2-3"),
    (lambda t: t.put(f"{CPUS}/nohz_full", ""), "ticks", "should", "nohz_full=2-3"),
    (lambda t: t.put(f"{CPUS}/cpu3/cpufreq/scaling_governor", "powersave"), "governor", "should",
     "cpupower -c 2-3 frequency-set -g performance"),
    (lambda t: t.put(f"{CPUS}/cpu2/cpuidle/state3/latency", "133"), "C-states", "should", "cpupower -c 2-3 idle-set"),
    (lambda t: t.put(f"{CPUS}/cpu3/topology/thread_siblings_list", "2-3"), "hyperthreads", "should", "one of each core"),
    (lambda t: t.put(f"{CPUS}/online", "0-2"), "lcores", "must", "--lcores"),
    (lambda t: t.put("proc/77/comm", "irqbalance"), "irqbalance", "should", "IRQBALANCE_BANNED_CPULIST=2-3"),
    (lambda t: t.link(f"sys/bus/pci/devices/{NIC}/driver", "../../drivers/ixgbe"), "driver", "must",
     f"bind-nic.sh bind {NIC}"),
    (lambda t: t.remove(f"sys/bus/pci/devices/{NIC}/iommu_group"), "IOMMU", "must", "intel_iommu=on"),
    (lambda t: t.put(f"sys/bus/pci/devices/{NIC}/numa_node", "1"), "NUMA", "should", "--lcores out of 4-7"),
    (lambda t: t.put(f"sys/bus/pci/devices/{NIC}/current_link_width", "4"), "PCIe", "should", "more lanes"),
    (lambda t: t.interface("net/eth7"), "link", "should", "cable"),
    (lambda t: t.interface("virtio2/net/eth7"), "link", "should", "cable"),
    (lambda t: t.remove(f"sys/bus/pci/devices/{NIC}/vendor"), "device", "must", "bind-nic.sh status"),
])  # fmt: skip
def test_what_is_wrong_is_named_with_the_way_out(tree, change, check, status, way_out):
    change(tree)
    said = tree.run()
    wrong = [c for c in said["checks"] if c["status"] != "ok"]
    assert [(c["check"], c["status"]) for c in wrong] == [(check, status)], wrong
    assert way_out in wrong[0]["change"], wrong[0]
    assert said["status"] == status


def test_card_that_shares_its_driver_needs_no_vfio(tree):
    tree.link(f"sys/bus/pci/devices/{NIC}/driver", "../../drivers/mlx5_core")
    tree.remove(f"sys/bus/pci/devices/{NIC}/iommu_group")
    assert tree.run()["status"] == "ok"


def test_unsafe_mode_is_said(tree):
    tree.remove(f"sys/bus/pci/devices/{NIC}/iommu_group")
    tree.put("sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y")
    wrong = [c for c in tree.run()["checks"] if c["status"] != "ok"]
    assert len(wrong) == 1 and wrong[0]["status"] == "must" and "reach all memory" in wrong[0]["detail"]


def test_unsafe_mode_beside_an_iommu_spoils_it(tree):
    tree.put("sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y")
    wrong = [c for c in tree.run()["checks"] if c["status"] != "ok"]
    assert len(wrong) == 1 and wrong[0]["status"] == "must" and "echo N" in wrong[0]["change"]


def test_driver_that_knows_physical_addresses_alone_will_not_do(tree):
    tree.link(f"sys/bus/pci/devices/{NIC}/driver", "../../drivers/uio_pci_generic")
    wrong = [c for c in tree.run()["checks"] if c["status"] != "ok"]
    assert [(c["check"], c["status"]) for c in wrong] == [("driver", "must")]


def test_each_node_needs_its_workers_pages(tree):
    tree.put("sys/devices/system/node/node1/hugepages/hugepages-2048kB/free_hugepages", "1")
    said = tree.run(lcores="2,5")
    assert any(c["check"] == "hugepages" and c["status"] == "must" and "node 1" in c["detail"] for c in said["checks"])


def test_short_address_and_virtual_device(tree):
    assert tree.run(ports=["03:00.0,mac=1", "net_memif0,role=server"])["status"] == "ok"


def test_without_lcores_it_says_what_it_did_not_look_at(tree):
    said = tree.run(lcores=None)
    assert [c["check"] for c in said["checks"] if c["status"] == "should"] == ["lcores"]


def test_text_shows_status_and_command(tree):
    tree.put("proc/sys/kernel/numa_balancing", "1")
    done = subprocess.run(
        [QUICPORT, "preflight", "--port", NIC, "--lcores", "2-3"], capture_output=True, text=True, timeout=30,
        env={"QUICPORT_SYSFS": f"{tree.root}/sys", "QUICPORT_PROCFS": f"{tree.root}/proc", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 3
    assert "should  numa balancing" in done.stdout and "sysctl -w kernel.numa_balancing=0" in done.stdout


def test_wrong_option_is_status_2():
    done = subprocess.run([QUICPORT, "preflight", "--lcores", "x"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and "numbers of CPUs" in done.stderr
