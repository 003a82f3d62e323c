# SPDX-License-Identifier: Apache-2.0
"""The private API's HTTP: bounds, broken requests, slow ones, the page's files."""

import socket
import time

import pytest
from apikit import CALL, JSON, PROBLEM, Api, complete, status_of, validate
from harness import Gateway

PORT = 5000
POST = b"POST /api/v1/admin/ListDataPlanes HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


@pytest.fixture
def api(host):
    gateway = Gateway(host, PORT)
    yield Api(host, PORT)
    assert gateway.healthy(), "the gateway does not serve after this test"
    gateway.end()


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"1", b'"x"', b"{", b"{}{}", b"{} x", b"{'limit':1}", b'{"limit":}',
     b'{"limit":1,"limit":1}', b'{"cursor":"\xff"}', b'{"cursor":"\\u0000"}', b'{"a\\u0000":1}',
     b'{"cursor":"\x00"}', b"{}\x00", b"\xef\xbb\xbf{}", '{"limit":1}'.encode("utf-16"),
     b'{"limit":1e400}', b'{"limit":' + b"9" * 400 + b"}", b"[" * 30000, b'{"a":' * 10000,
     b'{"cursor":"\\ud800"}', b"{/**/}", b"NaN"],
)  # fmt: skip
def test_broken_bodies_are_refused(api, body):
    answer = api.post("ListDataPlanes", body)
    assert answer.status == 400, answer
    assert answer.type == PROBLEM


def test_other_paths_do_not_exist(api):
    for path in ("/x", "//", "/api", "/api/v1", "/api/v1/admin", CALL, CALL + "Nothing", "/app.js/",
                 "/../etc/passwd", "/%2e%2e/etc/passwd", "/healthcheck/", "/healthcheck%00",
                 "/healthcheck%00x", "/api/v1/ipc/Attach", CALL + "listdataplanes", "/index.html",
                 CALL + "ListDataPlanes/", "/" + "a" * 4000):  # fmt: skip
        answer = api.ask("POST" if path.startswith(CALL) else "GET", path, None, {"Content-Type": JSON})
        assert answer.status == 404, f"{path}: {answer}"
        validate({"$ref": "#/components/schemas/Problem"}, answer.json())


def test_bodies_are_bounded(api):
    assert api.post("ListDataPlanes", "{}".ljust(65536)).status == 200
    for size in (65537, 1 << 20, 1 << 40):
        got = api.raw(POST + b"Content-Length: %d\r\n\r\n{}" % size + b" " * min(size - 2, 1 << 20))
        assert status_of(got) == 413, f"{size}: {got[:200]}"
    chunk = b"2000\r\n" + b" " * 0x2000 + b"\r\n"
    head = (b"POST /api/v1/admin/ListDataPlanes HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")  # fmt: skip
    assert status_of(api.raw(head + chunk * 9 + b"0\r\n\r\n")) == 413
    assert status_of(api.raw(head + b"2\r\n{}\r\n0\r\n\r\n")) == 200
    # Without an end it is cut off.
    assert status_of(api.raw(head + chunk * 200)) in (None, 413)


def test_heads_are_bounded(api):
    get = b"GET /healthcheck HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    assert status_of(api.raw(get + b"X: " + b"y" * 7000 + b"\r\n\r\n")) == 200
    assert status_of(api.raw(get + b"X: " + b"y" * 9000 + b"\r\n\r\n")) == 431
    assert status_of(api.raw(get + b"X: " + b"y" * 200000 + b"\r\n\r\n")) in (431, None)
    assert status_of(api.raw(get + b"X: y\r\n" * 100 + b"\r\n")) == 431
    assert status_of(api.raw(b"GET /" + b"a" * 40000 + b" HTTP/1.1\r\n\r\n")) in (414, 431, None)
    assert status_of(api.raw(b"GET /x?" + b"a&" * 100 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")) == 431


@pytest.mark.parametrize(
    "data",
    [
        POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: gzip\r\n\r\n{}",
        POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: -2\r\n\r\n{}",
        POST + b"Content-Length: +2\r\n\r\n{}",
        POST + b"Content-Length: 0x2\r\n\r\n{}",
        POST + b"Content-Length: 2 2\r\n\r\n{}",
        POST + b"Content-Length: \r\n\r\n{}",
        POST + b"Content-Length: 99999999999999999999999\r\n\r\n{}",
        POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n{}\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}",
        b"GET /healthcheck HTTP/1.1\r\n\r\n",
        b"GET /healthcheck HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /healthcheck HTTP/7.3\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        bytes(5000),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_heads_that_can_be_read_in_two_ways_are_refused(api, data):
    status = status_of(api.raw(data, timeout=3, half_close=True))
    assert status is None or 400 <= status <= 505, status


def test_requests_on_one_connection_are_answered_in_turn(api):
    get = b"GET /healthcheck HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    last = b"GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    with api.host.inside():
        connection = socket.create_connection((api.address, api.port), 10)
    with connection:
        connection.sendall(get * 20 + last)
        got = b""
        while piece := connection.recv(65536):
            got += piece
    assert got.count(b"HTTP/1.1 200 OK") == 20
    assert got.count(b"HTTP/1.1 404 Not Found") == 1
    assert complete(got)


def test_slow_heads_keep_nobody_out(api):
    """More half requests than the server has connections: whoever asks is answered."""
    slow = []
    try:
        for n in range(400):
            with api.host.inside():
                one = socket.create_connection((api.address, api.port), 5)
            one.sendall(b"GET /healthcheck HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
            slow.append(one)
            if n % 100 == 99:
                start = time.monotonic()
                assert api.ask("GET", "/healthcheck", timeout=5).status == 200
                assert time.monotonic() - start < 2
    finally:
        for one in slow:
            one.close()


def test_files_of_the_page_are_kept_and_confined(api):
    for path in ("/", "/app.js", "/app.css", "/openapi.json"):
        first = api.ask("GET", path)
        assert first.headers["X-Content-Type-Options"] == "nosniff"
        assert first.headers["Referrer-Policy"] == "no-referrer"
        policy = first.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy and "http" not in policy
        tag = first.headers["ETag"]
        again = api.ask("GET", path, headers={"If-None-Match": tag})
        assert (again.status, again.body) == (304, b"")
        assert api.ask("GET", path, headers={"If-None-Match": '"x", W/' + tag}).status == 304
        assert api.ask("GET", path, headers={"If-None-Match": '"x"'}).body == first.body


def test_log_levels_are_read_and_set(api):
    modules = api.call("GetLogLevels")["modules"]
    assert modules["http"] == "info"
    assert api.call("SetLogLevel", level="debug", module="http")["modules"] == {**modules, "http": "debug"}
    assert set(api.call("SetLogLevel", level="warn")["modules"].values()) == {"warn"}
