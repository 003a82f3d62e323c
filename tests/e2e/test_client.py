# SPDX-License-Identifier: Apache-2.0
"""`quicport client` and its companions as a person uses them: file, signals, status, trust."""

import json
import os
import pty
import re
import signal
import stat
import subprocess
import threading

import pytest

from harness import QUICPORT, Client, Gateway, RefPeer, clean_environment, eventually, new_port

LO = "127.0.0.1"
MIB = 1 << 20


@pytest.fixture
def runtime(logs):
    """Where this test's clients have their sockets."""
    folder = logs / "run"
    folder.mkdir(mode=0o700)
    return {"XDG_RUNTIME_DIR": str(folder)}


def refpeer(host, *more):
    port = new_port()
    process = RefPeer(host, "server", "--listen", f"{LO}:{port}", "--psk", "secret", *more)
    process.event("listening")
    return process, port


def quicport(host, *words, env=None, **options):
    return subprocess.run(
        host.command(QUICPORT, *words), capture_output=True, text=True, timeout=30,
        stdin=subprocess.DEVNULL, env=clean_environment(env), **options)  # fmt: skip


# ---- the configuration file ----


class Configured:
    """A client that runs from a file."""

    def __init__(self, host, folder, quic, env=None, *args):
        self.host, self.quic = host, quic
        self.file = folder / "client.yml"
        self.forwards = {}
        self.env, self.args = env, args
        self.process = None

    def write(self):
        lines = [f"server: {LO}:{self.quic}", "psk: secret", "insecure: yes", "forwards:"]
        for name, (outside, inside) in self.forwards.items():
            lines += [f"  - name: {name}", f"    remote-source: {outside}",
                      f"    local-destination: {inside}"]  # fmt: skip
        self.file.write_text("\n".join(lines) + "\n")

    def start(self):
        self.write()
        self.process = self.host.start("client", QUICPORT, "client", "--config", self.file,
                                       "--log-format", "json", *self.args, env=self.env)  # fmt: skip
        return self.process

    def hang_up(self):
        self.write()
        done = self.said("configuration read again")
        self.process.send(signal.SIGHUP)
        eventually(lambda: self.said("configuration read again") > done, what="it reads again")

    def said(self, message):
        return sum(line["message"] == message for line in self.process.lines())


def echoes(host, port):
    return host.load(LO, port, "--echo", "--send", 100000, "--half-close", deadline=20)["ok"] == 1


def test_sighup_keeps_the_connections_of_unchanged_forwards(host, logs):
    _, quic = refpeer(host)
    inside, other = new_port(), new_port()
    host.service(LO, inside, "--echo")
    host.service(LO, other, "--echo")
    config = Configured(host, logs, quic)
    kept, changed, removed, added = (new_port() for _ in range(4))
    config.forwards = {"kept": (kept, inside), "changed": (changed, inside), "removed": (removed, inside)}
    config.start()
    for port in (kept, changed, removed):
        config.process.opens(host, LO, port)
    with host.connect(LO, kept) as sock, host.connect(LO, removed) as gone:
        for each in (sock, gone):
            each.sendall(b"a")
            assert each.recv(1) == b"a"
        config.forwards = {"kept": (kept, inside), "changed": (changed, other), "added": (added, inside)}
        config.hang_up()
        config.process.opens(host, LO, added)
        eventually(lambda: not host.port_opens(LO, removed), what="the removed port is closed")
        with pytest.raises(ConnectionResetError):
            gone.recv(1)
        sock.sendall(b"b")
        assert sock.recv(1) == b"b"
    config.process.opens(host, LO, changed)
    assert echoes(host, changed) and echoes(host, added)
    opened = [line["forward"] for line in config.process.lines() if line["message"] == "forward open"]
    assert sorted(opened) == ["added", "changed", "changed", "kept", "removed"]
    assert config.process.stop() == 0


def test_sighup_with_a_mistake_in_the_file_changes_nothing(host, logs):
    _, quic = refpeer(host)
    inside, outside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    config = Configured(host, logs, quic)
    config.forwards = {"kept": (outside, inside)}
    config.start()
    config.process.opens(host, LO, outside)
    config.file.write_text(config.file.read_text().replace(str(inside), "12x45"))
    config.process.send(signal.SIGHUP)
    eventually(lambda: config.said("configuration not changed"), what="it complains")
    (why,) = [line["why"] for line in config.process.lines() if "why" in line]
    assert f"{config.file}:7: " in why and "12x45" in why
    assert echoes(host, outside)
    config.file.unlink()
    config.process.send(signal.SIGHUP)
    eventually(lambda: config.said("configuration not changed") == 2, what="it complains")
    assert echoes(host, outside)


def test_file_with_a_mistake_is_one_line_and_status_2(host, logs):
    file = logs / "client.yml"
    file.write_text("server: h:1\npsk: x\nforwards:\n  - remote-source: 99999\n    local-destination: 1\n")
    done = quicport(host, "client", "--config", file)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"{file}:4: remote-source: '99999'" in done.stderr


# ---- status ----


def test_status_tells_each_client_and_its_forwards(host, logs, runtime):
    _, quic = refpeer(host)
    inside, outside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    assert quicport(host, "status", env=runtime).returncode == 1
    config = Configured(host, logs, quic, runtime)
    config.forwards = {"web": (outside, inside), "dead": (inside, inside)}  # `inside` is in use there
    first = config.start()
    first.opens(host, LO, outside)
    assert echoes(host, outside)
    second = Client(host, f"{LO}:{quic}", new_port(), inside, env=runtime, reconnect=True)
    second.wait_for_line("forward open")

    def told():
        clients = json.loads(quicport(host, "status", "--json", env=runtime).stdout)
        return {client["pid"]: client for client in clients}

    eventually(lambda: len(told()) == 2, what="both are told")
    eventually(lambda: {row["name"]: row["state"] for row in told()[first.pid]["forwards"]}
               == {"web": "open", "dead": "waiting"}, what="their states")  # fmt: skip
    clients = told()
    assert clients[first.pid]["config"] == str(config.file)
    rows = {row["name"]: row for row in clients[first.pid]["forwards"]}
    web = rows["web"]
    assert (web["connections"] >= 1, web["bytes_in"], web["port"]) == (True, 100000, outside)
    assert web["rtt_us"] > 0 and web["error"] is None and web["migrations"] == 0
    assert rows["dead"]["error"]
    shown = quicport(host, "status", str(second.pid), env=runtime).stdout
    assert shown.startswith(f"client {second.pid}\n") and str(first.pid) not in shown
    assert re.search(r"^  web +open ", quicport(host, "status", env=runtime).stdout, re.M)

    sockets = list((logs / "run").rglob("*.sock"))
    assert len(sockets) == 2
    assert all(stat.S_IMODE(path.parent.stat().st_mode) == 0o700 for path in sockets)
    second.kill()  # it cannot take its socket away
    assert list(told()) == [first.pid]
    first.stop()
    assert quicport(host, "status", env=runtime).returncode == 1


def test_status_asked_by_many_who_do_not_read_holds_nobody_up(host, logs, runtime):
    import socket

    _, quic = refpeer(host)
    inside, outside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    client = Client(host, f"{LO}:{quic}", outside, inside, env=runtime, reconnect=True)
    client.opens(host, LO, outside)
    (path,) = (logs / "run").rglob("*.sock")
    idle = [socket.socket(socket.AF_UNIX) for _ in range(6)]
    for sock in idle:
        sock.connect(str(path))
    assert echoes(host, outside)
    assert quicport(host, "status", env=runtime).returncode == 0
    for sock in idle:
        sock.close()
    assert client.stop() == 0


def test_status_line_on_a_terminal(host):
    _, quic = refpeer(host)
    inside, outside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    ours, theirs = pty.openpty()
    popen = subprocess.Popen(
        host.command(QUICPORT, "client", "-s", f"{LO}:{quic}", "--psk", "secret", "--insecure",
                     "-r", outside, "-l", inside),
        stdin=theirs, stdout=theirs, stderr=theirs, env=clean_environment(None))  # fmt: skip
    os.close(theirs)
    text = ""
    try:
        while not re.search(r"1 of 1 .*open|open.*1/1|1/1.*open", text):
            text += os.read(ours, 4096).decode()
    finally:
        popen.terminate()
        assert popen.wait(5) == 0
        os.close(ours)


def test_every_line_is_json_when_asked(host):
    _, quic = refpeer(host)
    outside = new_port()
    client = Client(host, f"{LO}:{quic}", outside, new_port(), "--log-format", "json",
                    "--log-level", "trace", reconnect=True)  # fmt: skip
    client.opens(host, LO, outside)
    assert client.stop() == 0
    lines = client.output().splitlines()
    assert len(lines) >= 3
    for line in lines:
        entry = json.loads(line)
        assert {"time", "level", "process", "message"} <= set(entry)


# ---- trust ----


def fingerprint_of(host, port):
    done = quicport(host, "trust", f"{LO}:{port}")
    (found,) = set(re.findall(r"(?:[0-9A-F]{2}:){31}[0-9A-F]{2}", done.stdout + done.stderr))
    return found


def known(logs):
    path = logs / ".local/share/quicport/known_hosts"
    return path.read_text().splitlines() if path.exists() else []


def test_unknown_gateway_is_refused_with_a_line_that_says_what_to_do(host, logs):
    _, quic = refpeer(host)
    outside = new_port()
    client = Client(host, f"{LO}:{quic}", outside, new_port(), insecure=False, reconnect=True)
    assert client.wait(5) == 3
    (last,) = [line for line in client.output().splitlines() if "ERROR" in line]
    assert f"quicport trust {LO}:{quic}" in last and fingerprint_of(host, quic) in last
    assert known(logs) == []


def test_trust_records_and_the_client_connects(host, logs):
    _, quic = refpeer(host)
    inside, outside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    done = quicport(host, "trust", f"{LO}:{quic}")
    assert done.returncode == 3 and "--yes" in done.stderr and known(logs) == []
    print_ = fingerprint_of(host, quic)
    assert "rcgen self signed cert" in done.stdout + done.stderr
    wrong = print_[:-2] + ("00" if print_[-2:] != "00" else "01")
    assert quicport(host, "trust", "--fingerprint", wrong, f"{LO}:{quic}").returncode == 3
    assert known(logs) == []
    assert quicport(host, "trust", "--fingerprint", print_, f"{LO}:{quic}").returncode == 0
    assert known(logs) == [f"{LO}:{quic} {print_}"]
    assert quicport(host, "trust", "--yes", f"{LO}:{quic}").returncode == 0
    assert known(logs) == [f"{LO}:{quic} {print_}"]
    client = Client(host, f"{LO}:{quic}", outside, inside, insecure=False, reconnect=True)
    client.opens(host, LO, outside)
    assert echoes(host, outside)


def test_many_record_at_once_and_no_line_is_lost(host, logs):
    ports = [refpeer(host)[1] for _ in range(6)]
    done = []
    threads = [threading.Thread(target=lambda p=p: done.append(
        quicport(host, "trust", "--yes", f"{LO}:{p}").returncode)) for p in ports]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [0] * len(ports)
    assert sorted(line.split()[0] for line in known(logs)) == sorted(f"{LO}:{p}" for p in ports)
    path = logs / ".local/share/quicport/known_hosts"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    # Written whole under another name first: nothing of that is left.
    assert {p.name for p in path.parent.iterdir()} <= {"known_hosts", "known_hosts.lock"}


def test_changed_certificate_is_refused_loudly(host, logs):
    _, quic = refpeer(host)
    folder = logs / ".local/share/quicport"
    folder.mkdir(parents=True)
    (folder / "known_hosts").write_text(f"{LO}:{quic} AA:BB\n")
    client = Client(host, f"{LO}:{quic}", new_port(), new_port(), insecure=False, reconnect=True)
    assert client.wait(5) == 3
    assert "HAS CHANGED" in client.output()
    assert known(logs) == [f"{LO}:{quic} AA:BB"]


# ---- what goes wrong ----


def test_wrong_psk_backs_off_says_why_and_gives_up(host):
    server, quic = refpeer(host)
    client = Client(host, f"{LO}:{quic}", new_port(), new_port(), "--log-format", "json",
                    auth=("--psk", "wrong"), reconnect=True)  # fmt: skip
    assert client.wait(60) == 3
    waits = [line["retry_ms"] for line in client.lines() if "retry_ms" in line]
    assert len(waits) == 4
    assert waits == sorted(waits) and waits[-1] >= 6000
    assert all("--psk" in line["message"] for line in client.lines() if line["level"] in ("warn", "error"))
    assert sum(event["event"] == "refused" for event in server.lines()) == 5


def test_gateway_restarts_and_the_client_is_back(host):
    port, inside, outside = new_port(), new_port(), new_port()
    host.service(LO, inside, "--echo")
    gateway = Gateway(host, port)
    client = Client(host, f"{LO}:{port}", outside, inside, reconnect=True)
    client.opens(host, LO, outside)
    for number in (signal.SIGTERM, signal.SIGKILL):
        if number == signal.SIGKILL:
            for pid in gateway.members():
                os.kill(pid, number)
        gateway.stop()
        gateway = Gateway(host, port)
        client.opens(host, LO, outside)
        assert echoes(host, outside)
    assert client.stop() == 0


def test_gateway_refuses_the_port_until_it_is_free(host):
    _, quic = refpeer(host)
    inside, outside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    owner = host.service("0.0.0.0", outside, "--echo")
    client = Client(host, f"{LO}:{quic}", outside, inside, reconnect=True)
    client.wait_for_line("port in use")
    owner.stop()
    client.wait_for_line("forward open")
    assert echoes(host, outside)
