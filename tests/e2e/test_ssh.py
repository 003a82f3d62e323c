# SPDX-License-Identifier: Apache-2.0
"""`quicport ssh-proxy`: by itself as a pipe, and under real OpenSSH."""

import hashlib
import os
import shutil
import signal
import subprocess
import threading

import pytest

from harness import QUICPORT, Client, Gateway, RefPeer, clean_environment, eventually, new_port

LO = "127.0.0.1"
MIB = 1 << 20


class Server:
    """A quicport/1 server that allows local forwards, of either make."""

    def __init__(self, host, kind, *more):
        self.port = new_port()
        if kind == "refpeer":
            self.process = RefPeer(host, "server", "--listen", f"{LO}:{self.port}",
                                   "--psk", "secret", *more)  # fmt: skip
            self.process.event("listening")
        else:
            self.process = Gateway(host, self.port, "--allow-local-forward", "127.0.0.0/8", *more)


def gateway_forwards():
    """Whether this build's gateway knows local forwards."""
    shown = subprocess.run([QUICPORT, "control-plane", "--help"], capture_output=True, text=True)
    return "--allow-local-forward" in shown.stdout


KINDS = ["refpeer"] + (["gateway"] if gateway_forwards() else [])


@pytest.fixture(params=KINDS)
def server(host, request):
    made = Server(host, request.param)
    made.kind = request.param
    return made


def proxy_command(server, destination, *more):
    return [QUICPORT, "ssh-proxy", "-s", f"{LO}:{server.port}", "--psk", "secret", "--insecure",
            "-R", destination, *more]  # fmt: skip


class Pipe:
    """ssh-proxy with its standard streams in our hands."""

    def __init__(self, host, server, destination, *more):
        self.popen = subprocess.Popen(
            host.command(*proxy_command(server, destination, *more)),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=clean_environment(None))  # fmt: skip

    def exchange(self, data=b""):
        """Sends all and closes, as a shell's pipe does; (what came, complaints, exit status)."""
        out, err = self.popen.communicate(data, timeout=60)
        return out, err.decode(), self.popen.returncode


# ---- the pipe ----


def test_half_close_lets_the_whole_answer_come_back(host, server):
    inside = new_port()
    host.service(LO, inside, "--after-eof", "--send", 3 * MIB, "--sha")
    out, err, status = Pipe(host, server, f"{LO}:{inside}").exchange(os.urandom(5 * MIB))
    assert (len(out), err, status) == (3 * MIB, "", 0)


def test_bytes_are_the_same_both_ways(host, server):
    inside = new_port()
    host.service(LO, inside, "--echo")
    data = os.urandom(8 * MIB)
    out, err, status = Pipe(host, server, str(inside)).exchange(data)
    assert out == data
    assert (err, status) == ("", 0)


def test_service_ends_first_proxy_ends_too(host, server):
    """The service closes; standard input is still open, as ssh's is."""
    inside = new_port()
    host.service(LO, inside, "--send", 1000)
    pipe = Pipe(host, server, f"{LO}:{inside}")
    assert len(pipe.popen.stdout.read()) == 1000  # up to its end
    pipe.popen.stdin.close()
    assert pipe.popen.wait(10) == 0


def test_nobody_listens_is_255_and_one_line(host, server):
    out, err, status = Pipe(host, server, f"{LO}:{new_port()}").exchange(b"hello")
    assert (out, status) == (b"", 255)
    assert err.count("\n") == 1 and "connection refused" in err


def test_denied_destination_is_255_and_one_line(host):
    server = Server(host, "refpeer", "--deny", "2")
    out, err, status = Pipe(host, server, "192.0.2.1:22").exchange()
    assert (out, status) == (b"", 255)
    assert err.count("\n") == 1 and "192.0.2.1:22" in err and "permission denied" in err


def test_no_server_is_255_and_one_line(host):
    class Nobody:
        port = new_port()

    out, err, status = Pipe(host, Nobody, f"{LO}:22").exchange()
    assert (out, status) == (b"", 255)
    assert err.count("\n") == 1 and f"{LO}:{Nobody.port}" in err


def test_wrong_psk_is_255_and_not_tried_again(host, server):
    command = proxy_command(server, f"{LO}:22")
    command[command.index("secret")] = "wrong"
    done = subprocess.run(host.command(*command), capture_output=True, text=True, timeout=20,
                          stdin=subprocess.DEVNULL, env=clean_environment(None))  # fmt: skip
    assert (done.stdout, done.returncode) == ("", 255)
    assert done.stderr.count("\n") == 1 and "--psk" in done.stderr


def test_server_dies_in_the_middle_is_255(host, server):
    inside = new_port()
    host.service(LO, inside, "--echo")
    pipe = Pipe(host, server, f"{LO}:{inside}", "--quic-idle-timeout", "2", "--quic-keep-alive", "1")
    pipe.popen.stdin.write(b"x")
    pipe.popen.stdin.flush()
    assert pipe.popen.stdout.read(1) == b"x"
    server.process.stop(signal.SIGTERM)
    assert pipe.popen.wait(10) == 255
    pipe.popen.stdin.close()


def test_reader_of_standard_output_goes_away_proxy_ends(host, server):
    inside = new_port()
    host.service(LO, inside, "--send", 100 * MIB)
    pipe = Pipe(host, server, f"{LO}:{inside}")
    pipe.popen.stdout.read(1)
    pipe.popen.stdout.close()
    assert pipe.popen.wait(20) == 255
    pipe.popen.stdin.close()


# ---- OpenSSH ----


class Ssh:
    """An sshd of our own in a host, a key that it takes, and clients."""

    def __init__(self, host, folder):
        self.host, self.folder, self.port = host, folder, new_port()
        os.makedirs("/run/sshd", 0o755, exist_ok=True)
        for name in ("host_key", "user_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
        (folder / "sshd_config").write_text(f"""
ListenAddress {LO}:{self.port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PermitRootLogin prohibit-password
PidFile none
StrictModes no
UsePAM no
Subsystem sftp internal-sftp
""")
        self.sshd = host.start("sshd", shutil.which("sshd") or "/usr/sbin/sshd", "-D", "-e",
                               "-f", folder / "sshd_config")  # fmt: skip
        self.sshd.opens(host, LO, self.port)

    def options(self, proxy):
        words = ["-F", "none", "-i", self.folder / "user_key", "-o", "BatchMode=yes",
                 "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                 "-o", "LogLevel=ERROR"]  # fmt: skip
        return words + (["-o", f"ProxyCommand={proxy}"] if proxy else [])

    def run(self, program, *words, proxy=None, **options):
        return subprocess.run(
            self.host.command(program, *self.options(proxy), *words),
            capture_output=True, timeout=120, env=clean_environment(None), **options)  # fmt: skip


@pytest.fixture
def ssh(host, logs):
    if not shutil.which("sshd", path="/usr/sbin:/usr/bin"):
        pytest.skip("no sshd: scripts/setup.sh installs it")
    return Ssh(host, logs)


def proxy_text(server):
    """As a person writes it: ssh fills in host and port."""
    return " ".join(map(str, proxy_command(server, "%h:%p")))


def test_ssh_runs_a_command_and_hands_its_status_on(ssh, server):
    there = ["-p", str(ssh.port), f"root@{LO}"]
    done = ssh.run("ssh", *there, "echo out; echo err >&2; exit 7", proxy=proxy_text(server))
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")
    done = ssh.run("ssh", *there, "wc -c", proxy=proxy_text(server), input=bytes(MIB))
    assert (done.returncode, done.stdout.strip()) == (0, b"%d" % MIB)


def test_ssh_says_what_the_proxy_says_when_it_cannot_connect(ssh, server):
    done = ssh.run("ssh", "-p", str(new_port()), f"root@{LO}", "true", proxy=proxy_text(server))
    assert done.returncode == 255
    assert b"connection refused" in done.stderr


def sha(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_scp_there_and_back_has_the_same_hash(ssh, server, logs):
    size = 200 * MIB if server.kind == "gateway" else 24 * MIB  # the reference peer is Python
    here, there, back = logs / "here", logs / "there", logs / "back"
    with open(here, "wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))
    for words in ([here, f"root@{LO}:{there}"], [f"root@{LO}:{there}", back]):
        done = ssh.run("scp", "-q", "-P", str(ssh.port), *words, proxy=proxy_text(server))
        assert (done.returncode, done.stderr) == (0, b"")
    assert sha(here) == sha(there) == sha(back)


def test_many_ssh_sessions_at_once(ssh, server):
    results = []

    def session(number):
        done = ssh.run("ssh", "-p", str(ssh.port), f"root@{LO}", f"exit {number}",
                       proxy=proxy_text(server))  # fmt: skip
        results.append((number, done.returncode))

    threads = [threading.Thread(target=session, args=(n,)) for n in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [(n, n) for n in range(1, 7)]


def test_scp_of_200_mib_by_a_remote_forward(ssh, host, logs):
    """The other way round: sshd behind the client, ssh at the gateway's port."""
    outside = new_port()
    gateway = Gateway(host, new_port())
    client = Client(host, f"{LO}:{gateway.port}", outside, ssh.port)
    client.opens(host, LO, outside)
    here, there, back = logs / "here", logs / "there", logs / "back"
    with open(here, "wb") as file:
        for _ in range(200):
            file.write(os.urandom(MIB))
    for words in ([here, f"root@{LO}:{there}"], [f"root@{LO}:{there}", back]):
        done = ssh.run("scp", "-q", "-P", str(outside), *words)
        assert (done.returncode, done.stderr) == (0, b"")
    assert sha(here) == sha(there) == sha(back)
    assert client.running()
    eventually(lambda: gateway.healthy(), what="the gateway serves on")
