# SPDX-License-Identifier: Apache-2.0
"""A new data plane that fails changes nothing, is told with its reason, and is no death."""

import signal

import pytest

from apikit import Api, Events
from harness import BUILD, Client, Gateway, eventually, new_port
from test_drain import LO, echoes, planes
from test_upgrade import programs, replace  # noqa: F401

# A data plane of a release far from this one: it asks to attach, and speaks version 99 only.
FROM_AFAR = b"""#!/usr/bin/python3
import array, os, socket, struct, sys
name = sys.argv[sys.argv.index("--instance") + 1]
sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
sock.connect("/run/quicport/%s/control.sock" % name)
ask = struct.pack("=IIiIIIII", 0x51504154, 99, os.getpid(), 1, 0, 0, 1, 99)
fds = array.array("i", [os.eventfd(0)])
sock.sendmsg([ask], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
sock.recv(1024)
sys.exit(1)
"""
GREEDY = b"#!/bin/sh\nexec %s \"$@\" --mbufs 1000000\n"

CASES = {
    "cannot be executed": (b"\x7fELF no more", 0o644, "Permission denied"),
    "is no program": (b"\x7fELF no more", 0o755, "Exec format error"),
    "exits": (b"#!/bin/sh\nexit 7\n", 0o755, "exited with status 7 before it was ready"),
    "another version": (FROM_AFAR, 0o755, "99"),
    "no memory": (GREEDY % str(BUILD / "quicport-data-plane").encode(), 0o755, "no hugepage memory"),
    "hangs": (b"#!/bin/sh\nexec sleep 60\n", 0o755, "it takes too long to start"),
}


@pytest.mark.parametrize("case", CASES)
def test_newcomer_that_fails(host, programs, case):  # noqa: F811
    content, mode, why = CASES[case]
    inside, outside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    gateway = Gateway(host, new_port())
    client = Client(host, f"{LO}:{gateway.port}", outside, inside)
    client.opens(host, LO, outside)
    (old,) = planes(gateway)
    events = Events(Api(host, gateway.port), "?types=data_plane")
    replace(programs / "quicport-data-plane", content, mode)

    sync = case in ("cannot be executed", "is no program")
    if sync:
        status, problem = gateway.call("DrainDataPlane", dp_id=old)
        assert status == 500 and why in problem["detail"], problem
        result = 'quicport_handovers_total{result="refused"}'
    else:
        gateway.send(signal.SIGHUP)
        result = 'quicport_handovers_total{result="failed"}'
    event = next(event for event in iter(events.next, None) if event[2].get("dp_id") == old)
    assert event[2]["state"] == "ACTIVE" and why in event[2]["error"], event
    line = next(line for line in gateway.lines() if "nothing drains" in line["message"])
    assert line["level"] == "error" and int(line["dp_id"], 16) == int(old, 16) and why in line["reason"], line
    assert f"{result} 1\n" in gateway.get("/metrics")[1]
    assert planes(gateway) == {old: "ACTIVE"}
    assert gateway.metric("quicport_data_plane_deaths_total") == 0
    assert client.running() and echoes(host, outside)
    status = gateway.call("GetDataPlaneStatus", dp_id=old)[1]
    assert why in status["handover_error"], status

    # The right program again: all goes on from there.
    replace(programs / "quicport-data-plane")
    gateway.send(signal.SIGHUP)
    eventually(lambda: sorted(planes(gateway).values()) == ["ACTIVE", "DRAINING"], what="it drains")
    assert planes(gateway)[old] == "DRAINING" and echoes(host, outside)
    assert "handover_error" not in gateway.call("GetDataPlaneStatus", dp_id=old)[1]
    client.stop()
    gateway.end()
