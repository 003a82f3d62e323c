# SPDX-License-Identifier: Apache-2.0
"""
The benchmarks' scripts: one of them from its start to the tables, what the others say of themselves,
and mistakes that are told. Figures are not judged here: the machine is not idle.
"""

import json
import os
import signal
import subprocess
import sys

import pytest
from harness import ROOT, clean_environment, eventually

FOLDER = ROOT / "scripts/bench"
QUESTIONS = ("bulk", "requests", "connections", "handshakes", "idle", "udp", "reload", "lcores")

sys.path.insert(0, str(FOLDER / "lib"))
import frame  # noqa: E402


def script(name, *args, timeout=60):
    return subprocess.run([FOLDER / name, *map(str, args)], capture_output=True, text=True, timeout=timeout,
                          env=clean_environment({"PYTHONDONTWRITEBYTECODE": "1"}))  # fmt: skip


def test_bulk_writes_what_the_schema_says_and_report_reads_it(tmp_path):
    out = tmp_path / "bulk.json"
    done = script("bulk", "--quick", "--rounds", 1, "--json", out)
    assert done.returncode == 0, done.stderr
    assert "ratio_to_seal" in done.stdout
    result = json.loads(out.read_text())
    frame.check(result)
    ways = {case["name"]: case["metrics"] for case in result["cases"]}
    assert ways["in"]["throughput"]["median"] > 0 and ways["out"]["throughput"]["median"] > 0
    assert ways["in"]["ns_per_byte"]["median"] > ways["seal"]["ns_per_byte"]["median"]
    ratio = result["summary"]["ratio_to_seal"]
    expected = ways["in"]["ns_per_byte"]["median"] / ways["seal"]["ns_per_byte"]["median"]
    assert ratio["median"] == pytest.approx(expected) and ratio["goal"] == 2.5
    assert result["environment"]["cpus"] == os.cpu_count()

    table = script("report", out)
    assert table.returncode == 0, table.stderr
    assert "| in | ratio to seal |" in table.stdout and "goal 2.5" in table.stdout


def names_of(namespace):
    """Of the programs that run in it."""
    pids = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True).stdout.split()
    return [subprocess.run(["cat", f"/proc/{pid}/comm"], capture_output=True, text=True).stdout.strip() for pid in pids]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_of_a_script_that_is_told_to_end(tmp_path, number):
    env = clean_environment({"PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(tmp_path)})
    bulk = subprocess.Popen([FOLDER / "bulk", "--seconds", "30"], env=env, start_new_session=True,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    namespace = f"qpbench-{bulk.pid}"
    try:
        eventually(lambda: "quicport-bench" in names_of(namespace), within=60, what="it measures")
        bulk.send_signal(number)
        assert bulk.wait(60) == 130
        assert names_of(namespace) == []
        assert namespace not in subprocess.run(["ip", "netns"], capture_output=True, text=True).stdout
        assert list(tmp_path.iterdir()) == []
    finally:
        bulk.kill()


@pytest.mark.parametrize("name", QUESTIONS)
def test_each_script_says_what_it_measures(name):
    done = script(name, "--help")
    assert done.returncode == 0
    for option in ("--quick", "--json FILE", "--rounds N", "--gateway-cpus LIST"):
        assert option in done.stdout, option


def test_bad_input_is_told_by_name(tmp_path):
    done = script("bulk", "--rounds", "0")
    assert done.returncode == 2 and 'expected a number from 1 to 1000, not "0"' in done.stderr
    done = script("bulk", "--gateway-cpus", "5-2")
    assert done.returncode == 3 and '"5-2" is no list of CPUs' in done.stderr
    done = script("bulk", "--json", tmp_path / "nowhere/out.json", timeout=10)
    assert done.returncode == 3 and "its folder is not there" in done.stderr, "before anything is measured"
    done = script("udp", "--rates", "many")
    assert done.returncode == 3 and '--rates: "many"' in done.stderr
    broken = tmp_path / "broken.json"
    broken.write_text('{"schema": 1, "script": "bulk"}')
    done = script("report", broken)
    assert done.returncode == 3 and "is missing" in done.stderr
    broken.write_text("{")
    done = script("report", broken)
    assert done.returncode == 3 and "no JSON" in done.stderr
    done = script("report", tmp_path / "nowhere")
    assert done.returncode == 3 and "No such file" in done.stderr
