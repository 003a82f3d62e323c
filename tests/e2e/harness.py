# SPDX-License-Identifier: Apache-2.0
"""
What the end-to-end tests stand on: network namespaces, the product's processes in them, waiting for
conditions with a deadline, and the question whether a gateway left anything behind.
"""

import contextlib
import ctypes
import glob
import http.client
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = Path(os.environ.get("QP_BUILD") or ROOT / "build")
QUICPORT = BUILD / "quicport"
TOOLS = BUILD / "tests/tools"
FULL = os.environ.get("QP_FULL") == "1"
# A loaded machine makes everything slower; what a user is promised is checked where the promise is.
PATIENCE_S = 20

_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count(1)


def eventually(condition, within=PATIENCE_S, what="condition", every=0.01):
    """The first true value of condition() within the deadline."""
    end = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise AssertionError(f"not within {within} s: {what}")
        time.sleep(every)


def run(*command, check=True, **options):
    """A command's standard output. Its error text becomes the exception's."""
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True,
        **{"timeout": 60, **options},
    )  # fmt: skip
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout


# ---- hosts ----


class Host:
    """A network namespace of its own, `lo` up and nothing else until links are added."""

    def __init__(self, role="host"):
        self.name = f"qpe2e-{os.getpid()}-{next(_numbers)}-{role}"
        run("ip", "netns", "add", self.name)
        self.run("ip", "link", "set", "lo", "up")
        self.processes = []

    def remove(self):
        """Ends what runs here, gateways as a user would, and the namespace with it."""
        for process in reversed(self.processes):
            if isinstance(process, Gateway) and process.running():
                process.send(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.popen.wait(5)
            process.kill()
        for pid in self.pids():  # what a test's process started and left
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        run("ip", "netns", "del", self.name, check=False)

    def command(self, *command):
        return ["ip", "netns", "exec", self.name, *map(str, command)]

    def run(self, *command, **options):
        return run(*self.command(*command), **options)

    def pids(self):
        return [int(pid) for pid in run("ip", "netns", "pids", self.name, check=False).split()]

    @contextlib.contextmanager
    def inside(self):
        """Sockets that this thread makes meanwhile belong to the namespace, for good."""
        with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{self.name}") as there:
            _setns(there)
            try:
                yield
            finally:
                _setns(home)

    def connect(self, address, port, timeout=5):
        with self.inside():
            return socket.create_connection((address, port), timeout)

    def port_opens(self, address, port):
        try:
            self.connect(address, port, 1).close()
        except OSError:
            return False
        return True

    def start(self, name, *command, **options):
        return Process(self, name, command, **options)

    def load(self, *args, deadline=60):
        """Runs qpload's client to its end; its last line as a dict, with .lines before it."""
        done = subprocess.run(
            self.command(TOOLS / "qpload", "run", *args, "--deadline", deadline),
            capture_output=True,
            text=True,
            timeout=deadline + 30,
        )
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert lines, f"qpload: {done.stderr}"
        return {**lines[-1], "connections": lines[:-1], "status": done.returncode}

    def service(self, address, port, *args):
        service = self.start(f"service-{port}", TOOLS / "qpload", "serve", address, port, *args)
        service.wait_for_line("listening")
        return service


def _setns(file):
    if _libc.setns(file.fileno(), 0x40000000) != 0:  # CLONE_NEWNET
        raise OSError(ctypes.get_errno(), "setns")


def link(one, other, one_addrs, other_addrs, one_if, other_if):
    """A virtual cable between two hosts, with these addresses on its ends."""
    run("ip", "link", "add", one_if, "netns", one.name, "type", "veth",
        "peer", "name", other_if, "netns", other.name)  # fmt: skip
    for host, name, addresses in ((one, one_if, one_addrs), (other, other_if, other_addrs)):
        for address in addresses:
            nodad = ["nodad"] if ":" in address else []
            host.run("ip", "address", "add", address, "dev", name, *nodad)
        host.run("ip", "link", "set", name, "up")


# ---- processes ----


class Process:
    """A program in a host, its output in a file that is shown when a test fails."""

    def __init__(self, host, name, command, env=None, stdin=subprocess.DEVNULL, session=False):
        self.host = host
        self.name = name
        self.log = Path(os.environ["QP_E2E_LOGS"]) / f"{next(_numbers):03}-{name}.log"
        self.started = time.monotonic()
        with open(self.log, "wb") as out:
            self.popen = subprocess.Popen(
                host.command(*command),
                stdin=stdin,
                start_new_session=session,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=clean_environment(env),
            )
        host.processes.append(self)

    @property
    def pid(self):
        # `ip netns exec` replaces itself by the program.
        return self.popen.pid

    def output(self):
        return self.log.read_text(errors="replace")

    def lines(self):
        """The output's JSON lines."""
        return [json.loads(line) for line in self.output().splitlines() if line.startswith("{")]

    def running(self):
        return self.popen.poll() is None

    def wait_for_line(self, pattern, within=PATIENCE_S):
        def seen():
            match = re.search(pattern, self.output(), re.M)
            if not match and not self.running():
                match = re.search(pattern, self.output(), re.M)
                assert match, f"{self.name} ended ({self.popen.returncode}):\n{self.output()}"
            return match

        return eventually(seen, within, f"{self.name} says {pattern!r}")

    def opens(self, host, address, port, within=PATIENCE_S):
        """Waits until the port that this process asked for can be connected to from `host`."""

        def open_now():
            assert self.running(), f"{self.name} ended ({self.popen.returncode}):\n{self.output()}"
            return host.port_opens(address, port)

        eventually(open_now, within, f"{address}:{port} opens")

    def wait(self, within=PATIENCE_S):
        """Its exit status."""
        try:
            return self.popen.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {within} s") from None

    def send(self, number):
        self.popen.send_signal(number)

    def stop(self, number=signal.SIGTERM, within=PATIENCE_S):
        if self.running():
            self.send(number)
        return self.wait(within)

    def kill(self):
        if self.running():
            self.popen.kill()
            self.popen.wait()


def clean_environment(extra):
    """
    The test's environment without the product's variables: each test says what it wants. A
    gateway keeps its state in the test's folder, not in the host's.
    """
    logs = os.environ["QP_E2E_LOGS"]
    env = {key: value for key, value in os.environ.items() if not key.startswith("QUICPORT_")}
    env.update({"HOME": logs, "QUICPORT_STATE_DIR": f"{logs}/state", **(extra or {})})
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        if name not in (extra or {}):
            env.pop(name, None)
    return env


def cpu_seconds(pids):
    """User and system time of processes, all their threads included."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def resident_bytes(pids):
    text = (Path(f"/proc/{pid}/status").read_text() for pid in pids)
    return sum(int(re.search(r"VmRSS:\s*(\d+)", t)[1]) * 1024 for t in text)


class Gateway(Process):
    """`quicport control-plane` and what it starts."""

    def __init__(self, host, port, *args, data_plane=None, auth=("--psk", "secret"), env=None,
                 wait=True, name="gateway", public_api=False, session=False,
                 stdin=subprocess.DEVNULL):  # fmt: skip
        self.port = port
        self.auth = tuple(auth)
        self.before = Traces(host)
        # One for each, in the test's folder, which goes afterwards; a test that restarts one names it.
        self.state_dir = Path((env or {}).get("QUICPORT_STATE_DIR")
                              or tempfile.mkdtemp(prefix="state-", dir=os.environ["QP_E2E_LOGS"]))  # fmt: skip
        env = {"QUICPORT_STATE_DIR": str(self.state_dir), **(env or {})}
        super().__init__(
            host,
            name,
            [QUICPORT, "control-plane", "--control-plane-addr", f"127.0.0.1:{port}",
             "--data-plane-addr", data_plane or f"127.0.0.1:{port}",
             *([] if public_api else ["--no-public-api"]), *auth, "--log-format", "json", *args],
            env,
            stdin=stdin,
            session=session,
        )  # fmt: skip
        if wait:
            self.ready_after = self.wait_ready()

    def wait_ready(self, within=PATIENCE_S):
        """Seconds from its start to the first healthy answer."""

        def healthy():
            if not self.running():
                raise AssertionError(f"gateway ended:\n{self.output()}")
            return self.healthy()

        eventually(healthy, within, "gateway is healthy")
        return time.monotonic() - self.started

    @property
    def instance(self):
        """Its name among the host's gateways: that of its run folder, whose lock has its pid."""
        for lock in glob.glob("/run/quicport/*/lock"):
            with contextlib.suppress(OSError):
                if Path(lock).read_text().split()[:1] == [str(self.pid)]:
                    return Path(lock).parent.name
        raise AssertionError(f"no run folder of pid {self.pid} in /run/quicport")

    def get(self, path):
        return self.ask("GET", path)

    def ask(self, method, path, body=None, headers=None):
        """Status and body; OSError when there is no whole answer."""
        with self.host.inside():
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            connection.connect()
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except http.client.HTTPException as cut:
            raise ConnectionError(f"{method} {path}: {cut!r}") from cut
        finally:
            connection.close()

    def call(self, name, **args):
        """Status and answer of one call of the private API."""
        status, body = self.ask("POST", f"/api/v1/admin/{name}", json.dumps(args),
                                {"Content-Type": "application/json"})  # fmt: skip
        return status, json.loads(body)

    def healthy(self):
        try:
            status, body = self.get("/healthcheck")
        except OSError:
            return False
        return status == 200 and json.loads(body)["status"] == "SERVING"

    def metric(self, name):
        """A metric's value, summed over its labels."""
        _, text = self.get("/metrics")
        found = re.findall(rf"^{name}(?:{{[^}}]*}})? ([0-9.e+-]+)$", text, re.M)
        assert found, f"no metric {name} in:\n{text}"
        return sum(map(float, found))

    def members(self):
        """Process ids of all that belong to it: itself, and its descendants."""
        children = {}
        for stat in glob.glob("/proc/[0-9]*/stat"):
            try:
                fields = Path(stat).read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                children.setdefault(int(fields[1]), []).append(int(stat.split("/")[2]))
        found, todo = [], [self.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            todo += children.get(pid, [])
        return found

    def end(self, number=signal.SIGTERM, within=2):
        """Ends it as a user does, and checks that it is in time and leaves nothing."""
        members, instance = self.members(), self.instance
        start = time.monotonic()
        status = self.stop(number)
        eventually(lambda: not alive(members), what=f"all of {members} are gone")
        took = time.monotonic() - start
        assert status == 0, f"exit status {status}:\n{self.output()}"
        assert took <= within, f"took {took:.2f} s to end"
        left = self.before.left()
        assert left == [], left
        assert files_of(instance) == []


def alive(pids):
    def state(pid):
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return "Z"

    return [pid for pid in pids if state(pid) != "Z"]


class Client(Process):
    """`quicport client` with one forward, which ends with its connection unless `reconnect`."""

    def __init__(self, host, server, remote, local, *args,
                 auth=("--psk", "secret"), insecure=True, env=None, name="client",
                 reconnect=False, session=False):  # fmt: skip
        self.auth = tuple(auth)
        words = ["-s", server, "-r", str(remote), "-l", str(local), *auth]
        if insecure:
            words.append("--insecure")
        if not reconnect:
            words += ["--reconnect", "no"]
        super().__init__(host, name, [QUICPORT, "client", *words, *args], env, session=session)


class RefPeer(Process):
    """The reference implementation of the protocol, as server or client."""

    def __init__(self, host, mode, *args):
        super().__init__(host, f"refpeer-{mode}", [sys.executable, HERE / "refpeer.py", mode, *args])

    def event(self, kind, within=PATIENCE_S):
        def seen():
            return next((e for e in self.lines() if e["event"] == kind), None)

        return eventually(seen, within, f"refpeer reports {kind!r}")


# ---- what a gateway must not leave ----


class Traces:
    """Everything on a host that a gateway may change. left() says what differs from then."""

    def __init__(self, host):
        self.host = host
        self.then = self.look()

    def look(self):
        host = self.host
        links = [entry["ifname"] for entry in json.loads(host.run("ip", "-j", "link"))]
        seen = {f"link {name}" for name in links}
        # Not for each link by name: one of a gateway that is ending may be gone by then.
        for entry in json.loads(host.run("tc", "-j", "qdisc", "show") or "[]"):
            seen.add(f"qdisc {entry['kind']} on {entry['dev']}")
        for name in links:
            for side in ("ingress", "egress"):
                shown = host.run("tc", "filter", "show", "dev", name, side, check=False)
                seen |= {f"filter on {name} {side}: {line}" for line in shown.splitlines()}
        for family in ("-4", "-6"):
            for what in ("route", "rule"):
                table = ["table", "all"] if what == "route" else []
                shown = host.run("ip", family, what, "show", *table)
                seen |= {f"ip {family} {what} {line.strip()}" for line in shown.splitlines()}
        seen |= {f"sysctl {line}" for line in sysctls(host)}
        return seen

    def left(self):
        now = self.look()
        added = [f"+ {what}" for what in sorted(now - self.then)]
        return added + [f"- {what}" for what in sorted(self.then - now)]


def sysctls(host):
    """The namespace's network settings, per-interface ones included, statistics excluded."""
    shown = host.run("sysctl", "--all", "--pattern", r"^net\.(ipv4|ipv6|core)\.", check=False)
    return [line for line in shown.splitlines() if "fastopen_key" not in line]


def files_of(instance):
    """Files outside network namespaces that belong to a gateway; `instance` is its name."""
    return [
        path
        for pattern in ("/run/quicport/{}", "/dev/hugepages*/{}map_*", "/var/run/dpdk/{}*")
        for path in glob.glob(pattern.format(instance))
    ]


# ---- bytes ----


def exactly(sock, size):
    """So many bytes; ConnectionError when the other end has no more."""
    got = b""
    while len(got) < size:
        part = sock.recv(size - len(got))
        if not part:
            raise ConnectionError("end of data")
        got += part
    return got


# ---- ports ----

_next_port = itertools.count(20000 + (os.getpid() * 37) % 8000)
_port_lock = threading.Lock()


def new_port():
    """A port number that no other test of this run has used."""
    with _port_lock:
        return next(_next_port)
