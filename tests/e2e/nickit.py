# SPDX-License-Identifier: Apache-2.0
"""
A gateway with a port of its own, which is a TAP of DPDK's: what stands at the other end of the cable is
the kernel of the host's namespace, with real clients, users and services.
"""

import os
import re
import socket
import struct
import threading
import time

from harness import Client, Gateway, eventually, new_port

LO = "127.0.0.1"
MIB = 1 << 20
IFACE = "qp0"
PORT = f"net_tap0,iface={IFACE}"
OWN = {4: "192.0.2.1", 6: "2001:db8::1"}  # the gateway's
OUTSIDE = {4: "192.0.2.9", 6: "2001:db8::9"}  # the kernel's
LEN = {4: 24, 6: 64}
# A TAP and its port share an address, and a host does not listen to its own.
OUTSIDE_MAC = "02:00:00:00:00:99"
ADDRESSES = ["--ip", f"{OWN[4]}/24", "--ip", f"{OWN[6]}/64"]


def at(address, port):
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class NicGateway(Gateway):
    """`outside` False: the kernel's end stays as the port owner made it."""

    def __init__(self, host, port, *args, addresses=ADDRESSES, mtu=1500, families=(4, 6), outside=True,
                 **options):  # fmt: skip
        self.mtu, self.families = mtu, families
        words = ["--port", PORT, *addresses]
        if "--memory" not in args:  # of two data planes, so that tests find room beside each other
            words += ["--memory", "128"]
        if mtu != 1500:
            words += ["--mtu", str(mtu)]
        super().__init__(host, port, *words, *args, data_plane=f"0.0.0.0:{port}", **options)
        if outside and options.get("wait", True):
            self.connect_outside()

    def connect_outside(self):
        """The kernel's end of the cable gets its addresses, and sees the gateway."""
        self.host.run("ip", "link", "set", IFACE, "address", OUTSIDE_MAC)
        self.host.run("ip", "link", "set", IFACE, "mtu", max(self.mtu, 576))
        for family in self.families:
            nodad = ["nodad"] if family == 6 else []
            self.host.run("ip", "address", "add", f"{OUTSIDE[family]}/{LEN[family]}", "dev", IFACE, *nodad)

    def planes(self):
        """The data planes' states by id."""
        status, answer = self.call("ListDataPlanes")
        assert status == 200, answer
        return {plane["dp_id"]: plane["state"] for plane in answer["data_planes"]}

    def active(self):
        """The one that serves, or None."""
        return next((i for i, state in self.planes().items() if state == "ACTIVE"), None)

    def data_plane_pid(self):
        found = [pid for pid in self.members() if comm(pid).startswith("quicport-data-p")]
        assert len(found) == 1, found
        return found[0]


def comm(pid):
    try:
        with open(f"/proc/{pid}/comm") as f:
            return f.read().strip()
    except OSError:
        return ""


def _sum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ping(host, address, payload=56, within=5):
    """Whether the same bytes come back, as ping(8) checks it. Fragments and all are the kernel's matter."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    six = family == socket.AF_INET6
    ident, data = os.getpid() & 0xFFFF, os.urandom(payload)
    with host.inside():
        sock = socket.socket(family, socket.SOCK_RAW, socket.getprotobyname("ipv6-icmp" if six else "icmp"))
    head = struct.pack("!BBHHH", 128 if six else 8, 0, 0, ident, 1)
    if not six:
        head = struct.pack("!BBHHH", 8, 0, _sum(head + data), ident, 1)
    with sock:
        sock.settimeout(0.5)
        for _ in range(int(within / 0.5)):
            sock.sendto(head + data, (address, 0))
            try:
                while True:
                    got = sock.recv(65536)
                    icmp = got if six else got[(got[0] & 15) * 4 :]
                    if icmp[0] == (129 if six else 0) and icmp[4:6] == head[4:6] and icmp[8:] == data:
                        return True
            except TimeoutError:
                continue
    return False


class Tagged:
    """The cable's end without the kernel's VLAN devices: IPv4 frames with a tag (0: without) by hand."""

    PACKET_AUXDATA = 8

    def __init__(self, host, iface):
        with host.inside():
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            self.sock.bind((iface, 0))
        self.sock.setsockopt(263, self.PACKET_AUXDATA, 1)
        self.mac = bytes.fromhex(OUTSIDE_MAC.replace(":", ""))

    def close(self):
        self.sock.close()

    def send(self, vlan, to, ethertype, payload):
        tag = struct.pack("!HH", 0x8100, vlan) if vlan else b""
        frame = to + self.mac + tag + struct.pack("!H", ethertype) + payload
        self.sock.send(frame.ljust(60, b"\0"))

    def receive(self, wanted, within):
        """The first (vlan, frame) that `wanted` takes; the kernel has put the tag beside the frame."""
        end = time.monotonic() + within
        while time.monotonic() < end:
            self.sock.settimeout(max(end - time.monotonic(), 0.01))
            try:
                frame, beside, _, _ = self.sock.recvmsg(65536, 256)
            except TimeoutError:
                return None
            vlan = next((struct.unpack("IIIHHHH", data)[5] & 0xFFF for level, kind, data in beside
                         if (level, kind) == (263, self.PACKET_AUXDATA)), 0)  # fmt: skip
            if frame[6:12] != self.mac and wanted(vlan, frame):
                return vlan, frame
        return None

    def ask_arp(self, vlan, source, target, within=1):
        """The MAC address of `target`, or None."""
        own, other = socket.inet_aton(source), socket.inet_aton(target)
        self.send(vlan, b"\xff" * 6, 0x0806,
                  struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + self.mac + own + bytes(6) + other)  # fmt: skip
        found = self.receive(lambda tag, f: tag == vlan and f[12:14] == b"\x08\x06" and f[20:22] == b"\0\x02"
                             and f[28:32] == other, within)  # fmt: skip
        return found[1][22:28] if found else None

    def echo(self, vlan, mac, source, target, within=1):
        data = os.urandom(32)
        icmp = struct.pack("!BBHHH", 8, 0, 0, 1, 1)
        icmp = struct.pack("!BBHHH", 8, 0, _sum(icmp + data), 1, 1) + data
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(icmp), 1, 0, 64, 1, 0,
                           socket.inet_aton(source), socket.inet_aton(target))  # fmt: skip
        head = head[:10] + struct.pack("!H", _sum(head)) + head[12:]
        self.send(vlan, mac, 0x0800, head + icmp)
        return self.receive(lambda tag, f: tag == vlan and f[34:35] == b"\0" and f[42:74] == data, within) is not None


def counters(gateway, pattern):
    """Sums of the counters whose names match."""
    _, text = gateway.get("/metrics")
    found = {}
    for name, value in re.findall(rf"^({pattern})(?:{{[^}}]*}})? ([0-9.e+-]+)$", text, re.M):
        found[name] = found.get(name, 0) + float(value)
    return found


def wait_active(gateway, not_this=None):
    def serving():
        try:
            now = gateway.active()
        except OSError:
            return None
        return now if now != not_this else None

    return eventually(serving, what="another data plane serves")


def read(path):
    """A file's text; "" when it is gone meanwhile."""
    try:
        return path.read_text()
    except OSError:
        return ""


def forwarded(host, gateway, family=4, auth=("--psk", "secret"), remote=None, **options):
    """A client that comes by the cable, with a port that leads to an echo service at home."""
    service, outside = new_port(), remote or new_port()
    host.service(LO, service, "--echo")
    client = Client(host, at(OWN[family], gateway.port), outside, service, auth=auth, **options)
    client.wait_for_line("forward open")
    return client, outside


def echoes(host, address, port, size=MIB, **options):
    done = host.load(address, port, "--echo", "--send", size, "--half-close", "--connections", 2,
                     "--parallel", 2, **options)  # fmt: skip
    assert (done["ok"], done["mismatches"]) == (2, 0), done


class Transfer:
    """Bytes that go around for as long as it is open; `fine` after its end."""

    def __init__(self, host, address, port):
        with host.inside():
            self.sock = socket.create_connection((address, port), 10)
        self.sock.settimeout(15)
        self.rounds, self.error, self.stop = 0, None, False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            while not self.stop:
                data = os.urandom(20000)
                self.sock.sendall(data)
                got = b""
                while len(got) < len(data):
                    part = self.sock.recv(65536)
                    if not part:
                        raise ConnectionError("end of data")
                    got += part
                assert got == data
                self.rounds += 1
        except Exception as error:  # noqa: BLE001 the test shows it
            self.error = error

    def goes_on(self, rounds=5):
        want = self.rounds + rounds
        eventually(lambda: self.error or self.rounds >= want, what="the transfer goes on")
        assert self.error is None, self.error

    def close(self):
        self.goes_on()
        self.stop = True
        self.thread.join(20)
        self.sock.close()
        assert self.error is None, self.error
