# SPDX-License-Identifier: Apache-2.0
"""TLS between two relays, a TLS connection for each of a user's."""

import hosts
from tool import SERVICE_PORT, Tool, done, listens


class Adapter(Tool):
    programs = ("stunnel", "openssl")
    package = "stunnel4 openssl"
    version_words = ("-version",)
    encrypts = True
    note = "the gateway's host connects to the inside one; TLS 1.3 with AES-128-GCM and ECDSA P-256, sessions resumed"

    def prepare(self, bed):
        self.certificate = self.folder / "certificate.pem"
        done(self.path("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
             "-nodes", "-days", 1, "-subj", "/CN=inside", "-keyout", self.folder / "key.pem",
             "-out", self.certificate)  # fmt: skip

    def config(self, name, service):
        return self.write(name, f"""foreground = yes
pid =
syslog = no
debug = warning
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
[users]
ciphersuites = TLS_AES_128_GCM_SHA256
sslVersionMin = TLSv1.3
{service}
""")  # fmt: skip

    def start(self, bed):
        inner = self.config("inside.conf", f"""accept = {hosts.SERVICE}:{self.link_port}
connect = {hosts.SERVICE}:{SERVICE_PORT}
cert = {self.certificate}
key = {self.folder}/key.pem""")
        outer = self.config("gateway.conf", f"""client = yes
accept = {hosts.GATEWAY_OUTSIDE}:{self.port}
connect = {hosts.SERVICE}:{self.link_port}
CAfile = {self.certificate}
verifyPeer = yes""")
        self.run(bed, "inside", "stunnel", inner)
        self.wait_until(lambda: listens(bed, "inside", self.link_port), "the inner end listens")
        self.run(bed, "gateway", "stunnel", outer)
