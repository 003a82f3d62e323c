# SPDX-License-Identifier: Apache-2.0
"""Peers that break the protocol, and strangers who send junk: nothing crashes, leaks or stalls."""

import asyncio
import contextlib
import itertools
import json
import os
import struct
import threading

import pytest

import quicport1 as q
import refpeer
from harness import FULL, TOOLS, Client, Gateway, eventually, new_port, resident_bytes
from test_auth import CLIENT, SERVER, X25519_SERVER

LO = "127.0.0.1"
MIB = 1 << 20
AT_ONCE = 16
JUNK_PACKETS = 10_000_000 if FULL else 300_000
HEAP_SLACK = (4 if FULL else 16) * MIB


class Neighbour:
    """An honest tunnel on the same gateway, whose echo must not stop."""

    def __init__(self, host, gateway, auth):
        self.host, self.gateway = host, gateway
        self.port, inside = new_port(), new_port()
        host.service(LO, inside, "--echo")
        self.client = Client(host, f"{LO}:{gateway.port}", self.port, inside, auth=auth)
        self.client.opens(host, LO, self.port)

    def echoes(self, size=MIB, deadline=20):
        result = self.host.load(LO, self.port, "--echo", "--send", size, "--half-close",
                                deadline=deadline)  # fmt: skip
        return result["ok"] == 1


@pytest.fixture(params=["psk", "x25519"])
def scheme(request):
    return request.param


CLIENT_AUTH = {
    "psk": ("--psk", "secret"),
    "x25519": ("--privkey", CLIENT.secret, "--server-pubkey", SERVER.shown),
}


def steps(scheme):
    if scheme == "psk":
        return q.psk_client("secret")
    return q.x25519_client(CLIENT.private, SERVER.public)


def first_step(scheme):
    return next(steps(scheme))[1]


@pytest.fixture
def gateway(host, scheme):
    auth = ("--psk", "secret") if scheme == "psk" else X25519_SERVER
    gateway = Gateway(host, new_port(), auth=auth)
    gateway.neighbour = Neighbour(host, gateway, CLIENT_AUTH[scheme])
    yield gateway
    assert gateway.running() and gateway.neighbour.client.running()
    assert gateway.neighbour.echoes()
    # What the hostile ones had is given back.
    eventually(lambda: gateway.metric("quicport_quic_connections") == 1, what="one connection left")
    assert gateway.metric("quicport_tunnels_active") == 1


def play(gateway, scenes):
    """Runs coroutines scene(address) in the gateway's namespace, some at once."""

    async def all_of_them():
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(scene):
            async with turn:
                return await scene((LO, gateway.port))

        return await asyncio.gather(*map(one, scenes))

    with gateway.host.inside():
        return asyncio.run(all_of_them())


async def closed(link, within=10):
    """(error code, reason) of the gateway's application close."""
    async with asyncio.timeout(within):
        await link.wait_closed()
    assert link.application_close() is not None, f"closed otherwise: {link.ended}"
    return link.application_close()


async def authenticate(link, scheme):
    control = link.open_stream()
    await refpeer.run_auth(control, steps(scheme))
    return control


def truncations(data):
    """Every proper prefix, the empty one too."""
    return [data[:length] for length in range(len(data))]


def test_every_truncation_of_the_first_authentication_step(gateway, scheme):
    def scene_of(piece):
        async def scene(address):
            async with refpeer.dial(address) as link:
                link.open_stream().write(piece, end=True)
                return await closed(link)

        return scene

    results = play(gateway, map(scene_of, truncations(first_step(scheme))))
    # Nothing tells one failed check from another.
    assert len(set(results)) == 1 and results[0][1] != ""
    assert gateway.metric("quicport_tunnels_total") == 1


def test_every_truncation_of_the_last_authentication_step(gateway, scheme):
    async def scene(address, length):
        async with refpeer.dial(address) as link:
            control, talk = link.open_stream(), steps(scheme)
            control.write(next(talk)[1])
            _, size = next(talk)
            proof = talk.send(await control.read_exactly(size))[1]
            control.write(proof[:length], end=True)
            return await closed(link)

    results = play(gateway, [lambda a, n=n: scene(a, n) for n in range(32)])
    assert len(set(results)) == 1
    assert gateway.metric("quicport_tunnels_total") == 1


def test_wrong_bytes_in_each_authentication_step(gateway, scheme):
    """A bit flipped anywhere in what the client sends: refused, always in the same words."""

    async def scene(address, step, at):
        # Each from an address of its own: failures slow the next ones from there down.
        async with refpeer.dial(address, source=f"127.0.{step}.{at + 1}") as link:
            control, talk = link.open_stream(), steps(scheme)
            sent = bytearray(next(talk)[1])
            if step == 1:
                sent[at % len(sent)] ^= 1 << at % 8
                control.write(bytes(sent))
            else:
                control.write(bytes(sent))
                _, size = next(talk)
                proof = bytearray(talk.send(await control.read_exactly(size))[1])
                proof[at % 32] ^= 1 << at % 8
                control.write(bytes(proof))
            if step == 1 and scheme == "x25519" and at % len(sent) >= 45:
                # The challenge is free: the server answers another one, and we go no further.
                await control.read_exactly(128)
                control.write(os.urandom(32))
            return await closed(link)

    length = len(first_step(scheme))
    scenes = [lambda a, n=n: scene(a, 1, n) for n in range(length)]
    scenes += [lambda a, n=n: scene(a, 3, n) for n in range(32)]
    assert len(set(play(gateway, scenes))) == 1
    assert gateway.metric("quicport_tunnels_total") == 1


MESSAGES = [
    q.Message(q.REMOTE_FORWARD_REQUEST, port=1, text="127.0.0.1:22"),
    q.Message(q.LOCAL_FORWARD_REQUEST, text="192.0.2.1:22", source="9022/tcp"),
    q.Message(q.LOCAL_FORWARD_RESPONSE, text="no"),
    q.Message(q.LOCAL_NEW_CONNECTION, connection=1),
    q.Message(q.REMOTE_FORWARD_RESPONSE, text="no"),
    q.Message(q.REMOTE_NEW_CONNECTION, connection=1),
    q.Message(q.SESSION_CLOSE),
    q.Message(q.CONNECTION_CLOSE, connection=1, reason=1),
]
MALFORMED = [
    "420000", "ff0000", "000000", "210002233e", "2100020000", "21000323ff09", "2300050000000703",
    "22000104", "220000", "6100050000000704", "61000400000007", "01000c010063312e322e332e343a35",
    "01000100", "0300040000000001", "21000823280123c3280a0b", "42ffff",
]  # fmt: skip


def test_every_truncation_of_every_control_message(gateway, scheme):
    """As the first message after authentication, with the stream's end after it."""

    def scene_of(piece):
        async def scene(address):
            async with refpeer.dial(address) as link:
                (await authenticate(link, scheme)).write(piece, end=True)
                async with asyncio.timeout(10):
                    await link.wait_closed()
                return link.ended.frame_type is None

        return scene

    pieces = [piece for m in MESSAGES for piece in truncations(q.encode(m)) if piece]
    assert all(play(gateway, map(scene_of, pieces)))


@pytest.mark.parametrize("after_forward", [False, True], ids=["first", "after a forward"])
def test_malformed_messages_close_with_a_reason(gateway, scheme, after_forward):
    async def scene(address, message, port):
        async with refpeer.dial(address) as link:
            control = await authenticate(link, scheme)
            if after_forward:
                control.write_message(q.Message(q.REMOTE_FORWARD_REQUEST, port=port, text="x"))
                answer = await control.read_message()
                assert answer.status == 0, answer.text
            # A payload that the header announces and that never comes ends with the stream.
            control.write(bytes.fromhex(message), end=message == "42ffff")
            return message, await closed(link)

    scenes = [lambda a, m=m, p=new_port(): scene(a, m, p) for m in MALFORMED]
    for message, (_, reason) in play(gateway, scenes):
        assert reason, f"no reason for {message}"


def test_wrong_order_is_answered_and_closed(gateway, scheme):
    """Anything but a forward request first: status 3, and the connection is closed."""
    first = [m for m in MESSAGES if m.kind not in (q.REMOTE_FORWARD_REQUEST,
                                                   q.LOCAL_FORWARD_REQUEST)]  # fmt: skip

    async def scene(address, message):
        async with refpeer.dial(address) as link:
            control = await authenticate(link, scheme)
            control.write_message(message)
            answer = None
            with contextlib.suppress(refpeer.Reset, asyncio.IncompleteReadError):
                answer = await control.read_message()
            async with asyncio.timeout(10):
                await link.wait_closed()
            return answer

    for message, answer in zip(first, play(gateway, [lambda a, m=m: scene(a, m) for m in first])):
        if message.kind == q.SESSION_CLOSE and answer is None:
            continue  # a client that leaves needs no answer
        assert answer is not None, f"no answer to {message.kind:#04x}"
        assert (answer.kind, answer.status) == (q.REMOTE_FORWARD_RESPONSE, q.STATUS_INTERNAL)


def test_authentication_in_single_bytes_works(gateway, scheme):
    """STREAM frames may split anything anywhere."""

    async def scene(address):
        async with refpeer.dial(address) as link:
            control, talk, answer = link.open_stream(), steps(scheme), None
            port = new_port()

            async def trickle(data):
                for at in range(len(data)):
                    control.write(data[at : at + 1])
                    link.transmit()
                    await asyncio.sleep(0)

            while True:
                try:
                    verb, arg = talk.send(answer)
                except StopIteration:
                    break
                answer = await (control.read_exactly(arg) if verb == "recv" else trickle(arg))
            await trickle(q.encode(q.Message(q.REMOTE_FORWARD_REQUEST, port=port, text="x")))
            return (await control.read_message()).status

    assert play(gateway, [scene]) == [0]


def test_everything_at_once_in_one_packet_is_read_in_order(gateway, scheme):
    """Request and SessionClose with the last authentication step, in one frame: no port remains."""
    port = new_port()

    async def scene(address):
        async with refpeer.dial(address) as link:
            control, talk = link.open_stream(), steps(scheme)
            control.write(next(talk)[1])
            _, size = next(talk)
            proof = talk.send(await control.read_exactly(size))[1]
            request = q.Message(q.REMOTE_FORWARD_REQUEST, port=port, text="x")
            control.write(proof + q.encode(request) + q.encode(q.Message(q.SESSION_CLOSE)))
            async with asyncio.timeout(5):
                await link.wait_closed()

    play(gateway, [scene])
    assert gateway.metric("quicport_tunnels_total") == 2
    assert not gateway.host.port_opens(LO, port)


def test_streams_that_a_client_must_not_open(gateway, scheme):
    """Data on streams of its own, before and after authentication: the gateway lives."""

    async def scene(address, early):
        async with refpeer.dial(address) as link:
            control = link.open_stream()
            if not early:
                await refpeer.run_auth(control, steps(scheme))
            for n in range(50):
                with contextlib.suppress(refpeer.Reset):
                    link.open_stream().write(struct.pack(">I", n) + b"x" * 2000, end=n % 2 == 0)
                await asyncio.sleep(0)
            with contextlib.suppress(refpeer.Reset, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(0.5):
                    await control.read()

    play(gateway, [lambda a: scene(a, True), lambda a: scene(a, False)])


def test_vanishing_at_every_stage_frees_everything(gateway, scheme):
    """Clients that close the connection in the middle of anything."""

    async def scene(address, stage):
        async with refpeer.dial(address) as link:
            control, talk = link.open_stream(), steps(scheme)
            if stage > 0:
                control.write(next(talk)[1])
            if stage > 1:
                _, size = next(talk)
                control.write(talk.send(await control.read_exactly(size))[1])
            if stage > 2:
                control.write_message(
                    q.Message(q.REMOTE_FORWARD_REQUEST, port=new_port(), text="x")
                )
            if stage > 3:
                await control.read_message()

    play(gateway, [lambda a, s=s: scene(a, s) for s in itertools.chain(*[range(5)] * 20)])
    eventually(lambda: gateway.metric("quicport_ports_open") == 1, what="one port is open")


# ---- junk ----


@pytest.fixture
def quiet_gateway(host):
    gateway = Gateway(host, new_port())
    gateway.neighbour = Neighbour(host, gateway, ("--psk", "secret"))
    # Caches and pools are warm before anything is counted.
    assert gateway.neighbour.echoes(8 * MIB)
    return gateway


def bombard(gateway, *args):
    """Junk, and an honest neighbour meanwhile; the worst time of a small echo."""
    host = gateway.host
    slowest, stop, failed = [0.0], threading.Event(), []

    def honest():
        while not stop.is_set():
            result = host.load(LO, gateway.neighbour.port, "--echo", "--send", 20000,
                               "--half-close", deadline=20)  # fmt: skip
            slowest[0] = max(slowest[0], result["slowest_ms"])
            if result["ok"] != 1:
                failed.append(result)

    thread = threading.Thread(target=honest)
    thread.start()
    try:
        output = host.run(TOOLS / "qpjunk", *args) if not FULL else long_run(host, args)
    finally:
        stop.set()
        thread.join()
    assert json.loads(output)["sent"] == int(args[3])
    assert failed == []
    return slowest[0]


def long_run(host, args):
    import subprocess

    return subprocess.run(host.command(TOOLS / "qpjunk", *args), capture_output=True, text=True,
                          timeout=600, check=True).stdout  # fmt: skip


def settles(gateway, mbufs, memory):
    """mbufs return exactly, heaps to within what fragmentation leaves."""
    eventually(
        lambda: gateway.metric("quicport_quic_connections") <= 1, 60, "junk's connections time out"
    )
    eventually(
        lambda: gateway.metric("quicport_mbufs_in_use") <= mbufs,
        30,
        f"mbufs in use return to {mbufs}",
    )
    now = resident_bytes(gateway.members())
    assert now <= memory + HEAP_SLACK, f"resident memory grew from {memory} to {now}"


def idle_mbufs(gateway):
    """The number in use once nothing is going on any more."""
    values = [gateway.metric("quicport_mbufs_in_use")]

    def steady():
        values.append(gateway.metric("quicport_mbufs_in_use"))
        return values[-1] == values[-2]

    eventually(steady, every=0.5, what="mbufs in use are steady")
    return values[-1]


@pytest.mark.timeout(900)
def test_junk_at_the_udp_port(quiet_gateway):
    gateway = quiet_gateway
    mbufs = idle_mbufs(gateway)
    # Several hundred handshakes at once take 16 MiB, which malloc keeps: once, not again and again.
    slowest = bombard(gateway, "udp", LO, gateway.port, JUNK_PACKETS // 2, 1)
    memory = resident_bytes(gateway.members())
    slowest = max(slowest, bombard(gateway, "udp", LO, gateway.port, JUNK_PACKETS // 2, 1 << 40))
    print(f"\n{JUNK_PACKETS} datagrams, the slowest honest echo meanwhile {slowest:.0f} ms")
    assert gateway.running() and gateway.neighbour.client.running()
    assert gateway.neighbour.echoes()
    settles(gateway, mbufs, memory)


@pytest.mark.timeout(900)
def test_junk_at_an_open_tcp_port(quiet_gateway):
    gateway = quiet_gateway
    mbufs = idle_mbufs(gateway)
    with gateway.host.connect(LO, gateway.neighbour.port) as live:
        live.sendall(b"before")
        assert live.recv(100) == b"before"
        source = live.getsockname()[1]
        target = "tcp", LO, gateway.neighbour.port, JUNK_PACKETS // 2
        slowest = bombard(gateway, *target, 2, LO, source)
        memory = resident_bytes(gateway.members())
        slowest = max(slowest, bombard(gateway, *target, 1 << 40, LO, source))
        print(f"\n{JUNK_PACKETS} segments, the slowest honest echo meanwhile {slowest:.0f} ms")
        # Segments with random numbers were aimed at this connection (RFC 5961).
        live.settimeout(10)
        live.sendall(b"after!")
        assert live.recv(100) == b"after!"
    assert gateway.neighbour.echoes()
    eventually(lambda: gateway.metric("quicport_conns_active") == 0, 90, "junk's connections end")
    settles(gateway, mbufs, memory)


def test_junk_at_a_port_of_ipv6(host):
    port = new_port()
    gateway = Gateway(host, port, data_plane=f"[::]:{port}")
    gateway.neighbour = Neighbour(host, gateway, ("--psk", "secret"))
    for args in (("udp", "::1", port, 50000, 3), ("tcp", "::1", gateway.neighbour.port, 50000, 4, "::1")):
        bombard(gateway, *args)
    assert gateway.neighbour.echoes()
