# SPDX-License-Identifier: Apache-2.0
"""
A gateway under the load of qpstorm, and what a storm needs around it: calls of the private API,
the processes by their part, and what must be the same after a fault as before it.
"""

import collections
import contextlib
import glob
import itertools
import json
import os
import re
import subprocess
import threading
from pathlib import Path

from harness import PATIENCE_S, TOOLS, Process, eventually

LO = "127.0.0.1"
SessionGroup = collections.namedtuple("SessionGroup", "name rank")
BAD_ENDS = ("refused", "reset", "timed_out", "ended_early", "unreachable", "corrupt")


def program(pid):
    """A process's program by its name, also after the file has been replaced."""
    return os.path.basename(os.readlink(f"/proc/{pid}/exe")).removesuffix(" (deleted)")


def session_group(pid):
    """
    The group of a process's session, which shares the processors with others' (autogroup): its name and
    its rank. None where there is none: the kernel has no such file, or it is empty, as for all that
    came from the first process without a session of their own.
    """
    with contextlib.suppress(OSError):
        match = re.match(r"(/autogroup-\d+) nice (-?\d+)", Path(f"/proc/{pid}/autogroup").read_text())
        return match and SessionGroup(match[1], int(match[2]))


class Preferred(threading.Thread):
    """
    What is measured here is what carries bytes, and not what else the machine has to do: data planes,
    clients and load get the processor before others, where the kernel groups processes by session for
    that. Each has a session of its own, and new data planes come: so they are looked for.
    """

    PROGRAMS = {"quicport-data-plane", "quicport", "qpstorm"}

    def __init__(self):
        super().__init__(daemon=True)
        self.done, self.ours = threading.Event(), getattr(session_group("self"), "name", None)
        self.start()

    def run(self):
        # Each process is looked at a few times only: who reads in /proc holds up those that end.
        looks = {}
        while not self.done.wait(0.05):
            there = [pid for pid in os.listdir("/proc") if pid.isdigit()]
            looks = {pid: looks.get(pid, 0) + 1 for pid in there}
            for pid in there:
                if looks[pid] <= 4:
                    self.prefer(pid)

    def prefer(self, pid):
        with contextlib.suppress(OSError):
            if program(pid) in self.PROGRAMS:
                group = session_group(pid)
                if group and group.rank == 0 and group.name != self.ours:
                    Path(f"/proc/{pid}/autogroup").write_text("-5")

    def end(self):
        self.done.set()
        if self.is_alive():
            self.join()


@contextlib.contextmanager
def ahead_of_others():
    preferred = Preferred()
    try:
        yield
    finally:
        preferred.end()


def listed(gateway, name, key):
    """Rows of a list of the private API; [] while nobody answers."""
    try:
        return gateway.call(name)[1][key]
    except (OSError, ValueError, IndexError, KeyError):
        return []


def planes(gateway):
    """The data planes' states by their ids."""
    return {row["dp_id"]: row["state"] for row in listed(gateway, "ListDataPlanes", "data_planes")}


def tunnels(gateway):
    """Tunnels' ids with the data plane of each."""
    return {row["tunnel_id"]: row["dp_id"] for row in listed(gateway, "ListTunnels", "tunnels")}


def processes(gateway, part):
    """Process ids of a gateway's part ("data-plane", "port-owner"), oldest first."""
    found, instance = [], gateway.instance.encode()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if (program(pid) == f"quicport-{part}"
                    and instance in Path(f"/proc/{pid}/cmdline").read_bytes()):  # fmt: skip
                stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                found.append((int(stat[19]), int(pid)))
    return [pid for _, pid in sorted(found)]


class Held:
    """What a gateway holds of the machine: must not grow with the faults that it survives."""

    def __init__(self, gateway):
        host = gateway.host
        (owner,) = processes(gateway, "port-owner")
        self.then = {
            "devices": len(json.loads(host.run("ip", "-j", "link"))),
            "huge pages": len(glob.glob(f"/dev/hugepages*/{gateway.instance}map_*")),
            "open files of the port owner": len(os.listdir(f"/proc/{owner}/fd")),
            "open files of the control plane": len(os.listdir(f"/proc/{gateway.pid}/fd")),
            # What data planes that ended have counted is kept from the first of them on.
            # A data plane's prompt has its process id in its name.
            "run folder": sorted(re.sub(r"-\d+\.sock", ".sock", name)
                                 for name in os.listdir(f"/run/quicport/{gateway.instance}") if name != "counters"),
            "mbufs": int(gateway.metric("quicport_mbufs_in_use")),
        }

    def differs(self, now):
        """What has grown, in words; by less than a leak at each fault would make of it."""
        room = {"mbufs": 2000, "open files of the control plane": 2}
        return [f"{what}: {now.then[what]}, before {was}" for what, was in self.then.items()
                if (now.then[what] > was + room[what] if what in room else now.then[what] != was)]  # fmt: skip


class Storm(Process):
    """
    qpstorm: long connections and short ones to ports of a gateway, at one of its addresses after
    the other, and the service (HOST:PORT, or HOST:PORT@NAMESPACE) that they get to.
    """

    def __init__(self, host, service, ports, *args, addresses=(LO,), seconds=150):
        super().__init__(
            host, "storm",
            [TOOLS / "qpstorm", "--serve", service, "--seconds", seconds, *args,
             *(f"{address}:{port}" for address, port in zip(itertools.cycle(addresses), ports))],
            stdin=subprocess.PIPE,
            session=True,
        )  # fmt: skip
        self.read_up_to = 0  # of its output, which grows
        self.said("mark", "opening")

    def said(self, key, name):
        def line():
            with open(self.log) as log:
                log.seek(self.read_up_to)
                new = log.read().rpartition("\n")[0]
            entries = [json.loads(text) for text in new.splitlines() if text.startswith("{")]
            found = next((entry for entry in entries if entry.get(key) == name), None)
            assert found or self.running(), self.output()
            if found:
                self.read_up_to += len(new)
            return found

        return eventually(line, PATIENCE_S, f"qpstorm says {name}")

    def mark(self, name):
        """What was since the last mark."""
        self.popen.stdin.write(f"mark {name}\n".encode())
        self.popen.stdin.flush()
        return self.said("mark", name)

    def end(self):
        """Everything comes to its end; what was in all."""
        self.popen.stdin.close()
        self.wait()
        return self.said("total", "all")


def lost(figures):
    """What went wrong, by its kind; {} when nothing did."""
    bad = {f"{kind} {end}": figures[kind][end] for kind in ("bulk", "short") for end in BAD_ENDS}
    return {what: n for what, n in {**bad, "wrong bytes": figures["wrong_bytes"]}.items() if n}


def longest_ms(figures):
    """The longest that anyone waited: bytes under way, or a short connection as a whole."""
    return max(figures["bulk"]["stall_ms"], figures["short"]["longest_ms"])


def outage_ms(figures):
    """The longest that a port answered nobody."""
    return max(target["outage_ms"] for target in figures["targets"].values())


def brief(figures):
    """One line for who reads a test's output."""
    return (f"{figures.get('mark') or 'all'}: {figures['seconds']:.1f} s, "
            f"stall {figures['bulk']['stall_ms']:.0f} ms, short {figures['short']['longest_ms']:.0f} ms "
            f"(p99 {figures['short']['p99_ms']:.0f}), own lag {figures['own_lag_ms']:.0f} ms, "
            f"outage {outage_ms(figures):.0f} ms, lost {lost(figures)}, "
            f"worst {figures['worst'][:1]}")  # fmt: skip
