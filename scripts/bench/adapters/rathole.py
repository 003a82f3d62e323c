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
        self.server = self.write("server.toml", self.config(
            "server", f'bind_addr = "{hosts.GATEWAY_INSIDE}:{self.link_port}"',
            f'local_private_key = "{private[1]}"', f'bind_addr = "{hosts.GATEWAY_OUTSIDE}:{self.port}"'))  # fmt: skip
        self.client = self.write("client.toml", self.config(
            "client", f'remote_addr = "{hosts.GATEWAY_INSIDE}:{self.link_port}"',
            f'remote_public_key = "{public[1]}"', f'local_addr = "{hosts.SERVICE}:{SERVICE_PORT}"'))  # fmt: skip

    @staticmethod
    def config(end, link, key, users):
        """Of the server or the client: how they reach each other, by which key, and where the users' side is."""
        return f"""[{end}]
{link}

[{end}.transport]
type = "noise"

[{end}.transport.noise]
{key}

[{end}.services.users]
token = "{TOKEN}"
{users}
"""

    def start(self, bed):
        self.run(bed, "gateway", "rathole", "--server", self.server)
        self.wait_until(lambda: listens(bed, "gateway", self.link_port), "the server listens")
        self.run(bed, "inside", "rathole", "--client", self.client)
