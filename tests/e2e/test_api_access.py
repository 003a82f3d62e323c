# SPDX-License-Identifier: Apache-2.0
"""Who may ask the private API: the token, TLS, the Unix socket, web pages from elsewhere."""

import contextlib
import os
import signal
import socket
import ssl
import stat
import subprocess

import pytest
from apikit import Api, insecure_tls, status_of
from harness import QUICPORT, Gateway, Process, eventually

PORT = 5000
LO = "127.0.0.1"
TOKEN = "0123456789abcdef0123456789abcdef"


def write(path, text, mode=0o600):
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def certificate(folder, name):
    key, cert = folder / f"{name}.key", folder / f"{name}.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-subj", f"/CN={name}", "-days", "2", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    return str(cert), str(key)


def shown_certificate(api):
    connection = api.connect()
    try:
        return connection.sock.getpeercert(binary_form=True)
    finally:
        connection.close()


def refused(host, *args):
    """The line with which a gateway does not start."""
    process = Process(host, "refused", [QUICPORT, "control-plane", "--data-plane-addr",
                      f"{LO}:{PORT}", "--psk", "x", *args])  # fmt: skip
    assert process.wait() == 2, process.output()
    return process.output()


def test_token_is_needed_but_for_what_tells_nothing(host, logs):
    path = logs / "token"
    gateway = Gateway(host, PORT, "--private-api-token-file", write(path, TOKEN + "\n"))
    api, with_token = Api(host, PORT), Api(host, PORT, headers={"Authorization": f"Bearer {TOKEN}"})
    for open_path in ("/", "/app.js", "/app.css", "/openapi.json", "/healthcheck"):
        assert api.ask("GET", open_path).status == 200
    for closed in ("/metrics", "/api/v1/events", "/x", "/api/v1/admin/ListDataPlanes"):
        answer = api.ask("GET", closed)
        assert answer.status == 401, f"{closed}: {answer}"
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert api.post("ListDataPlanes", {}).status == 401
    assert api.post("ListDataPlanes", {}, {"Authorization": f"Bearer {TOKEN}x"}).status == 401
    assert with_token.call("ListDataPlanes")["data_planes"]
    assert with_token.ask("GET", "/metrics").status == 200
    assert with_token.ask("GET", "/api/v1/events?types=x").status == 400

    other = TOKEN[::-1]
    write(path, other)
    gateway.send(signal.SIGHUP)
    eventually(lambda: with_token.post("ListDataPlanes", {}).status == 401, what="the token changes")
    assert api.post("ListDataPlanes", {}, {"Authorization": f"Bearer {other}"}).status == 200

    write(path, "short")
    gateway.send(signal.SIGHUP)
    gateway.wait_for_line("16 characters")
    assert api.post("ListDataPlanes", {}, {"Authorization": f"Bearer {other}"}).status == 200
    gateway.end()
    for secret in (TOKEN, other):
        assert secret not in gateway.output()


def test_beyond_loopback_token_and_tls_are_needed(host, logs):
    cert, key = certificate(logs, "one")
    token = write(logs / "token", TOKEN)
    everywhere = ("--control-plane-addr", f"0.0.0.0:{PORT}")
    tls = ("--private-api-tls-cert", cert, "--private-api-tls-key", key)
    for some in ((), tls, ("--private-api-token-file", token)):
        assert "needs a token and TLS" in refused(host, *everywhere, *some)
    assert "give both" in refused(host, *tls[:2])
    assert "give both" in refused(host, *tls[2:])


def test_tls_is_new_enough_and_its_certificate_is_exchanged(host, logs):
    cert, key = certificate(logs, "one")
    token = write(logs / "token", TOKEN)
    gateway = Gateway(host, PORT, "--private-api-listen", f"0.0.0.0:{PORT + 9}", "--private-api-tls-cert",
                      cert, "--private-api-tls-key", key, "--private-api-token-file", token,
                      wait=False)  # fmt: skip
    gateway.wait_for_line('"ready"')
    api = Api(host, PORT + 9, tls=insecure_tls(), headers={"Authorization": f"Bearer {TOKEN}"})
    # By any name: the token tells friend from foe here.
    assert api.post("ListDataPlanes", {}, {"Host": "gateway.example.com"}).status == 200
    assert api.post("ListDataPlanes", {}, {"Authorization": "Bearer x"}).status == 401
    assert status_of(Api(host, PORT + 9).raw(b"GET /healthcheck HTTP/1.1\r\nHost: x\r\n\r\n")) is None

    old = insecure_tls()
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        Api(host, PORT + 9, tls=old).connect()

    before, kept = shown_certificate(api), api.connect()
    kept.request("GET", "/healthcheck")
    assert kept.getresponse().read()
    new_cert, new_key = certificate(logs, "two")
    os.replace(new_key, key)
    gateway.send(signal.SIGHUP)
    gateway.wait_for_line("does not belong to the certificate")
    assert shown_certificate(api) == before
    # Both or neither: with a token that is too short the good pair waits.
    os.replace(new_cert, cert)
    write(logs / "token", "short")
    gateway.send(signal.SIGHUP)
    gateway.wait_for_line("characters or more is expected")
    assert shown_certificate(api) == before
    assert api.post("ListDataPlanes", {}).status == 200
    write(logs / "token", TOKEN)
    gateway.send(signal.SIGHUP)
    eventually(lambda: shown_certificate(api) != before, what="the new certificate is shown")
    kept.request("GET", "/healthcheck")
    assert kept.getresponse().status == 200, "an open connection outlives the exchange"
    kept.close()
    assert gateway.stop() == 0


def test_keys_and_tokens_that_others_can_read_are_refused(host, logs):
    cert, key = certificate(logs, "one")
    os.chmod(key, 0o644)
    shown = refused_at_start(host, "--private-api-tls-cert", cert, "--private-api-tls-key", key)
    assert "chmod" in shown and key in shown
    token = write(logs / "token", TOKEN, 0o644)
    shown = refused_at_start(host, "--private-api-token-file", token)
    assert "chmod" in shown and TOKEN not in shown
    os.chmod(key, 0o600)
    other, _ = certificate(logs, "two")
    assert "does not belong" in refused_at_start(
        host, "--private-api-tls-cert", other, "--private-api-tls-key", key)  # fmt: skip
    assert "PEM" in refused_at_start(
        host, "--private-api-tls-cert", key, "--private-api-tls-key", key)  # fmt: skip


def refused_at_start(host, *args, port=PORT):
    process = Process(host, "refused", [QUICPORT, "control-plane", "--data-plane-addr",
                      f"{LO}:{port}", "--psk", "x", *args])  # fmt: skip
    assert process.wait() == 1, process.output()
    return process.output()


def as_user(host, socket, uid, groups=()):
    """curl over the socket as that user: the HTTP status, or 0 when it does not get in at all."""
    keep = ["--groups", ",".join(map(str, groups))] if groups else ["--clear-groups"]
    done = host.run("setpriv", "--reuid", uid, "--regid", uid, *keep, "curl", "-s", "-o", "/dev/null",
                    "-w", "%{http_code}", "--unix-socket", socket, "-X", "POST", "-H",
                    "Content-Type: application/json", "-d", "{}",
                    "http://localhost/api/v1/admin/ListDataPlanes", check=False)  # fmt: skip
    return int(done or 0)


def test_socket_lets_in_root_and_its_group(host, logs):
    logs.chmod(0o755)
    tmp = logs / "socket"
    gateway = Gateway(host, PORT, "--private-api-socket", str(tmp), "--private-api-socket-mode", "0660",
                      "--private-api-socket-group", "daemon", "--private-api-token-file",
                      write(logs / "token", TOKEN))  # fmt: skip
    shown = tmp.stat()
    assert stat.S_IMODE(shown.st_mode) == 0o660
    assert Api(host, PORT, unix=str(tmp)).call("ListDataPlanes")["data_planes"], "root needs no token"
    group = shown.st_gid
    assert as_user(host, tmp, 65534) == 0
    assert as_user(host, tmp, 65534, [group]) == 200
    assert as_user(host, tmp, group) == 200
    # The mode decides, also when it is changed under way.
    tmp.chmod(0o600)
    assert as_user(host, tmp, 65534, [group]) == 0
    tmp.chmod(0o666)
    assert as_user(host, tmp, 65534) == 200
    gateway.end()
    assert not tmp.exists()


def test_socket_of_a_killed_gateway_is_replaced_and_nothing_else(host, logs):
    path = logs / "socket"
    gateway = Gateway(host, PORT, "--private-api-socket", str(path))
    assert "in use" in refused_at_start(
        host, "--control-plane-addr", f"{LO}:{PORT + 5}", "--private-api-socket", str(path),
        port=PORT + 5)  # fmt: skip
    assert Api(host, PORT, unix=str(path)).ask("GET", "/healthcheck").status == 200
    gateway.end()
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    gateway = Gateway(host, PORT, "--private-api-socket", str(path))
    gateway.end()
    path.write_text("precious")
    assert "another kind" in refused_at_start(host, "--private-api-socket", str(path))
    assert path.read_text() == "precious"


def test_pages_from_elsewhere_can_do_nothing(host):
    gateway = Gateway(host, PORT)
    api = Api(host, PORT)
    here = {"Host": f"{LO}:{PORT}", "Origin": f"http://{LO}:{PORT}", "Sec-Fetch-Site": "same-origin"}
    assert api.post("ListDataPlanes", {}, here).status == 200
    for headers in (
        {"Host": "rebound.example.com"},
        {"Host": f"{LO}.example.com:{PORT}"},
        {"Origin": "http://example.com"},
        {"Origin": "null"},
        {"Origin": f"http://localhost:{PORT}"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        for method, path in (("POST", "/api/v1/admin/ListDataPlanes"), ("GET", "/metrics"),
                             ("GET", "/api/v1/events"), ("GET", "/healthcheck")):  # fmt: skip
            answer = api.ask(method, path, "{}", {**here, "Content-Type": "application/json", **headers})
            assert answer.status == 403, f"{headers} {method} {path}: {answer}"
            assert answer.headers.get("Access-Control-Allow-Origin") is None
    # A preflight is answered like any wrong method: the browser then sends nothing.
    answer = api.ask("OPTIONS", "/api/v1/admin/ShutdownDataPlane", headers={
        "Origin": "http://example.com", "Access-Control-Request-Method": "POST"})  # fmt: skip
    assert answer.status == 403
    # A link leads here.
    assert api.ask("GET", "/", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}).status == 200
    gateway.end()


# ---- the public API, over the data plane's own TCP ----


def test_public_api_has_one_path(host):
    gateway = Gateway(host, PORT, public_api=True)
    api = Api(host, PORT + 1)
    answer = api.ask("GET", "/healthcheck")
    assert (answer.status, answer.json()) == (200, {"status": "SERVING"})
    head = api.ask("HEAD", "/healthcheck")
    assert (head.status, head.body) == (200, b"")
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        answer = api.ask(method, "/healthcheck")
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    for path in ("/", "/metrics", "/openapi.json", "/app.js", "/api/v1/events", "/x", "/healthcheck/",
                 "/api/v1/admin/ListDataPlanes", "/healthcheck%00"):  # fmt: skip
        for method in ("GET", "POST"):
            assert api.ask(method, path, "{}", {"Content-Type": "application/json"}).status == 404, path
    gateway.end()


def test_public_api_bounds_slow_and_huge_requests(host):
    gateway = Gateway(host, PORT, public_api=True)
    api = Api(host, PORT + 1)
    assert status_of(api.raw(b"GET /healthcheck HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20000 + b"\r\n\r\n")) is None
    huge = b"POST /healthcheck HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + bytes(100000)
    assert status_of(api.raw(huge)) in (None, 405, 413)
    for junk in (bytes(1000), b"\x16\x03\x01" * 100, b"GET\r\n\r\n", b"\r\n" * 500):
        assert status_of(api.raw(junk, timeout=3)) in (None, 400)
    # More half requests than it has room for: whoever asks is answered all the same.
    slow = []
    for _ in range(200):
        with host.inside():
            slow.append(socket.create_connection((LO, PORT + 1), 5))
        slow[-1].sendall(b"GET /healthcheck HTTP/1.1\r\nX: ")
    for _ in range(5):
        assert api.ask("GET", "/healthcheck", timeout=5).status == 200
    # They are over after ten seconds.
    for one in slow:
        one.settimeout(15)
        with contextlib.suppress(ConnectionResetError):
            while one.recv(4096):
                pass
        one.close()
    gateway.end()
