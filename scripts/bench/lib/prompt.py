# SPDX-License-Identifier: Apache-2.0
"""A gateway's prompt, for scripts: commands in, what testpmd would say out (docs/prompt.md)."""

import re
import select
import socket
import struct
import time

from frame import Failed

MAGIC, VERSION = 0x51505052, 1
QUIET = 2


class Prompt:
    """A session at the socket `path`, without echo."""

    def __init__(self, path, patience=10):
        self.patience = patience
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(patience)
        self.sock.connect(str(path))
        self.sock.send(struct.pack("=4I32s", MAGIC, VERSION, QUIET, 0, b""))
        told = self.sock.recv(512)
        magic, version, ok, self.running = struct.unpack_from("=4I", told)
        if (magic, version, ok) != (MAGIC, VERSION, 1):
            raise Failed(f"the prompt refuses: {told[16:].split(bytes(1))[0].decode()}")

    def ask(self, command):
        """All that it says to a command: until it has said that it does not know the next one."""
        mark = f"mark{time.monotonic_ns()}"
        self.sock.send(b"i" + f"{command}\n{mark}\n".encode())
        end, text = time.monotonic() + self.patience, ""
        while f"{mark}: Command not found\n" not in text:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.sock], [], [], left)[0]:
                raise Failed(f"the prompt gives no answer to {command!r}")
            packet = self.sock.recv(8192)
            if not packet or packet[:1] == b"q":
                raise Failed(f"the prompt ended at {command!r}")
            if packet[:1] == b"o":
                text += packet[1:].decode(errors="replace")
        return text.replace(f"{mark}: Command not found\n", "")

    def cycles(self):
        """Busy and idle cycles, packets and bytes of each lcore, since they were cleared."""
        found = re.findall(
            r"Cycles of lcore (\d+)\s.*\n\s+Busy-cycles: (\d+)\s+Idle-cycles: (\d+).*\n"
            r"\s+Packets: (\d+).*\n\s+Bytes: (\d+).*\n\s+TSC-MHz: ([0-9.]+)", self.ask("show lcore cycles"))
        names = ("lcore", "busy", "idle", "packets", "bytes")
        return [{**dict(zip(names, map(int, row), strict=False)), "hz": float(row[5]) * 1e6}
                for row in found]  # fmt: skip

    def close(self):
        self.sock.close()
