# SPDX-License-Identifier: Apache-2.0
"""
The processes of one tool, both ends and whatever they start: their processor time and memory. In a
control group of their own where the system has version 2 of these, else by /proc's family tree.
"""

import contextlib
import os
import re
import time
from pathlib import Path

from frame import read

HERTZ = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20


def cgroup_root():
    """Where control groups of version 2 are mounted; None: nowhere."""
    for line in read("/proc/mounts").splitlines():
        words = line.split()
        if words[2] == "cgroup2" and "rw" in words[3].split(","):
            return Path(words[1])
    return None


class Group:
    """`with Group(name) as group:`, then give group.join to processes before they run."""

    def __init__(self, name, root=None):
        self.first = []  # process ids that this tool's were started with
        self.folder = None
        root = root or cgroup_root()
        if root:
            sweep(root)
            with contextlib.suppress(OSError):
                folder = root / f"qpcompare-{os.getpid()}-{name}"
                folder.mkdir()
                if (folder / "cpu.stat").exists():
                    self.folder = folder
                else:
                    folder.rmdir()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if not self.folder:
            return
        with contextlib.suppress(OSError):
            (self.folder / "cgroup.kill").write_text("1")
        for _ in range(200):
            try:
                self.folder.rmdir()
                return
            except OSError:
                time.sleep(0.01)  # until the last one is gone

    def join(self):
        """For the process that calls it, and its children."""
        if self.folder:
            (self.folder / "cgroup.procs").write_text("0")

    def pids(self):
        if self.folder:
            return [int(pid) for pid in read(self.folder / "cgroup.procs").split()]
        return family(self.first)

    def cpu_seconds(self):
        if self.folder:
            return int(re.search(r"usage_usec (\d+)", read(self.folder / "cpu.stat"))[1]) / 1e6
        return sum(proc_ticks(pid) for pid in self.pids()) / HERTZ

    def memory_mib(self):
        """(proportional set size, huge pages) of all."""
        pss, pages = 0, {}
        for pid in self.pids():
            found = re.search(r"^Pss:\s+(\d+)", read(f"/proc/{pid}/smaps_rollup"), re.M)
            pss += int(found[1]) * 1024 if found else 0
            for key, size in huge_pages(pid):
                pages[key] = max(size, pages.get(key, 0))
        return pss / MIB, sum(pages.values()) / MIB


def sweep(root):
    """Removes groups of runs that were killed, as far as they are empty."""
    for folder in root.glob("qpcompare-*"):
        if not Path("/proc", folder.name.split("-")[1]).exists():
            with contextlib.suppress(OSError):
                folder.rmdir()


def stat_fields(pid):
    """From the third field of /proc/PID/stat on; empty when it is gone."""
    return read(f"/proc/{pid}/stat").rpartition(") ")[2].split()


def proc_ticks(pid):
    """Its time, and that of its children that have ended and were waited for."""
    return sum(map(int, stat_fields(pid)[11:15]))


def family(first):
    parents = {}
    for entry in Path("/proc").iterdir():
        fields = stat_fields(entry.name) if entry.name.isdigit() else []
        if fields:
            parents[int(entry.name)] = int(fields[1])
    found = [pid for pid in first if pid in parents]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid and child not in found]
    return found


def huge_pages(pid):
    """(file and offset, bytes) of each mapping of huge pages, which a PSS leaves out."""
    maps = read(f"/proc/{pid}/smaps")
    if "Hugetlb:" not in maps:
        return
    for head, body in re.findall(r"^([0-9a-f]+-[0-9a-f]+ .*)\n((?:[A-Za-z_]+:.*\n?)+)", maps, re.M):
        size = sum(int(n) for n in re.findall(r"^(?:Shared|Private)_Hugetlb:\s+(\d+)", body, re.M))
        if size:
            _, _, offset, device, inode = head.split()[:5]
            yield (device, inode, offset), size * 1024
