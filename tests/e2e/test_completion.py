# SPDX-License-Identifier: Apache-2.0
"""What the shells offer after some words and a Tab, and what the man pages name."""

import os
import re
import shutil
import subprocess

import pytest

from harness import QUICPORT, ROOT, clean_environment

FOLDER = ROOT / "client/completion"

BASH = """
. "$1"; shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
compopt() { :; }
_quicport
printf '%s\\n' "${COMPREPLY[@]}"
"""

# The widgets' functions, as far as the completion uses them: they print what they are offered.
ZSH = """
file=$1; shift
compadd() { [[ $1 == -- ]] && shift; local w; for w in "$@"; do [[ $w == $PREFIX* ]] && print -r -- $w; done }
_describe() { local w; for w in ${(P)2}; do [[ $w == $PREFIX* ]] && print -r -- ${w%%:*}; done }
_files() { print -rl -- ${PREFIX}*(N) }
_message() { : }
compset() { PREFIX=${PREFIX#*=} }
words=("$@"); CURRENT=$#; PREFIX=$words[CURRENT]
. $file
"""


def bash(*words):
    # As bash's own splitting has it: = is a word.
    split = [part for word in words for part in word.replace("=", "\n=\n").split("\n") if part]
    if words[-1] == "" or words[-1].endswith("="):
        split += [""] if words[-1] == "" else []
    return ask(["bash", "-c", BASH, "bash", FOLDER / "quicport.bash", QUICPORT, *split])


def zsh(*words):
    return ask(["zsh", "-f", "-c", ZSH, "zsh", FOLDER / "_quicport", QUICPORT, *words])


def ask(command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=20,
                          env=clean_environment(None), cwd=os.environ["QP_E2E_LOGS"])  # fmt: skip
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.fixture(params=[bash, zsh], ids=["bash", "zsh"])
def shell(request):
    if not shutil.which(request.param.__name__):
        pytest.skip(f"no {request.param.__name__}: scripts/setup.sh installs it")
    return request.param


COMMANDS = {"client", "ssh-proxy", "control-plane", "check-config", "data-plane", "admin", "status", "trust", "keygen", "pubkey",
            "version", "help", "preflight", "prompt"}  # fmt: skip


def test_commands(shell):
    assert shell("") == COMMANDS
    assert shell("s") == {"ssh-proxy", "status"}
    assert shell("help", "ke") == {"keygen"}
    assert shell("--log-format", "json", "cl") == {"client"}


@pytest.mark.parametrize("command", ["client", "ssh-proxy", "control-plane", "check-config", "preflight", "trust", "keygen"])
def test_options_are_those_of_the_command(shell, command):
    shown = subprocess.run([QUICPORT, command, "--help"], capture_output=True, text=True).stdout
    told = set(re.findall(r"^ {2,6}(?:-[A-Za-z], )?(--[a-z0-9-]+)", shown, re.M))
    assert {"--help", "--version"} < told
    assert shell(command, "--") == told


def test_admin_has_commands_of_its_own(shell):
    shown = subprocess.run([QUICPORT, "admin", "help"], capture_output=True, text=True).stdout
    told = set(re.findall(r"^  ([a-z-]+) ", shown, re.M))
    assert {"list-tunnels", "kick", "top", "help"} < told
    assert shell("admin", "") == told
    assert shell("admin", "list-t") == {"list-tunnels"}
    assert shell("admin", "help", "unb") == {"unblock"}
    assert shell("admin", "--api", "http://h:1", "unb") == {"unblock"}
    assert {"--reason", "--block", "--api", "--json"} < shell("admin", "kick", "--")
    assert shell("admin", "kick", "--rea") == {"--reason"}
    assert shell("admin", "--json", "kick", "--rea") == {"--reason"}
    assert shell("admin", "list-ports", "--protocol", "") == {"tcp", "udp"}
    assert shell("admin", "events", "--type", "port_") == {"port_opened", "port_closed"}
    assert shell("admin", "top", "--sort", "") == {"in", "out", "connections", "name", "rtt", "up"}


def test_options_that_begin_so(shell):
    assert shell("client", "-s", "a:1", "--reconn") == {"--reconnect", "--reconnect-delay",
                                                        "--reconnect-max-attempts"}  # fmt: skip


def test_values(shell):
    assert shell("client", "--log-format", "") == {"console", "json"}
    assert shell("client", "--log-format=j") == {"json"}
    assert shell("client", "--reconnect", "n") == {"no"}
    assert shell("client", "--log-level", "") == {"error", "warn", "info", "debug", "trace"}
    assert shell("client", "--psk", "") == set()


def test_files(shell, logs):
    (logs / "one.key").touch()
    (logs / "other").touch()
    assert shell("client", "--privkey-file", "one") == {"one.key"}
    assert shell("keygen", "-o", "o") == {"one.key", "other"}


@pytest.mark.parametrize("command", ["client", "ssh-proxy", "control-plane", "preflight", "status", "trust"])
def test_man_page_is_well_formed_and_names_every_option(command):
    page = next((ROOT / "docs/man").glob(f"quicport-{command}.[18]"))
    shown = subprocess.run([QUICPORT, command, "--help"], capture_output=True, text=True).stdout
    text = page.read_text()
    if command == "ssh-proxy":  # it refers to the client's page for most of them
        text += (ROOT / "docs/man/quicport-client.1").read_text()
    for option in re.findall(r"^ {2,6}(?:-[A-Za-z], )?--([a-z0-9-]+)", shown, re.M):
        refers = command == "control-plane" and option.startswith("log-")  # to the client's page
        assert option in ("help", "version") or refers or f"Fl -{option}" in text, option
    assert len(re.findall(r"^ {2,6}(?:-[A-Za-z], )?--", shown, re.M)) >= 3
    if shutil.which("mandoc"):
        done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True, text=True)
        assert done.stdout + done.stderr == ""


def test_admin_man_page_names_every_command_and_option():
    page = ROOT / "docs/man/quicport-admin.8"
    text = page.read_text()
    shown = subprocess.run([QUICPORT, "admin", "help"], capture_output=True, text=True).stdout
    commands = re.findall(r"^  ([a-z-]+) ", shown, re.M)
    assert len(commands) > 20
    for command in commands:
        if command == "help":
            continue
        assert re.search(rf"^\.It Cm {command}( |$)", text, re.M), command
        shown = subprocess.run([QUICPORT, "admin", command, "--help"], capture_output=True, text=True).stdout
        for option in re.findall(r"^ {2,6}(?:-[A-Za-z], )?--([a-z0-9-]+)", shown, re.M):
            assert option in ("help", "version") or f"Fl -{option}" in text, f"{command} --{option}"
    if shutil.which("mandoc"):
        done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True, text=True)
        assert done.stdout + done.stderr == ""
