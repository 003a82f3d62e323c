# SPDX-License-Identifier: Apache-2.0
"""frp (https://github.com/fatedier/frp), from 0.52 on, whose files are TOML."""

import hosts
from tool import SERVICE_PORT, Tool, listens

TOKEN = "a token for benchmarks only"


class Adapter(Tool):
    programs = ("frps", "frpc")
    reverse = encrypts = True
    note = "TLS between the hosts, which is its default, and one connection for all users (tcpMux)"

    def prepare(self, bed):
        self.server = self.write("frps.toml", f"""bindAddr = "{hosts.GATEWAY_INSIDE}"
bindPort = {self.link_port}
proxyBindAddr = "{hosts.GATEWAY_OUTSIDE}"
auth.method = "token"
auth.token = "{TOKEN}"
transport.tls.force = true
log.to = "console"
log.level = "warn"
""")  # fmt: skip
        self.client = self.write("frpc.toml", f"""serverAddr = "{hosts.GATEWAY_INSIDE}"
serverPort = {self.link_port}
loginFailExit = true
auth.method = "token"
auth.token = "{TOKEN}"
transport.tls.enable = true
log.to = "console"
log.level = "warn"

[[proxies]]
name = "service"
type = "tcp"
localIP = "{hosts.SERVICE}"
localPort = {SERVICE_PORT}
remotePort = {self.port}
""")  # fmt: skip

    def start(self, bed):
        self.run(bed, "gateway", "frps", "-c", self.server)
        self.wait_until(lambda: listens(bed, "gateway", self.link_port), "frps listens")
        self.run(bed, "inside", "frpc", "-c", self.client)
