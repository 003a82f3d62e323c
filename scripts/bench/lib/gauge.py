# SPDX-License-Identifier: Apache-2.0
"""One measurement by tests/tools/qpgauge through a tool, every byte counted at both ends."""

import json
import subprocess
import threading

import hosts
from frame import BUILD, Failed
from tool import SERVICE_PORT

GRACE_S = 10


def qpgauge():
    path = BUILD / "tests" / "tools" / "qpgauge"
    if not path.exists():
        raise Failed(f"not built: {path}: meson setup build && ninja -C build")
    return path


class Lost(Failed):
    """It ran, and not all arrived: of this tool and round there is no figure."""


class Service:
    """Where all tools lead to, anew for each measurement: what it counted comes at its end."""

    def __init__(self, bed):
        self.process = bed.start("inside", "service", qpgauge(), "serve", hosts.SERVICE, SERVICE_PORT,
                                 "--grace", 2000, stdout=subprocess.PIPE)  # fmt: skip
        if not self.process.stdout.readline():
            raise Failed(f"the service does not start: {self.process.log.read_text()}")

    def end(self):
        self.process.terminate()
        said, _ = self.process.communicate(timeout=20)
        return json.loads(said)


def run_client(bed, tool, work, parallel, milliseconds, meanwhile=None):
    client = bed.start("outside", "users", qpgauge(), "run", tool.address, tool.port, work, "--parallel", parallel,
                       "--ms", milliseconds, "--grace", 1000 * GRACE_S, stdout=subprocess.PIPE)  # fmt: skip
    bed.processes.remove(client)
    try:
        timer = threading.Timer(milliseconds / 2000, meanwhile) if meanwhile else None
        if timer:
            timer.start()
        said, _ = client.communicate(timeout=milliseconds / 1000 + GRACE_S + 20)
        if timer:
            timer.join()
    finally:
        hosts.end_all([client])
    if not said:
        raise Failed(f"users: {client.log.read_text(errors='replace').strip()[-500:]}")
    return json.loads(said)


def measure(bed, tool, work, parallel, milliseconds, meanwhile=None):
    """
    What the users' end says, with cpu_seconds of the tool. Raises Lost when a connection failed or when
    the ends did not count the same. `meanwhile` is called by another thread in the middle.
    """
    service = Service(bed)
    before = tool.group.cpu_seconds()
    got = run_client(bed, tool, work, parallel, milliseconds, meanwhile)
    got["cpu_seconds"] = tool.group.cpu_seconds() - before
    bed.processes.remove(service.process)
    there = service.end()
    if got["failed"] or there["failed"] or not got["ok"]:
        raise Lost(f"{got['failed']} of {got['ok'] + got['failed']} connections failed for users "
                   f"{told(got)}, {there['failed']} at the service {told(there)}")  # fmt: skip
    for way, sent, arrived in (("to the service", got["tx_bytes"], there["rx_bytes"]),
                               ("to users", there["tx_bytes"], got["rx_bytes"])):  # fmt: skip
        if sent != arrived:
            raise Lost(f"{sent} bytes were sent {way}, {arrived} arrived")
    return got


def told(ended):
    return "(" + (", ".join(f"{name}: {n}" for name, n in ended["errors"].items()) or "no error") + ")"


def leads_through(bed, tool):
    """Whether a request finds its way through the tool and back."""
    service = Service(bed)
    try:
        got = run_client(bed, tool, "connect", 1, 1)
        return got["ok"] > 0 and got["failed"] == 0
    finally:
        bed.processes.remove(service.process)
        service.end()
