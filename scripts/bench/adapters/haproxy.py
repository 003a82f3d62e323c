# SPDX-License-Identifier: Apache-2.0
"""A load balancer on the gateway's host, which connects to the service itself."""

import hosts
from tool import SERVICE_PORT, Tool


class Adapter(Tool):
    programs = ("haproxy",)
    package = "haproxy"
    version_words = ("-v",)
    note = "TCP mode, one relay on the gateway's host, as many threads as CPUs"

    def prepare(self, bed):
        self.config = self.write("haproxy.cfg", f"""global
    maxconn 4096
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen users
    bind {hosts.GATEWAY_OUTSIDE}:{self.port}
    server service {hosts.SERVICE}:{SERVICE_PORT}
""")  # fmt: skip

    def start(self, bed):
        self.run(bed, "gateway", "haproxy", "-db", "-f", self.config)
