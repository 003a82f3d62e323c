# SPDX-License-Identifier: Apache-2.0
"""
The prompt: testpmd's commands on a gateway's terminal, from a file, and across a hand-over. What
reads testpmd's statistics reads ours.
"""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import stat
import subprocess
import termios
from pathlib import Path

from harness import QUICPORT, Client, Gateway, eventually, new_port
from test_handover import hand_over

LO = "127.0.0.1"
SIGN = "quicport> "

# As scripts for testpmd have them: the numbers of a port's block, in this order.
STATS = re.compile(
    r"#{24} NIC statistics for port (?P<port>\d+)\s+#{24}\n"
    r"  RX-packets: (?P<rx>\d+)\s+RX-missed: (?P<missed>\d+)\s+RX-bytes:  (?P<rx_bytes>\d+)\n"
    r"  RX-errors: (?P<rx_errors>\d+)\n"
    r"  RX-nombuf:  (?P<nombuf>\d+)\s*\n"
    r"  TX-packets: (?P<tx>\d+)\s+TX-errors: (?P<tx_errors>\d+)\s+TX-bytes:  (?P<tx_bytes>\d+)\n"
    r"\n  Throughput \(since last show\)\n"
    r"  Rx-pps:\s+(?P<rx_pps>\d+)\s+Rx-bps:\s+(?P<rx_bps>\d+)\n"
    r"  Tx-pps:\s+(?P<tx_pps>\d+)\s+Tx-bps:\s+(?P<tx_bps>\d+)\n"
    r"  #{76}\n"
)


def ports(text):
    """Each port's statistics, the last time that it was shown."""
    return {int(m["port"]): {key: int(value) for key, value in m.groupdict().items()}
            for m in STATS.finditer(text)}  # fmt: skip


class Console(Gateway):
    """A gateway whose terminal is this test, by pipes."""

    def __init__(self, host, *args, **how):
        super().__init__(host, new_port(), "-i", *args, stdin=subprocess.PIPE, **how)

    def type(self, *commands):
        self.popen.stdin.write("".join(f"{command}\n" for command in commands).encode())
        self.popen.stdin.flush()

    def does(self, command):
        """What it says to this command, once it asks for the next one."""
        start = len(self.output())

        def answer():
            _, _, rest = self.output()[start:].partition(f"{command}\n")
            text, sign, _ = rest.rpartition(SIGN)
            return [text] if sign else None

        self.type(command)
        return eventually(answer, what=f"the answer to {command!r}")[0]


def tunnel(host, gateway, **how):
    inside, outside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    return outside, Client(host, f"{LO}:{gateway.port}", outside, inside, **how)


def echo(host, port, timeout=10):
    with host.connect(LO, port, timeout) as sock:
        sock.sendall(b"hello")
        return sock.recv(5) == b"hello"


def test_packets_wait_for_start_and_the_statistics_are_testpmds(host):
    gateway = Console(host)
    outside, client = tunnel(host, gateway)
    assert ports(gateway.does("show port stats all"))[0]["rx"] == 0
    assert "Packet forwarding not started" in gateway.does("stop")
    assert client.running()
    assert not host.port_opens(LO, outside)

    started = gateway.does("start")
    assert "tunnel packet forwarding - ports=1 - cores=1 - streams=1" in started
    client.opens(host, LO, outside)
    assert echo(host, outside)
    assert "Packet forwarding already started" in gateway.does("start")
    stats = ports(gateway.does("show port stats all"))[0]
    assert stats["rx"] > 10 and stats["tx"] > 10 and stats["rx_bytes"] > 1200

    cleared = gateway.does("clear port stats all")
    assert "NIC statistics for port 0 cleared" in cleared
    assert ports(gateway.does("show port stats 0"))[0]["rx"] < stats["rx"]

    stopped = gateway.does("stop")
    assert "Telling cores to stop..." in stopped and "Done." in stopped
    forwarded = re.findall(r"RX-packets: (\d+)\s+RX-dropped: (\d+)\s+RX-total: (\d+)", stopped)
    assert len(forwarded) == 2 and int(forwarded[1][0]) >= stats["rx"]
    # Gateway and client are on this host: with the workers stopped nothing moves.
    before = ports(gateway.does("show port stats all"))[0]
    assert not host.port_opens(LO, outside)
    assert ports(gateway.does("show port stats all"))[0]["tx"] == before["tx"]
    gateway.type("quit")
    assert gateway.wait() == 0
    assert gateway.before.left() == []


def test_commands_of_a_file_come_first_and_mistakes_are_told(host, tmp_path):
    script = tmp_path / "commands"
    script.write_text("# a remark\nset burst 16\nshow nonsense\nshow config rxtx\nset burst 600")
    gateway = Console(host, "--auto-start", "--cmdline-file", script)
    text = gateway.does("show port info all")
    before = gateway.output()
    assert "Infos for port 0" in text and "Driver name: quicport_tap" in text
    assert "Number of packets per burst set to 16" in before
    assert "packets/burst=16" in before
    assert re.search(r"show nonsense: (Bad arguments|Command not found)", before)
    assert "nb pkt per burst: 600 > 512 (maximum packet per burst)  ignored" in before
    assert "Bad arguments" in gateway.does("show port stats")
    assert "Invalid port 7" in gateway.does("show port stats 7")
    assert "`tunnel` is the only engine" in gateway.does("set fwd io")
    assert "Command not found" in gateway.does("nonsense")
    # The end of its input is an order to end, as testpmd takes it.
    gateway.popen.stdin.close()
    assert gateway.wait() == 0


def test_a_new_generation_takes_the_terminal_and_goes_on_as_the_last_one_was(host):
    gateway = Console(host)
    gateway.does("start")
    outside, client = tunnel(host, gateway)
    client.opens(host, LO, outside)
    with host.connect(LO, outside, timeout=10) as held:
        held.sendall(b"hello")
        assert held.recv(5) == b"hello"
        hand_over(gateway, 1)
        assert "already started" in gateway.does("start")
        assert ports(gateway.does("show port stats all"))[0]["rx"] < 100
        held.sendall(b"again")
        assert held.recv(5) == b"again"
        assert echo(host, outside)
    gateway.does("stop")
    gateway.type("quit")
    assert gateway.wait() == 0


def attached(host, gateway, *words, typed=None):
    """`quicport prompt`: what it says, and its status."""
    done = subprocess.run(host.command(QUICPORT, "prompt", "--instance", gateway.instance, *words),
                          input=typed, capture_output=True, text=True, timeout=20)  # fmt: skip
    return done.stdout + done.stderr, done.returncode


def test_prompts_of_a_gateway_that_runs(host):
    gateway = Gateway(host, new_port())
    outside, client = tunnel(host, gateway)
    client.opens(host, LO, outside)
    assert echo(host, outside)
    folder = Path("/run/quicport") / gateway.instance
    assert stat.S_IMODE(os.stat(folder / "prompt.sock").st_mode) == 0o600

    text, status = attached(host, gateway, "show", "tunnels")
    assert status == 0
    assert re.search(rf"psk\s+127\.0\.0\.1:\d+\s+{outside}/tcp\s+\d+\s+5\s+5\s+\d+\n", text), text
    text, status = attached(host, gateway, "show", "lcore", "cycles")
    assert "neighbours: this program has none" in attached(host, gateway, "show", "neighbours")[0]
    cycles = re.search(r"Busy-cycles: (\d+)\s+Idle-cycles: (\d+)", text)
    assert status == 0 and int(cycles[1]) > 0
    assert re.search(r"Bytes: 10\s+Cycles/byte: \d", text), text

    text, status = attached(host, gateway, typed="show port stats all\nquit\n")
    assert status == 0 and ports(text)[0]["rx"] > 5
    assert "the gateway runs on" in text and gateway.running()
    text, status = attached(host, gateway, typed="set burst 48\nshow config rxtx\n")
    assert status == 0 and "packets/burst=48" in text, "the end of input leaves as well"
    assert attached(host, gateway, "--data-plane", "zz")[1] == 2
    assert "No such file" in attached(host, gateway, "--data-plane", "0xffff", "help")[0]
    gateway.end()


def test_as_many_prompts_as_there_may_be_and_who_does_not_read_goes(host):
    gateway = Gateway(host, new_port())
    command = host.command(QUICPORT, "prompt", "--instance", gateway.instance)
    open_now = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(8)]
    try:
        for prompt in open_now:
            assert prompt.stdout.read(len(SIGN)) == SIGN.encode()
        text, status = attached(host, gateway, "help")
        assert status == 1 and "as many prompts are open as there may be at once (8)" in text
        # One asks and asks and reads nothing: the gateway's main thread is not held up by him.
        typed = b"show port xstats all\n" * 3000
        with contextlib.suppress(BrokenPipeError):
            open_now[0].stdin.write(typed)
            open_now[0].stdin.close()
        open_now[1].communicate(b"quit\n", timeout=20)
        text, status = attached(host, gateway, "show", "config", "cores")
        assert status == 0 and "List of forwarding lcores:" in text
        assert gateway.healthy()
    finally:
        for prompt in open_now:
            prompt.kill()
            prompt.wait()
    gateway.end()


def test_statistics_come_by_themselves(host):
    gateway = Gateway(host, new_port(), "--stats-period", "1")
    twice = eventually(lambda: gateway.output().count("Port statistics ===") >= 2, what="two periods")
    assert twice and 0 in ports(gateway.output())
    gateway.end()


def test_verbose_shows_frames_as_testpmd_does(host):
    gateway = Console(host, "--auto-start")
    outside, client = tunnel(host, gateway)
    client.opens(host, LO, outside)
    assert "Change verbose level from 0 to 3" in gateway.does("set verbose 3")
    start = len(gateway.output())
    assert echo(host, outside)

    def shown(how, l4):
        return re.search(rf"port 0/queue 0: {how} \d+ packets\n(?:  .*\n)*?  src=([0-9A-F:]{{17}}) - dst=\S+ - "
                         rf"type=0x0800 - length=\d+ - nb_segs=\d+ - sw ptype: L2_ETHER L3_IPV4 {l4}\n"
                         r"  ol_flags: .*\n", gateway.output()[start:])  # fmt: skip

    for how in ("received", "sent"):
        for l4 in ("L4_TCP", "L4_UDP"):
            eventually(lambda how=how, l4=l4: shown(how, l4), what=f"{how} {l4}")
    gateway.type("set verbose 0")
    gateway.wait_for_line("Change verbose level from 3 to 0")
    assert "0 is none" in attached(host, gateway, "set", "verbose", "4")[0]
    gateway.type("quit")
    assert gateway.wait() == 0


def test_a_dedicated_port_and_its_engines(host, tmp_path):
    port = f"net_memif0,role=server,socket={tmp_path}/memif.sock,socket-abstract=no"
    gateway = Console(host, "--auto-start", "--port", port, "--ip", "10.97.0.1/24",
                      data_plane="10.97.0.1:39000")  # fmt: skip
    info = gateway.does("show port info all")
    assert "Device name: net_memif0" in info and "Driver name: net_memif" in info
    assert ports(gateway.does("show port stats all")).keys() == {0}
    assert "rx_good_packets: 0" in gateway.does("show port xstats 0")
    assert "tunnel packet forwarding - ports=1 - cores=1 - streams=1" in gateway.does("show config fwd")
    for engine in ("io", "mac", "macswap", "rxonly", "tunnel"):
        assert f"Set {engine} packet forwarding mode" in gateway.does(f"set fwd {engine}")
        assert f"{engine} packet forwarding packets/burst=32" in gateway.does("show config rxtx")
    assert "there is no such engine: tunnel, io, mac" in gateway.does("set fwd csum")
    neighbours = gateway.does("show neighbours")
    assert re.search(r"PORT ADDRESS\s+MAC\s+STATE\n", neighbours), neighbours
    assert "this program has none" not in neighbours
    assert "Done" in gateway.does("port stop 0")
    assert "Link status: down" in gateway.does("show port info 0")
    assert "Done" in gateway.does("port start 0")
    gateway.type("quit")
    assert gateway.wait() == 0


def data_plane(gateway):
    (plane,) = gateway.call("ListDataPlanes")[1]["data_planes"]
    return plane["pid"]


def test_the_terminal_goes_on_after_a_crash_and_an_upgrade(host):
    gateway = Console(host)
    gateway.does("start")
    outside, client = tunnel(host, gateway, reconnect=True)
    client.opens(host, LO, outside)

    pid = data_plane(gateway)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: gateway.healthy() and data_plane(gateway) != pid, what="another data plane")
    assert "already started" in gateway.does("start")
    client.opens(host, LO, outside)
    assert echo(host, outside)

    before = gateway.output().count('"message":"ready"')
    gateway.send(signal.SIGUSR2)
    eventually(lambda: gateway.output().count('"message":"ready"') > before, what="the upgrade")
    assert "already started" in gateway.does("start")
    assert echo(host, outside), "the data plane ran on"
    gateway.type("quit")
    assert gateway.wait() == 0
    assert gateway.before.left() == []


def test_a_real_terminal_is_edited_key_by_key_and_put_back(host):
    gateway = Gateway(host, new_port())
    here, there = pty.openpty()
    before = termios.tcgetattr(there)
    prompt = subprocess.Popen(host.command(QUICPORT, "prompt", "--instance", gateway.instance),
                              stdin=there, stdout=there, stderr=there, start_new_session=True,
                              preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))  # fmt: skip
    said = b""

    def says(text):
        nonlocal said
        while select.select([here], [], [], 0)[0]:
            said += os.read(here, 4096)
        return text in said

    try:
        eventually(lambda: says(SIGN.encode()), what="the sign")
        os.write(here, b"set bu\t")
        eventually(lambda: says(b"set burst "), what="the completion")
        os.write(here, b"655\x7f\x7f4\n")
        eventually(lambda: says(b"Number of packets per burst set to 64"), what="an edited line")
        os.write(here, b"\x1b[A\n")  # the last one again
        eventually(lambda: says(b"") and said.count(b"burst set to 64") == 2, what="the history")
        assert termios.tcgetattr(there) != before
        os.write(here, b"\x03")  # ^C
        assert prompt.wait(20) == 0
        assert termios.tcgetattr(there) == before
    finally:
        prompt.kill()
        prompt.wait()
        os.close(here)
        os.close(there)
    gateway.end()
