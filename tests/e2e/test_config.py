# SPDX-License-Identifier: Apache-2.0
"""Configuration files: checked by hand, read by a gateway, read again while it runs."""

import concurrent.futures
import json
import os
import re
import signal
import subprocess
import threading

import pytest
import quicport1 as q
from apikit import Api
from harness import QUICPORT, ROOT, Client, Gateway, clean_environment, eventually


def check(*args, cwd, user=None, env=None):
    return subprocess.run([str(word) for word in (QUICPORT, "check-config", *args)], capture_output=True,
                          text=True, timeout=20, cwd=cwd, env=clean_environment(env), user=user)  # fmt: skip


def test_the_documented_example_is_fine(logs):
    text = (ROOT / "docs/configuration.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.S)
    key = subprocess.run([QUICPORT, "keygen"], capture_output=True, text=True).stdout
    (logs / "gateway.key").write_text(key)
    (logs / "gateway.key").chmod(0o600)
    (logs / "gateway.yaml").write_text(example.replace("/etc/quicport/", f"{logs}/"))
    (logs / "gateway.yaml").chmod(0o600)
    done = check("gateway.yaml", cwd=logs)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "gateway.yaml: fine: 1 file, 2 clients, 1 PSKs, 1 groups\n"


def test_the_example_of_the_package_is_fine(logs):
    text = (ROOT / "service/gateway.yaml").read_text()
    keys = {name: subprocess.run([QUICPORT, "keygen"], capture_output=True, text=True).stdout for name in "ab"}
    (logs / "gateway.key").write_text(keys["a"])
    (logs / "gateway.key").chmod(0o600)
    text = text.replace("/etc/quicport/", f"{logs}/").replace("BASE64", keys["b"].strip())
    (logs / "gateway.yaml").write_text(text)
    done = check("gateway.yaml", cwd=logs)
    assert (done.returncode, done.stderr) == (0, "")


def test_files_that_are_not_there_are_named_where_they_are_named(logs):
    (logs / "gateway.yaml").write_text("privkey-file: nokey\nclient-pubkeys-file: nopubkeys\n")
    lines = check("gateway.yaml", cwd=logs).stderr.splitlines()
    assert [line[: line.index(": cannot")] for line in sorted(lines)] == [
        "gateway.yaml:1: privkey-file", "gateway.yaml:2: client-pubkeys-file"]  # fmt: skip


def test_a_file_with_a_secret_that_others_can_read_is_told(logs):
    (logs / "gateway.yaml").write_text("psks: [{name: a, secret: topsecret}, {name: b, secret: another}]\n")
    (logs / "gateway.yaml").chmod(0o644)
    done = check("gateway.yaml", cwd=logs)
    assert done.returncode == 0 and done.stderr.count("chmod 600") == 1


def test_mistakes_have_a_status_and_lines_of_their_own(logs):
    (logs / "gateway.yaml").write_text("workers: 99\npsks: [{name: a, secret: topsecret, prots: 1}]\n")
    done = check("gateway.yaml", cwd=logs)
    assert done.returncode == 2 and done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("gateway.yaml:1: workers '99': expected a number from 1 to ")
    assert lines[1].startswith("gateway.yaml:2: prots: unknown key: expected ")
    assert "topsecret" not in done.stderr


def test_every_option_is_a_key(logs):
    shown = subprocess.run([QUICPORT, "control-plane", "--help"], capture_output=True, text=True).stdout
    options = set(re.findall(r"^ {2,6}--([a-z0-9-]+)", shown, re.M))
    assert len(options) > 50
    (logs / "gateway.yaml").write_text("".join(f"{option}: '?'\n" for option in sorted(options)))
    unknown = re.findall(r": ([a-z0-9-]+): unknown key", check("gateway.yaml", cwd=logs).stderr)
    # Of a terminal, like --config of a command line: the prompt's are no part of a gateway's configuration.
    assert set(unknown) == {"config", "prompt", "cmdline-file", "auto-start", "stats-period"}


@pytest.mark.parametrize("args", [(), ("a", "b"), ("nothere.yaml",), ("--no-such-option", "a")])
def test_usage_mistakes_have_status_2(args, logs):
    done = check(*args, cwd=logs)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_who_may_not_read_a_secret_can_check_the_rest(logs):
    logs.chmod(0o755)
    (logs / "shop.psk").write_text("topsecret\n")
    (logs / "shop.psk").chmod(0o600)
    (logs / "gateway.yaml").write_text("psks: [{name: a, secret-file: shop.psk}]\n")
    done = check("gateway.yaml", cwd=logs, user=65534)
    assert done.returncode == 0
    assert done.stderr.startswith("not checked: gateway.yaml:1: secret-file: ")
    assert check("gateway.yaml", cwd=logs).stderr == ""


# ---- a gateway that reads it ----

PORT = 39000


class Configured:
    """A gateway that reads gateway.yaml, its key beside it, and clients of two keys."""

    def __init__(self, host, logs, text, *args):
        self.host, self.folder = host, logs
        self.keys = {}
        for name in ("gateway", "alice", "bob"):
            private = subprocess.run([QUICPORT, "keygen"], capture_output=True, text=True).stdout
            public = subprocess.run([QUICPORT, "pubkey"], input=private, capture_output=True, text=True).stdout
            (logs / f"{name}.key").write_text(private)
            (logs / f"{name}.key").chmod(0o600)
            (logs / f"{name}.pub").write_text(public)
            self.keys[name] = public.strip()
        self.write(text)
        self.gateway = Gateway(host, PORT, "--config", str(logs / "gateway.yaml"), *args, auth=())
        host.service("127.0.0.1", 7000, "--echo")

    def write(self, text):
        # As editors do: the file is replaced.
        new = self.folder / "gateway.yaml.new"
        new.write_text(text.format(folder=self.folder, **self.keys))
        new.chmod(0o600)
        new.rename(self.folder / "gateway.yaml")

    def reload(self, text):
        """Writes the file, sends SIGHUP, and returns the log's lines that follow from it."""
        seen = len(self.gateway.lines())
        self.write(text)
        self.gateway.send(signal.SIGHUP)
        return self.reloaded(seen)

    def reloaded(self, seen):
        def done():
            lines = self.gateway.lines()[seen:]
            ends = ("configuration reloaded", "nothing was reloaded")
            last = next((i for i, line in enumerate(lines) if line["message"] in ends), None)
            return None if last is None else lines[: last + 1]

        return eventually(done, what="reload is told")

    def client(self, name, port):
        auth = ("--psk", "topsecret") if name == "shop" else (
            "--privkey-file", str(self.folder / f"{name}.key"),
            "--server-pubkey-file", str(self.folder / "gateway.pub"))  # fmt: skip
        return Client(self.host, f"127.0.0.1:{PORT}", port, 7000, auth=auth, name=f"client-{name}")


BOTH = """
privkey-file: {folder}/gateway.key
clients:
  - {{name: alice, public-key: {alice}, ports: 9001/tcp}}
  - {{name: bob, public-key: {bob}, ports: 9002/tcp}}
psks:
  - {{name: shop, secret: topsecret, ports: 9003}}
"""


def test_a_file_says_who_may_open_what(host, logs):
    c = Configured(host, logs, BOTH)
    alice, shop = c.client("alice", 9001), c.client("shop", 9003)
    alice.opens(host, "127.0.0.1", 9001)
    shop.opens(host, "127.0.0.1", 9003)
    refused = c.client("bob", 9001)
    assert refused.wait() != 0
    assert not host.port_opens("127.0.0.1", 9002)
    assert alice.running() and "topsecret" not in c.gateway.output()


def test_reload_ends_what_is_not_allowed_and_touches_nothing_else(host, logs):
    c = Configured(host, logs, BOTH)
    alice, bob = c.client("alice", 9001), c.client("bob", 9002)
    alice.opens(host, "127.0.0.1", 9001)
    bob.opens(host, "127.0.0.1", 9002)
    kept = host.connect("127.0.0.1", 9001)
    lines = c.reload(BOTH.replace("  - {{name: bob, public-key: {bob}, ports: 9002/tcp}}\n", ""))
    assert bob.wait(within=3) != 0
    assert lines[-1]["message"] == "configuration reloaded", lines
    assert lines[-1]["clients"] == 2 and lines[-1]["tunnels_ended"] == 1
    assert alice.running() and host.port_opens("127.0.0.1", 9001)
    kept.close()


def test_a_bad_file_changes_nothing_and_says_why(host, logs):
    c = Configured(host, logs, BOTH)
    alice = c.client("alice", 9001)
    alice.opens(host, "127.0.0.1", 9001)
    lines = c.reload("psks: [{{name: shop, secret: topsecret2, prots: 1}}]\n")
    assert lines[-1]["message"] == "nothing was reloaded"
    assert re.match(r".*/gateway\.yaml:1: prots: unknown key: expected ", lines[-1]["reason"])
    assert alice.running() and "topsecret" not in c.gateway.output()
    bob = c.client("bob", 9002)
    bob.opens(host, "127.0.0.1", 9002)


def test_a_file_that_is_empty_all_of_a_sudden_changes_nothing(host, logs):
    c = Configured(host, logs, BOTH, "--watch-config")
    alice = c.client("alice", 9001)
    alice.opens(host, "127.0.0.1", 9001)
    seen = len(c.gateway.lines())
    (logs / "gateway.yaml").write_text("")  # in place, as some editors begin
    lines = c.reloaded(seen)
    assert lines[-1]["message"] == "nothing was reloaded" and "is empty now" in lines[-1]["reason"]
    assert alice.running() and host.port_opens("127.0.0.1", 9001)
    assert c.reload(BOTH)[-1]["message"] == "configuration reloaded"


def test_what_needs_a_restart_is_named_with_old_and_new_value(host, logs):
    c = Configured(host, logs, BOTH)
    for _ in range(2):  # again: it is still not in force
        lines = c.reload(BOTH + "lease-time: 77\nlog-level: debug\n")
        waits = [line for line in lines if line["message"].startswith("an option stays as it was")]
        assert [(w["option"], w["old"], w["new"]) for w in waits] == [("lease-time", "604800", "77")]
    assert lines[-1]["message"] == "configuration reloaded"
    lines = c.reload(BOTH)
    assert not [line for line in lines if line["level"] == "warn"]


def test_changed_files_are_seen_by_themselves(host, logs):
    (logs / "conf.d").mkdir()
    c = Configured(host, logs, BOTH + "include: conf.d/*.yaml\n", "--watch-config")
    seen = len(c.gateway.lines())
    (logs / "conf.d/one.yaml").write_text("psks: [{name: office, secret: another}]\n")
    assert c.reloaded(seen)[-1]["clients"] == 4
    seen = len(c.gateway.lines())
    (logs / "conf.d/one.yaml").unlink()
    assert c.reloaded(seen)[-1]["clients"] == 3
    (logs / "unrelated").write_text("x")
    c.write(BOTH + "include: conf.d/*.yaml\n# again\n")
    assert eventually(lambda: c.gateway.output().count("configuration reloaded") == 3, what="the file itself")


def test_the_file_of_client_keys_is_always_watched(host, logs):
    text = "privkey-file: {folder}/gateway.key\nclient-pubkeys-file: {folder}/alice.pub\n"
    c = Configured(host, logs, text)
    bob = (logs / "bob.pub").read_text()
    alice = c.client("alice", 9001)
    alice.opens(host, "127.0.0.1", 9001)
    seen = len(c.gateway.lines())
    (logs / "alice.pub").write_text(bob)
    assert c.reloaded(seen)[-1]["tunnels_ended"] == 1
    assert alice.wait(within=3) != 0
    c.client("bob", 9002).opens(host, "127.0.0.1", 9002)


def test_the_api_shows_the_configuration_and_reads_it_again(host, logs):
    c = Configured(host, logs, BOTH + "quic-idle-timeout: 77\nallow-local-forward: [10.0.0.0/8, 192.0.2.1]\n")
    api = Api(host, PORT)
    shown = api.call("GetConfig")
    assert shown["files"] == [str(logs / "gateway.yaml")]
    rows = {row["name"]: row for row in shown["settings"]}
    assert rows["quic-idle-timeout"] == {"name": "quic-idle-timeout", "value": "77", "source": "file",
                                         "place": f"{logs}/gateway.yaml:8"}  # fmt: skip
    assert rows["allow-local-forward"]["value"] == ["10.0.0.0/8", "192.0.2.1"]
    assert rows["control-plane-addr"]["source"] == "option" and rows["workers"]["source"] == "default"
    c.write(BOTH + "quic-idle-timeout: 78\n")
    answer = api.call("ReloadConfig")
    assert answer == {"status": "reloaded", "detail": "quic-idle-timeout stays at 77 until "
                                                    "data planes change (SIGHUP), not 78"}
    rows = {row["name"]: row for row in api.call("GetConfig")["settings"]}
    assert rows["quic-idle-timeout"]["value"] == "77" and "allow-local-forward" not in rows
    c.write("psks: [{{name: shop, secret: topsecret, prots: 1}}]\n")
    refused = api.post("ReloadConfig", {})
    assert refused.status == 400
    problem = json.loads(refused.body)
    assert (problem["file"], problem["line"]) == (f"{logs}/gateway.yaml", 1) and "prots" in problem["detail"]
    assert "topsecret" not in c.gateway.output() + str(refused.body)


def test_ten_thousand_clients_are_reloaded_in_under_a_second(host, logs):
    many = "clients:\n" + "".join(
        f"  - {{name: c{i}, public-key: {q.encode_key(i.to_bytes(32, 'big'))}, ports: {10000 + i}/tcp}}\n"
        for i in range(1, 10001))  # fmt: skip
    (logs / "many.yaml").write_text(many)
    c = Configured(host, logs, BOTH + "include: many.yaml\n")
    alice = c.client("alice", 9001)
    alice.opens(host, "127.0.0.1", 9001)
    last = c.reload(BOTH + "include: many.yaml\n# again\n")[-1]
    assert last["clients"] == 10003 and last["tunnels_ended"] == 0
    assert last["took_ms"] < 1000
    assert alice.running() and host.port_opens("127.0.0.1", 9001)


def test_ports_audit_log_and_levels_change_while_it_runs(host, logs):
    audit = "audit-log: {folder}/%s.jsonl\n"
    c = Configured(host, logs, BOTH + audit % "one" + "log-level: info\n")
    alice = c.client("alice", 9001)
    alice.opens(host, "127.0.0.1", 9001)
    lines = c.reload(BOTH + audit % "two" + "log-level: info,ports=debug\nreserved-ports: [9002, 9001]\n")
    changed = {line["option"] for line in lines if line["message"] == "an option has changed"}
    assert changed == {"audit-log", "log-level", "reserved-ports"}
    assert Api(host, PORT).call("GetLogLevels")["modules"]["ports"] == "debug"
    assert c.client("bob", 9002).wait() != 0  # reserved for nobody now
    assert alice.running() and host.port_opens("127.0.0.1", 9001)  # what is open stays

    def events(name):
        return [json.loads(line)["event"] for line in (logs / f"{name}.jsonl").read_text().splitlines()]

    assert "port_opened" in events("one") and "reload" not in str(events("one")[-1:])
    assert alice.stop() == 0
    eventually(lambda: "tunnel_closed" in events("two"), what="its end is told in the new file")
    assert "tunnel_closed" not in events("one")

    lines = c.reload(BOTH + "audit-log: {folder}/no/such/folder\n")
    assert lines[-1]["message"] == "nothing was reloaded" and "no/such/folder" in lines[-1]["reason"]
    c.client("shop", 9003).opens(host, "127.0.0.1", 9003)
    eventually(lambda: "port_opened" in events("two"), what="the file is still the one before")


def test_reloads_under_load_cost_no_connection(host, logs):
    c = Configured(host, logs, BOTH)
    alice = c.client("alice", 9001)
    alice.opens(host, "127.0.0.1", 9001)
    done = threading.Event()

    def reload_often():
        for i in range(20):
            if not done.is_set():
                c.reload(BOTH + f"reserved-ports: {5000 + i}\n" + ("wrong: 1\n" if i % 5 == 4 else ""))

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        reloads = pool.submit(reload_often)
        result = host.load("127.0.0.1", 9001, "--echo", "--send", 30_000_000, "--half-close",
                           "--connections", 8, "--parallel", 8)  # fmt: skip
        done.set()
        reloads.result()
    assert result["ok"] == 8
    assert c.gateway.output().count("configuration reloaded") >= 5
