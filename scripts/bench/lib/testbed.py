# SPDX-License-Identifier: Apache-2.0
"""
A gateway in nic mode and a load generator, joined by a memif: no kernel between them. Both in a
network namespace of their own, which goes at the end with all that is in it.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from frame import BUILD, Failed, deaf, listed, read, tied
from prompt import Prompt

GATEWAY, BENCH, NET = "10.97.0.1", "10.97.0.2", "10.98.0.0/15"
PORT = 39000
PSK = "a key for benchmarks only"
PATIENCE_S = 20


def program(*parts):
    path = BUILD.joinpath(*parts)
    if not os.access(path, os.X_OK):
        raise Failed(f"not built: {path}: meson setup build && ninja -C build")
    return path


def seal(cpu, packet=1452, milliseconds=300):
    """What wolfCrypt alone takes on that CPU; see tests/tools/bench_seal.c."""
    done = subprocess.run([program("tests", "tools", "bench-seal"), "--cpu", str(cpu), "--bytes",
                           str(packet), "--milliseconds", str(milliseconds)],
                          capture_output=True, text=True)  # fmt: skip
    if done.returncode != 0:
        raise Failed(done.stderr.strip())
    return json.loads(done.stdout)


def sum_cycles(lcores, cpu_ns):
    """
    Of all lcores: busy nanoseconds, share of time that was busy, share that others had of their
    CPUs, packets, bytes. What others had counts in the cycles, and is taken off again.
    """
    if not lcores:
        raise Failed("the prompt shows no lcores")
    hz = lcores[0]["hz"]
    busy, idle = (sum(lcore[what] for lcore in lcores) for what in ("busy", "idle"))
    stolen = max(0, 1 - cpu_ns / max(1, (busy + idle) * 1e9 / hz))
    return {"busy_ns": busy * 1e9 / hz * (1 - stolen), "busy": busy / max(1, busy + idle),
            "stolen": stolen,
            "packets": sum(lcore["packets"] for lcore in lcores),
            "bytes": sum(lcore["bytes"] for lcore in lcores)}  # fmt: skip


class Testbed:
    """`with Testbed(args) as bed:`, then bed.start() and bed.bench(…) in any order."""

    def __init__(self, args):
        if os.geteuid() != 0:
            raise Failed("a gateway needs root: sudo scripts/bench/…")
        free = int(read("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "0"))
        if free < 200:
            raise Failed(f"{free} hugepages of 2 MiB are free, 200 are needed: "
                         "sysctl vm.nr_hugepages=512")  # fmt: skip
        self.args = args
        self.namespace = f"qpbench-{os.getpid()}"
        self.processes = []
        self.runs = self.starts = 0

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="qpbench-"))
        try:
            self.run("ip", "netns", "add", self.namespace)
            self.run("ip", "-n", self.namespace, "link", "set", "lo", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        with deaf():
            self.stop()
            subprocess.run(["ip", "netns", "del", self.namespace], capture_output=True)
        if self.args.keep:
            print(f"logs: {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *command):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"{' '.join(command)}: {done.stderr.strip()}")

    def inside(self, *command):
        return ["ip", "netns", "exec", self.namespace, *map(str, command)]

    def environment(self):
        env = {k: v for k, v in os.environ.items() if not k.startswith("QUICPORT_")}
        return {**env, "QUICPORT_STATE_DIR": str(self.folder / "state"),
                "QUICPORT_CONFIG_DIR": str(self.folder / "config"), "HOME": str(self.folder)}  # fmt: skip

    def words(self, lcores, more):
        return [program("quicport"), "control-plane", "--control-plane-addr", f"127.0.0.1:{PORT}",
                "--data-plane-addr", f"{GATEWAY}:{PORT}", "--no-public-api", "--psk", PSK,
                "--port", f"net_memif0,role=server,socket={self.folder}/memif-{self.starts}.sock,socket-abstract=no",
                "--ip", f"{GATEWAY}/24", "--route", f"{NET}={BENCH}", "--lcores", listed(lcores),
                "--busy-poll", *more]  # fmt: skip

    def start(self, *more, lcores=None):
        """The gateway, until it serves."""
        self.lcores, self.more, self.used = lcores, more, False
        lcores = self.args.gateway_cpus if lcores is None else lcores
        self.queues = 4 * len(lcores)  # of the gateway's port; its other end needs as many
        self.starts += 1
        self.log = self.folder / f"gateway-{self.starts}.log"
        with open(self.log, "wb") as out:
            gateway = subprocess.Popen(self.inside(*self.words(lcores, more)), stdin=subprocess.DEVNULL,
                                       stdout=out, stderr=out, env=self.environment(),
                                       preexec_fn=tied)  # fmt: skip
        self.processes.append(gateway)
        self.gateway = gateway
        end = time.monotonic() + PATIENCE_S
        while self.prompt_socket() is None:
            if gateway.poll() is not None:
                raise Failed(f"the gateway does not start:\n{self.log.read_text()[-2000:]}")
            if time.monotonic() > end:
                raise Failed(f"the gateway is not ready within {PATIENCE_S} s:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.05)

    def run_folder(self):
        for lock in Path("/run/quicport").glob("*/lock"):
            with contextlib.suppress(OSError):
                if lock.read_text().split()[:1] == [str(self.gateway.pid)]:
                    return lock.parent
        return None

    def prompt_socket(self):
        """Of the ACTIVE data plane; None: there is none yet."""
        folder = self.run_folder()
        return folder / "prompt.sock" if folder and (folder / "prompt.sock").exists() else None

    def prompt(self):
        return Prompt(self.prompt_socket())

    def reload(self):
        """SIGHUP, until another data plane is ACTIVE; how long that took."""
        before, start = os.readlink(self.prompt_socket()), time.monotonic()
        self.gateway.send_signal(signal.SIGHUP)
        while os.readlink(self.prompt_socket()) == before:
            if time.monotonic() - start > PATIENCE_S:
                raise Failed(f"no new data plane within {PATIENCE_S} s:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.01)
        return time.monotonic() - start

    def bench_words(self, scenario, more, out):
        words = [program("quicport-bench"), "--port",
                 f"net_memif0,role=client,socket={self.folder}/memif-{self.starts}.sock,socket-abstract=no",
                 "--ip", f"{BENCH}/24", "--net", NET, "--target", f"{GATEWAY}:{PORT}", "--psk", PSK,
                 "--scenario", scenario, "--seconds", self.args.seconds,
                 "--lcores", listed([self.args.gateway_cpus[0], *self.args.bench_cpus]),
                 "--queues", self.queues, "--json", out]  # fmt: skip
        return [*words, *more]

    def begin_bench(self, scenario, *more):
        """Starts the load generator; give what it returns to end_bench."""
        self.runs += 1
        self.used = True
        out = self.folder / f"bench-{self.runs}.json"
        log = open(self.folder / f"bench-{self.runs}.log", "wb")  # noqa: SIM115
        bench = subprocess.Popen(self.inside(*self.bench_words(scenario, more, out)),
                                 stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                 env=self.environment(), preexec_fn=tied)  # fmt: skip
        log.close()
        self.processes.append(bench)
        return bench, out

    def end_bench(self, begun, scenario="bench", may_lose=False):
        bench, out = begun
        try:
            status = bench.wait(self.args.seconds + 90)
        except subprocess.TimeoutExpired:
            raise Failed(f"{scenario}: the load generator does not come to an end") from None
        log = out.with_suffix(".log").read_text(errors="replace")
        self.processes.remove(bench)
        if not out.exists():
            raise Failed(f"{scenario}: the load generator ended with status {status}:\n{log[-2000:]}")
        got = json.loads(out.read_text())
        if status != 0 and not (may_lose and got["verdict"] == "lost"):
            raise Failed(f"{scenario}: {got['verdict']}: {got['why']}")
        return got

    def bench(self, scenario, *more, may_lose=False):
        """A whole run; its JSON."""
        return self.end_bench(self.begin_bench(scenario, *more), scenario, may_lose)

    def renew(self):
        """
        Another gateway, unless no load has been at this one: rounds do not build on each other,
        and a memif's other end comes once.
        """
        if self.used:
            self.stop()
            self.start(*self.more, lcores=self.lcores)

    def measured(self, scenario, *more, may_lose=False):
        """The same, and what the gateway's lcores did meanwhile."""
        self.renew()
        prompt = self.prompt()
        before = self.worker_ns()
        prompt.ask("clear fwd stats all")
        got = self.bench(scenario, *more, may_lose=may_lose)
        cycles, after = prompt.cycles(), self.worker_ns()
        prompt.close()
        return got, sum_cycles(cycles, after - before)

    def worker_ns(self):
        """CPU time of the ACTIVE data plane's workers."""
        tasks = Path(f"/proc/{self.data_planes()[-1]}/task").glob("*")
        return sum(int(read(task / "schedstat", "0").split()[0]) for task in tasks
                   if "worker" in read(task / "comm"))  # fmt: skip

    def crypto(self, packet=1452):
        """The floor, on the gateway's CPU while its workers stand still."""
        self.renew()
        prompt = self.prompt()
        prompt.ask("stop")
        try:
            return seal(self.args.gateway_cpus[0], packet, 60 if self.args.quick else 300)
        finally:
            prompt.ask("start")
            prompt.close()

    def data_planes(self):
        """Process ids; the last one is the youngest."""
        done = subprocess.run(["ip", "netns", "pids", self.namespace], capture_output=True, text=True)
        return [int(pid) for pid in done.stdout.split()
                if read(f"/proc/{pid}/comm") == "quicport-data-p"]  # fmt: skip

    def stop(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            if process.poll() is None:
                process.kill()
                process.wait()
        self.processes = []
