# SPDX-License-Identifier: Apache-2.0
"""A plain relay on either host, a process for each connection."""

import hosts
from tool import SERVICE_PORT, Tool, listens

LISTEN = "reuseaddr,fork,backlog=1024,max-children=512,nodelay"


class Adapter(Tool):
    programs = ("socat",)
    package = "socat"
    version_words = ("-V",)
    note = "a plain relay on either host, 64 KiB buffers, a process a connection"

    def start(self, bed):
        self.relay(bed, "inside", hosts.SERVICE, self.link_port, hosts.SERVICE, SERVICE_PORT)
        self.wait_until(lambda: listens(bed, "inside", self.link_port), "the inner relay listens")
        self.relay(bed, "gateway", hosts.GATEWAY_OUTSIDE, self.port, hosts.SERVICE, self.link_port)

    def relay(self, bed, host, address, port, to, to_port):
        # -t: how long the other direction may go on after one has ended.
        self.run(bed, host, "socat", "-b", 65536, "-t", 30, f"TCP4-LISTEN:{port},bind={address},{LISTEN}",
                 f"TCP4:{to}:{to_port},nodelay")  # fmt: skip
