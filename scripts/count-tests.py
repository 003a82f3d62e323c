#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Counts what a test runner reported, for scripts/test.sh.

count-tests.py meson TESTLOG.json [AGAIN.json] | pytest JUNIT.xml
count-tests.py failures TESTLOG.json

Prints "passed failed skipped" and then the name of each failed test, one a line, with up to three
lines of why behind it, each after a tab. A test program that Criterion or TAP reports for counts as
the tests in it, any other as one test. Programs in AGAIN.json count as they went there. With "failures":
the names of Meson's programs that failed, one a line.
"""
import json
import re
import sys
import xml.etree.ElementTree as ET

SYNTHESIS = re.compile(r"^\[====\] Synthesis: Tested: (\d+) \| Passing: (\d+) \| Failing: (\d+)", re.M)
CRITERION_FAIL = re.compile(r"^\[FAIL\] (.+?): (?:\(|CRASH|Timed out)", re.M)
CRITERION_SKIP = re.compile(r"^\[SKIP\] ", re.M)
TAP_PLAN = re.compile(r"^1\.\.\d+", re.M)
TAP_LINE = re.compile(r"^(ok|not ok)\b[ \d-]*([^#\n]*)(#\s*(?:SKIP|TODO))?", re.M | re.I)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
CRITERION_WHY = re.compile(r"^\[----\] +(\S.*)", re.M)
PYTEST_WHY = re.compile(r"^E   +(\S.*)", re.M)
WHY_LINES, WHY_LENGTH = 3, 200


def why(pattern, text):
    """The first lines that say it."""
    return [line[:WHY_LENGTH] for line in pattern.findall(text)[:WHY_LINES]]


def why_each(text, names):
    """Of a program's output: what Criterion said before each [FAIL], by its test's name."""
    parts = CRITERION_FAIL.split(text)
    return {name: why(CRITERION_WHY, said) for said, name in zip(parts[::2], names)}


def count_program(test):
    """One test program of Meson's: (passed, skipped, the failed: {name: why})."""
    name, result = test["name"], test["result"]
    if result == "SKIP":
        return 0, 1, {}
    text = COLOUR.sub("", test.get("stdout", "") + "\n" + test.get("stderr", ""))
    passed = skipped = 0
    failed = {}
    if SYNTHESIS.search(text):
        for match in SYNTHESIS.finditer(text):
            passed += int(match[2])
            failed.update({f"{name}: test {len(failed) + i + 1}": [] for i in range(int(match[3]))})
        skipped = len(CRITERION_SKIP.findall(text))
        names = CRITERION_FAIL.findall(text)
        if len(names) == len(failed):
            failed = {f"{name}: {one}": lines for one, lines in why_each(text, names).items()}
    elif TAP_PLAN.search(text):
        for verdict, title, directive in TAP_LINE.findall(text):
            if directive:
                skipped += 1
            elif verdict.lower() == "ok":
                passed += 1
            else:
                failed[f"{name}: {title.strip()}"] = []
    elif result == "OK":
        passed = 1
    # The program as a whole may fail after its tests passed: a leak, a crash at exit, a timeout.
    if result not in ("OK", "EXPECTEDFAIL") and not failed:
        last = [line for line in text.splitlines() if line.strip()][-WHY_LINES:]
        failed[f"{name} ({result.lower()})"] = [line[:WHY_LENGTH] for line in last]
    return passed, skipped, failed


def programs(path):
    """Meson's report of each, by its name."""
    with open(path, encoding="utf-8") as lines:
        return {test["name"]: test for test in map(json.loads, filter(str.strip, lines))}


def count_meson(path, again=None):
    passed, skipped, failed = 0, 0, {}
    for test in {**programs(path), **(programs(again) if again else {})}.values():
        p, s, f = count_program(test)
        passed, skipped, failed = passed + p, skipped + s, {**failed, **f}
    return passed, skipped, failed


def failures(path):
    return [name for name, test in programs(path).items() if count_program(test)[2]]


def count_pytest(path):
    root = ET.parse(path)
    skipped, failed = 0, {}
    for case in root.iter("testcase"):
        name = f'{case.get("classname")}::{case.get("name")}'
        bad = [part for part in case if part.tag in ("failure", "error")]
        if bad:
            # A test that fails and whose teardown fails too is in the file twice.
            said = "\n".join(part.text or part.get("message") or "" for part in bad)
            failed.setdefault(name, why(PYTEST_WHY, said) or said.strip()[:WHY_LENGTH].splitlines()[:1])
        elif case.find("skipped") is not None:
            skipped += 1
    # Not by counting cases: one that was interrupted looks like one that passed.
    total = sum(int(suite.get("tests")) for suite in root.iter("testsuite"))
    return total - skipped - len(failed), skipped, failed


def main():
    what, *reports = sys.argv[1:] or [""]
    if len(reports) not in {"meson": (1, 2), "pytest": (1,), "failures": (1,)}.get(what, ()):
        sys.exit(__doc__)
    if what == "failures":
        sys.stdout.writelines(f"{name}\n" for name in failures(*reports))
        return
    passed, skipped, failed = {"meson": count_meson, "pytest": count_pytest}[what](*reports)
    print(passed, len(failed), skipped)
    for name, lines in failed.items():
        print(name, *(f"\t{line}" for line in lines), sep="\n")


main()
