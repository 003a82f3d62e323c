# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the end-to-end tests, and the logs of a test's processes when it fails."""

import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import harness  # noqa: E402

SHOWN_LINES = 60
WHY_LINES = 3

# A shell's background job ignores SIGINT, and so would all that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Without root or a build, nothing that needs them is tried, and that is said."""
    for item in items:
        if "host" not in item.fixturenames and "hosts" not in item.fixturenames:
            continue
        if os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root"))
        elif not (harness.TOOLS / "qpload").exists():
            item.add_marker(pytest.mark.skip(reason=f"not built: {harness.TOOLS}/qpload"))


@pytest.fixture(autouse=True)
def logs():
    """A folder for each test's logs and home; processes write there."""
    with tempfile.TemporaryDirectory(prefix="qpe2e-") as folder:
        os.environ["QP_E2E_LOGS"] = folder
        yield Path(folder)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    folder = os.environ.get("QP_E2E_LOGS")
    if report.when == "call" and report.failed and folder:
        for log in sorted(Path(folder).glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()
            cut = [f"… {len(lines) - SHOWN_LINES} lines before"] if len(lines) > SHOWN_LINES else []
            text = "\n".join(cut + lines[-SHOWN_LINES:])
            report.sections.append((f"{log.name}", text or "(silent)"))
    return report


class Reasons:
    """
    Why a test failed, at once and in lines that scripts/test.sh finds: the report at the end may never
    be written, and a test that had a second try is not in it.
    """

    def __init__(self, config):
        self.config = config

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report):
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if report.outcome not in ("failed", "rerun") or reporter is None:
            return
        lines = [line[1:].strip() for line in str(report.longrepr).splitlines() if line.startswith("E  ")]
        what = "RERUN" if report.outcome == "rerun" else "FAILED" if report.when == "call" else "ERROR"
        reporter.ensure_newline()
        for line in [line for line in lines if line][:WHY_LINES] or ["it does not say"]:
            reporter.write_line(f"why {what} {report.nodeid}: {line[:200]}")


def pytest_configure(config):
    config.pluginmanager.register(Reasons(config))


@pytest.fixture
def hosts(logs):
    """Makes hosts by role; removes them and all that runs in them."""
    made = []

    def make(role="host"):
        made.append(harness.Host(role))
        return made[-1]

    yield make
    for host in reversed(made):
        host.remove()


@pytest.fixture
def host(hosts):
    """A host with nothing but `lo`."""
    return hosts()
