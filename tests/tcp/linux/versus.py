#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The stack against Linux over the same bad line, in paired runs.

Three namespaces: a kernel peer (C), the line (W), and a server's place (S) that has a kernel server
at one port and the stack under test, behind a host port, at another. A pair is one transfer with
each, with the same chances of the line. Every byte is compared by the programs at the ends.
"""
import argparse
import dataclasses
import json
import os
import signal
import statistics
import subprocess
import sys

MAC_C, MAC_S, MAC_OURS = "02:00:00:00:00:0c", "02:00:00:00:00:05", "02:00:00:00:00:99"
ADDR = {4: ("10.77.0.1", "10.77.0.2"), 6: ("fd77::1", "fd77::2")}
PORT = {"kernel": "6000", "ours": "7000"}
TALK_PORT = "5000"  # of the peer, when it is called
SKIPPED = 77
GOODPUT_LEAST, RETRANS_MOST = 0.9, 1.2
QUICK_BOUNDS = 0.2, 10  # a second on a busy machine
QUICK_PAIRS = 1
# A cell's time is its slowest connection's: one that loses the same segment three times shows, whoever
# serves it. So a quick cell out of bounds is judged by the median of so many pairs.
QUICK_PAIRS_IF_BAD = 5
# A line and a kernel's TCP do not wait for other programs of the machine, and a data plane has a core
# of its own: all that a test starts goes first. None of it runs for long at a time.
REAL_TIME = ("chrt", "--rr", "1")
# Below so many bytes sent again, a ratio of two such figures says nothing.
RETRANS_FEW_SEGMENTS = 20


@dataclasses.dataclass(frozen=True)
class Cell:
    """One row of the table. Directions are the peer's: up is towards the server."""

    direction: str = "down"  # up, down, both
    loss: float = 0.0  # %, each direction of the line
    late: float = 0.0  # % that come `late_ms` later
    ce: float = 0.0  # % marked as congestion
    mtu: int = 1500
    family: int = 4
    offloads: bool = True
    conns: int = 1
    mib: float = 16.0
    rate: int = 200  # Mbit/s
    rtt_ms: float = 10.0
    late_ms: float = 3.0
    place: str = "veth"  # tap: the peer is the TAP's own host; bare: the same without a line
    opener: str = "peer"  # server: the server calls
    cc: str = "cubic"

    def name(self):
        line = "no line, TAP" if self.place == "bare" else f"{self.rate} Mbit/s × {self.rtt_ms:g} ms"
        line += ", TAP" if self.place == "tap" else ""
        extra = [f"{self.late:g} % late"] if self.late else []
        extra += [f"{self.ce:g} % CE"] if self.ce else []
        extra += [f"{self.conns} connections"] if self.conns > 1 else []
        extra += ["server opens"] if self.opener == "server" else []
        extra += [self.cc] if self.cc != "cubic" else []
        return (f"{line} | {self.loss:g} % | {self.direction} | {self.mtu} | IPv{self.family} | "
                f"{'on' if self.offloads else 'off'} | {', '.join(extra) or '–'}")


@dataclasses.dataclass
class Run:
    goodput: float  # bit/s, both directions
    retrans: int  # bytes sent again, by whoever sent the payload
    line: dict
    peer: dict
    server: dict


def sh(ns, command):
    done = subprocess.run(["ip", "netns", "exec", ns, "sh", "-ec", command], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise RuntimeError(f"{command}: {done.stdout}")


class Process:
    """A program of ours in a namespace; its last line of output is a JSON object."""

    def __init__(self, ns, *argv, ready=True):
        self.argv = argv
        self.p = subprocess.Popen([*REAL_TIME, "ip", "netns", "exec", ns, *map(str, argv)], text=True,
                                  stdout=subprocess.PIPE)
        if ready and self.p.stdout.readline() != "ready\n":
            raise RuntimeError(f"{argv} did not start: status {self.p.wait()}")

    def result(self, timeout=300):
        out, _ = self.p.communicate(timeout=timeout)
        if self.p.returncode != 0:
            raise RuntimeError(f"{self.argv}: status {self.p.returncode}: {out}")
        return json.loads(out.splitlines()[-1])

    def end(self):
        self.p.send_signal(signal.SIGTERM)
        return self.result(20)

    def kill(self):
        if self.p.poll() is None:
            self.p.kill()
            self.p.wait()


class World:
    """The namespaces of one cell."""

    def __init__(self, build, cell):
        self.bin = os.path.join(build, "tests/tcp/linux")
        self.cell = cell
        self.c, self.w, self.s = (f"qpvs{os.getpid()}{x}" for x in "cws")
        self.running = []

    def __enter__(self):
        cell, c, w, s = self.cell, self.c, self.w, self.s
        for ns in (c, w, s):
            subprocess.run(["ip", "netns", "add", ns], check=True)
        try:
            sh(w, "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
            if cell.place != "veth":
                sh(w, f"ip link add vC netns {c} type veth peer name vS netns {s}")
            else:
                sh(w, f"ip link add vC netns {c} type veth peer name wC; "
                      f"ip link add vS netns {s} type veth peer name wS; "
                      f"ip link set wC mtu {cell.mtu} up; ip link set wS mtu {cell.mtu} up")
            self.address(c, "vC", MAC_C, 0, MAC_S)
            self.address(s, "vS", MAC_S, 1, MAC_C)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for p in self.running:
            p.kill()
        for ns in (self.c, self.w, self.s):
            subprocess.run(["ip", "netns", "del", ns], stderr=subprocess.DEVNULL)

    def address(self, ns, link, mac, me, peer_mac):
        cell = self.cell
        on = "on" if cell.offloads else "off"
        sh(ns, f"sysctl -qw net.ipv4.tcp_no_metrics_save=1 "
               f"net.ipv4.tcp_ecn={1 if cell.ce else 2}; ip link set lo up; "
               f"ip link set {link} address {mac} mtu {cell.mtu}; "
               f"ethtool -K {link} tso {on} gso {on} gro {on} >/dev/null")
        self.number(ns, link, me, peer_mac)

    def number(self, ns, link, me, peer_mac):
        sh(ns, f"ip link set {link} up; echo 0 >/proc/sys/net/ipv6/conf/{link}/disable_ipv6; "
               f"ip addr flush dev {link}; ip addr add {ADDR[4][me]}/24 dev {link}; "
               f"ip addr add {ADDR[6][me]}/64 dev {link} nodad; "
               + "; ".join(f"ip neigh replace {ADDR[f][1 - me]} lladdr {peer_mac} dev {link} nud permanent"
                           for f in (4, 6)))

    def start(self, *args, **kw):
        p = Process(*args, **kw)
        self.running.append(p)
        return p

    def tool(self, name):
        return os.path.join(self.bin, name)

    def start_line(self, left, seed):
        cell = self.cell
        bdp = cell.rate * 1e6 / 8 * cell.rtt_ms / 1e3
        options = {"loss-ppm": cell.loss * 1e4, "late-ppm": cell.late * 1e4, "ce-ppm": cell.ce * 1e4,
                   "seed": seed, "mtu": cell.mtu, "rate-mbit": cell.rate, "delay-us": cell.rtt_ms * 500,
                   "queue-bytes": max(bdp, 32 * cell.mtu), "late-us": cell.late_ms * 1e3}
        flat = [str(x) for k, v in options.items() for x in (k, int(v))]
        ns, right = (self.w, ["right", "wS"]) if cell.place == "veth" else (self.c, [])
        return self.start(ns, self.tool("bad_line"), "left", left, *right, *flat)

    def start_server(self, who, server_opens):
        cell = self.cell
        if who == "kernel":
            if server_opens:
                return self.start(self.s, self.tool("linux_end"), cell.cc, "dial", ADDR[cell.family][0], TALK_PORT,
                                  cell.conns, ready=False)
            return self.start(self.s, self.tool("linux_end"), cell.cc, "serve", PORT[who])
        if cell.place != "veth":
            on = "on" if cell.offloads else "off"
            p = self.start(self.c, self.tool("our_end"), "serve", cell.mtu, PORT[who])
            sh(self.c, f"ip addr flush dev vC; ethtool -K qptcp0 tso {on} gso {on} gro {on} >/dev/null")
            self.number(self.c, "qptcp0", 0, MAC_OURS)
            return p
        if server_opens:
            return self.start(self.s, self.tool("our_end"), "dial", "vS", ADDR[cell.family][0], TALK_PORT,
                              cell.conns, ADDR[cell.family][1], MAC_C)
        return self.start(self.s, self.tool("our_end"), "serve", "vS", PORT[who])

    def run(self, who, seed):
        """One transfer with server `who`."""
        cell = self.cell
        each = int(cell.mib * (1 << 20) / cell.conns)
        up = each if cell.direction in ("up", "both") else 0
        down = each if cell.direction in ("down", "both") else 0
        volume = [up, down, cell.conns]
        server_opens = cell.opener == "server"
        self.running = []
        left = "wC" if cell.place == "veth" else "vC" if who == "kernel" else "qptcp0"
        if left == "vC":
            self.number(self.c, "vC", 0, MAC_S)
        try:
            if server_opens:
                line = self.start_line(left, seed)
                peer = self.start(self.c, self.tool("linux_end"), cell.cc, "await", TALK_PORT, *volume)
                server = self.start_server(who, True)
            else:
                server = self.start_server(who, False)
                line = self.start_line(left, seed) if cell.place != "bare" else None
                peer = self.start(self.c, self.tool("linux_end"), cell.cc, "drive", ADDR[cell.family][1],
                                  PORT[who], *volume, ready=False)
            p = peer.result()
            s = server.result(30) if server_opens else server.end()
            ln = line.end() if line else {}
        finally:
            for proc in self.running:
                proc.kill()
        retrans = (p["retrans_bytes"] if up else 0) + (s["retrans_bytes"] if down else 0)
        return Run((up + down) * cell.conns * 8 / p["seconds"], retrans, ln, p, s)


def check_line(run):
    """Chance took single packets."""
    for way in run.line.values():
        if way["several"]:
            raise RuntimeError(f"super-segments on the wire: {run.line}")


def ratios(pairs, mss):
    """Medians of goodput and bytes sent again, ours to the kernel's."""
    few = RETRANS_FEW_SEGMENTS * mss
    goodput = statistics.median(o.goodput / k.goodput for k, o in pairs)
    retrans = statistics.median((o.retrans + few) / (k.retrans + few) if min(o.retrans, k.retrans) < few
                                else o.retrans / k.retrans for k, o in pairs)
    return goodput, retrans


def measure(build, cell, rounds, verbose):
    """A pair for each of `rounds`: numbers that seed the line's chances."""
    pairs = []
    with World(build, cell) as world:
        for i in rounds:
            order = ("kernel", "ours") if i % 2 == 0 else ("ours", "kernel")
            runs = {}
            for who in order:
                runs[who] = world.run(who, i)
                check_line(runs[who])
                if verbose:
                    r = runs[who]
                    print(f"  {who}: {r.goodput / 1e6:.1f} Mbit/s, {r.retrans} B again, line {r.line}, "
                          f"peer {r.peer}, server { {k: v for k, v in r.server.items() if v} }", flush=True)
            pairs.append((runs["kernel"], runs["ours"]))
    return pairs


HEAD = ("| line | loss | direction | MTU | family | offloads | else | kernel, Mbit/s | ours | ratio | "
        "sent again, kernel | ours | ratio |\n|" + "---|" * 13)


def row(cell, pairs):
    med = statistics.median
    goodput, retrans = ratios(pairs, cell.mtu - 52)
    sent = cell.mib * (1 << 20) * (2 if cell.direction == "both" else 1)
    return (f"| {cell.name()} | {med(k.goodput for k, _ in pairs) / 1e6:.1f} | "
            f"{med(o.goodput for _, o in pairs) / 1e6:.1f} | {goodput:.2f} | "
            f"{med(k.retrans for k, _ in pairs) / sent * 100:.2f} % | "
            f"{med(o.retrans for _, o in pairs) / sent * 100:.2f} % | {retrans:.2f} |")


# So much that a run takes about three seconds.
MIB = {0: 48, 0.1: 16, 1: 4, 5: 1.5}


def lossy(**kw):
    for loss, mib in MIB.items():
        for direction in ("down", "up", "both"):
            yield Cell(loss=loss, mib=kw.get("mib", mib), direction=direction,
                       **{k: v for k, v in kw.items() if k != "mib"})


def quick_cells():
    yield Cell(mib=16)
    yield Cell(direction="both", loss=1, mib=1, family=6, offloads=False)
    yield Cell(direction="up", loss=0.1, mib=4, mtu=9000)
    yield Cell(direction="down", loss=5, mib=0.25, mtu=1280, family=6)
    yield Cell(direction="both", late=1, mib=4)
    yield Cell(direction="both", conns=200, loss=0.1, mib=8)
    yield Cell(direction="both", opener="server", loss=1, mib=1, conns=4)
    yield Cell(direction="both", loss=1, mib=1, place="tap", family=6)
    yield Cell(direction="both", place="bare", mib=64)


def full_cells():
    yield from lossy()
    yield from lossy(family=6, offloads=False)
    for mtu in (1280, 9000):
        for loss in (0, 0.1, 1, 5):
            yield Cell(loss=loss, mtu=mtu, family=6 if mtu == 1280 else 4, direction="both",
                       mib=MIB[loss] * (4 if mtu == 9000 and loss else 1))
    for late in (0.1, 1):
        for direction in ("down", "up"):
            yield Cell(late=late, direction=direction, mib=32)
    yield Cell(ce=0.1, direction="down", mib=16)
    for direction in ("down", "up"):
        yield Cell(conns=200, direction=direction, mib=32)
        yield Cell(conns=200, direction=direction, loss=1, mib=32)
        yield Cell(rate=1000, rtt_ms=25, direction=direction, mib=128)
    yield Cell(opener="server", direction="both", loss=1, mib=4)
    yield from lossy(place="tap")
    for direction in ("down", "up"):
        yield Cell(place="bare", direction=direction, mib=512)


def custom(texts):
    """Cells from KEY=VALUE,… texts."""
    kinds = {f.name: type(f.default) for f in dataclasses.fields(Cell)}
    for text in texts:
        values = dict(item.split("=", 1) for item in text.split(",") if item)
        yield Cell(**{k: v == "on" if kinds[k] is bool else kinds[k](v) for k, v in values.items()})


def verdict(cell, pairs, quick):
    """What is not as it should be, as texts. The quick run is too short for more than sanity."""
    goodput, retrans = ratios(pairs, cell.mtu - 52)
    least, most = QUICK_BOUNDS if quick or cell.place == "bare" else (GOODPUT_LEAST, RETRANS_MOST)
    bad = []
    if goodput < least:
        bad.append(f"{cell.name()}: goodput is {goodput:.2f} of the kernel's, below {least}")
    if retrans > most:
        bad.append(f"{cell.name()}: sends {retrans:.2f} times as many bytes again, above {most}")
    return bad


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--build", default="build", help="build folder")
    ap.add_argument("--pairs", type=int, help="paired runs a cell (5; --quick: 1, 5 if that is bad)")
    ap.add_argument("--quick", action="store_true", help="few short cells, lenient ratios")
    ap.add_argument("--cell", action="append", metavar="KEY=VALUE,…",
                    help="only this cell, e.g. loss=1,direction=up,mib=4; may be repeated")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--verbose", action="store_true")
    args = ap.parse_args()
    if os.geteuid() != 0 or not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        print("skipped: needs root and /dev/net/tun")
        return SKIPPED
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by way of World.__exit__
    cells = custom(args.cell) if args.cell else quick_cells() if args.quick else full_cells()
    npairs = args.pairs or (QUICK_PAIRS if args.quick else 5)
    bad = []
    print(HEAD, flush=True)
    for cell in cells:
        try:
            pairs = measure(args.build, cell, range(args.seed, args.seed + npairs), args.verbose)
            if args.quick and verdict(cell, pairs, True):
                more = range(args.seed + npairs, args.seed + QUICK_PAIRS_IF_BAD)
                pairs += measure(args.build, cell, more, args.verbose)
        except (RuntimeError, subprocess.SubprocessError) as e:
            bad.append(f"{cell.name()}: {e}")
            print(f"| {cell.name()} | failed |", flush=True)
            continue
        print(row(cell, pairs), flush=True)
        bad += verdict(cell, pairs, args.quick)
    print("\n" + "\n".join(bad or ["all within bounds"]))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
