# SPDX-License-Identifier: Apache-2.0
"""
A private API that says what a test wants: for answers that no gateway gives, and rows by the
thousand. The real one is tested by the files that start a gateway.
"""

import contextlib
import http.server
import json
import queue
import socket
import threading

from harness import ROOT

WEB = ROOT / "controlplane/web"
# As controlplane/web.c sends it.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)


class Raw:
    """An answer byte for byte: status, type and body as given, or bytes straight to the socket."""

    def __init__(self, body=b"", status=200, kind="application/json", wire=None, headers=()):
        self.body, self.status, self.kind, self.wire, self.headers = body, status, kind, wire, headers


class StubApi:
    """`answers` maps a call's name (or a path) to a dict, a Raw, or a function of the request."""

    def __init__(self, answers, token=None, port=0):
        self.answers = answers
        self.token = token
        self.asked = []  # (name, request)
        self.heads = []  # (name, headers)
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_POST(self):
                length = int(self.headers.get("Content-Length", 0))
                self.answer(json.loads(self.rfile.read(length)))

            def do_GET(self):
                self.answer(None)

            def answer(self, request):
                name = self.path.removeprefix("/api/v1/admin/")
                outer.asked.append((name, request))
                outer.heads.append((name, self.headers))
                if outer.token and "/api/" in self.path and self.headers.get("Authorization") != f"Bearer {outer.token}":
                    return self.problem(401, "a bearer token is needed")
                found = outer.answers.get(name)
                if callable(found):
                    found = found(request)
                if found is None:
                    return self.problem(404, f"no {name} here")
                if isinstance(found, Raw) and found.wire is not None:
                    self.close_connection = True
                    with contextlib.suppress(OSError):
                        for piece in found.wire:
                            self.wfile.write(piece)
                            self.wfile.flush()
                    return None
                if not isinstance(found, Raw):
                    found = Raw(json.dumps(found).encode())
                return self.send(found)

            def problem(self, status, detail):
                body = json.dumps({"type": "about:blank", "title": "Problem", "status": status,
                                   "detail": detail}).encode()  # fmt: skip
                self.send(Raw(body, status, "application/problem+json"))

            def send(self, answer):
                with contextlib.suppress(OSError):
                    self.send_response(answer.status)
                    self.send_header("Content-Type", answer.kind)
                    self.send_header("Content-Length", str(len(answer.body)))
                    for name, value in answer.headers:
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(answer.body)

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            peers = []

            def process_request(self, request, client_address):
                self.peers.append(request)
                super().process_request(request, client_address)

            def handle_error(self, request, client_address):
                pass  # a client that went away

        self.server = Server(("127.0.0.1", port), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def times(self, name):
        return sum(asked == name for asked, _ in self.asked)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *failure):
        self.server.shutdown()
        self.server.server_close()
        for peer in self.server.peers:  # also those that are kept for a next request
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)


def page_files():
    """The web page's files, as the gateway serves them."""
    kinds = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
    headers = [("Content-Security-Policy", POLICY), ("X-Content-Type-Options", "nosniff")]
    return {
        "/" + file.name.replace("index.html", ""): Raw(
            file.read_bytes(), kind=f"{kinds[file.suffix]}; charset=utf-8", headers=headers)
        for file in WEB.iterdir()
    }  # fmt: skip


class Events:
    """An event stream that a test writes to. Its `answer` is for /api/v1/events."""

    def __init__(self):
        self.queues = []

    def answer(self, _):
        mine = queue.Queue()
        self.queues.append(mine)

        def wire():
            yield b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\r\n: hello\n\n"
            while (piece := mine.get()) is not None:
                yield piece

        return Raw(wire=wire())

    def send(self, kind, data, number=None):
        head = f"id: {number}\n" if number else ""
        self.write(f"{head}event: {kind}\ndata: {json.dumps(data)}\n\n".encode())

    def write(self, piece):
        self.queues[-1].put(piece)

    def end(self):
        """The stream that is there now."""
        self.queues[-1].put(None)


def pages(rows_name, rows):
    """A list call's answer function: pages as the API makes them."""

    def answer(request):
        first = int(request.get("cursor", "0"))
        n = request.get("limit", 100)
        out = {rows_name: rows[first : first + n]}
        if first + n < len(rows):
            out["next_cursor"] = str(first + n)
        return out

    return answer


def tunnel(i, **more):
    """A tunnel's row as ListTunnels gives it."""
    return {"tunnel_id": f"3039-0-{i:x}", "dp_id": "0x3039", "worker": 0, "client": f"client-{i}",
            "method": "x25519", "peer": f"192.0.2.{i % 250 + 1}:50000", "since": "2026-01-01T00:00:00Z",
            "ports": [{"protocol": "tcp", "port": 9000 + i % 50000}], "rtt_us": 1830, "connections": 2,
            "connections_total": 17, "connections_refused": 0, "bytes_sent": 1048576 + i,
            "bytes_received": 65536, **more}  # fmt: skip
