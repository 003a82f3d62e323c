#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
A second implementation of quicport/1 on aioquic: server and client, remote and local forwards, TCP and
UDP (the client: UDP remote only). It shares no line with the product, so that a test between the two
shows that the product follows the protocol page and not merely itself. It behaves as the original tool
does where that matters: the server grants 100 concurrent streams, its certificate is dated 1975 to
4096, listening ports are ordinary sockets.

From the command line (events as JSON lines on standard output; SIGTERM ends it politely):
  refpeer.py server --listen 127.0.0.1:9000 --psk secret
  refpeer.py client --server 127.0.0.1:9000 --psk secret --remote 9022 --local 127.0.0.1:22
From a test: Server, Client and Link (a connection on which anything can be sent).
"""

import argparse
import asyncio
import contextlib
import datetime
import errno
import ipaddress
import json
import os
import signal
import socket
import ssl
import struct
import sys

from aioquic.asyncio import QuicConnectionProtocol
from aioquic.asyncio.server import QuicServer
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

import quicport1 as q

GRANTED_STREAMS = 100
CHUNK_BYTES = 256 * 1024
HIGH_WATER_BYTES = 1024 * 1024
AUTH_FAILED = 1  # application error codes are ours to choose
PROTOCOL_VIOLATION = 2


class Reset(Exception):
    """The peer gave this stream up, or the connection is gone."""


class Stream:
    """One bidirectional stream: exact reads, writes that wait for room, resets that are seen."""

    def __init__(self, link, stream_id):
        self.link = link
        self.id = stream_id
        self.received = bytearray()
        self.eof = False
        self.reset_by_peer = False
        self.stopped_by_peer = False
        self.changed = asyncio.Event()

    async def read(self) -> bytes:
        """What has arrived; empty at the end of the stream."""
        while not self.received and not self.eof:
            if self.reset_by_peer:
                raise Reset
            self.changed.clear()
            await self.changed.wait()
        data = bytes(self.received)
        self.received.clear()
        return data

    async def read_exactly(self, count: int) -> bytes:
        while len(self.received) < count:
            if self.reset_by_peer:
                raise Reset
            if self.eof:
                raise asyncio.IncompleteReadError(bytes(self.received), count)
            self.changed.clear()
            await self.changed.wait()
        data = bytes(self.received[:count])
        del self.received[:count]
        return data

    async def read_message(self) -> q.Message:
        kind, length = struct.unpack(">BH", await self.read_exactly(3))
        try:
            return q.decode(kind, await self.read_exactly(length))
        except asyncio.IncompleteReadError as error:
            raise q.ProtocolError("the stream ended within a message") from error

    def write(self, data: bytes, end: bool = False) -> None:
        if self.stopped_by_peer or self.link.ended:
            raise Reset
        self.link._quic.send_stream_data(self.id, data, end_stream=end)
        self.link._transmit_soon()

    def write_message(self, message: q.Message) -> None:
        self.write(q.encode(message))

    async def room(self) -> None:
        """Returns when the peer has taken enough of what was written."""
        while self.unsent() > HIGH_WATER_BYTES:
            if self.stopped_by_peer or self.link.ended:
                raise Reset
            self.changed.clear()
            await self.changed.wait()

    def unsent(self) -> int:
        state = self.link._quic._streams.get(self.id)
        return len(state.sender._buffer) if state else 0

    def abort(self) -> None:
        """Resets what we send and refuses what the peer sends."""
        if self.link.ended:
            return
        with contextlib.suppress(ValueError, AssertionError, RuntimeError):
            self.link._quic.reset_stream(self.id, 0)
        with contextlib.suppress(ValueError, AssertionError, RuntimeError):
            self.link._quic.stop_stream(self.id, 0)
        self.link._transmit_soon()


class Link(QuicConnectionProtocol):
    """A QUIC connection: its streams, and how it ended."""

    def __init__(self, quic, stream_handler=None, on_start=None):
        super().__init__(quic)
        limit = quic._local_max_streams_bidi
        limit.value = limit.sent = GRANTED_STREAMS
        self.streams = {}
        self.forgotten = set()
        self.ended = None  # the ConnectionTerminated event
        self.on_start = on_start
        self.on_stream = None  # called with a Stream that the peer opened, stream 0 excepted
        self.task = None

    def open_stream(self) -> Stream:
        stream_id = self._quic.get_next_available_stream_id()
        # Makes the id ours, so that the next call gets another one.
        self._quic.send_stream_data(stream_id, b"")
        return self.streams.setdefault(stream_id, Stream(self, stream_id))

    def forget(self, stream: Stream) -> None:
        """What still arrives for it is of no interest, and opens nothing anew."""
        self.streams.pop(stream.id, None)
        self.forgotten.add(stream.id)

    def stream_zero(self) -> Stream:
        return self.streams.setdefault(0, Stream(self, 0))

    def quic_event_received(self, event) -> None:
        if isinstance(event, events.HandshakeCompleted) and self.on_start:
            self.task = asyncio.ensure_future(self.on_start(self))
        elif isinstance(event, events.ConnectionTerminated):
            self.ended = event
            for stream in self.streams.values():
                stream.reset_by_peer = stream.stopped_by_peer = True
        elif getattr(event, "stream_id", None) in self.forgotten:
            return
        elif isinstance(event, events.StreamDataReceived):
            stream = self._stream_of(event.stream_id)
            stream.received += event.data
            stream.eof |= event.end_stream
        elif isinstance(event, events.StreamReset):
            self._stream_of(event.stream_id).reset_by_peer = True
        elif isinstance(event, events.StopSendingReceived):
            self._stream_of(event.stream_id).stopped_by_peer = True

    def _stream_of(self, stream_id) -> Stream:
        known = self.streams.get(stream_id)
        if known:
            return known
        stream = self.streams[stream_id] = Stream(self, stream_id)
        if stream_id and self.on_stream and stream_id % 4 == (1 if self._quic._is_client else 0):
            asyncio.ensure_future(self.on_stream(stream))
        return stream

    def _process_events(self) -> None:
        super()._process_events()
        for stream in self.streams.values():
            stream.changed.set()

    async def keep_alive(self, period_s: float) -> None:
        while not self.ended:
            await asyncio.sleep(period_s)
            self._quic.send_ping(0)
            self.transmit()

    def application_close(self):
        """(error code, reason) when the peer closed with an application error, else None."""
        if self.ended and self.ended.frame_type is None:
            return self.ended.error_code, self.ended.reason_phrase
        return None


async def run_auth(stream: Stream, steps) -> None:
    """Runs one side's authentication steps on stream 0."""
    answer = None
    while True:
        try:
            verb, arg = steps.send(answer)
        except StopIteration:
            return
        answer = None
        if verb == "send":
            stream.write(arg)
        else:
            answer = await stream.read_exactly(arg)


# ---- relaying between a stream and a TCP socket ----


def close_with_reset(sock) -> None:
    if sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()


TCP_CLOSE = 7  # tcpi_state, the first byte of Linux's struct tcp_info


async def socket_to_stream(sock, stream, shut) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(sock, CHUNK_BYTES):
        stream.write(data)
        await stream.room()
    # A reset whose error the other direction's send has taken reads as an end, too.
    if not shut.is_set() and sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_CLOSE:
        raise Reset
    stream.write(b"", end=True)


async def stream_to_socket(stream, sock, shut) -> None:
    loop = asyncio.get_running_loop()
    while data := await stream.read():
        await loop.sock_sendall(sock, data)
    shut.set()
    sock.shutdown(socket.SHUT_WR)


async def watch_for_stop(stream) -> None:
    while not stream.stopped_by_peer:
        stream.changed.clear()
        await stream.changed.wait()
    raise Reset


async def relay(sock, stream) -> None:
    """Both directions, each with its own end; any reset ends both with a reset."""
    shut = asyncio.Event()
    directions = [
        asyncio.ensure_future(socket_to_stream(sock, stream, shut)),
        asyncio.ensure_future(stream_to_socket(stream, sock, shut)),
    ]
    watch = asyncio.ensure_future(watch_for_stop(stream))
    close = socket.socket.close
    try:
        pending = {*directions, watch}
        while pending != {watch} and pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task is watch and directions[0].done() and not directions[0].exception():
                    continue  # the peer has all that we send: a late STOP_SENDING says nothing
                task.result()
    except (Reset, OSError):
        stream.abort()
        close = close_with_reset
    finally:
        for task in [*directions, watch]:
            task.cancel()
        await asyncio.gather(*directions, watch, return_exceptions=True)
        # Not before: the event loop would take the next socket of this number for this one.
        close(sock)
        stream.link.forget(stream)


# ---- relaying between a stream and a UDP socket ----


async def records_to_socket(stream, sock) -> None:
    loop = asyncio.get_running_loop()
    while True:
        try:
            length = struct.unpack(">I", await stream.read_exactly(4))[0]
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise q.ProtocolError("the stream ended within a record") from error
            return
        if length > q.MAX_UDP_RECORD:
            raise q.ProtocolError(f"a record of {length} bytes")
        await loop.sock_sendall(sock, await stream.read_exactly(length))


async def socket_to_records(sock, stream) -> None:
    loop = asyncio.get_running_loop()
    while True:
        data = await loop.sock_recv(sock, 65536)
        stream.write(struct.pack(">I", len(data)) + data)
        await stream.room()


async def relay_datagrams(sock, stream) -> bool:
    """Until the stream ends; False when the socket said that nobody is there."""
    tasks = [
        asyncio.ensure_future(records_to_socket(stream, sock)),
        asyncio.ensure_future(socket_to_records(sock, stream)),
        asyncio.ensure_future(watch_for_stop(stream)),
    ]
    refused = False
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        stream.write(b"", end=True)
    except ConnectionRefusedError:
        refused = True
    except (Reset, OSError, asyncio.IncompleteReadError):
        stream.abort()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        sock.close()
    return not refused


# ---- server ----


class Server:
    """Accepts clients, opens the port that each asks for, relays what connects to it."""

    def __init__(self, listen, auth, forward_addr="0.0.0.0", idle_timeout=90, report=None, denied=0):
        self.denied = denied  # the status that answers each LocalForwardRequest
        self.listen = listen
        self.auth = auth  # () -> authentication steps
        self.forward_addr = forward_addr
        self.idle_timeout = idle_timeout
        self.report = report or (lambda **event: None)
        self.endpoint = None

    async def start(self) -> None:
        certificate, key = make_certificate()
        config = QuicConfiguration(
            is_client=False,
            alpn_protocols=[q.ALPN],
            idle_timeout=self.idle_timeout,
            max_data=16 << 20,
            max_stream_data=4 << 20,
            certificate=certificate,
            private_key=key,
        )
        sock = udp_socket(self.listen)
        _, self.endpoint = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: QuicServer(
                configuration=config,
                create_protocol=lambda quic, stream_handler: Link(quic, on_start=self.session),
            ),
            sock=sock,
        )
        self.report(event="listening", port=sock.getsockname()[1])

    def close(self) -> None:
        self.endpoint.close()

    async def session(self, link: Link) -> None:
        keep_alive = asyncio.ensure_future(link.keep_alive(5))
        authenticated = False
        try:
            control = link.stream_zero()
            await run_auth(control, self.auth())
            authenticated = True
            self.report(event="authenticated")
            await self.forward(link, control)
        except q.AuthError as error:
            self.report(event="refused", why=str(error))
            link.close(AUTH_FAILED, "authentication failed")
        except q.ProtocolError as error:
            self.report(event="protocol error", why=str(error))
            link.close(PROTOCOL_VIOLATION, str(error))
        except asyncio.IncompleteReadError as error:
            if authenticated and not error.partial:
                link.close()
            else:
                link.close(PROTOCOL_VIOLATION if authenticated else AUTH_FAILED, "cut short")
        except Reset:
            link.close()
        finally:
            keep_alive.cancel()
            self.report(event="closed")

    async def forward(self, link: Link, control: Stream) -> None:
        request = await control.read_message()
        if request.kind == q.LOCAL_FORWARD_REQUEST:
            await self.local_forward(link, control, request)
            return
        if request.kind != q.REMOTE_FORWARD_REQUEST:
            control.write_message(
                q.Message(q.REMOTE_FORWARD_RESPONSE, status=q.STATUS_INTERNAL, text="unsupported")
            )
            link.transmit()  # before the close, which would overtake it
            raise q.ProtocolError(f"unexpected message {request.kind:#04x}")
        try:
            make = udp_socket if request.protocol == q.UDP else tcp_listener
            listener = make((self.forward_addr, request.port))
        except OSError as error:
            status = {errno.EADDRINUSE: 1, errno.EACCES: 2}.get(error.errno, q.STATUS_INTERNAL)
            control.write_message(
                q.Message(q.REMOTE_FORWARD_RESPONSE, status=status, text=os.strerror(error.errno))
            )
            await control.read()
            return
        port = listener.getsockname()[1]
        control.write_message(q.Message(q.REMOTE_FORWARD_RESPONSE, text=f"Listening on port {port}"))
        self.report(event="forward", port=port)
        accept = self.datagrams if request.protocol == q.UDP else self.accept
        accepting = asyncio.ensure_future(accept(link, control, listener))
        try:
            while (message := await control.read_message()).kind != q.SESSION_CLOSE:
                self.report(event="message", kind=message.kind, reason=message.reason)
        finally:
            accepting.cancel()
            listener.close()
        link.close()

    async def local_forward(self, link: Link, control: Stream, request) -> None:
        if self.denied:
            control.write_message(
                q.Message(q.LOCAL_FORWARD_RESPONSE, status=self.denied, text="not allowed")
            )
            await control.read()
            return
        host, _, port = request.text.rpartition(":")
        destination = (host.strip("[]"), int(port))
        connect = connect_datagrams if request.protocol == q.UDP else connect_stream
        link.on_stream = lambda stream: connect(control, stream, destination)
        control.write_message(q.Message(q.LOCAL_FORWARD_RESPONSE, text="Forwarding"))
        self.report(event="local forward", destination=request.text, source=request.source)
        while (message := await control.read_message()).kind != q.SESSION_CLOSE:
            self.report(event="message", kind=message.kind, connection=message.connection)
        link.close()

    async def accept(self, link: Link, control: Stream, listener) -> None:
        loop = asyncio.get_running_loop()
        number = 0
        while True:
            sock, _ = await loop.sock_accept(listener)
            sock.setblocking(False)
            number += 1
            stream = link.open_stream()
            stream.write(struct.pack(">I", number))
            control.write_message(q.Message(q.REMOTE_NEW_CONNECTION, connection=number))
            asyncio.ensure_future(relay(sock, stream))

    async def datagrams(self, link: Link, control: Stream, sock) -> None:
        loop = asyncio.get_running_loop()
        flows = {}  # sender → stream
        number = 0
        while True:
            data, sender = await loop.sock_recvfrom(sock, 65536)
            stream = flows.get(sender)
            if stream is None:
                number += 1
                stream = flows[sender] = link.open_stream()
                stream.write(struct.pack(">I", number))
                control.write_message(
                    q.Message(q.REMOTE_NEW_CONNECTION, connection=number, protocol=q.UDP)
                )
                asyncio.ensure_future(answer_datagrams(sock, stream, sender, flows))
            with contextlib.suppress(Reset):
                stream.write(struct.pack(">I", len(data)) + data)


async def answer_datagrams(sock, stream: Stream, sender, flows) -> None:
    """Records of one stream back to who sent the first datagram, until the stream ends."""
    loop = asyncio.get_running_loop()
    try:
        while True:
            length = struct.unpack(">I", await stream.read_exactly(4))[0]
            if length > q.MAX_UDP_RECORD:
                raise q.ProtocolError(f"a record of {length} bytes")
            await loop.sock_sendto(sock, await stream.read_exactly(length), sender)
    except (Reset, OSError, asyncio.IncompleteReadError):
        stream.abort()
    finally:
        flows.pop(sender, None)
        stream.link.forget(stream)


async def connect_stream(control: Stream, stream: Stream, destination) -> None:
    """A stream that the other side opened: its id, a connection to the destination, a relay."""
    try:
        number = struct.unpack(">I", await stream.read_exactly(4))[0]
    except (Reset, asyncio.IncompleteReadError):
        stream.abort()
        stream.link.forget(stream)
        return
    sock = socket.socket(address_family(destination[0]), socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, destination)
    except OSError:
        sock.close()
        with contextlib.suppress(Reset):
            control.write_message(
                q.Message(q.CONNECTION_CLOSE, connection=number, reason=q.REASON_REFUSED)
            )
        stream.abort()
        stream.link.forget(stream)
        return
    await relay(sock, stream)


async def connect_datagrams(control: Stream, stream: Stream, destination) -> None:
    """The same for UDP: records on the stream are datagrams of a connected socket."""
    try:
        number = struct.unpack(">I", await stream.read_exactly(4))[0]
    except (Reset, asyncio.IncompleteReadError):
        stream.abort()
        stream.link.forget(stream)
        return
    sock = socket.socket(address_family(destination[0]), socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.setblocking(False)
    sock.connect(destination)
    if not await relay_datagrams(sock, stream):
        with contextlib.suppress(Reset):
            control.write_message(
                q.Message(q.CONNECTION_CLOSE, connection=number, reason=q.REASON_REFUSED)
            )
        stream.abort()
    stream.link.forget(stream)


# ---- client ----


class Client:
    """Asks a server for a port and hands what comes in by it to a local service."""

    def __init__(self, server, auth, remote_port, local, idle_timeout=90, report=None,
                 protocol=q.TCP):  # fmt: skip
        self.server = server
        self.auth = auth
        self.remote_port = remote_port
        self.local = local
        self.protocol = protocol
        self.idle_timeout = idle_timeout
        self.report = report or (lambda **event: None)

    async def run(self, stop: asyncio.Event) -> bool:
        """Until `stop` or the end of the connection; False when it never worked."""
        async with dial(self.server, self.idle_timeout) as link:
            control = link.open_stream()
            link.on_stream = lambda stream: self.connection(control, stream)
            try:
                await run_auth(control, self.auth())
                control.write_message(self.request())
                answer = await control.read_message()
            except (Reset, asyncio.IncompleteReadError, q.AuthError) as error:
                self.report(event="refused", why=str(error), close=link.application_close())
                return False
            if answer.kind != self.answer_kind:
                raise q.ProtocolError(f"unexpected message {answer.kind:#04x}")
            self.report(event="forward", status=answer.status, text=answer.text)
            if answer.status != q.STATUS_OK:
                return False
            tasks = [
                asyncio.ensure_future(coroutine)
                for coroutine in (self.control(control), link.keep_alive(5), stop.wait(),
                                  *self.more(link, control))
            ]  # fmt: skip
            await asyncio.wait([tasks[0], tasks[2]], return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set() and not link.ended:
                control.write_message(q.Message(q.SESSION_CLOSE))
            for task in tasks:
                task.cancel()
            self.report(event="closed", close=link.application_close())
            return True

    answer_kind = q.REMOTE_FORWARD_RESPONSE

    def request(self) -> q.Message:
        return q.Message(q.REMOTE_FORWARD_REQUEST, protocol=self.protocol, port=self.remote_port,
                         text=str(self.local[1]))  # fmt: skip

    def more(self, link: Link, control: Stream):
        return []

    async def control(self, control: Stream) -> None:
        with contextlib.suppress(Reset, asyncio.IncompleteReadError):
            while (message := await control.read_message()).kind != q.SESSION_CLOSE:
                self.report(event="message", kind=message.kind, connection=message.connection,
                            reason=message.reason)  # fmt: skip

    async def connection(self, control: Stream, stream: Stream) -> None:
        connect = connect_datagrams if self.protocol == q.UDP else connect_stream
        await connect(control, stream, self.local)


@contextlib.asynccontextmanager
async def dial(server, idle_timeout=90, source=None):
    """A Link to a quicport server, handshake done; the certificate is taken as it is.

    `source` is the address that it comes from."""
    config = QuicConfiguration(
        is_client=True,
        alpn_protocols=[q.ALPN],
        server_name=q.SNI,
        idle_timeout=idle_timeout,
        max_data=16 << 20,
        max_stream_data=4 << 20,
        verify_mode=ssl.CERT_NONE,
    )
    family = address_family(server[0])
    transport, link = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Link(QuicConnection(configuration=config)),
        sock=udp_socket((source or ("0.0.0.0" if family == socket.AF_INET else "::"), 0)),
    )
    try:
        link.connect(server if family == socket.AF_INET else (*server, 0, 0))
        async with asyncio.timeout(5):
            await link.wait_connected()
        yield link
    finally:
        link.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3):
                await link.wait_closed()
        transport.close()


class LocalClient(Client):
    """Asks a server where a destination is, and brings what connects here to it."""

    answer_kind = q.LOCAL_FORWARD_RESPONSE

    def __init__(self, server, auth, destination, listen, idle_timeout, report, announce):
        super().__init__(server, auth, 0, listen, idle_timeout, report)
        self.destination = destination
        self.announce = announce

    def request(self) -> q.Message:
        return q.Message(q.LOCAL_FORWARD_REQUEST, text=self.destination, source=f"{self.local[1]}/tcp")

    def more(self, link: Link, control: Stream):
        return [self.accept(link, control)]

    async def accept(self, link: Link, control: Stream) -> None:
        loop = asyncio.get_running_loop()
        listener = tcp_listener(self.local)
        number = 0x70000000
        self.report(event="listening")
        try:
            while True:
                sock, _ = await loop.sock_accept(listener)
                sock.setblocking(False)
                number += 1
                message = q.Message(q.LOCAL_NEW_CONNECTION, connection=number)
                if self.announce == "before":
                    control.write_message(message)
                stream = link.open_stream()
                stream.write(struct.pack(">I", number))
                if self.announce == "after":
                    control.write_message(message)
                asyncio.ensure_future(relay(sock, stream))
        finally:
            listener.close()


# ---- sockets, certificate, command line ----


def address_family(host: str):
    return socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET


def udp_socket(address):
    sock = socket.socket(address_family(address[0]), socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.bind(address)
    sock.setblocking(False)
    return sock


def tcp_listener(address):
    sock = socket.socket(address_family(address[0]), socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(1024)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def make_certificate():
    """As the original tool's: ECDSA P-256, a name that means nothing, dates that mean nothing."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "rcgen self signed cert")])
    names = [x509.DNSName("localhost"), x509.DNSName("quicport")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime(1975, 1, 1))
        .not_valid_after(datetime.datetime(4096, 1, 1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def parse_address(text: str):
    host, _, port = text.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    ipaddress.ip_address(host)
    return host, int(port)


def client_auth(args):
    if args.psk is not None:
        return lambda: q.psk_client(args.psk)
    private, server = q.decode_key(args.privkey), q.decode_key(args.server_pubkey)
    return lambda: q.x25519_client(private, server)


def server_auth(args):
    if args.psk is not None:
        return lambda: q.psk_server(args.psk)
    private, clients = q.decode_key(args.privkey), [q.decode_key(k) for k in args.client_pubkey]
    return lambda: q.x25519_server(private, clients)


def report(**event) -> None:
    print(json.dumps(event), flush=True)


async def run_server(args, stop) -> bool:
    server = Server(
        args.listen, server_auth(args), args.forward_addr, args.idle_timeout, report, args.deny
    )
    await server.start()
    await stop.wait()
    server.close()
    await asyncio.sleep(0)
    return True


async def run_client(args, stop) -> bool:
    client = Client(
        args.server, client_auth(args), args.remote, args.local, args.idle_timeout, report,
        q.UDP if args.udp else q.TCP,
    )  # fmt: skip
    return await client.run(stop)


async def run_local(args, stop) -> bool:
    client = LocalClient(args.server, client_auth(args), args.destination, args.listen,
                         args.idle_timeout, report, announce=args.announce)  # fmt: skip
    return await client.run(stop)


async def run(args) -> bool:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    modes = {"server": run_server, "client": run_client, "local": run_local}
    return await modes[args.mode](args, stop)


def parse_arguments():
    parser = argparse.ArgumentParser(description="reference peer of quicport/1")
    modes = parser.add_subparsers(dest="mode", required=True)
    server = modes.add_parser("server", help="listen for clients, forward ports")
    server.add_argument("--listen", type=parse_address, required=True, metavar="ADDR:PORT")
    server.add_argument("--forward-addr", default="0.0.0.0", metavar="ADDR")
    server.add_argument("--deny", type=int, default=0, metavar="STATUS")
    server.add_argument("--client-pubkey", action="append", default=[], metavar="KEY")
    client = modes.add_parser("client", help="ask a server for a port")
    client.add_argument("--server", type=parse_address, required=True, metavar="ADDR:PORT")
    client.add_argument("--remote", type=int, required=True, metavar="PORT")
    client.add_argument("--local", type=parse_address, required=True, metavar="ADDR:PORT")
    client.add_argument("--udp", action="store_true", help="forward a UDP port")
    client.add_argument("--server-pubkey", metavar="KEY")
    local = modes.add_parser("local", help="ask a server to connect, listen here")
    local.add_argument("--server", type=parse_address, required=True, metavar="ADDR:PORT")
    local.add_argument("--listen", type=parse_address, required=True, metavar="ADDR:PORT")
    local.add_argument("--destination", required=True, metavar="HOST:PORT")
    local.add_argument("--announce", choices=["before", "after"], default="before",
                       help="LocalNewConnection before its stream, or after it")  # fmt: skip
    local.add_argument("--server-pubkey", metavar="KEY")
    for mode in (server, client, local):
        mode.add_argument("--psk")
        mode.add_argument("--privkey", metavar="KEY")
        mode.add_argument("--idle-timeout", type=float, default=90)
    args = parser.parse_args()
    peer = args.client_pubkey if args.mode == "server" else args.server_pubkey
    if args.psk is None and not (args.privkey and peer):
        parser.error("give --psk, or --privkey and the other side's public key")
    return args


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(run(parse_arguments())) else 1)
