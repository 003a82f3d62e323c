# SPDX-License-Identifier: Apache-2.0
"""`quicport admin` before a private API that answers in every way there is, ours and others'."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import threading
import time
from pathlib import Path

import pytest

from harness import QUICPORT, clean_environment, eventually
from stubapi import Events, Raw, StubApi, pages, tunnel

PLANE = {"dp_id": "0x3039", "pid": 812, "state": "ACTIVE", "active_tunnels": 5, "bytes_sent": 1048576,
         "bytes_received": 65536}  # fmt: skip
# Bytes that steer a terminal: escape sequences in 7 and 8 bits, backspaces, reversed text, a bell.
NASTY = "a\x1b]0;x\x07\x1b[2J\u009b31m\x08\u202eb\r\n\u0301c"


def admin(*words, env=None, api=None):
    more = {"QUICPORT_API": api} if api else {}
    return subprocess.run([str(word) for word in (QUICPORT, "admin", *words)], capture_output=True, timeout=60,
                          env=clean_environment({**more, **(env or {})}))  # fmt: skip


def ok(*words, **options):
    done = admin(*words, **options)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    return done.stdout.decode()


def fails(*words, status=1, **options):
    """The one line that it says."""
    done = admin(*words, **options)
    text = done.stderr.decode()
    assert done.returncode == status, text
    assert text.endswith("\n") and text.count("\n") == 1, text
    return text


def harmless(text):
    """Nothing in it moves a cursor: printable characters and line ends alone."""
    assert all(c == "\n" or (c.isprintable() and c != "\u0301") for c in text), repr(text)


# ---- what it shows ----


def test_table_is_aligned_and_sizes_are_short():
    rows = [tunnel(1), tunnel(2, client="b", rtt_us=123456, bytes_sent=0)]
    with StubApi({"ListTunnels": {"tunnels": rows}}) as api:
        lines = ok("list-tunnels", api=api.url).splitlines()
        assert lines[0].split()[:3] == ["TUNNEL", "CLIENT", "AUTH"]
        assert "1.0M" in lines[1] and "1.8ms" in lines[1] and "9001/tcp" in lines[1]
        assert "123ms" in lines[2]
        assert lines[1].index("x25519") == lines[2].index("x25519") == lines[0].index("AUTH")
        raw = ok("list-tunnels", "--raw", api=api.url)
        assert "1048577" in raw and "1830" in raw and "2026-01-01T00:00:00Z" in raw
        assert "\x1b" not in raw


def test_all_pages_are_fetched_and_filters_and_limit_are_passed_on():
    rows = [tunnel(i) for i in range(2345)]
    with StubApi({"ListTunnels": pages("tunnels", rows)}) as api:
        assert ok("list-tunnels", api=api.url).count("\n") == 2346
        found = json.loads(ok("list-tunnels", "--json", "--client", "alice", "--dp-id", "0x3039", api=api.url))
        assert found == {"tunnels": rows}
        assert api.asked[-1] == ("ListTunnels", {"client": "alice", "dp_id": "0x3039", "limit": 1000, "cursor": "2000"})
        api.asked.clear()
        assert len(json.loads(ok("list-tunnels", "--json", "--limit", "1001", api=api.url))["tunnels"]) == 1001
        assert [request["limit"] for _, request in api.asked] == [1000, 1]


def test_empty_list():
    with StubApi({"ListTunnels": {"tunnels": []}}) as api:
        assert json.loads(ok("list-tunnels", "--json", api=api.url)) == {"tunnels": []}
        done = admin("list-tunnels", api=api.url)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"none\n")


CALLS = [
    (["get-data-plane-status", "0x3039"], "GetDataPlaneStatus", {"dp_id": "0x3039"}),
    (["drain-data-plane", "0x3039"], "DrainDataPlane", {"dp_id": "0x3039"}),
    (["shutdown-data-plane", "--yes", "3039"], "ShutdownDataPlane", {"dp_id": "3039"}),
    (["replace-port-owner", "--yes"], "ReplacePortOwner", {}),
    (["kick", "3039-0-1f"], "KickTunnel", {"tunnel_id": "3039-0-1f"}),
    (["kick", "3039-0-1f", "--reason", "x", "--block", "2h"], "KickTunnel",
     {"tunnel_id": "3039-0-1f", "reason": "x", "block_seconds": 7200}),
    (["kick", "3039-0-1f", "7"], "KickConnection", {"tunnel_id": "3039-0-1f", "connection_id": 7}),
    (["block", "198.51.100.0/24", "--for", "90", "--reason", "scan"], "BlockSource",
     {"source": "198.51.100.0/24", "seconds": 90, "reason": "scan"}),
    (["block", "::1"], "BlockSource", {"source": "::1"}),
    (["unblock", "::1"], "UnblockSource", {"source": "::1"}),
    (["get-client", "alice"], "GetClient", {"name": "alice"}),
    (["delete-client", "alice"], "DeleteClient", {"name": "alice"}),
    (["reload"], "ReloadConfig", {}),
    (["get-config"], "GetConfig", {}),
    (["log-level"], "GetLogLevels", {}),
    (["log-level", "debug"], "SetLogLevel", {"level": "debug"}),
    (["log-level", "auth=debug"], "SetLogLevel", {"level": "debug", "module": "auth"}),
]  # fmt: skip


@pytest.mark.parametrize("words,call,request_", CALLS, ids=lambda v: v if isinstance(v, str) else None)
def test_command_asks_for_what_it_says(words, call, request_):
    answer = {"status": "done", "level": "info", "settings": [], "client": {"name": "alice"}, **PLANE}
    with StubApi({call: answer}) as api:
        ok(*words, api=api.url)
        assert api.asked == [(call, request_)]
        assert json.loads(ok(*words, "--json", api=api.url)) == answer


def test_put_client_sends_the_file(logs):
    wish = {"name": "alice", "psk": "x" * 16, "ports": ["9000-9099/tcp"]}
    (logs / "alice.json").write_text(json.dumps(wish))
    (logs / "bad.json").write_text('{"name":\n "alice",}')
    with StubApi({"PutClient": {"status": "created", "client": {"name": "alice", "ports": wish["ports"]}}}) as api:
        shown = ok("put-client", logs / "alice.json", api=api.url)
        assert shown.startswith("created\n") and "9000-9099/tcp" in shown
        assert api.asked == [("PutClient", wish)]
        assert "line 2" in fails("put-client", logs / "bad.json", api=api.url, status=2)
        assert "none.json" in fails("put-client", logs / "none.json", api=api.url)


def test_options_may_stand_before_the_command():
    with StubApi({"ListDataPlanes": {"data_planes": [PLANE]}}) as api:
        found = ok("--api", api.url, "--json", "list-data-planes")
        assert json.loads(found) == {"data_planes": [PLANE]}


def test_shutdown_does_nothing_without_a_yes():
    with StubApi({}) as api:
        assert "--yes" in fails("shutdown-data-plane", "0x3039", api=api.url)
        assert api.asked == []


def test_events_are_followed():
    event = b'id: 7\nevent: %s\ndata: {"time_ms":1795654923123,"client":"alice","bytes_sent":1200000}\n\n'
    wire = [b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", b": hello\n\n",
            event % b"stats", (event % b"tunnel_closed")[:20], (event % b"tunnel_closed")[20:], event % b"config"]  # fmt: skip
    with StubApi({"/api/v1/events": Raw(wire=wire)}) as api:
        done = admin("events", api=api.url)
        assert done.stdout.decode().splitlines() == [
            "2026-11-26T01:02:03.123Z  tunnel_closed  client=alice  bytes_sent=1.2M",
            "2026-11-26T01:02:03.123Z  config         client=alice  bytes_sent=1.2M",
        ]
        assert done.returncode == 1 and b"ended the stream" in done.stderr
        line = ok("events", "--json", "--type", "stats", "--count", "1", api=api.url)
        assert json.loads(line) == {"event": "stats", "time_ms": 1795654923123, "client": "alice", "bytes_sent": 1200000}


def test_events_go_on_after_a_cut():
    events = Events()
    with StubApi({"/api/v1/events": events.answer}) as api:
        command = [QUICPORT, "admin", "events", "--json", "--reconnect", "--count", "3", "--api", api.url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment(None)) as follower:
            for number in (7, 8, 9):
                eventually(lambda: len(events.queues) == number - 6, what="it listens")
                events.send("config", {"time_ms": number, "status": "reloaded"}, number)
                assert json.loads(follower.stdout.readline())["time_ms"] == number
                events.end()
            assert follower.wait(20) == 0
            assert follower.stderr.read().count(b"; trying again\n") == 2
        assert [head.get("Last-Event-ID") for _, head in api.heads] == [None, "7", "8"]


# ---- where the API is ----


def test_nobody_is_there():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{s.getsockname()[1]}"
        line = fails("list-tunnels", "--api", url)
    assert f"no gateway answers at {url}" in line and "control-plane" in line and "--api" in line


def test_unix_socket(logs):
    path = logs / "api.sock"
    assert f"no gateway answers at unix:{path}" in fails("list-tunnels", "--api", f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)

        def serve():
            peer, _ = listener.accept()
            peer.recv(4096)
            body = b'{"tunnels":[]}'
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            peer.close()

        threading.Thread(target=serve, daemon=True).start()
        assert json.loads(ok("list-tunnels", "--json", "--api", f"unix:{path}")) == {"tunnels": []}


@pytest.mark.parametrize("address", ["127.0.0.1:39000", "ftp://h", "http://", "unix:", "http://u:p@h/", "http://h?x"])
def test_bad_address(address):
    line = fails("list-tunnels", f"--api={address}", status=2)
    assert "--api" in line and "unix:PATH" in line


def test_no_proxy_is_asked():
    with StubApi({"ListTunnels": {"tunnels": []}}) as api:
        ok("list-tunnels", "--json", api=api.url,
           env={"http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9"})  # fmt: skip


def test_token(logs):
    (logs / "token").write_text("s3cret\n")
    (logs / "wrong").write_text("wrong\n")
    (logs / "empty").write_text("\n")
    (logs / "two").write_text("a\r\nX-Evil: 1\n")
    for name in ("token", "wrong", "empty", "two"):
        (logs / name).chmod(0o600)
    with StubApi({"ListTunnels": {"tunnels": []}}, token="s3cret") as api:
        assert "--token-file" in fails("list-tunnels", api=api.url)
        assert "does not take the token" in fails("list-tunnels", "--token-file", logs / "wrong", api=api.url)
        assert "has no token" in fails("list-tunnels", "--token-file", logs / "empty", api=api.url, status=2)
        assert "has no token" in fails("list-tunnels", "--token-file", logs / "two", api=api.url, status=2)
        ok("list-tunnels", "--json", api=api.url, env={"QUICPORT_API_TOKEN_FILE": str(logs / "token")})
        (logs / "token").chmod(0o640)
        done = admin("list-tunnels", "--json", "--token-file", logs / "token", api=api.url)
        assert done.returncode == 0 and b"chmod 600" in done.stderr and b"s3cret" not in done.stderr
    line = fails("list-tunnels", "--token-file", logs / "token", api="http://192.0.2.1:1", status=2)
    assert "https://" in line and "s3cret" not in line


# ---- answers of others ----

HOSTILE = {
    "html": Raw(b"<html>hello", kind="text/html"),
    "empty": Raw(b""),
    "list": Raw(b"[]"),
    "no list": {"tunnels": 7},
    "deep": Raw(b"[" * 100000),
    "twice": Raw(b'{"tunnels":[],"tunnels":[]}'),
    "not utf-8": Raw(b'{"tunnels":["\xff"]}'),
    "nul": Raw(b'{"tunnels":["\\u0000"]}'),
    "error page": Raw(b"<html>", status=500, kind="text/html"),
    "redirect": Raw(wire=[b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"]),
    "no http": Raw(wire=[b"SSH-2.0-OpenSSH_9.2\r\n"]),
    "cut": Raw(wire=[b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"]),
    "nothing": Raw(wire=[]),
    "nasty type": Raw(b"x", kind="text/\x1b[2J"),
}


@pytest.mark.parametrize("answer", HOSTILE.values(), ids=HOSTILE.keys())
def test_answer_that_is_not_ours_is_told_in_one_line(answer):
    with StubApi({"ListTunnels": answer}) as api:
        harmless(fails("list-tunnels", api=api.url))


def test_huge_answer_is_cut_off():
    endless = (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" if i == 0 else b" " * 65536
               for i in range(20000))  # fmt: skip
    with StubApi({"ListTunnels": Raw(wire=endless)}) as api:
        assert "more than 16 MiB" in fails("list-tunnels", api=api.url)


def test_silence_ends_by_the_timeout():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        before = time.monotonic()
        line = fails("list-tunnels", "--timeout", "1", "--api", f"http://127.0.0.1:{listener.getsockname()[1]}")
        assert "--timeout" in line and time.monotonic() - before < 10


def test_pages_that_go_round_end():
    with StubApi({"ListTunnels": {"tunnels": [tunnel(1)], "next_cursor": "again"}}) as api:
        assert ok("list-tunnels", api=api.url).count("\n") == 3


def test_nothing_that_a_peer_chose_steers_the_terminal():
    rows = [tunnel(1, client=NASTY, peer=NASTY, ports=[NASTY, {"protocol": NASTY, "port": 1}, 7, None]),
            tunnel(2, client=17, peer=["x"], since=NASTY, rtt_us="x", ports="x", bytes_sent=-5), "x", None, 5]  # fmt: skip
    problem = {"title": NASTY, "detail": NASTY, "expected": NASTY}
    event = b"event: \x1b[2J\ndata: %s\n\n" % json.dumps({NASTY: NASTY, "time_ms": 2**62}).encode()
    wire = [b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", event]
    with StubApi({
        "ListTunnels": {"tunnels": rows},
        "KickTunnel": Raw(json.dumps(problem).encode(), 409),
        "GetDataPlaneStatus": {**PLANE, "state": NASTY, "drops": {NASTY: NASTY}},
        "GetConfig": {"settings": [{"name": NASTY, "value": {NASTY: [NASTY]}, "source": NASTY}]},
        "GetLogLevels": {"modules": {NASTY: NASTY}},
        "/api/v1/events": Raw(wire=wire),
    }) as api:  # fmt: skip
        for words in (["list-tunnels"], ["get-data-plane-status", "1"], ["get-config"], ["log-level"],
                      ["list-tunnels", "--raw"]):  # fmt: skip
            shown = ok(*words, api=api.url)
            assert r"\x1b" in shown
            harmless(shown)
        harmless(fails("kick", "1", api=api.url))
        harmless(admin("events", "--type", "\x1b[2J", api=api.url).stdout.decode())
        seen = on_terminal(["list-tunnels", "--json", "--api", api.url], {"NO_COLOR": "1"})
        harmless(seen.replace("\r\n", "\n"))


@pytest.mark.parametrize("bytes_", [b"data: " + b"x" * 1200000 + b"\n\n", b"data: [1]\n\n", b"data: \n\n"])
def test_stream_that_is_not_ours_is_told(bytes_):
    wire = [b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", bytes_]
    with StubApi({"/api/v1/events": Raw(wire=wire)}) as api:
        harmless(fails("events", api=api.url))


def test_output_that_cannot_be_written():
    with StubApi({"ListTunnels": pages("tunnels", [tunnel(i) for i in range(3000)])}) as api, open("/dev/full", "wb") as full:
        done = subprocess.run([QUICPORT, "admin", "list-tunnels", "--api", api.url], stdout=full, stderr=subprocess.PIPE,
                              env=clean_environment(None), timeout=30)  # fmt: skip
    assert done.returncode == 1 and b"cannot write" in done.stderr


# ---- on a terminal ----


def on_terminal(words, env=None, keys=b"", size=(24, 80)):
    """All that it writes to a terminal of its own."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(QUICPORT, ["quicport", "admin", *words], clean_environment({"TERM": "xterm", **(env or {})}))
    out = b""
    end = time.monotonic() + 20
    try:
        os.write(fd, keys)
        while time.monotonic() < end and select.select([fd], [], [], 20)[0]:
            try:
                piece = os.read(fd, 65536)
            except OSError:
                break
            if not piece:
                break
            out += piece
    finally:
        os.close(fd)
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, out
    return out.decode()


def test_colors_are_for_terminals_without_no_color():
    with StubApi({"ListDataPlanes": {"data_planes": [PLANE]}}) as api:
        words = ["list-data-planes", "--api", api.url]
        assert "\x1b[32mACTIVE\x1b[0m" in on_terminal(words)
        assert "\x1b" not in on_terminal(words, {"NO_COLOR": "1"})
        assert "\x1b" not in on_terminal(words, {"TERM": "dumb"})
        assert "\x1b" not in ok(*words)


# ---- top ----

STATS = {"time_ms": 1795654923123, "uptime_s": 356400, "interval_ms": 1000, "tunnels": 2, "ports": 2, "connections": 4,
         "totals": {"connections_refused": 3, "auth_failed": 9},
         "rates": {"bytes_sent": 1000000, "bytes_received": 0, "packets_in": 5, "packets_out": 6, "connections": 7},
         "drops": {"tcp_drop_backlog": 5}, "data_planes": [PLANE]}  # fmt: skip


def stats_stream(stats):
    """A stats event each 0.1 s until the reader is gone."""

    def wire():
        yield b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
        for n in range(600):
            drops = {k: v + n * 3 for k, v in stats["drops"].items()}
            yield b"event: stats\ndata: %s\n\n" % json.dumps({**stats, "drops": drops}).encode()
            time.sleep(0.1)

    return lambda _: Raw(wire=wire())


def growing(*grow):
    """Tunnels whose counters grow by so many bytes a second."""
    began = time.monotonic()

    def answer(_):
        passed = time.monotonic() - began
        return {"tunnels": [tunnel(i, bytes_sent=int(passed * n), bytes_received=0) for i, n in enumerate(grow)]}

    return answer


class Screen:
    """`quicport admin top` on a terminal."""

    def __init__(self, api, *words, env=None, size=(24, 80)):
        self.ours, theirs = pty.openpty()
        self.size(*size)
        self.before = termios.tcgetattr(theirs)
        self.popen = subprocess.Popen(
            [QUICPORT, "admin", "top", "--api", api, *words], stdin=theirs, stdout=theirs, stderr=theirs,
            env=clean_environment({"TERM": "xterm", **(env or {})}), start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))  # fmt: skip
        self.theirs = theirs
        self.out = b""

    def size(self, rows, columns):
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys):
        os.write(self.ours, keys)

    def read(self):
        while select.select([self.ours], [], [], 0)[0]:
            self.out += os.read(self.ours, 65536)
        return self.out

    def frame(self):
        """The last whole frame's lines, without colours."""
        frames = self.read().decode().split("\x1b[H")
        whole = [f for f in frames[1:] if "\x1b[J" in f]
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", whole[-1].split("\x1b[J")[0]).replace("\r", "").split("\n") if whole else []

    def shows(self, pattern):
        return eventually(lambda: re.search(pattern, "\n".join(self.frame())), what=f"{pattern} in {self.frame()}")

    def ends(self, status):
        """… and the terminal is as before."""
        eventually(lambda: self.read() is not None and self.popen.poll() is not None, what="top ends")
        assert self.popen.returncode == status
        assert termios.tcgetattr(self.theirs) == self.before
        assert self.read().count(b"\x1b[?1049h") == self.read().count(b"\x1b[?1049l") >= 1
        assert self.read().rindex(b"\x1b[?25h") > self.read().rindex(b"\x1b[?25l")

    def close(self):
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()
        os.close(self.ours)
        os.close(self.theirs)


@pytest.fixture
def screen():
    made = []

    def make(*words, **options):
        made.append(Screen(*words, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_top_shows_rates_and_sorts_by_them(screen):
    with StubApi({"ListTunnels": growing(10, 5000000, 100), "/api/v1/events": stats_stream(STATS)}) as api:
        top = screen(api.url)
        top.shows(r"(?m)^client-1 .* (39|40|41)M ")
        frame = top.frame()
        assert len(frame) == 24 and all(len(line) <= 80 for line in frame)
        assert frame[0].endswith("up 4d03h") and frame[1].startswith("2 tunnels, 4 conns (+7/s)")
        assert frame[2].startswith("in  8.0Mbit/s") and "0x3039 ACTIVE 5" in frame[3]
        assert re.match(r"drops  tcp_drop_backlog [0-9]+/s", frame[4])
        assert [line.split()[0] for line in frame[6:9]] == ["client-1", "client-2", "client-0"]
        top.press(b"R")
        top.shows(r"(?m)OUT b/s.*\nclient-0 .*\nclient-2 .*\nclient-1")
        top.press(b"Rn")
        top.shows(r"\*CLIENT(.|\n)*client-0 .*\nclient-1 .*\nclient-2")
        top.press(b"?")
        top.shows("the other way round")
        top.press(b"q")
        top.ends(0)


def test_top_moves_and_follows_the_terminals_size(screen):
    rows = [tunnel(i) for i in range(2500)]
    with StubApi({"ListTunnels": pages("tunnels", rows), "/api/v1/events": stats_stream(STATS)}) as api:
        top = screen(api.url, "--sort", "name")
        top.shows("1-17 of 2500")
        top.press(b"\x1b[6~")
        top.shows("18-34 of 2500")
        top.press(b"\x1b[F")
        top.shows("2484-2500 of 2500")
        top.press(b"\x1b[A\x1b[A")
        top.shows("2482-2498 of 2500")
        top.size(40, 130)
        top.shows(r"TUNNEL +PEER(.|\n)*2468-2500 of 2500")
        top.size(6, 20)
        eventually(lambda: len(top.frame()) <= 6 and max(map(len, top.frame())) <= 20, what="it is small")
        top.press(b"q")
        top.ends(0)


@pytest.mark.parametrize("how", ["ctrl-c", signal.SIGTERM, signal.SIGHUP, signal.SIGSEGV, signal.SIGQUIT])
def test_top_restores_the_terminal_however_it_ends(screen, how):
    with StubApi({"ListTunnels": growing(1), "/api/v1/events": stats_stream(STATS)}) as api:
        top = screen(api.url)
        top.shows("client-0")
        if how == "ctrl-c":
            top.press(b"\x03")
            top.ends(-signal.SIGINT)
        else:
            top.popen.send_signal(how)
            top.ends(-how)


def test_top_is_suspended_and_taken_up_again(screen):
    with StubApi({"ListTunnels": growing(1), "/api/v1/events": stats_stream(STATS)}) as api:
        top = screen(api.url)
        top.shows("client-0")
        top.popen.send_signal(signal.SIGTSTP)
        eventually(lambda: Path(f"/proc/{top.popen.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
                   or top.read().count(b"\x1b[?1049h") > 1, what="it is stopped")  # fmt: skip
        top.popen.send_signal(signal.SIGCONT)
        eventually(lambda: top.read().count(b"\x1b[?1049h") == 2, what="the screen is back")
        assert termios.tcgetattr(top.theirs) != top.before
        top.press(b"q")
        top.ends(0)


def test_top_tells_when_the_gateway_is_gone_and_goes_on_when_it_is_back(screen):
    answers = {"ListTunnels": growing(1), "/api/v1/events": stats_stream(STATS)}
    with StubApi(answers) as api:
        url, port = api.url, api.server.server_address[1]
        top = screen(url)
        top.shows("client-0")
        api.answers = {}
        top.shows("no ListTunnels here; trying again")
    with socket.socket() as s:  # nobody is there now, and quitting works
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", port))
        top.shows("no gateway answers")
    api = StubApi(answers, port=port)
    with api:
        top.shows(r"1-1 of 1  q quit")
        top.press(b"q")
        top.ends(0)


def test_top_quits_at_once_while_nothing_answers(screen):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        top = screen(f"http://127.0.0.1:{listener.getsockname()[1]}")
        top.shows("quicport")
        before = time.monotonic()
        top.press(b"q")
        top.ends(0)
        assert time.monotonic() - before < 2


def test_top_once_is_plain_text():
    with StubApi({"ListTunnels": growing(10, 5000000), "/api/v1/events": stats_stream(STATS)}) as api:
        shown = ok("top", "--once", api=api.url)
        harmless(shown)
        assert re.search(r"(?m)^client-1 .* (39|40|41)M ", shown)
    assert "no gateway answers" in fails("top", "--once", api=api.url)


def test_top_without_a_terminal():
    assert "--once" in fails("top", api="http://127.0.0.1:1", status=2)


def test_top_shows_hostile_text_harmlessly(screen):
    rows = [tunnel(1, client=NASTY, ports=[NASTY], peer=NASTY, tunnel_id=NASTY), tunnel(2, client="\u6f22" * 60), 7, None]
    stats = {**STATS, "drops": {NASTY: 1}, "data_planes": [{"dp_id": NASTY, "state": NASTY}, 5], "uptime_s": "x", "rates": 7}
    with StubApi({"ListTunnels": {"tunnels": rows}, "/api/v1/events": stats_stream(stats)}) as api:
        harmless(ok("top", "--once", api=api.url))
        top = screen(api.url, size=(24, 130))
        top.shows(r"x1b")
        for line in top.frame():
            harmless(line)
        top.press(b"q")
        top.ends(0)


# ---- command line ----


@pytest.mark.parametrize("words", [[], ["nonsense"], ["kick"], ["kick", "a", "b", "c"], ["kick", "a", "b"],
                                   ["get-connections"], ["block", "x", "--for", "0"], ["block", "x", "--for", "400d"],
                                   ["block", "x", "--for", "5x"], ["list-ports", "--port", "0"],
                                   ["list-tunnels", "--limit", "-1"], ["reload", "x"], ["help", "nonsense"],
                                   ["list-tunnels", "--timeout", "0"], ["events", "--count", "x"]])  # fmt: skip
def test_bad_command_line(words):
    assert admin(*words).returncode == 2


def test_help_names_every_command():
    listed = re.findall(r"^  ([a-z-]+) ", ok("help"), re.M)
    assert ok("--help") == ok("help")
    assert {"list-data-planes", "kick", "events", "help"} <= set(listed)
    for name in listed:
        if name != "help":
            assert ok("help", name).startswith(f"Usage: quicport admin {name}")
