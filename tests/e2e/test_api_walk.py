# SPDX-License-Identifier: Apache-2.0
"""docs/openapi.json against a running gateway: each path as it should be asked, and as it should not."""

import json
import re

import pytest
from apikit import CALL, DOCUMENT, JSON, PROBLEM, Api, check, resolve, validate
from harness import Gateway

PORT = 5000
CALLS = sorted(path for path in DOCUMENT["paths"] if path.startswith(CALL))
READS = sorted(set(DOCUMENT["paths"]) - set(CALLS))


@pytest.fixture
def api(host):
    gateway = Gateway(host, PORT)
    yield Api(host, PORT)
    assert gateway.healthy(), "the gateway does not serve after this test"
    gateway.end()


def request_of(path):
    return DOCUMENT["paths"][path]["post"]["requestBody"]["content"][JSON]


def schema_of(path):
    return resolve(request_of(path)["schema"])


def test_document_is_true_to_itself():
    """Its references lead somewhere, and its examples are what their schemas say."""
    seen = 0
    for path, methods in DOCUMENT["paths"].items():
        for operation in methods.values():
            contents = [operation.get("requestBody", {}).get("content", {})]
            contents += [resolve(r).get("content", {}) for r in operation["responses"].values()]
            for content in contents:
                for kind, media in content.items():
                    if "example" in media and kind in (JSON, PROBLEM):
                        validate(media["schema"], media["example"])
                        seen += 1
    assert seen > 200
    names = [o["operationId"] for m in DOCUMENT["paths"].values() for o in m.values()]
    assert len(names) == len(set(names))


def test_each_path_answers_as_documented(api):
    for path in CALLS:
        answer = api.post(path.removeprefix(CALL), request_of(path)["example"])
        assert answer.status in (200, 400, 404, 409, 501), f"{path}: {answer}"
    for path in READS:
        if "head" not in DOCUMENT["paths"][path]:
            continue
        answer = api.ask("GET", path)
        check(answer, "get", path)
        assert answer.status == 200
        head = api.ask("HEAD", path)
        assert (head.status, head.body) == (200, b"")
        assert head.type == answer.type
    served = api.ask("GET", "/openapi.json")
    assert served.json() == DOCUMENT


def test_wrong_methods_are_told_the_right_ones(api):
    for path, methods in DOCUMENT["paths"].items():
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "NONSENSE"):
            if method.lower() in methods:
                continue
            answer = api.ask(method, path, None, {"Content-Type": JSON})
            assert answer.status == 405, f"{method} {path}: {answer}"
            allowed = {word.strip().lower() for word in answer.headers["Allow"].split(",")}
            assert allowed == set(methods)
            if method != "HEAD":
                validate({"$ref": "#/components/schemas/Problem"}, answer.json())


def test_calls_take_json_alone(api):
    for path in CALLS:
        body = json.dumps(request_of(path)["example"])
        for kind in ("", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data",
                     "application/jsonx", "text/json", "application/json5", "json"):  # fmt: skip
            answer = api.ask("POST", path, body, {"Content-Type": kind})
            check(answer, "post", path)
            assert answer.status == 415, f"{path} as {kind!r}: {answer}"
    for kind in (JSON, "application/json; charset=utf-8", "Application/JSON"):
        assert api.ask("POST", CALL + "ListDataPlanes", "{}", {"Content-Type": kind}).status == 200


def wrong_values(schema):
    """Values that the schema of a field does not take."""
    schema = resolve(schema)
    every = {
        "string": "text", "integer": 7, "number": 1.5, "boolean": True,
        "array": [], "object": {}, "null": None,
    }  # fmt: skip
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    for kind, value in every.items():
        if kind not in kinds:
            yield value
    if "integer" in kinds:
        yield schema.get("minimum", 0) - 1
        if "maximum" in schema:
            yield schema["maximum"] + 1
    if "string" in kinds:
        if "maxLength" in schema:
            yield "x" * (schema["maxLength"] + 1)
        if "pattern" in schema:
            yield from (v for v in ("", " ", "é", "a b", "x" * 5000) if not re.search(schema["pattern"], v))
        if "enum" in schema:
            yield "nothing of these"
    if "array" in kinds:
        if "maxItems" in schema:
            yield ["1"] * (schema["maxItems"] + 1)
        yield from ([value] for value in wrong_values(schema["items"]))


def test_wrong_fields_are_named(api):
    tried = 0
    for path in CALLS:
        good = request_of(path)["example"]
        for name, schema in schema_of(path)["properties"].items():
            for value in wrong_values(schema):
                body = {**good, name: value}
                answer = api.post(path.removeprefix(CALL), body)
                assert answer.status == 400, f"{path} {name}={value!r}: {answer}"
                problem = answer.json()
                assert problem["field"].partition("[")[0] == name, f"{path} {value!r}: {answer}"
                assert problem["expected"]
                tried += 1
        for name in schema_of(path).get("required", []):
            answer = api.post(path.removeprefix(CALL), {k: v for k, v in good.items() if k != name})
            assert (answer.status, answer.json().get("field")) == (400, name), f"{path}: {answer}"
        answer = api.post(path.removeprefix(CALL), {**good, "unheard_of": 1})
        assert (answer.status, answer.json()["field"]) == (400, "unheard_of")
    assert tried > 300


def test_parameters_that_nobody_knows_are_refused(api):
    for path in CALLS:
        answer = api.ask("POST", path + "?x=1", "{}", {"Content-Type": JSON})
        assert (answer.status, answer.json()["field"]) == (400, "x"), f"{path}: {answer}"
    for path in READS:
        answer = api.ask("GET", path + "?unknown")
        assert (answer.status, answer.json()["field"]) == (400, "unknown"), f"{path}: {answer}"
