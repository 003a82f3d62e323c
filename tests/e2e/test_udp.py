# SPDX-License-Identifier: Apache-2.0
"""UDP forwards: plain sockets outside and behind; as the client, ours and the reference peer."""

import asyncio
import contextlib
import errno
import socket
import struct
import threading
import time

import pytest

import quicport1 as q
import refpeer
from harness import Client, Gateway, Host, RefPeer, eventually, link, new_port

SO_RCVBUFFORCE = 33
UDP_SEGMENT = 103
LO = "127.0.0.1"
GATEWAY = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
BOTH = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])


class Echo:
    """A UDP service that answers each datagram with itself; it knows whom it has heard."""

    def __init__(self, host, port):
        self.peers = set()
        with host.inside():
            self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        self.sock.bind((LO, port))
        self.sock.settimeout(0.2)
        self.stop = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stop:
            try:
                data, peer = self.sock.recvfrom(65536)
            except TimeoutError:
                continue
            self.peers.add(peer)
            self.sock.sendto(data, peer)
        self.sock.close()

    def close(self):
        self.stop = True
        self.thread.join()


class Tunnel:
    """A gateway and its client on `host`, a forwarded UDP port, an outside on `outside`."""

    def __init__(self, host, outside, *args, client="ours"):
        self.host, self.outside = host, outside
        self.port, self.service = new_port(), new_port()
        self.gateway = Gateway(host, new_port(), *args)
        if client == "ours":
            self.client = Client(host, f"{LO}:{self.gateway.port}", f"{self.port}/udp",
                                 f"{LO}:{self.service}/udp")  # fmt: skip
            self.client.wait_for_line("forward open")
        else:
            self.client = RefPeer(host, "client", "--server", f"{LO}:{self.gateway.port}", "--psk",
                                  "secret", "--udp", "--remote", self.port, "--local",
                                  f"{LO}:{self.service}")  # fmt: skip
            assert self.client.event("forward")["status"] == 0

    def socket(self, address=LO):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.outside.inside():
            sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        sock.settimeout(5)
        sock.connect((address, self.port))
        return sock

    def metric(self, name):
        return self.gateway.metric(f"quicport_udp_{name}")


@pytest.fixture
def local(host):
    """With the reference peer, which allows 100 streams."""
    tunnel = Tunnel(host, host, client="reference")
    yield tunnel
    assert tunnel.gateway.running()


@pytest.fixture(params=["ours", "reference"])
def cable(host, request):
    """The outside is another host, behind a cable whose MTU is 1,500 bytes."""
    outside = Host("outside")
    try:
        link(host, outside, ["192.0.2.1/24", "2001:db8::1/64"],
             ["192.0.2.2/24", "2001:db8::2/64"], "qpu0", "qpu1")  # fmt: skip
        tunnel = Tunnel(host, outside, client=request.param)
        yield tunnel
        assert tunnel.gateway.running()
    finally:
        outside.remove()


def pattern(length, salt=0):
    return bytes((i * 7 + (i >> 8) + salt) & 0xFF for i in range(length))


def exchange(sock, data):
    sock.send(data)
    return sock.recv(65536)


def test_question_is_answered(local):
    echo = Echo(local.host, local.service)
    with local.socket() as sock:
        for length in (0, 1, 4, 512, 513, 1472, 9000):
            assert exchange(sock, pattern(length)) == pattern(length)
    eventually(lambda: local.metric("datagrams_out_total") == 7, what="the counters follow")
    assert local.metric("datagrams_in_total") == 7
    assert local.metric("flows") == 1
    echo.close()


@BOTH
@pytest.mark.parametrize("length", [1452, 1453, 1472, 1473, 8000, 65507])
def test_datagrams_of_any_length_over_a_cable(cable, family, length):
    echo = Echo(cable.host, cable.service)
    with cable.socket(GATEWAY[family]) as sock:
        for salt in range(3):
            assert exchange(sock, pattern(length, salt)) == pattern(length, salt)
    if length >= 1473:
        eventually(lambda: cable.metric("fragments_out_total") >= 6, what="answers in fragments")
        assert cable.metric("reassembled_total") == 3
    echo.close()


@pytest.mark.parametrize("address", [LO, "::1"])
def test_longest_datagram_over_lo(host, address):
    tunnel = Tunnel(host, host)
    echo = Echo(host, tunnel.service)
    with tunnel.socket(address) as sock:
        assert exchange(sock, pattern(65507)) == pattern(65507)
    echo.close()


@BOTH
def test_nobody_behind_is_port_unreachable(cable, family):
    with cable.socket(GATEWAY[family]) as sock:

        def refused():
            try:
                sock.send(b"anybody?")
                sock.settimeout(1)
                sock.recv(100)
            except OSError as error:
                return error.errno == errno.ECONNREFUSED
            return False

        assert eventually(refused)
    assert cable.metric("icmp_sent_total") >= 1
    eventually(lambda: cable.metric("flows") == 0, what="the virtual connection ended")


def test_outside_that_closed_ends_its_virtual_connection(cable):
    """The answer meets a closed port: its ICMP error reaches the client as a reset."""
    with cable.host.inside():
        service = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    service.bind((LO, cable.service))
    service.settimeout(5)
    sock = cable.socket(GATEWAY[socket.AF_INET])
    sock.send(b"question")
    _, peer = service.recvfrom(100)
    sock.close()
    service.sendto(b"answer", peer)
    eventually(lambda: cable.metric("flows_unreachable_total") == 1, what="ICMP is heard")
    eventually(lambda: cable.metric("flows") == 0, what="the virtual connection ended")
    service.close()


def test_silence_ends_a_virtual_connection(host):
    tunnel = Tunnel(host, host, "--udp-idle-timeout", "1")
    echo = Echo(host, tunnel.service)
    with tunnel.socket() as sock:
        end = time.monotonic() + 2.5
        while time.monotonic() < end:  # who speaks stays
            assert exchange(sock, b"x") == b"x"
            time.sleep(0.2)
        assert tunnel.metric("flows_opened_total") == 1
        eventually(lambda: tunnel.metric("flows") == 0, 5, "the virtual connection ended")
        assert tunnel.metric("flows_idle_total") == 1
        assert exchange(sock, b"again") == b"again"
        assert tunnel.metric("flows_opened_total") == 2
    assert len(echo.peers) == 2
    echo.close()


@pytest.mark.parametrize("option, counter", [
    ("--udp-max-flows", "drop_limit_total"),
    ("--udp-max-flows-per-tunnel", "drop_tunnel_limit_total"),
])  # fmt: skip
def test_limit_keeps_who_is_there(host, option, counter):
    tunnel = Tunnel(host, host, option, "10")
    echo = Echo(host, tunnel.service)
    socks = [tunnel.socket() for _ in range(12)]
    for sock in socks[:10]:
        assert exchange(sock, b"in") == b"in"
    for sock in socks[10:]:
        sock.send(b"out")
    eventually(lambda: tunnel.metric(counter) == 2, what=counter)
    for sock in socks[:10]:
        assert exchange(sock, b"still in") == b"still in"
    for sock in socks:
        sock.close()
    echo.close()


def test_1000_senders_with_100_streams(local):
    """The reference peer allows 100 streams: silent ones give theirs to those that wait."""
    echo = Echo(local.host, local.service)
    socks = [local.socket() for _ in range(1000)]
    for number, sock in enumerate(socks):
        sock.settimeout(60)
        sock.send(b"%d" % number)
    served = 0
    end = time.monotonic() + 60
    for number, sock in enumerate(socks):
        sock.settimeout(max(0.1, end - time.monotonic()))
        assert sock.recv(100) == b"%d" % number
        served += 1
    assert served == 1000
    for sock in socks:
        sock.close()
    echo.close()


def test_end_of_the_tunnel_frees_port_and_flows(host):
    local = Tunnel(host, host)
    echo = Echo(local.host, local.service)
    with local.socket() as sock:
        assert exchange(sock, b"x") == b"x"
        local.client.stop()
        eventually(lambda: local.gateway.metric("quicport_ports_open") == 0, what="port is closed")
        assert local.metric("flows") == 0
    with local.outside.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mine:
        mine.bind((LO, local.port))  # the port is anybody's again
    echo.close()
    local.gateway.end()


@BOTH
def test_sender_with_segmentation_offload(cable, family):
    """The sender's kernel hands over super-segments, which no device on the way has to cut."""
    echo = Echo(cable.host, cable.service)
    with cable.socket(GATEWAY[family]) as sock:
        sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
        sock.send(pattern(40 * 1000 + 300))
        answers = [sock.recv(65536) for _ in range(41)]
    assert [len(answer) for answer in answers] == 40 * [1000] + [300]
    assert b"".join(answers) == pattern(40 * 1000 + 300)
    eventually(lambda: cable.metric("datagrams_out_total") == 41, what="the counters follow")
    assert cable.metric("datagrams_in_total") == 41
    # They came in one frame, and leave in few.
    _, metrics = cable.gateway.get("/metrics")
    assert 'quicport_classifier_packets_total{verdict="port"} 1\n' in metrics
    assert cable.metric("super_segments_out_total") >= 1
    echo.close()


def test_1000_senders_at_once_with_our_client(host):
    tunnel = Tunnel(host, host)
    echo = Echo(host, tunnel.service)
    socks = [tunnel.socket() for _ in range(1000)]
    for number, sock in enumerate(socks):
        sock.send(b"%d" % number)
    for number, sock in enumerate(socks):
        assert sock.recv(100) == b"%d" % number
    assert len(echo.peers) == 1000  # each sender has a socket of its own behind the client
    for sock in socks:
        sock.close()
    echo.close()


# ---- peers that break the rules ----


@contextlib.asynccontextmanager
async def udp_client(tunnel_port, gateway):
    """A link with a UDP forward; the streams that the gateway opens come out of the queue."""
    streams = asyncio.Queue()
    async with refpeer.dial((LO, gateway.port)) as peer:
        control = peer.open_stream()
        peer.on_stream = streams.put
        await refpeer.run_auth(control, q.psk_client("secret"))
        control.write_message(
            q.Message(q.REMOTE_FORWARD_REQUEST, protocol=q.UDP, port=tunnel_port, text="test")
        )
        assert (await control.read_message()).status == q.STATUS_OK
        yield peer, control, streams


def record(data, length=None):
    return struct.pack(">I", len(data) if length is None else length) + data


BAD_ENDS = {
    "length of 65,508": lambda s: s.write(record(b"", 65508)),
    "length of 4 GiB": lambda s: s.write(b"\xff\xff\xff\xff" * 4),
    "half a header": lambda s: s.write(b"\0\0", end=True),
    "header alone": lambda s: s.write(record(b"", 10), end=True),
    "half a record": lambda s: s.write(record(b"12345", 10), end=True),
    "a good one, then half": lambda s: s.write(record(b"good") + record(b"12345", 10), end=True),
    "reset": lambda s: s.abort(),
}


@pytest.mark.parametrize("how", BAD_ENDS)
def test_hostile_client_loses_that_virtual_connection_alone(host, how):
    gateway, port = Gateway(host, new_port()), new_port()

    async def outside(text):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.connect((LO, port))
        sock.send(text)
        return sock

    async def scene():
        loop = asyncio.get_running_loop()
        async with udp_client(port, gateway) as (peer, control, streams), asyncio.timeout(20):
            good_sock = await outside(b"good")
            good = await streams.get()
            assert (await good.read_exactly(4 + 8))[4:] == record(b"good")
            bad_sock = await outside(b"bad")
            bad = await streams.get()
            await bad.read_exactly(4 + 7)
            BAD_ENDS[how](bad)
            while not (bad.reset_by_peer or bad.stopped_by_peer):
                if how == "reset":  # both sides know: there is nothing to be said
                    break
                bad.changed.clear()
                await bad.changed.wait()
            # The other one goes on, both ways, and the sender may come back.
            good.write(record(b"answer"))
            assert await loop.sock_recv(good_sock, 100) == b"answer"
            good_sock.send(b"more")
            assert await good.read_exactly(8) == record(b"more")
            with contextlib.suppress(ConnectionRefusedError):  # of the one that was refused
                bad_sock.send(b"again")
            bad_sock.send(b"again")
            again = await streams.get()
            assert (await again.read_exactly(4 + 9))[4:] == record(b"again")
        bad_sock.close()
        good_sock.close()

    with host.inside():
        asyncio.run(scene())
    if how != "reset":
        assert gateway.metric("quicport_udp_flows_bad_record_total") == 1
    eventually(lambda: gateway.metric("quicport_udp_flows") == 0, what="flows end with the tunnel")
    gateway.end()


class HostileServer(refpeer.Server):
    """Grants a UDP forward; then the test opens the streams."""

    async def forward(self, link, control):
        request = await control.read_message()
        assert request.protocol == q.UDP
        control.write_message(q.Message(q.REMOTE_FORWARD_RESPONSE, text="Listening on port 1"))
        await self.scene(link, control)
        link.close()


def play_server(host, port, service_port, scene):
    """Runs the scene against our client, which must outlive it."""
    ended = []

    async def run():
        server = HostileServer((LO, port), lambda: q.psk_server("secret"))
        done = asyncio.Event()

        async def wrapped(link, control):
            try:
                async with asyncio.timeout(30):
                    await scene(link, control)
                # Now: what follows the scene ends the client as well.
                assert client.running(), client.output()
                ended.append(None)
            except BaseException as error:
                ended.append(error)
            done.set()

        server.scene = wrapped
        await server.start()
        client = Client(host, f"{LO}:{port}", "1/udp", f"{LO}:{service_port}/udp")
        await asyncio.wait_for(done.wait(), 40)
        server.close()

    with host.inside():
        asyncio.run(run())
    if ended[0] is not None:
        raise ended[0]


def flow_stream(link, number, data=b"", end=False):
    stream = link.open_stream()
    stream.write(struct.pack(">I", number) + data, end=end)
    return stream


async def echoes(link, number):
    stream = flow_stream(link, number, record(b"hello"))
    answer = await stream.read_exactly(9)
    assert answer == record(b"hello")
    return stream


async def is_over(stream):
    while not (stream.reset_by_peer or stream.stopped_by_peer or stream.eof):
        stream.changed.clear()
        await stream.changed.wait()


HOSTILE_STREAMS = {
    "half an id": (b"\0\0", True),
    "no byte at all": (b"", True),
    "length of 65,508": (struct.pack(">I", 7) + record(b"", 65508), False),
    "length of 4 GiB": (struct.pack(">I", 7) + b"\xff" * 100, False),
    "half a header": (struct.pack(">I", 7) + b"\0\0\0", True),
    "half a record": (struct.pack(">I", 7) + record(b"12345", 1000), True),
}


def test_hostile_server_loses_that_stream_alone(host):
    echo = Echo(host, service := new_port())

    async def scene(link, control):
        good = await echoes(link, 1)
        for data, end in HOSTILE_STREAMS.values():
            stream = link.open_stream()
            stream.write(data, end=end)
            await is_over(stream)
            good.write(record(b"still here"))
            assert await good.read_exactly(14) == record(b"still here")
        await echoes(link, 2)

    play_server(host, new_port(), service, scene)
    echo.close()


def test_hostile_server_resets_and_stops(host):
    echo = Echo(host, service := new_port())

    async def scene(link, control):
        good = await echoes(link, 1)
        for number in range(2, 60):
            stream = await echoes(link, number)
            if number % 3 == 0:
                link._quic.reset_stream(stream.id, number)
            elif number % 3 == 1:
                link._quic.stop_stream(stream.id, number)
            else:
                stream.abort()
            link.transmit()
        # Messages about connections that are not there say nothing.
        for number in (1, 2, 0, 0xFFFFFFFF):
            control.write_message(q.Message(q.REMOTE_NEW_CONNECTION, connection=number))
        good.write(record(b"still here"))
        assert await good.read_exactly(14) == record(b"still here")

    play_server(host, new_port(), service, scene)
    echo.close()


def test_hostile_server_with_half_records_is_bounded(host):
    """600 records of 65,507 bytes that never end: no more than 32 MiB wait, the rest is refused."""
    echo = Echo(host, service := new_port())

    async def scene(link, control):
        good = await echoes(link, 1)
        streams = [flow_stream(link, 2 + n, record(b"x", 65507)) for n in range(600)]
        eventually_over = [asyncio.ensure_future(is_over(s)) for s in streams]
        await asyncio.wait(eventually_over, return_when=asyncio.FIRST_COMPLETED)
        while sum(task.done() for task in eventually_over) < 600 - (32 << 20) // 65507:
            await asyncio.sleep(0.01)
        good.write(record(b"still here"))
        assert await good.read_exactly(14) == record(b"still here")
        assert sum(task.done() for task in eventually_over) == 600 - (32 << 20) // 65507
        for task in eventually_over:
            task.cancel()

    play_server(host, new_port(), service, scene)
    echo.close()
