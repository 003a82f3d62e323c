# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the end-to-end tests, and the logs of a test's processes when it fails."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import harness  # noqa: E402

SHOWN_LINES = 60


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
