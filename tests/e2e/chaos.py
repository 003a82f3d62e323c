# SPDX-License-Identifier: Apache-2.0
"""
A storm of faults on a gateway that works: users outside, four clients behind it, every byte checked.
Which faults come, and in which order, is drawn from a seed. scripts/chaos.sh calls this.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import harness
from chaos_faults import FAULTS
from harness import BUILD, QUICPORT, Client, Gateway, Host, Traces, eventually, files_of, link, new_port, run
from storm import BAD_ENDS, Held, Storm, ahead_of_others, listed, processes

GATEWAY_OUTER, OUTSIDE = "198.51.100.1", "198.51.100.2"
GATEWAY_OUTER_6, OUTSIDE_6 = "2001:db8:1::1", "2001:db8:1::2"
GATEWAY_INNER, INSIDE = "203.0.113.1", "203.0.113.2"
CLIENTS = 4  # of two, one has X25519, the other a PSK; of four, two are reached by IPv6
BULK, SHORT = 40, 40
RECOVERY_S = 60
# Whoever is gone without a word is missed soon.
OPTIONS = ("--quic-idle-timeout", "6", "--quic-keep-alive", "2")
MIB = {1: 600, 2: 960}  # room for the generations of so many workers, within 512 huge pages


class Scene:
    """outside ── gateway ── inside: users, a gateway, and clients beside their service."""

    def __init__(self, options, keep):
        self.options = (*OPTIONS, "--workers", options.workers, "--memory", MIB[options.workers])
        self.keep = keep  # an ExitStack: what is to be taken down again
        self.outside, self.gateway_host, self.inside = map(self.host, ("outside", "gateway", "inside"))
        for host in (self.outside, self.gateway_host, self.inside):  # addresses of its own come late
            host.run("sysctl", "-q", "net.ipv6.conf.default.addr_gen_mode=1")
        link(self.outside, self.gateway_host, [f"{OUTSIDE}/24", f"{OUTSIDE_6}/64"],
             [f"{GATEWAY_OUTER}/24", f"{GATEWAY_OUTER_6}/64"], "gateway", "users")  # fmt: skip
        link(self.gateway_host, self.inside, [f"{GATEWAY_INNER}/24"], [f"{INSIDE}/24"], "clients", "gateway")
        self.traces = Traces(self.gateway_host)
        self.folder = Path(os.environ["QP_E2E_LOGS"]) / "programs"
        self.folder.mkdir(exist_ok=True)
        self.programs = [path.name for path in BUILD.glob("quicport*") if path.is_file()]
        for name in self.programs:
            self.install(name)
        harness.QUICPORT = self.folder / "quicport"
        self.env = {"QUICPORT_STATE_DIR": os.environ["QP_E2E_LOGS"] + "/state-of-gateway"}
        self.port, self.service = new_port(), new_port()
        self.ports = [new_port() for _ in range(CLIENTS)]
        self.secrets = [run(QUICPORT, "keygen").strip() for _ in range(2)]
        self.start_control_plane()
        self.gateway.wait_ready()
        self.clients = {}
        for port in self.ports:
            self.start_client(port)
        eventually(self.all_ports_open, what="all clients have their ports")
        self.held = Held(self.gateway)
        self.storm = Storm(self.outside, f"127.0.0.1:{self.service}@{self.inside.name}", self.ports,
                           "--bulk", BULK, "--short", SHORT, "--seed", options.seed, seconds=86400,
                           addresses=[GATEWAY_OUTER] * 2 + [f"[{GATEWAY_OUTER_6}]"] * 2)  # fmt: skip

    def install(self, name, text=None):
        """Another file in the place of a program: the one that was built, or this text."""
        new = self.folder / f".{name}"
        if text is None:
            shutil.copy(BUILD / name, new)
        else:
            new.write_text(text)
            new.chmod(0o755)
        new.rename(self.folder / name)

    def host(self, role):
        host = Host(role)
        self.keep.callback(host.remove)
        return host

    def public(self, which):
        return run(QUICPORT, "pubkey", input=self.secrets[which] + "\n").strip()

    def start_control_plane(self):
        auth = ("--psk", "chaos", "--privkey", self.secrets[0], "--client-pubkeys", self.public(1))
        self.gateway = Gateway(self.gateway_host, self.port, *self.options, auth=auth, wait=False, session=True,
                               data_plane=f"0.0.0.0:{self.port}", env=self.env)  # fmt: skip

    def start_client(self, port):
        x25519 = ("--privkey", self.secrets[1], "--server-pubkey", self.public(0))
        auth = x25519 if self.ports.index(port) % 2 else ("--psk", "chaos")
        self.clients[port] = Client(self.inside, f"{GATEWAY_INNER}:{self.port}", port, self.service,
                                    auth=auth, reconnect=True, session=True, name=f"client-{port}")  # fmt: skip

    def tunnels(self):
        """The tunnel of each port that is open."""
        rows = listed(self.gateway, "ListTunnels", "tunnels")
        return {entry["port"]: row["tunnel_id"] for row in rows for entry in row["ports"]}

    def all_ports_open(self):
        return self.tunnels().keys() >= set(self.ports)

    def end(self):
        """Everything ends as users end it; what is left of it, in words."""
        for port in self.ports:  # the draining data planes end with the last of their tunnels
            self.clients[port].stop()
            self.start_client(port)
        eventually(lambda: len(listed(self.gateway, "ListDataPlanes", "data_planes")) == 1
                   and self.all_ports_open(), RECOVERY_S, "one data plane has all tunnels")  # fmt: skip
        left = self.held.differs(Held(self.gateway))
        for client in self.clients.values():
            client.stop()
        instance, gateway = self.gateway.instance, self.gateway
        ids = processes(gateway, "data-plane") + processes(gateway, "port-owner")
        gateway.stop()
        with contextlib.suppress(AssertionError):
            eventually(lambda: not [pid for pid in ids if os.path.exists(f"/proc/{pid}")])
        left += [f"process {pid}" for pid in ids if os.path.exists(f"/proc/{pid}")]
        return left + self.traces.left() + files_of(instance)


class Result:
    """What one fault did: the sum of the marks from before it until all was well again."""

    def __init__(self, fault, chance):
        self.fault, self.chance = fault, chance
        self.expected = self.unexpected = self.wrong = 0
        self.stall_ms = self.short_ms = self.outage_ms = self.recovery_s = self.own_lag_ms = 0
        self.problem = ""

    def add(self, figures, may_lose):
        for name, target in figures["targets"].items():
            expected = int(name.rpartition(":")[2]) in may_lose
            self.expected += target["lost"] if expected else 0
            self.unexpected += 0 if expected else target["lost"]
            self.outage_ms = max(self.outage_ms, target["outage_ms"])
        if not may_lose:  # what never came about is no loss to anyone, but must not happen either
            bad = sum(figures["bulk"][end] for end in BAD_ENDS)
            self.unexpected += bad - figures["lost_bulk"]
        self.wrong += figures["wrong_bytes"]
        self.stall_ms = max(self.stall_ms, figures["bulk"]["stall_ms"])
        self.own_lag_ms = max(self.own_lag_ms, figures["own_lag_ms"])
        self.short_ms = max(self.short_ms, figures["short"]["longest_ms"])

    @property
    def survived(self):
        return not (self.unexpected or self.wrong or self.problem)

    def line(self):
        end = "survived" if self.survived else f"FAILED {self.problem}"
        return (f"{time.strftime('%T')} {self.fault:22} {self.chance:.3f}  back after {self.recovery_s:5.2f} s, "
                f"stall {self.stall_ms:5.0f} ms, lost {self.expected + self.unexpected:3}"
                f"{f' ({self.unexpected} must not be)' if self.unexpected else ''}, {end}")  # fmt: skip


def well(figures):
    """Whether all long connections are there again, with bytes both ways, and none waits any more."""
    return sum(t["served"] for t in figures["targets"].values()) == BULK and figures["bulk"]["stall_ms"] < 250


def storm_of(scene, fault, chance, number):
    result = Result(fault, chance)
    scene.storm.mark(f"before {number}")
    began = time.monotonic()
    figures, may_lose, before = [], set(), scene.tunnels()

    def all_back():
        """Who lost a tunnel has another one, who did not has the same."""
        now = scene.tunnels()
        return all(port in now and (now[port] != before[port]) == (port in may_lose) for port in scene.ports)

    try:
        may_lose = FAULTS[fault].do(scene, chance)
        eventually(all_back, RECOVERY_S, "all clients have their ports")

        def settled():
            time.sleep(0.1)
            figures.append(scene.storm.mark(f"{fault} {number}.{len(figures)}"))
            return well(figures[-1])

        eventually(settled, RECOVERY_S, "all connections are there again")
        result.recovery_s = time.monotonic() - began
        time.sleep(0.5)
    except AssertionError as error:
        result.problem = str(error).splitlines()[0]
    figures.append(scene.storm.mark(f"after {number}"))
    for one in figures:
        result.add(one, may_lose)
    return result


def drawn(seed, names):
    """The same faults in the same order for a seed, without end."""
    chance = random.Random(seed)
    weights = [FAULTS[name].weight for name in names]
    while True:
        yield chance.choices(names, weights)[0], chance.random()


def table(results):
    row = "{:22} {:>5} {:>8} {:>10} {:>12} {:>8} {:>8} {:>9}"
    yield row.format("fault", "times", "survived", "lost", "not allowed", "stall", "outage", "recovery")
    for name in FAULTS:
        of = [result for result in results if result.fault == name]
        if of:
            yield row.format(
                name, len(of), sum(r.survived for r in of), sum(r.expected + r.unexpected for r in of),
                sum(r.unexpected for r in of), f"{max(r.stall_ms for r in of):.0f} ms",
                f"{max(r.outage_ms for r in of):.0f} ms", f"{max(r.recovery_s for r in of):.2f} s")  # fmt: skip


def run_storm(options):
    results = []
    with contextlib.ExitStack() as keep:
        keep.enter_context(ahead_of_others())
        scene = Scene(options, keep)
        names = [name for name in options.faults if FAULTS[name].works(scene)]
        for name in sorted(set(options.faults) - set(names)):
            print(f"{name:22} left out: this gateway does not know it", flush=True)
        end = time.monotonic() + options.minutes * 60
        for number, (fault, chance) in enumerate(drawn(options.seed, names)):
            if time.monotonic() >= end:
                break
            results.append(storm_of(scene, fault, chance, number))
            print(results[-1].line(), flush=True)
            if results[-1].problem:  # what comes after would only tell the same again
                break
        total = scene.storm.end()
        left = scene.end() if not results[-1].problem else []
    return results, total, left


def main():
    parser = argparse.ArgumentParser(prog="scripts/chaos.sh", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5, help="how long faults come (default 5)")
    parser.add_argument("--seed", type=int, default=1, help="which faults, in which order (default 1)")
    parser.add_argument("--faults", default=",".join(FAULTS), help="only these: " + ", ".join(FAULTS))
    parser.add_argument("--workers", type=int, choices=MIB, default=1, help="of each data plane (default 1)")
    parser.add_argument("--json", help="a file for all figures")
    parser.add_argument("--logs", help="a folder to keep all programs' output in")
    options = parser.parse_args()
    options.faults = options.faults.split(",")
    if unknown := set(options.faults) - set(FAULTS):
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="qpchaos-") as logs:
        logs = options.logs or logs
        os.makedirs(logs, exist_ok=True)
        os.environ["QP_E2E_LOGS"] = logs
        results, total, left = run_storm(options)
        bad = [result for result in results if not result.survived]
        if bad or left:
            for log in sorted(os.listdir(logs)):
                if log.endswith(".log"):
                    sys.stderr.write(f"---- {log}\n" + "".join(open(f"{logs}/{log}").readlines()[-30:]))
    print("", *table(results), "", sep="\n")
    print(f"{total['bulk']['opened']} long and {total['short']['opened']} short connections, "
          f"{total['bytes'] / 1e6:.0f} MB checked, {total['wrong_bytes']} bytes wrong")  # fmt: skip
    print("left behind: " + (", ".join(left) or "nothing"))
    if options.json:
        with open(options.json, "w") as out:
            json.dump({"seed": options.seed, "faults": [vars(result) for result in results],
                       "total": total, "left": left}, out, indent=1)  # fmt: skip
    return 1 if bad or left or total["wrong_bytes"] else 0


if __name__ == "__main__":
    sys.exit(main())
