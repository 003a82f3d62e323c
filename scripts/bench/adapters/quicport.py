# SPDX-License-Identifier: Apache-2.0
"""This project's gateway in host mode and its client."""

import hosts
from frame import BUILD, Failed, said
from tool import SERVICE_PORT, Tool

PSK = "a key for benchmarks only"


class Adapter(Tool):
    reverse = encrypts = True
    note = "host mode, all options as they are; QUIC with AES-128-GCM"

    def missing(self):
        return [] if (BUILD / "quicport").exists() else [str(BUILD / "quicport")]

    def version(self):
        return said(str(BUILD / "quicport"), "version").removeprefix("quicport ")

    def start(self, bed):
        if self.missing():
            raise Failed("quicport is not built: meson setup build && ninja -C build")
        at = f"{hosts.GATEWAY_INSIDE}:{self.link_port}"
        self.run(bed, "gateway", BUILD / "quicport", "control-plane", "--control-plane-addr",
                 f"127.0.0.1:{self.link_port}", "--data-plane-addr", at, "--no-public-api", "--psk", PSK)  # fmt: skip
        self.run(bed, "inside", BUILD / "quicport", "client", "--insecure", "--psk", PSK, "-s", at,
                 "-r", self.port, "-l", f"{hosts.SERVICE}:{SERVICE_PORT}")  # fmt: skip
