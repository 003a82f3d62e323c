# SPDX-License-Identifier: Apache-2.0
"""Nic mode while something changes: data planes, control plane and port owner, addresses, MTUs."""

import os
import signal
import socket
import time

from harness import QUICPORT, Gateway, Process, eventually, new_port, run
from nickit import ADDRESSES, OWN, PORT, NicGateway, Transfer, echoes, forwarded, ping, wait_active


def test_reload_hands_over_without_a_loss(host):
    gateway = NicGateway(host, new_port(), "--memory", 240)
    _, port = forwarded(host, gateway)
    transfers = [Transfer(host, OWN[family], port) for family in (4, 6)]
    for each in transfers:
        each.goes_on()
    for _ in range(2):
        old = gateway.active()
        gateway.send(signal.SIGHUP)
        wait_active(gateway, not_this=old)
        for each in transfers:
            each.goes_on(20)
        # New users reach the tunnel of the draining one, new clients the new one.
        echoes(host, OWN[4], port)
        forwarded(host, gateway)
    for each in transfers:
        each.close()
    assert "DRAINING" in gateway.planes().values()


def test_more_generations_than_transmit_slots_are_refused_with_the_way_out(host):
    gateway = NicGateway(host, new_port(), "--memory", 300)
    kept = []
    for _ in range(3):
        kept.append(forwarded(host, gateway)[1])
        old = gateway.active()
        gateway.send(signal.SIGHUP)
        wait_active(gateway, not_this=old)
    kept.append(forwarded(host, gateway)[1])
    old = gateway.active()
    status, problem = gateway.call("DrainDataPlane", dp_id=old)
    assert status in (409, 503, 507), problem
    assert "transmit queues" in str(problem) or "MiB" in str(problem), problem
    assert gateway.active() == old
    for port in kept:
        echoes(host, OWN[4], port)


def test_killed_data_plane_is_replaced_and_its_clients_come_again(host):
    gateway = NicGateway(host, new_port())
    client, port = forwarded(host, gateway, reconnect=True)
    echoes(host, OWN[4], port)
    for _ in range(2):
        old = gateway.active()
        killed = time.monotonic()
        os.kill(gateway.data_plane_pid(), signal.SIGKILL)
        wait_active(gateway, not_this=old)
        eventually(lambda: host.port_opens(OWN[4], port), what="the client is back")
        # Told by a farewell, not by its idle timeout of tens of seconds.
        assert time.monotonic() - killed < 15
        echoes(host, OWN[6], port)
    assert gateway.metric("quicport_data_plane_farewells_total") >= 2
    assert client.running()
    gateway.end()


def test_killed_control_plane_is_followed_by_one_that_reads_all_back(host, logs):
    number, state = new_port(), {"QUICPORT_STATE_DIR": str(logs / "kept")}
    gateway = NicGateway(host, number, env=state)
    _, port = forwarded(host, gateway)
    transfer = Transfer(host, OWN[4], port)
    transfer.goes_on()
    old = gateway.active()
    gateway.kill()
    transfer.goes_on(20)
    second = NicGateway(host, number, env=state, outside=False, name="second")
    assert second.active() == old
    transfer.goes_on(20)
    echoes(host, OWN[6], port)
    second.send(signal.SIGHUP)
    wait_active(second, not_this=old)
    transfer.close()
    # Other ports than those that are open, or none: it says so, and leaves the data plane alone.
    second.kill()
    other = Gateway(host, number, "--port", PORT, "--port", "net_ring0", *ADDRESSES, env=state, wait=False,
                    data_plane=f"0.0.0.0:{number}", name="other")  # fmt: skip
    assert other.wait() != 0
    assert "the port owner that runs has 1" in other.output()
    none = Gateway(host, number, env=state, wait=False, data_plane=f"0.0.0.0:{number}", name="none")
    assert none.wait() != 0
    assert "was started with --port" in none.output()
    third = NicGateway(host, number, env=state, outside=False, name="third")
    echoes(host, OWN[4], port)
    third.stop()


def test_upgrade_of_the_control_plane_in_place(host):
    gateway = NicGateway(host, new_port())
    _, port = forwarded(host, gateway)
    transfer = Transfer(host, OWN[4], port)
    transfer.goes_on()
    old = gateway.active()
    gateway.send(signal.SIGUSR2)
    gateway.wait_for_line("took over from the control plane that this one was before")
    assert wait_active(gateway) == old
    transfer.close()
    echoes(host, OWN[6], port)
    gateway.end()


def test_data_plane_by_hand(host):
    gateway = NicGateway(host, new_port(), "--no-auto-dataplane", wait=False)
    line = gateway.wait_for_line(r"Start one: quicport (data-plane .*)$")[1]
    assert f"--port {PORT}" in line
    Process(host, "by-hand", [QUICPORT, *line.split()])
    gateway.wait_ready()
    gateway.connect_outside()
    _, port = forwarded(host, gateway)
    echoes(host, OWN[4], port)


def test_addresses_and_routes_change_by_a_reload(host, logs):
    config = logs / "gateway.yaml"
    number = new_port()

    def write(*more):
        lines = [f"port: ['{PORT}']", "ip:", f"  - {OWN[4]}/24", *more]
        config.with_suffix(".new").write_text("\n".join(lines) + "\n")
        config.with_suffix(".new").rename(config)

    write()
    gateway = NicGateway(host, number, "--config", config, addresses=[], families=(4,))
    assert not ping(host, "192.0.2.50", within=1)
    _, port = forwarded(host, gateway)
    transfer = Transfer(host, OWN[4], port)
    write("  - 192.0.2.50/24", "route: ['198.51.100.0/24=192.0.2.9']")
    assert gateway.call("ReloadConfig")[0] == 200
    assert ping(host, "192.0.2.50")
    host.run("ip", "address", "add", "198.51.100.5/32", "dev", "lo")
    with host.inside():
        far = socket.create_connection((OWN[4], port), 5, source_address=("198.51.100.5", 0))
    far.close()
    # What cannot be has its line, and changes nothing.
    write("  - 192.0.2.50/24", "mtu: 9000")
    status, problem = gateway.call("ReloadConfig")
    assert status != 200 and "mtu" in str(problem) and "9000" in str(problem), problem
    write()
    assert gateway.call("ReloadConfig")[0] == 200
    eventually(lambda: not ping(host, "192.0.2.50", within=1), what="the address is given up")
    transfer.close()


def test_smaller_mtu_counts_at_once_for_what_is_under_way(host, logs):
    config = logs / "gateway.yaml"
    config.write_text("mtu: 1500\n")
    gateway = NicGateway(host, new_port(), "--config", config)
    _, port = forwarded(host, gateway)
    transfers = [Transfer(host, OWN[family], port) for family in (4, 6)]
    for mtu in (1300, 1500):
        for each in transfers:
            each.goes_on()
        config.write_text(f"mtu: {mtu}\n")
        assert gateway.call("ReloadConfig")[0] == 200
        for each in transfers:
            each.goes_on(20)
    for each in transfers:
        each.close()


def test_replaced_port_owner_opens_the_ports_anew(host):
    gateway = NicGateway(host, new_port())
    client, port = forwarded(host, gateway, reconnect=True)
    old = gateway.active()
    host.run(QUICPORT, "admin", "--api", f"http://127.0.0.1:{gateway.port}", "replace-port-owner", "--yes")
    wait_active(gateway, not_this=old)
    gateway.connect_outside()  # it is another TAP
    eventually(lambda: host.port_opens(OWN[4], port), within=60, what="the client is back")
    echoes(host, OWN[4], port)
    assert client.running()
    gateway.end()


def test_more_workers_than_queues_wait_for_a_restart(host, logs):
    config = logs / "gateway.yaml"
    config.write_text("workers: 1\n")
    gateway = NicGateway(host, new_port(), "--config", config)
    old = gateway.active()
    config.write_text("workers: 2\n")
    status, problem = gateway.call("DrainDataPlane", dp_id=old)
    assert status >= 400 and "--workers 1" in str(problem), problem
    assert gateway.active() == old
    config.write_text("workers: 1\n")
    assert gateway.call("DrainDataPlane", dp_id=old)[0] == 200
    wait_active(gateway, not_this=old)


def test_draining_data_plane_outlives_the_death_of_the_one_that_serves(host):
    gateway = NicGateway(host, new_port(), "--memory", 240)
    _, port = forwarded(host, gateway)
    transfers = [Transfer(host, OWN[family], port) for family in (4, 6)]
    for each in transfers:
        each.goes_on()
    first = gateway.active()
    gateway.send(signal.SIGHUP)
    second = wait_active(gateway, not_this=first)
    pid = gateway.call("GetDataPlaneStatus", dp_id=second)[1]["pid"]
    os.kill(pid, signal.SIGKILL)
    third = wait_active(gateway, not_this=second)
    assert third != first and gateway.planes()[first] == "DRAINING"
    for each in transfers:
        each.goes_on(20)
        each.close()
    echoes(host, OWN[4], port)
