# SPDX-License-Identifier: Apache-2.0
"""chisel (https://github.com/jpillora/chisel): SSH over a WebSocket."""

import hosts
from tool import SERVICE_PORT, Tool, listens

AUTH = "benchmark:only"


class Adapter(Tool):
    programs = ("chisel",)
    reverse = encrypts = True
    note = "SSH in one WebSocket for all users"

    def start(self, bed):
        self.run(bed, "gateway", "chisel", "server", "--host", hosts.GATEWAY_INSIDE, "--port", self.link_port,
                 "--auth", AUTH, "--reverse")  # fmt: skip
        self.wait_until(lambda: listens(bed, "gateway", self.link_port), "the server listens")
        self.run(bed, "inside", "chisel", "client", "--auth", AUTH, f"http://{hosts.GATEWAY_INSIDE}:{self.link_port}",
                 f"R:{hosts.GATEWAY_OUTSIDE}:{self.port}:{hosts.SERVICE}:{SERVICE_PORT}")  # fmt: skip
