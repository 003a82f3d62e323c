# SPDX-License-Identifier: Apache-2.0
"""OpenSSH's remote forward: sshd on the gateway's host, ssh -R on the inside one."""

import os

import hosts
from tool import SERVICE_PORT, Tool, done, listens


class Adapter(Tool):
    programs = ("ssh", "sshd", "ssh-keygen")
    package = "openssh-server openssh-client"
    version_words = ("-V",)
    reverse = encrypts = True
    note = "ssh -R, one connection between the hosts, aes128-gcm@openssh.com"

    def prepare(self, bed):
        for name in ("host_key", "user_key"):
            done(self.path("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name)
        keys = self.write("authorized_keys", (self.folder / "user_key.pub").read_text())
        self.config = self.write("sshd_config", f"""ListenAddress {hosts.GATEWAY_INSIDE}:{self.link_port}
HostKey {self.folder}/host_key
AuthorizedKeysFile {keys}
PermitRootLogin prohibit-password
GatewayPorts clientspecified
MaxSessions 1
PidFile none
StrictModes no
UsePAM no
""")  # fmt: skip
        os.makedirs("/run/sshd", 0o755, exist_ok=True)

    def start(self, bed):
        self.run(bed, "gateway", "sshd", "-D", "-e", "-f", self.config)
        self.wait_until(lambda: listens(bed, "gateway", self.link_port), "sshd listens")
        options = ["BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null",
                   "ExitOnForwardFailure=yes", "LogLevel=ERROR", "Ciphers=aes128-gcm@openssh.com"]  # fmt: skip
        self.run(bed, "inside", "ssh", "-F", "none", "-N", "-T", "-i", self.folder / "user_key",
                 *[word for option in options for word in ("-o", option)], "-p", self.link_port,
                 "-R", f"{hosts.GATEWAY_OUTSIDE}:{self.port}:{hosts.SERVICE}:{SERVICE_PORT}",
                 f"root@{hosts.GATEWAY_INSIDE}")  # fmt: skip
