# SPDX-License-Identifier: Apache-2.0
"""
The wire format of quicport/1, written from the protocol page alone and sharing nothing with the
product: authentication steps and control messages as pure functions of bytes, with randomness and
time handed in. refpeer.py puts them on QUIC.
"""

import base64
import hashlib
import hmac
import os
import struct
import time
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

ALPN = "quicport/1"
SNI = "quicport"
MAGIC_X25519 = b"QUICPORT_AUTH"
MAGIC_PSK = b"QUICPORT_PSK"
MAX_CLOCK_SKEW_S = 30
MAX_UDP_RECORD = 65507

TCP, UDP = 1, 2
STATUS_OK, STATUS_PORT_IN_USE, STATUS_DENIED, STATUS_INTERNAL = 0, 1, 2, 3
REASON_NORMAL, REASON_REFUSED, REASON_TIMEOUT, REASON_ERROR = 0, 1, 2, 3

LOCAL_FORWARD_REQUEST = 0x01
LOCAL_FORWARD_RESPONSE = 0x02
LOCAL_NEW_CONNECTION = 0x03
REMOTE_FORWARD_REQUEST = 0x21
REMOTE_FORWARD_RESPONSE = 0x22
REMOTE_NEW_CONNECTION = 0x23
SESSION_CLOSE = 0x41
CONNECTION_CLOSE = 0x61


class ProtocolError(Exception):
    """The peer broke quicport/1."""


class AuthError(Exception):
    """The peer did not prove who it is."""


# ---- keys ----


def decode_key(text: str) -> bytes:
    """32 raw bytes in padded standard Base64."""
    raw = base64.b64decode(text.strip(), validate=True)
    if len(raw) != 32 or len(text.strip()) != 44:
        raise ValueError(f"not a 32-byte key: {text!r}")
    return raw


def encode_key(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def public_key(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def x25519(private: bytes, public: bytes) -> bytes:
    try:
        peer = X25519PublicKey.from_public_bytes(public)
        return X25519PrivateKey.from_private_bytes(private).exchange(peer)
    except ValueError as error:  # an all-zero result: a low-order point
        raise AuthError("low-order public key") from error


def hmac_sha256(key: bytes, *parts: bytes) -> bytes:
    return hmac.new(key, b"".join(parts), hashlib.sha256).digest()


def check(got: bytes, want: bytes, what: str) -> None:
    if not hmac.compare_digest(got, want):
        raise AuthError(what)


# ---- authentication: each side is a generator that yields ("send", bytes) and ("recv", length) ----


def x25519_client(private, server_public, challenge=None):
    challenge = challenge or os.urandom(32)
    yield "send", MAGIC_X25519 + public_key(private) + challenge
    step2 = yield "recv", 128
    server, ephemeral, server_challenge, response = (step2[i : i + 32] for i in range(0, 128, 32))
    check(server, server_public, "server key")
    check(response, hmac_sha256(x25519(private, server), challenge), "server response")
    yield "send", hmac_sha256(x25519(private, ephemeral), server_challenge)


def x25519_server(private, authorized, ephemeral=None, challenge=None):
    ephemeral = ephemeral or os.urandom(32)
    challenge = challenge or os.urandom(32)
    check((yield "recv", len(MAGIC_X25519)), MAGIC_X25519, "magic")
    step1 = yield "recv", 64
    client, client_challenge = step1[:32], step1[32:]
    if not any([hmac.compare_digest(client, key) for key in authorized]):
        raise AuthError("unknown client key")
    response = hmac_sha256(x25519(private, client), client_challenge)
    yield "send", public_key(private) + public_key(ephemeral) + challenge + response
    want = hmac_sha256(x25519(ephemeral, client), challenge)
    check((yield "recv", 32), want, "client response")


def psk_client(psk: str, ephemeral=None, now=None):
    key = psk.encode()
    ephemeral = ephemeral or os.urandom(32)
    stamp = struct.pack(">Q", int(time.time()) if now is None else now)
    mine = public_key(ephemeral)
    yield "send", MAGIC_PSK + stamp + mine + hmac_sha256(key, stamp, mine)
    step2 = yield "recv", 96
    server, challenge, proof = step2[:32], step2[32:64], step2[64:]
    check(proof, hmac_sha256(key, challenge, server), "server proof")
    yield "send", hmac_sha256(x25519(ephemeral, server), challenge)


def psk_server(psk: str, ephemeral=None, challenge=None, now=None):
    key = psk.encode()
    ephemeral = ephemeral or os.urandom(32)
    challenge = challenge or os.urandom(32)
    check((yield "recv", len(MAGIC_PSK)), MAGIC_PSK, "magic")
    step1 = yield "recv", 72
    stamp, client, proof = step1[:8], step1[8:40], step1[40:]
    check(proof, hmac_sha256(key, stamp, client), "client proof")
    clock = int(time.time()) if now is None else now
    if abs(clock - struct.unpack(">Q", stamp)[0]) > MAX_CLOCK_SKEW_S:
        raise AuthError("clock")
    mine = public_key(ephemeral)
    yield "send", mine + challenge + hmac_sha256(key, challenge, mine)
    want = hmac_sha256(x25519(ephemeral, client), challenge)
    check((yield "recv", 32), want, "client response")


# ---- control messages ----


@dataclass(frozen=True)
class Message:
    kind: int
    protocol: int = TCP
    port: int = 0
    status: int = 0
    reason: int = 0
    connection: int = 0
    text: str = ""  # a destination or a message for a person
    source: str = ""  # LocalForwardRequest only


def _enum(value: int, known: range, what: str) -> int:
    if value not in known:
        raise ProtocolError(f"unknown {what} {value}")
    return value


def encode(m: Message) -> bytes:
    text = m.text.encode()
    match m.kind:
        case 0x01:
            payload = struct.pack(">BH", m.protocol, len(text)) + text + m.source.encode()
        case 0x02 | 0x22:
            payload = struct.pack(">B", m.status) + text
        case 0x03 | 0x23:
            payload = struct.pack(">IB", m.connection, m.protocol)
        case 0x21:
            payload = struct.pack(">HB", m.port, m.protocol) + text
        case 0x41:
            payload = b""
        case 0x61:
            payload = struct.pack(">IB", m.connection, m.reason)
        case _:
            raise ValueError(f"no such message: {m.kind:#x}")
    return struct.pack(">BH", m.kind, len(payload)) + payload


def decode(kind: int, payload: bytes) -> Message:
    """A message from its type and whole payload. ProtocolError for anything that is not one."""
    try:
        match kind:
            case 0x01:
                protocol, length = struct.unpack_from(">BH", payload)
                if 3 + length > len(payload):
                    raise ProtocolError("destination longer than the payload")
                return Message(
                    kind,
                    protocol=_enum(protocol, range(1, 3), "protocol"),
                    text=payload[3 : 3 + length].decode(),
                    source=payload[3 + length :].decode(),
                )
            case 0x02 | 0x22:
                status = _enum(payload[0], range(0, 4), "status")
                return Message(kind, status=status, text=payload[1:].decode())
            case 0x03 | 0x23:
                connection, protocol = struct.unpack(">IB", payload)
                protocol = _enum(protocol, range(1, 3), "protocol")
                return Message(kind, connection=connection, protocol=protocol)
            case 0x21:
                port, protocol = struct.unpack_from(">HB", payload)
                protocol = _enum(protocol, range(1, 3), "protocol")
                return Message(kind, port=port, protocol=protocol, text=payload[3:].decode())
            case 0x41:
                return Message(kind)
            case 0x61:
                connection, reason = struct.unpack(">IB", payload)
                reason = _enum(reason, range(0, 4), "reason")
                return Message(kind, connection=connection, reason=reason)
    except (struct.error, IndexError) as error:
        raise ProtocolError(f"message {kind:#04x} is too short") from error
    except UnicodeDecodeError as error:
        raise ProtocolError(f"message {kind:#04x} is not UTF-8") from error
    raise ProtocolError(f"unknown message type {kind:#04x}")


def decode_bytes(data: bytes) -> Message:
    """One whole message, header and all."""
    if len(data) < 3:
        raise ProtocolError("header is too short")
    kind, length = struct.unpack_from(">BH", data)
    if len(data) != 3 + length:
        raise ProtocolError("length does not match")
    return decode(kind, data[3:])
