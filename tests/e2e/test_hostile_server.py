# SPDX-License-Identifier: Apache-2.0
"""
Servers that break the protocol, against the client: every truncation, every wrong order. It ends in
good order and says why, or loses that one connection and nothing else; it never crashes or hangs.
"""

import asyncio
import contextlib
import socket
import struct
import subprocess
import threading

import pytest

import quicport1 as q
import refpeer
from harness import QUICPORT, clean_environment, eventually, new_port
from test_auth import CLIENT, SERVER, x25519_client

from aioquic.asyncio.server import QuicServer
from aioquic.quic.configuration import QuicConfiguration

LO = "127.0.0.1"
CLIENT_AUTH = {"psk": ("--psk", "secret"), "x25519": x25519_client(CLIENT, SERVER)}
REMOTE = ("-r", "7", "-l", "9")
REMOTE_UDP = ("-r", "7/udp", "-l", "9/udp")
# Exit statuses that tell of a failure; a crash or a sanitizer's report has none of them.
ENDS = (1, 3, 4)


def server_steps(scheme):
    if scheme == "psk":
        return q.psk_server("secret")
    return q.x25519_server(SERVER.private, [CLIENT.public])


class Stage:
    """A server whose every connection is played by `scene(link, control)`."""

    def __init__(self, host):
        self.host, self.port = host, new_port()
        self.scene = None
        self.links = []
        self.loop = asyncio.new_event_loop()
        started = threading.Event()

        def run():
            asyncio.set_event_loop(self.loop)
            with host.inside():
                self.loop.run_until_complete(self.listen())
            started.set()
            self.loop.run_forever()

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        assert started.wait(10)

    async def listen(self):
        certificate, key = refpeer.make_certificate()
        config = QuicConfiguration(is_client=False, alpn_protocols=[q.ALPN], idle_timeout=20,
                                   max_data=16 << 20, max_stream_data=4 << 20,
                                   certificate=certificate, private_key=key)  # fmt: skip
        _, self.endpoint = await self.loop.create_datagram_endpoint(
            lambda: QuicServer(
                configuration=config,
                create_protocol=lambda quic, stream_handler: refpeer.Link(quic, on_start=self.session),
            ),
            sock=refpeer.udp_socket((LO, self.port)),
        )

    async def session(self, link):
        self.links.append(link)
        with contextlib.suppress(refpeer.Reset, asyncio.IncompleteReadError, q.AuthError):
            await self.scene(link, link.stream_zero())

    def close(self):
        self.loop.call_soon_threadsafe(self.endpoint.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    def client(self, scheme, forward=REMOTE):
        return subprocess.Popen(
            self.host.command(QUICPORT, "client", "-s", f"{LO}:{self.port}", "--insecure", "--reconnect",
                              "no", *CLIENT_AUTH[scheme], *forward),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=clean_environment(None))  # fmt: skip

    def play(self, scene, scheme="psk", forward=REMOTE):
        """What the client says and its exit status, after it has met the scene."""
        self.scene = scene
        self.links.clear()
        popen = self.client(scheme, forward)
        try:
            out, _ = popen.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            popen.kill()
            raise AssertionError(f"it hangs: {popen.communicate()[0]}") from None
        assert popen.returncode in ENDS, f"status {popen.returncode}:\n{out}"
        assert "Sanitizer" not in out and "runtime error" not in out, out
        assert "ERROR" in out, out
        return out, popen.returncode


@pytest.fixture
def stage(host):
    made = Stage(host)
    yield made
    made.close()


def truncations(data):
    return [data[:length] for length in range(len(data))]


async def reply_bytes(control, scheme):
    """The server's step 2, after the client's step 1 was taken."""
    steps, answer = server_steps(scheme), None
    while True:
        verb, arg = steps.send(answer)
        if verb == "send":
            return arg
        answer = await control.read_exactly(arg)


async def grant(link, control, kind=q.REMOTE_FORWARD_RESPONSE):
    await refpeer.run_auth(control, server_steps("psk"))
    request = await control.read_message()
    control.write_message(q.Message(kind, text="Listening on port 7"))
    link.transmit()  # before a reset or close, which would overtake it
    return request


# ---- authentication ----


@pytest.mark.parametrize("scheme", ["psk", "x25519"])
def test_every_truncation_of_the_reply(stage, scheme):
    length = {"psk": 96, "x25519": 128}[scheme]
    for cut in range(0, length, 1 if scheme == "psk" else 3):
        async def scene(link, control, cut=cut):
            control.write((await reply_bytes(control, scheme))[:cut], end=True)

        out, status = stage.play(scene, scheme)
        assert status in (1, 3), f"cut at {cut}: {out}"


@pytest.mark.parametrize("scheme", ["psk", "x25519"])
def test_every_byte_of_the_reply_changed(stage, scheme):
    """Not the gateway: status 3, and never the client's own proof or request."""
    heard = []
    for at in range(0, {"psk": 96, "x25519": 128}[scheme], 4):
        async def scene(link, control, at=at):
            reply = bytearray(await reply_bytes(control, scheme))
            reply[at] ^= 0x41
            control.write(bytes(reply))
            heard.append(await control.read_exactly(1))
            link.close(1, "no")

        out, status = stage.play(scene, scheme)
        # A changed challenge or ephemeral key of X25519 is not covered by the server's proof.
        if scheme == "psk" or at < 32 or at >= 96:
            assert status == 3, f"changed at {at}: {out}"
            assert heard == [], f"changed at {at}"
        heard.clear()


def test_words_in_place_of_the_reply(stage):
    async def silent_end(link, control):
        await control.read_exactly(10)
        link.close(7, "no")

    async def message(link, control):
        control.write_message(q.Message(q.REMOTE_FORWARD_RESPONSE, text="come in"))
        control.write(bytes(200))

    async def goodbye(link, control):
        control.write_message(q.Message(q.SESSION_CLOSE))
        control.write(b"", end=True)

    async def reset(link, control):
        await control.read_exactly(10)
        control.abort()

    async def stranger(link, control):
        link.open_stream().write(struct.pack(">I", 1) + b"data")

    async def one_way(link, control):
        link._quic.send_stream_data(3, b"hello", end_stream=True)
        link.transmit()
        await control.read_exactly(10)
        link.close(7, "no")

    for scene in (silent_end, message, goodbye, reset, stranger, one_way):
        stage.play(scene)


# ---- control messages ----

RESPONSE = q.encode(q.Message(q.REMOTE_FORWARD_RESPONSE, text="Listening on port 7"))
NEW_CONNECTION = q.encode(q.Message(q.REMOTE_NEW_CONNECTION, connection=1))
CLOSE = q.encode(q.Message(q.CONNECTION_CLOSE, connection=1, reason=1))


def test_every_truncation_of_the_response(stage):
    for piece in truncations(RESPONSE):
        async def scene(link, control, piece=piece):
            await refpeer.run_auth(control, server_steps("psk"))
            await control.read_message()
            control.write(piece, end=True)

        stage.play(scene)


BROKEN = {
    "response of the other kind": q.encode(q.Message(q.LOCAL_FORWARD_RESPONSE)),
    "unknown type": b"\x42\0\0",
    "unknown status": b"\x22\0\x01\x04",
    "response without a status": b"\x22\0\0",
    "text that is not UTF-8": b"\x22\0\x03\0\xff\xfe",
    "a client's request": q.encode(q.Message(q.REMOTE_FORWARD_REQUEST, port=1)),
    "a connection before the grant, of no protocol": b"\x23\0\x05\0\0\0\1\x09",
    "announcement too short": b"\x23\0\x03\0\0\0",
    "closed for no known reason": b"\x61\0\x05\0\0\0\1\x09",
    "nothing but zeros": bytes(100),
    "nothing but ones": b"\xff" * 70000,
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_message_in_place_of_the_response(stage, what):
    async def scene(link, control):
        await refpeer.run_auth(control, server_steps("psk"))
        await control.read_message()
        control.write(BROKEN[what])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                await link.wait_closed()

    out, status = stage.play(scene)
    assert status == 1 and "broke the protocol" in out, out
    closed = eventually(lambda: stage.links[0].application_close(), what="the client's close")
    assert closed[0] != 0 and closed[1]


AFTER = {
    "unknown type": b"\x42\0\0",
    "second response": RESPONSE,
    "a client's announcement": q.encode(q.Message(q.LOCAL_NEW_CONNECTION, connection=1)),
    "a client's request": q.encode(q.Message(q.LOCAL_FORWARD_REQUEST, text="a:1")),
    "announcement of no protocol": b"\x23\0\x05\0\0\0\1\x03",
    "largest message, unknown": b"\x7f\xff\xff" + bytes(65535),
}


@pytest.mark.parametrize("what", AFTER)
def test_broken_message_after_the_grant(stage, what):
    async def scene(link, control):
        await grant(link, control)
        control.write(AFTER[what])

    out, status = stage.play(scene)
    assert status == 1 and "broke the protocol" in out, out


def test_every_truncation_after_the_grant(stage):
    for piece in truncations(NEW_CONNECTION + CLOSE):
        async def scene(link, control, piece=piece):
            await grant(link, control)
            control.write(piece, end=True)

        _, status = stage.play(scene)
        assert status == 1


def test_goodbye_in_every_form(stage):
    async def message(link, control):
        await grant(link, control)
        control.write_message(q.Message(q.SESSION_CLOSE))

    async def end(link, control):
        await grant(link, control)
        control.write(b"", end=True)

    async def reset(link, control):
        await grant(link, control)
        control.abort()

    async def close(link, control):
        await grant(link, control)
        link.close(0, "bye")

    async def goodbye_and_on(link, control):
        await grant(link, control)
        control.write_message(q.Message(q.SESSION_CLOSE))
        for number in range(50):
            control.write_message(q.Message(q.REMOTE_NEW_CONNECTION, connection=number))
            link.open_stream().write(struct.pack(">I", number))

    for scene in (message, end, reset, close, goodbye_and_on):
        _, status = stage.play(scene)
        assert status == 1


# ---- streams: one connection's trouble ----


def cut_streams(link):
    """Streams that end, or are reset, before, within and after their id, or say nothing for now."""
    for length in range(5):
        piece = struct.pack(">I", 900 + length)[:length]
        link.open_stream().write(piece, end=True)
        stream = link.open_stream()
        stream.write(piece)
        stream.abort()
        link.open_stream().write(piece)


def survives(host, stage, trouble):
    """A client with an echo service meets `trouble(link, control)`, and a new stream still echoes."""
    inside = new_port()
    host.service(LO, inside, "--echo")
    echoed = threading.Event()
    failed = []

    async def scene(link, control):
        await grant(link, control)
        await trouble(link, control)
        stream = link.open_stream()
        stream.write(struct.pack(">I", 77) + b"still there?")
        try:
            async with asyncio.timeout(15):
                failed.append(await stream.read_exactly(12))
        except (refpeer.Reset, asyncio.IncompleteReadError, TimeoutError) as error:
            failed.append(error)
        echoed.set()

    stage.scene = scene
    popen = stage.client("psk", ("-r", "7", "-l", str(inside)))
    try:
        assert echoed.wait(30), "no answer"
        assert failed == [b"still there?"]
    finally:
        popen.terminate()
        out, _ = popen.communicate(timeout=10)
    assert popen.returncode == 0, out
    assert "Sanitizer" not in out and "runtime error" not in out, out


def test_streams_that_are_cut_cost_only_themselves(host, stage):
    async def trouble(link, control):
        cut_streams(link)
        await asyncio.sleep(0.2)  # lets them arrive before what follows; nothing waits for it

    survives(host, stage, trouble)


def test_announcements_that_mean_nothing_are_ignored(host, stage):
    async def trouble(link, control):
        for number in range(500):
            control.write_message(q.Message(q.REMOTE_NEW_CONNECTION, connection=number))
            control.write_message(q.Message(q.CONNECTION_CLOSE, connection=number ^ 0xFFFF, reason=3))

    survives(host, stage, trouble)


def test_same_connection_id_twice(host, stage):
    async def trouble(link, control):
        for _ in range(3):
            link.open_stream().write(struct.pack(">I", 5) + b"x")

    survives(host, stage, trouble)


def test_thousand_streams_opened_and_reset(host, stage):
    async def trouble(link, control):
        for number in range(1000):
            stream = link.open_stream()
            stream.write(struct.pack(">I", number) + b"x")
            if number % 50 == 0:
                link.transmit()
                await asyncio.sleep(0)
            stream.abort()
            link.forget(stream)

    survives(host, stage, trouble)


# ---- UDP records ----


def record(data):
    return struct.pack(">I", len(data)) + data


def udp_streams():
    """What a stream of records may hold that is wrong, or at the edge of it."""
    good = record(b"good")
    yield from truncations(good + good)
    for length in (65508, 65536, 0x7FFFFFFF, 0xFFFFFFFF):
        yield good + struct.pack(">I", length) + bytes(100)
    yield record(b"")
    yield record(b"") * 1000
    yield record(bytes(65507))[:40000]


def test_udp_streams_that_break_off_cost_only_themselves(host, stage):
    with host.inside():
        service = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        service.bind((LO, 0))
        service.settimeout(15)
    inside = service.getsockname()[1]

    async def scene(link, control):
        await grant(link, control)
        for number, data in enumerate(udp_streams()):
            stream = link.open_stream()
            stream.write(struct.pack(">I", number) + data, end=number % 2 == 0)
        link.open_stream().write(struct.pack(">I", 7777) + record(b"still there?"))

    stage.scene = scene
    popen = stage.client("psk", ("-r", "7/udp", "-l", f"{inside}/udp"))
    try:
        seen = set()
        while b"still there?" not in seen:
            data, _ = service.recvfrom(65536)
            seen.add(data)
        assert seen <= {b"good", b"", b"still there?"}
    finally:
        popen.terminate()
        out, _ = popen.communicate(timeout=10)
        service.close()
    assert popen.returncode == 0, out
    assert "Sanitizer" not in out and "runtime error" not in out, out


# ---- local forwards ----

LOCAL = ("-L", "0", "-R", "a.test:1")


def test_local_forward_is_refused_in_every_form(stage):
    async def denied(link, control):
        await refpeer.run_auth(control, server_steps("psk"))
        await control.read_message()
        control.write_message(q.Message(q.LOCAL_FORWARD_RESPONSE, status=2, text="no"))

    async def of_the_other_kind(link, control):
        await grant(link, control)

    async def opens_a_stream(link, control):
        await grant(link, control, kind=q.LOCAL_FORWARD_RESPONSE)
        link.open_stream().write(struct.pack(">I", 1))

    for scene, status in ((denied, 4), (of_the_other_kind, 1), (opens_a_stream, 1)):
        assert stage.play(scene, forward=LOCAL)[1] == status, scene.__name__


def test_reason_that_comes_behind_the_reset_is_told(stage):
    """Two streams: the reset of a connection may overtake the message that explains it."""

    async def scene(link, control):
        async def refuse(stream):
            await stream.read_exactly(4)
            stream.abort()
            link.transmit()
            await asyncio.sleep(0.05)  # what overtakes
            control.write_message(q.Message(q.CONNECTION_CLOSE, connection=1, reason=2))

        await refpeer.run_auth(control, server_steps("psk"))
        await control.read_message()
        link.on_stream = refuse
        control.write_message(q.Message(q.LOCAL_FORWARD_RESPONSE))

    stage.scene = scene
    done = subprocess.run(
        stage.host.command(QUICPORT, "ssh-proxy", "-s", f"{LO}:{stage.port}", "--psk", "secret",
                           "--insecure", "-R", "a.test:22"),
        input="hello", capture_output=True, text=True, timeout=20, env=clean_environment(None))  # fmt: skip
    assert (done.returncode, done.stdout) == (255, "")
    assert "could not connect to a.test:22: timeout" in done.stderr, done.stderr
