# SPDX-License-Identifier: Apache-2.0
"""Bad input: one line that names the value and the way out, a non-zero status, nothing left behind."""

import base64
import subprocess

import pytest

from harness import QUICPORT, Traces, clean_environment, new_port

LO = "127.0.0.1"
KEY = base64.b64encode(b"k" * 32).decode()
SHORT = base64.b64encode(b"k" * 31).decode()


def gateway(*args, data_plane=None):
    port = new_port()
    return ("control-plane", "--control-plane-addr", f"{LO}:{port}", "--data-plane-addr",
            data_plane or f"{LO}:{port}", "--no-public-api", *args)  # fmt: skip


def client(*args, server="127.0.0.1:9", remote="8080", local="80"):
    return ("client", "-s", server, "-r", remote, "-l", local, "--insecure", "--reconnect", "no", *args)


# name: (command line, what the message must name)
BAD = {
    "unknown command": (("frobnicate",), "frobnicate"),
    "gateway: unknown option": (gateway("--frobnicate"), "frobnicate"),
    "gateway: stray argument": (gateway("--psk", "x", "stray"), "stray"),
    "gateway: option without its value": (gateway("--psk"), "psk"),
    "gateway: address without port": (gateway("--psk", "x", data_plane=LO), LO),
    "gateway: port out of range": (gateway("--psk", "x", data_plane=f"{LO}:70000"), "70000"),
    "gateway: not an address": (gateway("--psk", "x", data_plane="nowhere:1"), "nowhere"),
    "gateway: address of another host": (gateway("--psk", "x", data_plane="192.0.2.9:4433"), "192.0.2.9"),
    "gateway: option given twice": (gateway("--data-plane-addr", f"{LO}:1"), "--data-plane-addr"),
    "gateway: not a number": (gateway("--quic-idle-timeout", "soon"), "soon"),
    "gateway: idle timeout of zero": (gateway("--quic-idle-timeout", "0"), "0"),
    "gateway: key of wrong length": (
        gateway("--privkey", SHORT, "--client-pubkeys", KEY),
        "privkey",
    ),
    "gateway: key that is not Base64": (
        gateway("--privkey", "!" * 44, "--client-pubkeys", KEY),
        "privkey",
    ),
    "gateway: public key of wrong length": (
        gateway("--privkey", KEY, "--client-pubkeys", SHORT),
        "client-pubkeys",
    ),
    "gateway: key file that is not there": (
        gateway("--privkey-file", "/nowhere/key", "--client-pubkeys", KEY),
        "/nowhere/key",
    ),
    "gateway: key file that is a folder": (
        gateway("--privkey-file", "/etc", "--client-pubkeys", KEY),
        "/etc",
    ),
    "gateway: key file without a key": (
        gateway("--privkey-file", "/dev/null", "--client-pubkeys", KEY),
        "/dev/null",
    ),
    "gateway: private key without clients": (gateway("--privkey", KEY), "client-pubkeys"),
    "gateway: clients without a private key": (gateway("--client-pubkeys", KEY), "privkey"),
    "gateway: configuration file that is not there": (
        gateway("--config", "/nowhere/gateway.yaml"),
        "/nowhere/gateway.yaml",
    ),
    "gateway: psk and a private key without clients": (
        gateway("--psk", "x", "--privkey", KEY),
        "client-pubkeys",
    ),
    "gateway: configuration file that is no YAML": (gateway("--config", "/proc/self/status"), "status:"),
    "gateway: log file that cannot be made": (
        gateway("--psk", "x", "--log-output", "/nowhere/log"),
        "/nowhere/log",
    ),
    "gateway: unknown log format": (gateway("--log-format", "xml"), "xml"),
    "gateway: forward address of another host": (
        gateway("--psk", "x", "--forward-addr", "192.0.2.9"),
        "192.0.2.9",
    ),
    "client: no server": (("client", "-r", "8080", "-l", "80"), "-s"),
    "client: no port": (("client", "-s", f"{LO}:9", "-l", "80", "--psk", "x"), "-r"),
    "client: remote port out of range": (client("--psk", "x", remote="65536"), "65536"),
    "client: unknown protocol": (client("--psk", "x", remote="80/sctp"), "sctp"),
    "client: local address": (client("--psk", "x", local="here:there"), "here:there"),
    "client: server without port": (client("--psk", "x", server="localhost"), "localhost"),
    "client: no credentials": (client(), "psk"),
    "client: key of wrong length": (client("--privkey", SHORT, "--server-pubkey", KEY), "privkey"),
    "client: server key of wrong length": (
        client("--privkey", KEY, "--server-pubkey", SHORT),
        SHORT,
    ),
    "client: private key without server key": (client("--privkey", KEY), "server-pubkey"),
    "client: unreadable key file": (
        client("--privkey-file", "/nowhere/key", "--server-pubkey", KEY),
        "/nowhere/key",
    ),
    "client: unknown host": (client("--psk", "x", server="no-such-host.invalid:1"), "no-such-host"),
    "pubkey: not a key": (("pubkey",), "key"),
}


def attempt(host, command, env=None, before=()):
    """Runs it to its end. One that goes on running is ended, and has exit status 0 then."""
    started = subprocess.Popen(
        host.command(*before, QUICPORT, *command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(env),
    )
    try:
        out, err = started.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        started.terminate()
        out, err = started.communicate(timeout=10)
        return subprocess.CompletedProcess(command, 0, out, f"it runs:\n{err}")
    return subprocess.CompletedProcess(command, started.returncode, out, err)


def check_refusal(done, named):
    shown = done.stderr.strip()
    assert 0 < done.returncode < 128, f"status {done.returncode}: {shown}"
    assert len(shown.splitlines()) == 1, f"not one line:\n{shown}"
    assert named in shown
    assert "EAL" not in shown
    assert done.stdout == ""


@pytest.mark.parametrize("name", BAD)
def test_bad_input(host, name):
    command, named = BAD[name]
    before = Traces(host)
    done = attempt(host, command)
    check_refusal(done, named)
    # A secret is not repeated, even a wrong one.
    assert SHORT not in done.stderr or named == SHORT
    assert before.left() == []
    assert host.pids() == []


def test_bad_value_of_a_variable_names_the_variable(host):
    done = attempt(host, gateway("--psk", "x"), {"QUICPORT_QUIC_IDLE_TIMEOUT": "soon"})
    check_refusal(done, "QUICPORT_QUIC_IDLE_TIMEOUT")


def test_key_file_that_may_not_be_read(host, tmp_path):
    key = tmp_path / "key"
    key.write_text(KEY)
    key.chmod(0)
    # Root may read it all the same; a person without rights may not even start a gateway.
    done = attempt(host, client("--privkey-file", str(key), "--server-pubkey", KEY),
                   before=("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"))  # fmt: skip
    check_refusal(done, str(key))


def test_gateway_without_root(host):
    done = attempt(host, gateway("--psk", "x"),
                   before=("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"))  # fmt: skip
    check_refusal(done, "root")


def test_gateway_without_hugetlbfs(host):
    # One by one, top first: several may lie on one folder, which `umount -a` does not see through.
    script = """
        while dir=$(awk '$3 == "hugetlbfs" { dir = $2 } END { print dir }' /proc/mounts) && [ "$dir" ]; do
            umount --lazy "$dir" || exit 200
        done
        exec "$@"
    """
    done = attempt(host, gateway("--psk", "x"), before=("unshare", "--mount", "sh", "-c", script, "sh"))
    check_refusal(done, "hugetlbfs")


def test_gateway_with_more_memory_than_there_are_huge_pages(host):
    done = attempt(host, gateway("--psk", "x", "--memory", "900000"))
    check_refusal(done, "900000")


def test_port_of_the_control_plane_in_use(host):
    command = gateway("--psk", "x")
    port = command[2].rpartition(":")[2]
    host.service(LO, int(port), "--echo")
    done = attempt(host, command)
    check_refusal(done, port)


@pytest.mark.parametrize("command", ["", "control-plane", "client", "keygen", "pubkey"])
def test_help_is_offered(host, command):
    words = [command, "--help"] if command else ["--help"]
    done = attempt(host, words)
    assert done.returncode == 0 and done.stderr == ""
    assert "Usage" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
