# SPDX-License-Identifier: Apache-2.0
"""Requests to the private API, and docs/openapi.json as a judge of its answers."""

import http.client
import json
import socket
import ssl
from pathlib import Path

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = json.loads((ROOT / "docs/openapi.json").read_text())
JSON = "application/json"
PROBLEM = "application/problem+json"
CALL = "/api/v1/admin/"


def _strict(node, inside_answer):
    """References made absolute; objects of answers have no member but the documented ones."""
    if isinstance(node, list):
        return [_strict(item, inside_answer) for item in node]
    if not isinstance(node, dict):
        return node
    made = {}
    for key, value in node.items():
        if key == "$ref":
            made[key] = "openapi:" + value
        elif key in ("example", "examples"):
            continue
        else:
            made[key] = _strict(value, inside_answer)
    if inside_answer and "properties" in made and "additionalProperties" not in made:
        made["additionalProperties"] = False
    return made


_registry = Registry().with_resource(
    "openapi:", Resource(_strict(DOCUMENT, True), DRAFT202012)
)


def validate(schema, value):
    """Raises jsonschema's error when `value` is not what the document's `schema` says."""
    Draft202012Validator(
        _strict(schema, True), registry=_registry, format_checker=Draft202012Validator.FORMAT_CHECKER
    ).validate(value)


def resolve(node):
    while "$ref" in node:
        name = node["$ref"]
        node = DOCUMENT
        for part in name.removeprefix("#/").split("/"):
            node = node[part]
    return node


class Answer:
    def __init__(self, answer, body):
        self.status = answer.status
        self.headers = answer.headers
        self.body = body

    @property
    def type(self):
        return (self.headers.get("Content-Type") or "").partition(";")[0]

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.type}: {self.body[:500]!r}"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Api:
    """The private API of a gateway, asked from its own host."""

    def __init__(self, host, port, address="127.0.0.1", headers=None, tls=None, unix=None):
        self.host, self.port, self.address = host, port, address
        self.headers, self.tls, self.unix = headers or {}, tls, unix

    def connect(self, timeout=20):
        if self.unix:
            connection = _UnixConnection(self.unix, timeout)
        elif self.tls:
            connection = http.client.HTTPSConnection(
                self.address, self.port, timeout=timeout, context=self.tls
            )
        else:
            connection = http.client.HTTPConnection(self.address, self.port, timeout=timeout)
        with self.host.inside():
            connection.connect()
        return connection

    def ask(self, method, path, body=None, headers=None, timeout=20):
        connection = self.connect(timeout)
        try:
            connection.request(method, path, body, {**self.headers, **(headers or {})})
            answer = connection.getresponse()
            return Answer(answer, answer.read())
        finally:
            connection.close()

    def post(self, name, body, headers=None):
        """A call; its answer is checked against the document."""
        if not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        answer = self.ask("POST", CALL + name, body, {"Content-Type": JSON, **(headers or {})})
        check(answer, "post", CALL + name)
        return answer

    def call(self, method, /, **arguments):
        """A call that must succeed; its answer's object."""
        answer = self.post(method, arguments)
        assert answer.status == 200, f"{method} {arguments}: {answer}"
        return answer.json()

    def raw(self, data, timeout=10, half_close=False):
        """Bytes as they are; what comes back until the server closes, or falls silent."""
        with self.host.inside():
            connection = socket.create_connection((self.address, self.port), timeout)
        with connection:
            try:
                connection.sendall(data)
                if half_close:
                    connection.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError):
                pass
            got = b""
            try:
                while piece := connection.recv(65536):
                    got += piece
                    if b"\r\n\r\n" in got and got.startswith(b"HTTP/1.1 100"):
                        continue
                    if complete(got):
                        break
            except (ConnectionResetError, socket.timeout):
                pass
            return got


def complete(got):
    head, end, body = got.partition(b"\r\n\r\n")
    if not end:
        return False
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return len(body) >= int(value)
    return False


def status_of(got):
    """The status of a raw answer; None: there is none."""
    words = got.split(b" ", 2)
    return int(words[1]) if len(words) > 2 and words[0].startswith(b"HTTP/1.") else None


def check(answer, method, path):
    """The answer is one that the document promises for the path."""
    responses = DOCUMENT["paths"][path][method]["responses"]
    assert str(answer.status) in responses, f"{method} {path} answers {answer}, not documented"
    content = resolve(responses[str(answer.status)]).get("content")
    if content is None:
        return
    assert answer.type in content, f"{method} {path} answers {answer}"
    if answer.type in (JSON, PROBLEM) and "schema" in content[answer.type]:
        value = answer.json()
        validate(content[answer.type]["schema"], value)
        if answer.type == PROBLEM:
            assert value["status"] == answer.status


def insecure_tls():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Events:
    """A listener of the event stream."""

    def __init__(self, api, query="", headers=None, timeout=20):
        self.connection = api.connect(timeout)
        self.connection.request("GET", "/api/v1/events" + query, headers={**api.headers, **(headers or {})})
        self.answer = self.connection.getresponse()
        self.comments = []

    def next(self):
        """(id, type, data); None at the end. Comments are gathered on the way."""
        fields = {}
        while True:
            line = self.answer.readline().decode()
            if line == "":
                return None
            line = line.rstrip("\n")
            if line == "":
                if "event" in fields:
                    return fields.get("id"), fields["event"], json.loads(fields["data"])
                fields = {}
            elif line.startswith(":"):
                self.comments.append(line)
            else:
                name, _, value = line.partition(": ")
                fields[name] = value

    def wait(self, kind):
        """The data of the next event of this type."""
        while (event := self.next()) is not None:
            if event[1] == kind:
                return event[2]
        raise AssertionError(f"the stream ended before {kind}")

    def close(self):
        self.connection.close()
