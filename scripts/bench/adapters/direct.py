# SPDX-License-Identifier: Apache-2.0
"""No tool: users reach the service itself. The gateway's kernel only forwards the packets."""

import hosts
from tool import SERVICE_PORT, Tool


class Adapter(Tool):
    note = "no tool at all: the kernel routes users to the service"

    def start(self, bed):
        self.address, self.port = hosts.SERVICE, SERVICE_PORT
