# SPDX-License-Identifier: Apache-2.0
"""Nic mode over a TAP of the gateway's own: real clients and users at the other end of the cable."""

import os
import socket
from pathlib import Path

import pytest

from harness import QUICPORT, Client, Gateway, Process, eventually, link, new_port, run
from nickit import (
    ADDRESSES,
    IFACE,
    LO,
    MIB,
    OUTSIDE,
    OWN,
    PORT,
    NicGateway,
    Tagged,
    at,
    counters,
    echoes,
    forwarded,
    ping,
    read,
)
from test_auth import CLIENT, SERVER, X25519_SERVER, x25519_client
from test_udp import Echo


@pytest.mark.parametrize("auth", ["psk", "x25519"])
@pytest.mark.parametrize("family", [4, 6])
def test_tcp_forward(host, auth, family):
    server, client = (("--psk", "secret"), ("--psk", "secret"))
    if auth == "x25519":
        server, client = X25519_SERVER, x25519_client(CLIENT, SERVER)
    gateway = NicGateway(host, new_port(), auth=server)
    _, port = forwarded(host, gateway, family, client)
    for each in (4, 6):
        echoes(host, OWN[each], port, 4 * MIB)
    assert gateway.metric("quicport_conns_total") == 4
    gateway.end()


@pytest.mark.parametrize("family", [4, 6])
def test_udp_forward(host, family):
    gateway = NicGateway(host, new_port())
    home, outside = new_port(), new_port()
    echo = Echo(host, home)
    client = Client(host, at(OWN[4], gateway.port), f"{outside}/udp", f"{home}/udp")
    client.wait_for_line("forward open")
    with host.inside():
        user = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, socket.SOCK_DGRAM)
    user.settimeout(5)
    # The last one is in fragments, each way.
    for size in (1, 100, 1400, 4000):
        data = os.urandom(size)
        user.sendto(data, (OWN[family], outside))
        assert user.recv(65536) == data, size
    user.close()
    echo.close()


def test_local_forward_leaves_by_the_port(host):
    gateway = NicGateway(host, new_port(), "--allow-local-forward", f"{OUTSIDE[4]}/32",
                         "--allow-local-forward", f"{OUTSIDE[6]}/128",
                         "--allow-local-forward", "198.51.100.0/24")  # fmt: skip
    for family in (4, 6):
        there, here = new_port(), new_port()
        host.service(OUTSIDE[family], there, "--echo")
        client = Process(host, "client", [QUICPORT, "client", "-s", at(OWN[4], gateway.port), "-L", str(here),
                                          "-R", at(OUTSIDE[family], there), "--psk", "secret", "--insecure",
                                          "--reconnect", "no"])  # fmt: skip
        client.wait_for_line("forward open")
        echoes(host, LO, here)
    refused = Process(host, "client", [QUICPORT, "client", "-s", at(OWN[4], gateway.port), "-L", str(new_port()),
                                       "-R", "198.51.100.7:80", "--psk", "secret", "--insecure",
                                       "--reconnect", "no"])  # fmt: skip
    refused.wait_for_line("no route to 198.51.100.7")


def test_ports_are_listed_and_measured(host):
    gateway = NicGateway(host, new_port(), "--mtu", 1400)
    status, answer = gateway.call("ListNics")
    (nic,) = answer["nics"]
    assert status == 200
    assert nic["device"] == nic["driver"] + "0" == "net_tap0"
    assert (nic["mtu"], nic["link"], nic["polled_by"]) == (1400, "up", [gateway.active()])
    assert nic["addresses"] == [f"{OWN[4]}/24", f"{OWN[6]}/64"]
    shown = host.run(QUICPORT, "admin", "--api", f"http://127.0.0.1:{gateway.port}", "list-nics")
    assert "net_tap0" in shown and nic["mac"] in shown
    assert gateway.metric("quicport_port_up") == 1
    assert gateway.metric("quicport_port_rx_queues_polled") == nic["rx_queues"]
    assert gateway.metric("quicport_port_slots_taken") == 1
    # The cable's other end goes down, and comes back.
    host.run("ip", "link", "set", IFACE, "down")
    eventually(lambda: gateway.metric("quicport_port_up") == 0, what="the link is seen to be down")
    host.run("ip", "link", "set", IFACE, "up")
    eventually(lambda: gateway.metric("quicport_port_up") == 1, what="the link is seen to be up")


def test_echo_requests_are_answered(host):
    gateway = NicGateway(host, new_port())
    for address in OWN.values():
        assert ping(host, address)
        assert ping(host, address, 1400)
    assert not ping(host, "192.0.2.2", within=1)
    gateway.end()


# DPDK's TAP takes 1,504 bytes at most; larger ones are tried over memif.
@pytest.mark.parametrize("mtu, families", [(1281, (4, 6)), (1499, (4, 6)), (1504, (4, 6)), (577, (4,))])
def test_mtu(host, mtu, families):
    addresses = [word for family in families for word in ("--ip", f"{OWN[family]}/{24 if family == 4 else 64}")]
    gateway = NicGateway(host, new_port(), addresses=addresses, mtu=mtu, families=families)
    for family in families:
        assert ping(host, OWN[family], mtu - (48 if family == 6 else 28)), "a whole packet of that size"
    if mtu < 1280:  # QUIC needs 1,200 bytes (RFC 9000, 14): the client comes in fragments, or not at all
        return
    _, port = forwarded(host, gateway)
    for family in families:
        echoes(host, OWN[family], port)


def test_vlan(host):
    NicGateway(host, new_port(), "--vlan", 12)
    cable = Tagged(host, IFACE)
    mac = eventually(lambda: cable.ask_arp(12, OUTSIDE[4], OWN[4]), what="the gateway answers in its network")
    assert cable.echo(12, mac, OUTSIDE[4], OWN[4])
    for other in (0, 13):
        assert cable.ask_arp(other, OUTSIDE[4], OWN[4]) is None
        assert not cable.echo(other, mac, OUTSIDE[4], OWN[4])
    cable.close()


def test_mtu_that_the_device_has_not_is_refused_with_what_it_has(host):
    number = new_port()
    gateway = Gateway(host, number, "--port", PORT, *ADDRESSES, "--mtu", 9000, wait=False,
                      data_plane=f"0.0.0.0:{number}")  # fmt: skip
    assert gateway.wait() != 0
    assert "--mtu 9000" in gateway.output() and "1504" in gateway.output()


def test_two_workers_share_the_clients(host):
    gateway = NicGateway(host, new_port(), "--workers", 2)
    ports = [forwarded(host, gateway, name=f"client-{i}")[1] for i in range(4)]
    for port in ports:
        for address in OWN.values():
            echoes(host, address, port)
    _, text = gateway.get("/metrics")
    carried = [float(line.split()[-1]) for line in text.splitlines()
               if line.startswith("quicport_worker_tunnels_total{")]  # fmt: skip
    assert sorted(carried)[0] > 0 and sum(carried) == 4, carried
    gateway.end()


def test_public_api_answers_on_the_port(host):
    gateway = NicGateway(host, new_port(), public_api=True)
    new_port()  # the next number is the public API's
    for address in OWN.values():
        with host.connect(address, gateway.port + 1) as sock:
            sock.sendall(b"GET /healthcheck HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: sock.recv(4096), b""))
        assert b" 200 " in answer.split(b"\r\n")[0] and b"SERVING" in answer


def test_forward_addr_is_the_only_one_that_answers(host):
    gateway = NicGateway(host, new_port(), "--ip", "192.0.2.3/24", "--forward-addr", "192.0.2.3")
    _, port = forwarded(host, gateway)
    echoes(host, "192.0.2.3", port)
    assert not host.port_opens(OWN[4], port)


def test_blocked_source_is_heard_no_more(host):
    gateway = NicGateway(host, new_port())
    _, port = forwarded(host, gateway)
    host.run("ip", "address", "add", "192.0.2.77/24", "dev", "qp0")
    echoes(host, OWN[4], port)
    assert gateway.call("BlockSource", source="192.0.2.77")[0] == 200

    def reaches():
        with host.inside():
            sock = socket.socket()
        with sock:
            sock.settimeout(1)
            sock.bind(("192.0.2.77", 0))
            try:
                sock.connect((OWN[4], port))
            except OSError:
                return False
            return True

    assert not reaches()
    assert sum(counters(gateway, "quicport_nic_.*blocked.*").values()) > 0
    echoes(host, OWN[4], port)
    assert gateway.call("UnblockSource", source="192.0.2.77")[0] == 200
    eventually(reaches, what="it is heard again")


@pytest.mark.parametrize("words, said", [
    (["--port", "net_nothing0", *ADDRESSES], "net_nothing0"),
    (["--port", "9999:99:99.9", *ADDRESSES], "9999:99:99.9"),
    (["--port", "net_af_packet0,iface=lo", *ADDRESSES], "use net_tap"),
    (["--port", PORT, "--ip", "192.0.2.1"], "ADDR/LEN"),
    (["--port", PORT, *ADDRESSES, "--lcores", "900"], "CPU 900"),
    (["--port", PORT, *ADDRESSES, "--interface", "lo"], "--interface lo"),
])  # fmt: skip
def test_wrong_options_end_the_start_and_leave_nothing(host, words, said):
    number = new_port()
    gateway = Gateway(host, number, *words, wait=False, data_plane=f"0.0.0.0:{number}")
    assert gateway.wait() != 0
    assert said in gateway.output(), gateway.output()
    assert gateway.before.left() == []


def test_check_config_reads_ports_too(host, logs):
    config = logs / "gateway.yaml"
    config.write_text(f"port: ['{PORT}']\nip: [192.0.2.0/24]\n")
    done = run(QUICPORT, "check-config", config, check=False)
    assert done == "" or "192.0.2.0/24" in done
    with pytest.raises(RuntimeError, match="gateway.yaml:2: ip 192.0.2.0/24: no host"):
        run(QUICPORT, "check-config", config)
    config.write_text(f"port: ['{PORT}']\nip: [192.0.2.1/24]\n")
    run(QUICPORT, "check-config", config)


def test_lcores_are_where_the_workers_run(host):
    cpu = sorted(os.sched_getaffinity(0))[-1]
    gateway = NicGateway(host, new_port(), "--lcores", cpu)
    tasks = Path(f"/proc/{gateway.data_plane_pid()}/task")
    bound = [text for text in (read(task / "status") for task in tasks.iterdir())
             if f"Cpus_allowed_list:\t{cpu}\n" in text]  # fmt: skip
    assert any("worker" in text.splitlines()[0] for text in bound), bound
    assert ping(host, OWN[4])


def test_clients_and_users_beyond_a_router(hosts):
    host, far = hosts("gateway"), hosts("far")
    link(host, far, ["198.51.100.1/24", "2001:db8:5::1/64"], ["198.51.100.2/24", "2001:db8:5::2/64"], "far0", "near0")
    for family in ("ipv4.ip_forward", "ipv6.conf.all.forwarding"):
        host.run("sysctl", "-q", "-w", f"net.{family}=1")
    far.run("ip", "route", "add", "default", "via", "198.51.100.1")
    far.run("ip", "-6", "route", "add", "default", "via", "2001:db8:5::1")
    gateway = NicGateway(host, new_port(), "--gateway", OUTSIDE[4], "--gateway", OUTSIDE[6])
    _, port = forwarded(far, gateway)
    for address in OWN.values():
        assert ping(far, address)
        echoes(far, address, port)
