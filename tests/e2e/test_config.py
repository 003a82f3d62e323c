# SPDX-License-Identifier: Apache-2.0
"""Configuration files: checked by hand, read by a gateway, read again while it runs."""

import os
import re
import subprocess

import pytest

from harness import QUICPORT, ROOT, clean_environment


def check(*args, cwd, user=None, env=None):
    return subprocess.run([str(word) for word in (QUICPORT, "check-config", *args)], capture_output=True,
                          text=True, timeout=20, cwd=cwd, env=clean_environment(env), user=user)  # fmt: skip


def test_the_documented_example_is_fine(logs):
    text = (ROOT / "docs/configuration.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.S)
    key = subprocess.run([QUICPORT, "keygen"], capture_output=True, text=True).stdout
    (logs / "gateway.key").write_text(key)
    (logs / "gateway.key").chmod(0o600)
    (logs / "gateway.yaml").write_text(example.replace("/etc/quicport/", f"{logs}/"))
    done = check("gateway.yaml", cwd=logs)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "gateway.yaml: fine: 1 file, 2 clients, 1 PSKs, 1 groups\n"


def test_mistakes_have_a_status_and_lines_of_their_own(logs):
    (logs / "gateway.yaml").write_text("workers: 99\npsks: [{name: a, secret: topsecret, prots: 1}]\n")
    done = check("gateway.yaml", cwd=logs)
    assert done.returncode == 2 and done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("gateway.yaml:1: workers '99': expected a number from 1 to ")
    assert lines[1].startswith("gateway.yaml:2: prots: unknown key: expected ")
    assert "topsecret" not in done.stderr


@pytest.mark.parametrize("args", [(), ("a", "b"), ("nothere.yaml",), ("--no-such-option", "a")])
def test_usage_mistakes_have_status_2(args, logs):
    done = check(*args, cwd=logs)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_who_may_not_read_a_secret_can_check_the_rest(logs):
    logs.chmod(0o755)
    (logs / "shop.psk").write_text("topsecret\n")
    (logs / "shop.psk").chmod(0o600)
    (logs / "gateway.yaml").write_text("psks: [{name: a, secret-file: shop.psk}]\n")
    done = check("gateway.yaml", cwd=logs, user=65534)
    assert done.returncode == 0
    assert done.stderr.startswith("not checked: gateway.yaml:1: secret-file: ")
    assert check("gateway.yaml", cwd=logs).stderr == ""
