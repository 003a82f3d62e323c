#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
Takes docs/page-light.webp and docs/page-dark.webp anew, of a gateway that does not exist:
    $(tests/e2e/venv.sh) tests/e2e/screenshots.py [FOLDER]
"""

import json
import math
import random
import sys
import time
from pathlib import Path

from browser import Browser
from harness import ROOT
from stubapi import Raw, StubApi, page_files, pages, tunnel

NAMES = ["alice", "atelier-north", "backup.example", "camera-12", "depot", "git@home", "lab-3", "office", "print-shop", "till-04"]
EVENTS = [
    ("tunnel_opened", {"client": "office", "peer": "192.0.2.17:50112", "tunnel_id": "3039-0-1f"}),
    ("port_opened", {"protocol": "tcp", "port": 9007, "client": "office", "tunnel_id": "3039-0-1f"}),
    ("data_plane", {"dp_id": "0x3038", "state": "DRAINING"}),
    ("auth_failed", {"peer": "203.0.113.9:4711", "reason": "unknown public key"}),
    ("policy", {"action": "block_source", "source": "203.0.113.0/24"}),
]


def stats(now, n):
    noise = random.Random(n)
    rate_in = 9e7 + 5e7 * math.sin(n / 40) + noise.random() * 2e7
    rate_out = 4e7 + 2e7 * math.sin(n / 25 + 1) + noise.random() * 1e7
    return {"time_ms": int(now * 1000), "uptime_s": 356400 + n, "interval_ms": 1000, "tunnels": 1234, "ports": 1187,
            "connections": 8412, "totals": {"connections_refused": 312, "auth_failed": 58},
            "rates": {"bytes_sent": int(rate_in), "bytes_received": int(rate_out), "packets_in": int(rate_in / 1300),
                      "packets_out": int(rate_out / 1300), "connections": 212},
            "drops": {"drop_quic_limit": 3, "tcp_drop_out_of_window": 1200 + n, "udp_drop_queue_full": 88,
                      "tcp_drop_no_listener": 412},
            "data_planes": [
                {"dp_id": "0x3038", "pid": 811, "state": "DRAINING", "active_tunnels": 34, "bytes_sent": 98 * 10**9,
                 "bytes_received": 12 * 10**9},
                {"dp_id": "0x3039", "pid": 9412, "state": "ACTIVE", "active_tunnels": 1200, "bytes_sent": 5 * 10**9,
                 "bytes_received": 10**9}]}  # fmt: skip


def stream(_):
    def wire():
        yield b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
        now = time.time()
        for n in range(300):
            yield b"event: stats\ndata: %s\n\n" % json.dumps(stats(now - 300 + n, n)).encode()
        for kind, data in EVENTS:
            data = {"time_ms": int(now * 1000), **data}
            yield b"event: %s\ndata: %s\n\n" % (kind.encode(), json.dumps(data).encode())
        time.sleep(60)

    return Raw(wire=wire())


def rows():
    hours = lambda i: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 1800 * (i + 1)))  # noqa: E731
    return [tunnel(i, client=NAMES[i % len(NAMES)], since=hours(i), connections=(i * 7) % 23, rtt_us=900 + 731 * i % 40000,
                   bytes_sent=(i + 3) * 79190123, bytes_received=(i + 1) * 1047290) for i in range(60)]  # fmt: skip


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "docs")
    answers = {**page_files(), "/api/v1/events": stream, "ListTunnels": pages("tunnels", rows())}
    with StubApi(answers) as api, Browser() as browser:
        browser.size(1200, 1120)
        browser.open(api.url + "/")
        browser.until("document.querySelectorAll('#events li').length == 5")
        browser.until("document.querySelectorAll('#table-body tr').length == 50")
        browser.js("document.querySelector('#host').textContent = 'gateway.example:39000'")
        for scheme in ("light", "dark"):
            browser.media(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
            browser.screenshot(folder / f"page-{scheme}.webp")


if __name__ == "__main__":
    main()
