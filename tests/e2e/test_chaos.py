# SPDX-License-Identifier: Apache-2.0
"""scripts/chaos.sh: a short storm of each kind of fault, and that the same seed is the same storm."""

import itertools
import json
import os
import subprocess

from chaos import drawn
from chaos_faults import FAULTS
from harness import BUILD, FULL, ROOT

SEED = 4
MINUTES = 3 if FULL else 0.4


def test_storm_is_survived(host, logs):
    done = subprocess.run(
        [ROOT / "scripts/chaos.sh", "--minutes", str(MINUTES), "--seed", str(SEED), "--json", logs / "figures"],
        env={**os.environ, "QP_BUILD": str(BUILD)},
        capture_output=True,
        text=True,
        timeout=170 + MINUTES * 60,
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    figures = json.loads((logs / "figures").read_text())
    expected = itertools.islice(drawn(SEED, list(FAULTS)), len(figures["faults"]))
    assert [(fault["fault"], fault["chance"]) for fault in figures["faults"]] == list(expected)
    assert len({fault["fault"] for fault in figures["faults"]}) >= 4
    assert figures["left"] == [] and figures["total"]["wrong_bytes"] == 0
    assert "kill-control-plane" in done.stdout and "left behind: nothing" in done.stdout


def test_options_are_checked():
    done = subprocess.run([ROOT / "scripts/chaos.sh", "--faults", "rain"], capture_output=True, text=True,
                          env={**os.environ, "QP_BUILD": str(BUILD)})  # fmt: skip
    assert done.returncode == 2
    assert "no such fault: rain" in done.stderr
