# SPDX-License-Identifier: Apache-2.0
"""
The load generator against a real gateway: each scenario for a moment, over a port of its own. That figures
are whole and right, not that they are high.
"""

import json
import os
import re
import shutil
import socket
import subprocess

import pytest
from harness import BUILD, ROOT, Gateway, clean_environment, eventually, link, run

BENCH = BUILD / "quicport-bench"
KEY = "mBJ3XsDyuJxqU2bk0XEa+rUH+XD1lYwMlx9xH8ZTMUg="
KEY_PUBLIC = "IexqQqW8ngM33aoJWqheXfW+11hL6A3h6kpO8uNl9Ws="


class Lab:
    """A gateway, and a host whose only link the load generator has for itself."""

    def __init__(self, hosts, *args, **options):
        self.gateway_host, self.bench_host = hosts("gateway"), hosts("bench")
        link(self.gateway_host, self.bench_host, ["10.0.0.1/24", "fd00::1/64"], [], "gw0", "bench0")
        for host, name in ((self.gateway_host, "gw0"), (self.bench_host, "bench0")):
            # Frames as on a wire: their sums filled, none larger than the MTU.
            host.run("ethtool", "-K", name, "tx", "off", "tso", "off", "gso", "off", "gro", "off",
                     "tx-udp-segmentation", "off")  # fmt: skip
        self.gateway_host.run("ip", "route", "add", "10.1.0.0/16", "via", "10.0.0.2")
        self.gateway = Gateway(self.gateway_host, 39000, *args,
                               **{"data_plane": "0.0.0.0:39000", **options})  # fmt: skip

    def bench(self, logs, *args, auth=("--psk", "secret"), addresses=None, status=0, seconds=1):
        """A run's JSON; its text and its standard error are in .text and .err."""
        where = addresses or ("--ip", "10.0.0.2/24", "--net", "10.1.0.0/16",
                              "--target", "10.0.0.1:39000")  # fmt: skip
        words = [BENCH, "--port", "net_af_packet0,iface=bench0", *where, *auth, "--seconds", seconds,
                 "--warmup", 0, "--yield", "--mbufs", 8192, "--json", logs / "out.json",
                 "--hgrm", logs / "out.hgrm", "--hlog", logs / "out.hlog", *args]  # fmt: skip
        done = subprocess.run(self.bench_host.command(*words), capture_output=True, text=True,
                              timeout=120, env=clean_environment({}))  # fmt: skip
        assert done.returncode == status, f"status {done.returncode}\n{done.stdout}{done.stderr[-3000:]}"
        result = json.loads((logs / "out.json").read_text())
        result["text"], result["err"] = done.stdout, done.stderr
        return result


@pytest.fixture
def lab(hosts):
    return Lab(hosts)


def whole(result):
    """All that was sent arrived, on both ways."""
    total = result["total"]
    assert result["verdict"] == "clean" and result["why"] == ""
    assert total["user_tx_bytes"] == total["service_rx_bytes"]
    assert total["service_tx_bytes"] == total["user_rx_bytes"]
    assert total["user_wrong"] == total["service_wrong"] == 0
    return total


@pytest.mark.parametrize("direction", ["in", "out", "both"])
def test_bulk_arrives_whole(lab, logs, direction):
    result = lab.bench(logs, "--scenario", "bulk", "--direction", direction, "--clients", 2, "--users", 3)
    total = whole(result)
    assert (total["service_rx_bytes"] > 1_000_000) == (direction != "out")
    assert (total["user_rx_bytes"] > 1_000_000) == (direction != "in")
    assert total["tunnels_opened"] == 2
    assert total["conns_opened"] == total["conns_closed"] == 3
    rate = result["per_second"]["bits_to_services" if direction == "in" else "bits_to_users"]
    assert rate > 0


def test_bulk_comes_back_whole(lab, logs):
    """More connections than there are packet buffers for their windows."""
    total = whole(lab.bench(logs, "--scenario", "bulk", "--echo", "--users", 16))
    assert total["user_rx_bytes"] == total["user_tx_bytes"] > 1_000_000


def test_requests_are_answered(lab, logs):
    result = lab.bench(logs, "--scenario", "requests", "--clients", 3, "--users", 20,
                       "--size", "1-3000", "--response-size", "imix")  # fmt: skip
    total = whole(result)
    assert total["requests_begun"] == total["requests_done"] > 100
    assert total["conns_opened"] == 20, "connections are kept"
    assert result["latency_ns"]["count"] > 100
    low = result["latency_ns"]
    assert 0 < low["min"] <= low["p50"] <= low["p99"] <= low["p99_99"] <= low["max"] * 1.001


def test_open_loop_begins_as_planned_and_the_seed_decides(lab, logs):
    args = ("--scenario", "requests", "--users", 8, "--rate", 500, "--echo", "--size", "64-200")
    one = lab.bench(logs, *args, "--seed", 7)
    again = lab.bench(logs, *args, "--seed", 7)
    other = lab.bench(logs, *args, "--seed", 8)
    for result in (one, again, other):
        whole(result)
        assert 350 < result["total"]["requests_done"] + result["total"]["requests_unserved"] < 650
        assert result["total"]["requests_unserved"] == 0
    assert one["total"]["requests_done"] == again["total"]["requests_done"]
    # Latency counts what was to begin in the measured time, however late it did.
    assert one["latency_ns"]["count"] == one["total"]["requests_done"]


def test_latency_counts_from_the_planned_time(lab, logs):
    """One user cannot make so many connections: most of them wait, and their wait is told."""
    result = lab.bench(logs, "--scenario", "connections", "--users", 1, "--rate", 200_000)
    assert result["total"]["requests_unserved"] > 0
    assert result["latency_ns"]["p50"] > 500_000_000


def test_short_connections_come_and_go(lab, logs):
    total = whole(lab.bench(logs, "--scenario", "connections", "--clients", 2, "--users", 20))
    assert total["conns_opened"] == total["conns_closed"] == total["requests_done"] > 100


def test_handshakes_open_and_close_tunnels(lab, logs):
    total = whole(lab.bench(logs, "--scenario", "handshakes", "--clients", 4))
    assert total["tunnels_opened"] > 10
    eventually(lambda: lab.gateway.metric("quicport_tunnels_active") == 0, what="all tunnels are gone")
    assert lab.gateway.metric("quicport_auth_psk_success_total") >= total["tunnels_opened"]


def test_handshakes_in_an_open_loop_keep_their_rate(lab, logs):
    result = lab.bench(logs, "--scenario", "handshakes", "--clients", 32, "--rate", 50, "--arrivals", "even")
    # One a 20 ms in the measured second; what is under way at its end is finished, and counts.
    assert whole(result)["tunnels_opened"] == result["latency_ns"]["count"] == 50
    assert result["total"]["requests_unserved"] == 0


def test_idle_users_are_still_there_at_the_end(lab, logs):
    total = whole(lab.bench(logs, "--scenario", "idle", "--clients", 10, "--users", 200))
    assert total["conns_opened"] == total["requests_done"] == total["conns_closed"] == 200


@pytest.mark.parametrize("way", [("--echo",), ("--response-size", "40-600"), ("--response-size", "0")])
def test_datagrams_arrive(lab, logs, way):
    result = lab.bench(logs, "--scenario", "udp", "--clients", 2, "--users", 10, "--rate", 500,
                       "--size", "imix", *way)  # fmt: skip
    total = whole(result)
    assert total["dgrams_sent"] == total["dgrams_arrived"] > 300
    answers = 0 if way[1:] == ("0",) else total["dgrams_sent"]
    assert total["dgrams_answered"] == total["dgrams_back"] == answers


def test_outside_users_come_from_many_addresses(lab, logs):
    with lab.gateway_host.inside():
        seen = subprocess.Popen(
            lab.gateway_host.command("tcpdump", "-lnni", "gw0", "tcp[tcpflags] & tcp-syn != 0 and dst port 20000"),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
    assert "listening" in seen.stderr.readline() + seen.stderr.readline()
    lab.bench(logs, "--scenario", "idle", "--users", 50)
    eventually(lambda: lab.gateway.metric("quicport_tunnels_active") == 0)
    seen.terminate()
    sources = set(re.findall(r"IP (10\.1\.\d+\.\d+)\.\d+ > 10\.0\.0\.1\.20000", seen.communicate()[0]))
    assert len(sources) == 50


@pytest.mark.parametrize("scenario", [("bulk", "--direction", "both"), ("udp", "--rate", 500), ("connections",)])
def test_dedicated_port_to_dedicated_port(hosts, logs, scenario):
    """No kernel between the two: a memif, and each end's own ARP."""
    host = hosts("gateway")
    path = logs / "memif.sock"
    memif = f"net_memif0,socket={path},socket-abstract=no,role"
    gateway = Gateway(host, 39000, "--port", f"{memif}=server", "--ip", "10.0.0.1/24", "--route",
                      "10.1.0.0/16=10.0.0.2", data_plane="10.0.0.1:39000")  # fmt: skip
    eventually(path.exists, what="the gateway's memif is there")
    words = [BENCH, "--port", f"{memif}=client", "--ip", "10.0.0.2/24", "--net", "10.1.0.0/16", "--target",
             "10.0.0.1:39000", "--psk", "secret", "--clients", 2, "--users", 5, "--seconds", 1, "--warmup", 0,
             "--yield", "--mbufs", 8192, "--json", logs / "out.json", "--scenario", *scenario]  # fmt: skip
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{done.stdout}{done.stderr[-3000:]}"
    total = whole(json.loads((logs / "out.json").read_text()))
    # The unreliable way shows what TCP and QUIC hide: nothing came twice.
    assert total["dgrams_sent"] == total["dgrams_arrived"] == total["dgrams_back"]
    assert gateway.metric("quicport_tunnels_total") == 2
    # The other end has gone, and the device has forgotten; the prompt has not.
    shown = subprocess.run([BUILD / "quicport", "prompt", "--instance", gateway.instance, "show", "port",
                            "stats", "all"], capture_output=True, text=True, timeout=30).stdout  # fmt: skip
    received, sent = (int(re.search(rf"{way}-packets: (\d+)", shown)[1]) for way in ("RX", "TX"))
    # A few may have been under way at the end.
    assert received == pytest.approx(total["tx_frames"], rel=0.05, abs=20)
    assert sent == pytest.approx(total["rx_frames"], rel=0.05, abs=20)


def test_x25519_and_ipv6(hosts, logs):
    lab = Lab(hosts, "--privkey", KEY, "--client-pubkeys", KEY_PUBLIC, auth=(), data_plane="[::]:39000")
    result = lab.bench(
        logs, "--scenario", "requests", "--users", 4,
        auth=("--privkey", KEY, "--server-pubkey", KEY_PUBLIC),
        addresses=("--ip", "fd00::2/64", "--target", "[fd00::1]:39000"),
    )  # fmt: skip
    assert whole(result)["requests_done"] > 10


def test_a_wrong_key_is_no_measurement(lab, logs):
    result = lab.bench(logs, "--scenario", "bulk", auth=("--psk", "wrong"), status=3)
    assert result["verdict"] == "failed" and "no tunnel opened" in result["why"]
    assert "the key was refused" in result["why"]


def test_a_port_in_use_is_named(lab, logs):
    with lab.gateway_host.inside():
        taken = socket.create_server(("10.0.0.1", 20000))
    result = lab.bench(logs, "--scenario", "bulk", status=3)
    taken.close()
    assert "20000" in result["why"].rpartition(":")[2] or "in use" in result["why"]


def test_silence_is_no_measurement(lab, logs):
    result = lab.bench(logs, "--patience", 1, status=3, addresses=(
        "--ip", "10.0.0.2/24", "--target", "10.0.0.77:39000"))  # fmt: skip
    assert "does not answer ARP" in result["why"]


def test_a_gateway_that_dies_is_loss(lab, logs):
    bench = lab.bench_host.start(
        "bench", BENCH, "--port", "net_af_packet0,iface=bench0", "--ip", "10.0.0.2/24", "--target",
        "10.0.0.1:39000", "--psk", "secret", "--scenario", "requests", "--seconds", 30, "--users", 4,
        "--yield", "--mbufs", 8192, "--patience", 3, "--stats-period", 1)  # fmt: skip
    bench.wait_for_line(r"requests/s [1-9]")
    lab.gateway.stop()
    bench.send(2)
    assert bench.wait(60) == 1
    assert "tunnels lost" in bench.output()


def test_files_are_hdrhistograms(lab, logs):
    result = lab.bench(logs, "--scenario", "requests", "--users", 2)
    lines = (logs / "out.hgrm").read_text().splitlines()
    assert lines[0].split() == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
    count = result["latency_ns"]["count"]
    assert any(re.fullmatch(rf" *[\d.]+ 1\.0+ +{count}", line) for line in lines)
    assert f"Total count    = {count:>12}]" in lines[-2]
    assert "HISTFAAA" in (logs / "out.hlog").read_text()


def traces():
    """Of load generators that are no more; others may run here at the same time."""
    names = os.listdir("/var/run/dpdk") + os.listdir("/dev/hugepages")
    found = {name: re.match(r"quicport-bench-(\d+)", name) for name in names}
    return {name for name, match in found.items() if match and not os.path.exists(f"/proc/{match[1]}")}


def test_nothing_is_left(lab, logs):
    before = traces()
    lab.bench(logs, "--scenario", "idle", "--users", 5)
    eventually(lambda: traces() <= before, what="nothing is left")


def test_eals_own_options_stand_first_as_with_testpmd(lab, logs):
    """And huge pages come back, whatever prefix its files have."""
    prefix = f"quicport-e2e-{os.getpid()}"
    words = [BENCH, "--lcores", "0@0,7@0", "--vdev", "net_af_packet5,iface=bench0", "--file-prefix", prefix,
             "--", "--ip", "10.0.0.2/24", "--target", "10.0.0.1:39000", "--psk", "secret", "--scenario",
             "requests", "--seconds", 1, "--yield", "--mbufs", 8192, "--json", logs / "out.json"]  # fmt: skip
    done = subprocess.run(lab.bench_host.command(*words), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((logs / "out.json").read_text())["lcores"][0]["lcore"] == 7
    assert not [name for name in os.listdir("/dev/hugepages") if name.startswith(prefix)]
    shutil.rmtree(f"/var/run/dpdk/{prefix}")


def test_a_file_of_commands_does_one_run_after_the_other(lab, logs):
    """What follows a start is done after that run; the last line needs no end."""
    script = logs / "commands"
    script.write_text("set load seconds 1\nset load warmup 0\nset fwd requests\nstart\n\nshow result\n"
                      "set fwd connections\nstart\nset fwd bulk\nstart")  # fmt: skip
    words = (BENCH, "--port", "net_af_packet0,iface=bench0", "--ip", "10.0.0.2/24", "--target", "10.0.0.1:39000",
             "--psk", "secret", "--yield", "--mbufs", 8192, "--cmdline-file", script)  # fmt: skip
    done = subprocess.run(lab.bench_host.command(*words), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    runs = re.findall(r"^(\w+): 1 tunnels, 1 users, 1\.\d s measured", done.stdout, re.M)
    assert runs == ["requests", "requests", "connections", "bulk"]
    assert done.stdout.count("  clean\n") == 4


def test_prompt_runs_again_with_another_load(lab, logs):
    """As one drives testpmd: by a pipe, waiting for what it says."""
    script = logs / "first"
    script.write_text("set load seconds 1\nset load warmup 0\nset load users 5\n")
    bench = lab.bench_host.start(
        "prompt", BENCH, "--port", "net_af_packet0,iface=bench0", "--ip", "10.0.0.2/24", "--target",
        "10.0.0.1:39000", "--psk", "secret", "--yield", "--mbufs", 8192, "--interactive",
        "--cmdline-file", script, "--auto-start", "--seconds", 600, stdin=subprocess.PIPE)  # fmt: skip

    def type_in(text):
        bench.popen.stdin.write(text.encode())
        bench.popen.stdin.flush()

    bench.wait_for_line(r"^bulk: 1 tunnels, 5 users, 1.0 s measured")
    type_in("set fwd requests\nset load users many\nset load seconds 600\nstart\n")
    bench.wait_for_line(r"^Set requests packet forwarding mode")
    bench.wait_for_line(r"^set load users many: expected a number")
    bench.wait_for_line(r"^requests packet forwarding - ports=1 - cores=1")
    # It goes on while it is asked.
    eventually(lambda: type_in("show tunnels\n") or "1 tunnels are open" in bench.output())
    type_in("set load users 9\nshow port stats all\nshow lcore cycles\n")
    bench.wait_for_line(r"^Please stop first")
    bench.wait_for_line(r"NIC statistics for port 0")
    bench.wait_for_line(r"Cycles of lcore 1")
    type_in("set burst 64\nset verbose 3\n")
    bench.wait_for_line(r"^Number of packets per burst set to 64")
    bench.wait_for_line(r"^port 0/queue 0: received \d+ packets\n  src=.* - type=0x0800 - length=\d+ - nb_segs=1")
    bench.wait_for_line(r"^port 0/queue 0: sent \d+ packets")
    type_in("set verbose 0\nport stop 0\n")
    bench.wait_for_line(r"Please stop first: a run is under way\n")
    type_in("stop\n")
    bench.wait_for_line(r"^requests: 1 tunnels, 5 users")
    type_in("port stop 0\nstart\n")
    bench.wait_for_line(r"^port 0 is stopped: say port start 0 first")
    type_in("quit\n")
    assert bench.wait() == 0
    assert bench.output().count("  clean\n") == 2


@pytest.mark.parametrize(
    "args, said",
    [
        (("--ip", "10.0.0.2/24", "--psk", "x"), "--target is missing"),
        (("--target", "10.0.0.1:39000", "--psk", "x"), "--ip is missing"),
        (("--target", "10.0.0.1:39000", "--ip", "10.0.0.2/24"), "no key"),
        (("--target", "10.0.0.1:39000", "--ip", "10.0.0.2/33", "--psk", "x"), "10.0.0.2/33: the length is 0 to 32"),
        (("--target", "10.0.0.1:39000", "--ip", "10.9.0.2/24", "--psk", "x"), "name a router there with --via"),
        (("--target", "10.0.0.1:39000", "--ip", "10.0.0.2/24", "--psk", "x", "--size", "big"), "--size big"),
        (("--target", "10.0.0.1:39000", "--ip", "10.0.0.2/30", "--psk", "x", "--clients", "9"), "--net"),
        (("--scenario", "sleep"), "sleep"),
    ],
)
def test_mistakes_are_named(args, said):
    done = subprocess.run([BENCH, *args], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert said in done.stderr and "EAL" not in done.stderr


def test_help_and_manual_have_the_same_options():
    shown = run(BENCH, "--help")
    page = ROOT / "docs/man/quicport-bench.1"
    options = set(re.findall(r"--([a-z][a-z-]+)", shown)) - {"help", "version", "lcores", "port"}
    manual = set(re.findall(r"Fl -([a-z][a-z-]+)", page.read_text()))
    assert options <= manual, options - manual
