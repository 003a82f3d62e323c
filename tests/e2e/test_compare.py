# SPDX-License-Identifier: Apache-2.0
"""
scripts/bench/compare: all its steps, with the gateway and with made-up tunnels that take what the real ones
take; what it does about loss, errors and interruption. Figures are not judged here.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from harness import ROOT, clean_environment, eventually

COMPARE = ROOT / "scripts/bench/compare"
FAKES = ("frps", "frpc", "rathole", "chisel")

sys.path.insert(0, str(ROOT / "scripts/bench/lib"))
import frame  # noqa: E402
from group import Group  # noqa: E402


@pytest.fixture
def fakes(tmp_path):
    """A folder with programs of the tunnels' names."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in FAKES:
        (folder / name).write_text(f"#!{sys.executable}\n" + (ROOT / "tests/e2e/faketunnel.py").read_text())
        (folder / name).chmod(0o755)
    return folder


def start(*args, path=None, **env):
    env = {"PYTHONDONTWRITEBYTECODE": "1", "PATH": f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"],
           **env}  # fmt: skip
    return subprocess.Popen([COMPARE, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env=clean_environment(env))  # fmt: skip


def run(*args, **more):
    """(status, output, complaints) of a run that leaves nothing behind."""
    process = start(*args, **more)
    out, err = process.communicate(timeout=120)
    left_nothing(process.pid)
    return process.returncode, out, err


def namespaces():
    return subprocess.run(["ip", "netns"], capture_output=True, text=True).stdout


def left_nothing(pid):
    assert f"qpcompare-{pid}-" not in namespaces()
    assert not list(Path(tempfile.gettempdir()).glob(f"qpcompare-{pid}-*"))
    assert not [line for line in Path("/proc/mounts").read_text().splitlines() if f"qpcompare-{pid}-" in line]
    mounted = re.search(r"^\S+ (\S+) cgroup2 ", Path("/proc/mounts").read_text(), re.M)
    assert not mounted or not list(Path(mounted[1]).glob(f"qpcompare-{pid}-*"))


def test_tools_are_measured_side_by_side(fakes, tmp_path):
    out = tmp_path / "compare.json"
    status, said, err = run("--quick", "--rounds", 1, "--tools", "direct,quicport,frp", "--json", out, "--keep",
                            path=fakes)  # fmt: skip
    logs = Path(re.search(r"^logs: (/\S+)$", said, re.M)[1])
    gateway = (logs / "quicport-1.log").read_text()
    shutil.rmtree(logs)
    assert status == 0, err
    assert "ending signal=SIGTERM" in gateway and "data plane ended" in gateway  # it was asked to, and had the time
    result = json.loads(out.read_text())
    frame.check(result)
    cases = {case["name"]: case["metrics"] for case in result["cases"]}
    assert set(cases) == {"direct", "quicport", "frp"}
    for name, metrics in cases.items():
        for figure in ("up_1", "down_1", "up_8", "down_8", "requests_1", "requests_8", "connections_8"):
            assert len(metrics[figure]["rounds"]) == 1, (name, figure)
        assert metrics["requests_8"]["median"] > 0
        assert metrics["requests_8_p50"]["median"] <= metrics["requests_8_p99"]["median"]
        if name != "direct":
            assert metrics["memory_idle"]["median"] > 1 and metrics["memory_load"]["median"] > 1
            assert metrics["cpu_up_8"]["median"] > 0 and metrics["cpu_connections_8"]["median"] > 0
            assert metrics["up_8_of_direct"]["median"] == pytest.approx(
                metrics["up_8"]["median"] / cases["direct"]["up_8"]["median"])  # fmt: skip
    assert cases["quicport"]["huge_pages_idle"]["median"] > 0
    tools = result["summary"]["tools"]
    assert tools["frp"].pop("note")
    assert tools["frp"] == {"version": "9.8.7-fake", "reverse_tunnel": True, "encrypted": True}

    done = subprocess.run([ROOT / "scripts/bench/report", out], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "| | direct | quicport | frp |" in done.stdout


def test_byte_that_a_tool_loses_is_told(fakes, tmp_path):
    out = tmp_path / "compare.json"
    status, _, err = run("--quick", "--rounds", 1, "--tools", "chisel", "--json", out, path=fakes, QP_FAKE_LOSES="1")
    assert status == 3 and re.search(r"measurements failed: chisel, up_[18], round 1: \d+ bytes were sent to the service, "
                                     r"\d+ arrived", err), err  # fmt: skip
    result = json.loads(out.read_text())
    assert result["summary"]["failures"] >= 1
    metrics = result["cases"][0]["metrics"]
    assert not {"up_1", "up_8"} <= set(metrics) and metrics["down_1"]["median"] > 0


def test_tool_that_ends_is_told_with_its_words(fakes):
    status, _, err = run("--quick", "--tools", "frp", path=fakes, QP_FAKE_REFUSES="1")
    assert status == 3 and "frp: frps -c ended with status 1" in err.replace(f"{fakes}/", "")
    assert "no, and that is why" in err


def test_interrupted_run_leaves_nothing(fakes):
    process = start("--tools", "direct,rathole", "--rounds", 500, path=fakes)

    def inside():
        """Both the tool's client, and the service of a measurement."""
        assert process.poll() is None, process.stderr.read()
        pids = subprocess.run(["ip", "netns", "pids", f"qpcompare-{process.pid}-inside"],
                              capture_output=True, text=True).stdout.split()  # fmt: skip
        return pids if len(pids) > 1 else None

    pids = eventually(inside, 60, "a measurement through the tool")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err, err
    left_nothing(process.pid)
    assert not [pid for pid in pids if frame.read(f"/proc/{pid}/comm") in ("rathole", "qpgauge")]


def test_run_that_was_killed_is_swept_up_by_the_next(fakes):
    dead = start("--tools", "direct", "--rounds", 500)
    eventually(lambda: f"qpcompare-{dead.pid}-inside" in namespaces(), 60, "its namespaces")
    dead.kill()
    dead.communicate()
    status, _, err = run("--quick", "--tools", "frp", path=fakes, QP_FAKE_REFUSES="1")
    assert status == 3 and "no, and that is why" in err
    left_nothing(dead.pid)


def test_bad_input_is_told_by_name(tmp_path):
    status, _, err = run("--tools", "direct,nothing")
    assert status == 3 and 'there is no adapter "nothing"; there are direct, quicport' in err
    if not shutil.which("frps"):
        status, _, err = run("--tools", "frp")
        assert status == 3 and "frps, frpc not found: put them on PATH" in err
    status, out, _ = run("--list")
    assert status == 0 and "no tunnel, not encrypted" in out and "reverse tunnel, encrypted" in out


def test_time_and_memory_are_known_without_control_groups(tmp_path):
    """By /proc: children that have ended count as well as those that run."""
    with Group("test", root=tmp_path / "nowhere") as group:
        assert group.folder is None
        burn = "x=0; while [ $x -lt 100000 ]; do x=$((x+1)); done"
        shell = subprocess.Popen(["sh", "-c", f"sh -c '{burn}'; echo; sleep 60 & wait"], stdout=subprocess.PIPE,
                                 start_new_session=True)  # fmt: skip
        try:
            group.first.append(shell.pid)
            shell.stdout.readline()
            eventually(lambda: len(group.pids()) == 2, 20, "the shell and its sleep run")
            assert group.cpu_seconds() > 0
            assert group.memory_mib()[0] > 0
        finally:
            os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
            shell.stdout.close()
        assert group.pids() == []
