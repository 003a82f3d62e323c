# SPDX-License-Identifier: Apache-2.0
"""rathole (https://github.com/rathole-org/rathole), with its Noise transport."""

import re

import hosts
from tool import SERVICE_PORT, Failed, Tool, done, listens

TOKEN = "a token for benchmarks only"


class Adapter(Tool):
    programs = ("rathole",)
    reverse = encrypts = True
    note = "Noise_NK_25519_ChaChaPoly_BLAKE2s, its default, on a connection for each user"

    def prepare(self, bed):
        keys = done(self.path("rathole"), "--genkey")
        private, public = (re.search(rf"{which} Key:\s*(\S+)", keys) for which in ("Private", "Public"))
        if not private or not public:
            raise Failed("rathole: --genkey says no pair of keys")
        self.server = self.write("server.toml", f"""[server]
bind_addr = "{hosts.GATEWAY_INSIDE}:{self.link_port}"

[server.transport]
type = "noise"

[server.transport.noise]
local_private_key = "{private[1]}"

[server.services.users]
token = "{TOKEN}"
bind_addr = "{hosts.GATEWAY_OUTSIDE}:{self.port}"
""")  # fmt: skip
        self.client = self.write("client.toml", f"""[client]
remote_addr = "{hosts.GATEWAY_INSIDE}:{self.link_port}"

[client.transport]
type = "noise"

[client.transport.noise]
remote_public_key = "{public[1]}"

[client.services.users]
token = "{TOKEN}"
local_addr = "{hosts.SERVICE}:{SERVICE_PORT}"
""")  # fmt: skip

    def start(self, bed):
        self.run(bed, "gateway", "rathole", "--server", self.server)
        self.wait_until(lambda: listens(bed, "gateway", self.link_port), "the server listens")
        self.run(bed, "inside", "rathole", "--client", self.client)
