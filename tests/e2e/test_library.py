# SPDX-License-Identifier: Apache-2.0
"""libquicport as a stranger meets it: installed, its header and pkg-config file, a C compiler."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from harness import (
    BUILD,
    QUICPORT,
    ROOT,
    RefPeer,
    Traces,
    clean_environment,
    eventually,
    new_port,
    run,
)

LO = "127.0.0.1"
EXAMPLES = ROOT / "docs/examples"
CC = ["cc", "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Wno-unused-parameter", "-Werror"]


class Installed:
    """What `meson install` puts into a folder, and programs that are built against it."""

    def __init__(self, folder):
        self.folder = folder
        run("meson", "install", "-C", BUILD, "--destdir", folder, "--no-rebuild", "--quiet")
        (pc,) = folder.rglob("quicport.pc")
        self.lib = pc.parent.parent
        self.env = {**os.environ, "PKG_CONFIG_PATH": str(pc.parent),
                    "PKG_CONFIG_SYSROOT_DIR": str(folder)}  # fmt: skip

    def flags(self, *words):
        return shlex.split(run("pkg-config", *words, "quicport", env=self.env))

    def build(self, source, name, static=False):
        """The program's path. Shared: the run path names the folder, as ldconfig would."""
        out = self.folder / name
        if static:
            libs = ["-l:libquicport.a" if word == "-lquicport" else word
                    for word in self.flags("--libs", "--static")]  # fmt: skip
        else:
            libs = [*self.flags("--libs"), f"-Wl,-rpath,{self.lib}"]
        run(*CC, *self.flags("--cflags"), source, "-o", out, *libs)
        return out


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return Installed(tmp_path_factory.mktemp("installed"))


def exported(installed, *words):
    shown = run("nm", *words)
    return {line.split()[-1].split("@")[0] for line in shown.splitlines() if " T " in line}


def declared():
    return set(re.findall(r"^QP_API [^(;]*?\*?(qp_\w+)\(", (ROOT / "include/quicport.h").read_text(), re.M))


def test_library_shows_what_its_header_declares_and_nothing_else(installed):
    assert len(declared()) >= 18
    assert exported(installed, "-D", "--defined-only", installed.lib / "libquicport.so") == declared()
    archive = exported(installed, "-g", "--defined-only", installed.lib / "libquicport.a")
    assert archive == declared()
    data = run("nm", "-D", "--defined-only", installed.lib / "libquicport.so")
    assert not re.search(r" [BDR] ", data), data


def test_header_is_taken_alone_by_c_and_by_cpp(installed, tmp_path):
    header = installed.folder / "usr/local/include/quicport.h"
    for compiler, language in (("cc", "c"), ("c++", "c++")):
        run(compiler, "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-x", language, "-include",
            header, "/dev/null")  # fmt: skip


def test_shared_object_has_a_version_of_its_abi(installed):
    shown = run("readelf", "-d", installed.lib / "libquicport.so")
    assert "[libquicport.so.1]" in shown
    # What a program that links it pulls in: no DPDK, no second TLS library.
    needed = set(re.findall(r"NEEDED.*\[(.*?)\.so", shown))
    assert needed <= {"libsodium", "libm", "libc", "ld-linux-x86-64"}, needed


@pytest.mark.parametrize("static", [False, True], ids=["shared", "static"])
@pytest.mark.parametrize("example", ["thread", "loop"])
def test_example_carries_connections(host, installed, example, static):
    program = installed.build(EXAMPLES / f"{example}.c", f"{example}-{static}", static)
    quic, outside, inside = new_port(), new_port(), new_port()
    RefPeer(host, "server", "--listen", f"{LO}:{quic}", "--psk", "secret").event("listening")
    host.service(LO, inside, "--echo")
    popen = subprocess.Popen(
        host.command(program, f"{LO}:{quic}", "secret", outside, inside),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
    try:
        line = popen.stdout.readline()
        assert line.startswith("open: ") and str(outside) in line
        result = host.load(LO, outside, "--echo", "--send", 1 << 20, "--half-close",
                           "--connections", 10)  # fmt: skip
        assert result["ok"] == 10
        out, err = popen.communicate(timeout=10)  # its input ends
    finally:
        popen.kill()
    assert popen.returncode == 0, err
    if example == "thread":
        assert f"10 connections, {10 << 20} bytes in, {10 << 20} bytes out" in out
    eventually(lambda: not host.port_opens(LO, outside), what="the port is closed")


GATEWAY_PROGRAM = r"""
#include <quicport.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void on_open(void *user, struct qp_forward *f, const char *message)
{
	*(volatile int *)user = 1;
}

/* Both ends in one program: PORT of the gateway leads to the service at INSIDE by OUTSIDE. */
int main(int argc, char **argv)
{
	char addr[64];
	const char *args[] = {"--control-plane-addr", addr, "--data-plane-addr", addr,
		"--no-public-api", "--psk", "secret", "--log-level", "error", NULL};
	struct qp_gateway_options go = QP_GATEWAY_OPTIONS;
	struct qp_gateway_stats s = {.size = sizeof(s)};
	struct qp_client_options o = QP_CLIENT_OPTIONS;
	struct qp_forward_options f = QP_FORWARD_OPTIONS;
	struct qp_gateway *gateway, *second = NULL;
	struct qp_client *client;
	struct qp_error error;
	volatile int open = 0;
	int status;

	if (argc != 5)
		return 90;
	snprintf(addr, sizeof(addr), "127.0.0.1:%s", argv[2]);
	go.program = argv[1];
	go.args = args;
	if (qp_gateway_start(&go, &gateway, &error) != 0) {
		fprintf(stderr, "%s\n", error.text);
		return 91;
	}
	if (qp_gateway_start(&go, &second, &error) == 0 || second != NULL)
		return 92; /* the address is taken */
	printf("second: %s\n", error.text);
	o.server = addr;
	o.identity.psk = "secret";
	o.insecure = true;
	o.callbacks.forward_open = on_open;
	o.user = (void *)&open;
	f.remote = argv[3];
	f.local = argv[4];
	if (qp_client_new(&o, &client, &error) != 0 || qp_client_add(client, &f, NULL, &error) != 0 ||
		qp_client_start(client, &error) != 0)
		return 93;
	for (int i = 0; i < 1000 && !open; i++)
		usleep(10000);
	printf("open: %d\n", open);
	fflush(stdout);
	getchar();
	if (qp_gateway_get_stats(gateway, &s, &error) != 0) {
		fprintf(stderr, "%s\n", error.text);
		return 94;
	}
	printf("tunnels %d of %d, sent %lld, received %lld, failed %d\n", (int)s.tunnels_active,
		(int)s.tunnels, (long long)s.bytes_sent, (long long)s.bytes_received, (int)s.auth_failed);
	qp_client_free(client);
	status = qp_gateway_stop(gateway);
	printf("stopped: %d\n", status);
	return 0;
}
"""


def test_program_starts_a_gateway_uses_it_and_stops_it(host, installed, tmp_path):
    source = tmp_path / "gateway.c"
    source.write_text(GATEWAY_PROGRAM)
    program = installed.build(source, "gateway")
    before = Traces(host)
    port, outside, inside = new_port(), new_port(), new_port()
    host.service(LO, inside, "--echo")
    popen = subprocess.Popen(
        host.command(program, QUICPORT, port, outside, inside),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=clean_environment(None))  # fmt: skip
    try:
        second = popen.stdout.readline()
        assert str(port) in second, second + popen.stderr.read()
        assert popen.stdout.readline() == "open: 1\n"
        result = host.load(LO, outside, "--echo", "--send", 1 << 20, "--half-close")
        assert result["ok"] == 1
        out, err = popen.communicate("\n", timeout=20)
    finally:
        popen.kill()
    assert popen.returncode == 0, err
    assert f"tunnels 1 of 1, sent {1 << 20}, received {1 << 20}, failed 0" in out
    assert "stopped: 0" in out
    assert before.left() == []


def test_gateway_that_cannot_start_says_why(host, installed, tmp_path):
    source = tmp_path / "gateway.c"
    source.write_text(GATEWAY_PROGRAM)
    program = installed.build(source, "gateway-fails")
    for binary, words in (("/nonexistent/quicport", "/nonexistent/quicport"), ("/bin/false", "")):
        done = subprocess.run(host.command(program, binary, new_port(), 1, 1), text=True,
                              capture_output=True, stdin=subprocess.DEVNULL, timeout=30)  # fmt: skip
        assert done.returncode == 91
        assert done.stderr.strip() and words in done.stderr


def test_documented_functions_are_all_of_them():
    """docs/library.md speaks of each function once at least."""
    text = Path(ROOT / "docs/library.md").read_text()
    assert [name for name in sorted(declared()) if name not in text] == []
