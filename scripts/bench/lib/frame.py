# SPDX-License-Identifier: Apache-2.0
"""
What all benchmarks share: their options, rounds, medians and spread, the record of the machine that
they ran on, and the JSON that they write. Python's own modules only.
"""

import argparse
import contextlib
import ctypes
import datetime
import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
BUILD = Path(os.environ.get("QP_BUILD") or ROOT / "build")
SCHEMA = 1


class Failed(Exception):
    """It cannot be measured: a line for the user, who reads why and what to do."""


# ---- options ----


def number(least, most):
    def parse(text):
        if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f'expected a number from {least} to {most}, not "{text}"')
        return int(text)

    return parse


def options(question, quick_rounds=3, rounds=7, quick_seconds=1, seconds=5, limit=30, with_cpus=True):
    """
    The options that each script has; it may add its own before it parses. `limit`: seconds that
    --quick takes at most; with_cpus: whether processors can be chosen.
    """
    name = Path(sys.argv[0]).name
    parser = argparse.ArgumentParser(
        prog=f"scripts/bench/{name}", description=question, allow_abbrev=False,
        epilog="Needs root, hugepages and a build (meson setup build && ninja -C build).",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true",
                        help=f"less of everything: under {limit} seconds in all")  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="write the result there; - is standard output")
    parser.add_argument("--rounds", metavar="N", type=number(1, 1000),
                        help=f"how often each case is measured (default: {rounds}; quick: {quick_rounds})")  # fmt: skip
    parser.add_argument("--seconds", metavar="N", type=number(1, 3600),
                        help=f"measured in each round (default: {seconds}; quick: {quick_seconds})")  # fmt: skip
    if with_cpus:
        parser.add_argument("--gateway-cpus", metavar="LIST", default=None,
                            help="CPUs of the gateway's workers (default: the first allowed one)")  # fmt: skip
        parser.add_argument("--bench-cpus", metavar="LIST", default=None,
                            help="CPUs of the load generator's workers (default: the last allowed one)")  # fmt: skip
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs")
    parser.set_defaults(gateway_cpus=None, bench_cpus=None, _rounds=(quick_rounds, rounds), _seconds=(quick_seconds, seconds))
    return parser


def finish_options(args):
    quick = 0 if args.quick else 1
    args.rounds = args.rounds or args._rounds[quick]
    args.seconds = args.seconds or args._seconds[quick]
    if args.json and args.json != "-" and not os.access(Path(args.json).absolute().parent, os.W_OK):
        raise Failed(f"--json {args.json}: its folder is not there, or not to be written to")
    allowed = sorted(os.sched_getaffinity(0))
    args.gateway_cpus = cpus("--gateway-cpus", args.gateway_cpus) or [allowed[0]]
    args.bench_cpus = cpus("--bench-cpus", args.bench_cpus) or [allowed[-1]]
    return args


def cpus(name, text):
    """"0-2,5" as a list; None for None."""
    found = []
    for part in (text or "").split(",") if text is not None else []:
        ends = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if not ends or int(ends[2] or ends[1]) < int(ends[1]):
            raise Failed(f'{name}: "{text}" is no list of CPUs such as 0-2,5')
        found += range(int(ends[1]), int(ends[2] or ends[1]) + 1)
    missing = set(found) - os.sched_getaffinity(0)
    if missing:
        raise Failed(f"{name}: CPU {min(missing)} is not among those that this process may use "
                     f"({','.join(map(str, sorted(os.sched_getaffinity(0))))})")  # fmt: skip
    return found


def listed(numbers):
    return ",".join(map(str, numbers))


# ---- what it ran on ----


def read(path, default=""):
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return default


def said(*command):
    """The first line that a command says; empty when it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, cwd=ROOT)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0] if done.returncode == 0 and lines else ""


def commit():
    """The commit that is measured, and whether files differ from it; "" outside a repository."""
    return said("git", "rev-parse", "HEAD"), bool(said("git", "status", "--porcelain", "-uno"))


def pinned(name):
    """A dependency's version as scripts/deps.lock has it."""
    found = re.search(rf"^{name}\s+(\S+)", read(ROOT / "scripts/deps.lock"), re.M)
    return found[1] if found else ""


def load():
    return [float(n) for n in read("/proc/loadavg", "0 0 0").split()[:3]]


def environment():
    info, (head, dirty) = read("/proc/cpuinfo"), commit()
    model = re.search(r"^model name\s*:\s*(.*)$", info, re.M)
    flags = re.search(r"^flags\s*:\s*(.*)$", info, re.M)
    memory = re.search(r"^MemTotal:\s*(\d+)", read("/proc/meminfo"), re.M)
    return {
        "machine": platform.machine(),
        "hypervisor": said("systemd-detect-virt", "--vm") or "unknown",
        "cpu": model[1] if model else "unknown",
        "cpus": os.cpu_count(),
        "cpu_flags": sorted(set((flags[1] if flags else "").split())
                            & {"aes", "vaes", "pclmulqdq", "vpclmulqdq", "avx2", "avx512f", "sse4_2"}),
        "governor": read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "none"),
        "memory_mib": int(memory[1]) // 1024 if memory else 0,
        "hugepages": int(read("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "0")),
        "kernel": platform.release(),
        "system": next(iter(re.findall(r'^PRETTY_NAME="?(.*?)"?$', read("/etc/os-release"), re.M)), ""),
        "commit": head,
        "dirty": dirty,
        "versions": {
            "quicport": said(str(BUILD / "quicport"), "version"),
            "dpdk": said("pkg-config", "--modversion", "libdpdk"),
            "wolfssl": pinned("wolfssl"),
            "ngtcp2": pinned("ngtcp2"),
            "compiler": said("cc", "--version"),
        },
        "load_before": load(),
    }  # fmt: skip


# ---- figures ----


class Figures:
    """Values of rounds, by case and name; each becomes a median with its spread."""

    def __init__(self):
        self.cases = {}

    def add(self, case, name, value, unit, better="higher"):
        metrics = self.cases.setdefault(case, {})
        kept = metrics.setdefault(name, {"unit": unit, "better": better, "rounds": []})
        kept["rounds"].append(value)

    def median(self, case, name):
        return statistics.median(self.cases[case][name]["rounds"])

    def listed(self):
        return [{"name": case, "metrics": {name: summed(m) for name, m in metrics.items()}}
                for case, metrics in self.cases.items()]  # fmt: skip


def summed(metric):
    """Adds median, least, most, and how far they are apart, as a part of the median."""
    values = metric["rounds"]
    middle = statistics.median(values)
    return {
        **metric,
        "median": middle,
        "min": min(values),
        "max": max(values),
        "spread": (max(values) - min(values)) / middle if middle else 0,
    }


# ---- the result ----


def result(script, args, figures, summary, env, parameters=None, notes=()):
    env["load_after"] = load()
    return {
        "schema": SCHEMA,
        "script": script,
        "quick": args.quick,
        "started": args.started,
        "parameters": {
            "rounds": args.rounds,
            "seconds": args.seconds,
            "gateway_cpus": args.gateway_cpus,
            "bench_cpus": args.bench_cpus,
            **(parameters or {}),
        },
        "environment": env,
        "cases": figures.listed(),
        "summary": summary,
        "notes": list(notes),
    }


NUMBER = (int, float)
SHAPE = {
    "schema": int, "script": str, "quick": bool, "started": str, "notes": [str],
    "parameters": {"rounds": int, "seconds": NUMBER},
    "environment": {"machine": str, "cpu": str, "cpus": int, "kernel": str, "commit": str,
                    "dirty": bool, "memory_mib": int, "hugepages": int, "governor": str,
                    "load_before": [NUMBER], "load_after": [NUMBER],
                    "versions": {"quicport": str, "dpdk": str, "wolfssl": str, "ngtcp2": str,
                                 "compiler": str}},
    "summary": {},
    "cases": [{"name": str, "metrics": {}}],
}  # fmt: skip
METRIC = {"unit": str, "better": str, "rounds": [NUMBER], "median": NUMBER, "min": NUMBER,
          "max": NUMBER, "spread": NUMBER}  # fmt: skip


def check(value, shape=None, where="result"):
    """Raises Failed where a result is not as this schema says."""
    shape = SHAPE if shape is None else shape
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            raise Failed(f"{where}: expected an object")
        for key, inner in shape.items():
            if key not in value:
                raise Failed(f"{where}: {key} is missing")
            check(value[key], inner, f"{where}.{key}")
        if where.endswith(".metrics"):
            for name, metric in value.items():
                check(metric, METRIC, f"{where}.{name}")
    elif isinstance(shape, list):
        if not isinstance(value, list):
            raise Failed(f"{where}: expected a list")
        for i, item in enumerate(value):
            check(item, shape[0], f"{where}[{i}]")
    elif not isinstance(value, shape) or (shape is not bool and isinstance(value, bool)):
        raise Failed(f"{where}: {value!r} is not of the right type")
    if where == "result" and value["schema"] != SCHEMA:
        raise Failed(f"{where}: schema {value['schema']}, expected {SCHEMA}")


def table(figures):
    """For the eye: a line a figure."""
    for case in figures.listed():
        print(f"{case['name']}:")
        for name, m in case["metrics"].items():
            print(f"  {name:<28} {m['median']:>14,.3f} {m['unit']:<12} "
                  f"± {50 * m['spread']:.1f} % of {len(m['rounds'])}")  # fmt: skip


def write(args, outcome):
    check(outcome)
    text = json.dumps(outcome, indent=1) + "\n"
    if args.json == "-":
        sys.stdout.write(text)
    elif args.json:
        try:
            Path(args.json).write_text(text)
        except OSError as why:
            raise Failed(f"--json {args.json}: {why.strerror}") from why


# ---- the end ----

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def tied():
    """In a child before its program: it is told to end when the script is killed."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextlib.contextmanager
def deaf():
    """What must be done to its end, whoever loses patience meanwhile."""
    kept = {signum: signal.signal(signum, signal.SIG_IGN)
            for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}  # fmt: skip
    try:
        yield
    finally:
        for signum, handler in kept.items():
            signal.signal(signum, handler)


def interrupted(_signum, _frame):
    raise KeyboardInterrupt


def main(measure):
    """
    Runs a script's measure(args) → None, which has parsed nothing yet: a mistake of the user's, or
    a machine that it cannot run on, is a line and a status.
    """
    # What ends the script in the ordinary way ends what it has started, too.
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, interrupted)
    try:
        with contextlib.suppress(BrokenPipeError):
            measure()
    except Failed as why:
        print(f"{Path(sys.argv[0]).name}: {why}", file=sys.stderr)
        sys.exit(3)
    except KeyboardInterrupt:
        sys.exit(130)


def started():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
