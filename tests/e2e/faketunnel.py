# SPDX-License-Identifier: Apache-2.0
"""
A made-up program that stands for frps, frpc, rathole or chisel, by the name that it is called by: it takes
the arguments and files that theirs take and no others, and relays by plain TCP. With QP_FAKE_LOSES=1 it loses
one of a connection's bytes to the service after the first 256 KiB, with QP_FAKE_REFUSES=1 it ends with an error.
"""

import asyncio
import json
import os
import sys
import tomllib
from pathlib import Path

LOSS_AFTER = 256 << 10

# Paths of keys and types of their values.
FRPS = {"bindAddr": str, "bindPort": int, "proxyBindAddr": str, "auth.method": str, "auth.token": str,
        "transport.tls.force": bool, "log.to": str, "log.level": str}  # fmt: skip
FRPC = {"serverAddr": str, "serverPort": int, "loginFailExit": bool, "auth.method": str, "auth.token": str,
        "transport.tls.enable": bool, "log.to": str, "log.level": str, "proxies": list}  # fmt: skip
FRP_PROXY = {"name": str, "type": str, "localIP": str, "localPort": int, "remotePort": int}
RATHOLE = {
    "server": {"server.bind_addr": str, "server.transport.type": str,
               "server.transport.noise.local_private_key": str, "server.services.users.token": str,
               "server.services.users.bind_addr": str},
    "client": {"client.remote_addr": str, "client.transport.type": str,
               "client.transport.noise.remote_public_key": str, "client.services.users.token": str,
               "client.services.users.local_addr": str},
}  # fmt: skip


def fail(text):
    print(f"{Path(sys.argv[0]).name}: {text}", file=sys.stderr)
    sys.exit(1)


def flat(table, prefix=""):
    found = {}
    for key, value in table.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def config(table, shape):
    """Flat, and just as `shape` has it."""
    found = flat(table)
    for key, value in found.items():
        if key not in shape:
            fail(f"unknown field {key}")
        if type(value) is not shape[key]:
            fail(f"{key}: {value!r} is of the wrong type")
    if set(shape) - set(found):
        fail(f"missing field {min(set(shape) - set(found))}")
    return found


def load(path):
    return tomllib.loads(Path(path).read_text())


def options(words, names):
    """Each option and its value; flags have none. The rest."""
    found, rest = {}, []
    words = iter(words)
    for word in words:
        if not word.startswith("-"):
            rest.append(word)
        elif word not in names:
            fail(f"unknown option {word}")
        else:
            found[word] = next(words, None) if names[word] else True
    return found, rest


def pair(text):
    host, _, port = text.rpartition(":")
    return host, int(port)


# ---- what each was asked for: ("server", link, token, where users come) or ("client", link, token, users, service) ----


def frps(words):
    found, rest = options(words, {"-c": True})
    if rest:
        fail(f"unknown argument {rest[0]}")
    made = config(load(found["-c"]), FRPS)
    return "server", (made["bindAddr"], made["bindPort"]), made["auth.token"], (made["proxyBindAddr"], None)


def frpc(words):
    found, _ = options(words, {"-c": True})
    made = config(load(found["-c"]), FRPC)
    proxy = config(made["proxies"][0], FRP_PROXY)
    if proxy["type"] != "tcp":
        fail(f"proxy type {proxy['type']}")
    return ("client", (made["serverAddr"], made["serverPort"]), made["auth.token"], (None, proxy["remotePort"]),
            (proxy["localIP"], proxy["localPort"]))  # fmt: skip


def rathole(words):
    if words == ["--genkey"]:
        print("Private Key:\ncHJpdmF0ZQ==\n\nPublic Key:\ncHVibGlj")
        sys.exit(0)
    found, rest = options(words, {"--server": False, "--client": False})
    side = "server" if "--server" in found else "client"
    made = config(load(rest[0]), RATHOLE[side])
    if made[f"{side}.transport.type"] != "noise":
        fail("transport")
    token = made[f"{side}.services.users.token"]
    if side == "server":
        if made["server.transport.noise.local_private_key"] != "cHJpdmF0ZQ==":
            fail("not the private key")
        return side, pair(made["server.bind_addr"]), token, pair(made["server.services.users.bind_addr"])
    if made["client.transport.noise.remote_public_key"] != "cHVibGlj":
        fail("not the public key")
    return side, pair(made["client.remote_addr"]), token, None, pair(made["client.services.users.local_addr"])


def chisel(words):
    if words[0] == "server":
        found, _ = options(words[1:], {"--host": True, "--port": True, "--auth": True, "--reverse": False})
        if not found.get("--reverse"):
            fail("reverse port forwarding not enabled")
        return "server", (found["--host"], int(found["--port"])), found["--auth"], (None, None)
    found, rest = options(words[1:], {"--auth": True})
    host, port, service, service_port = rest[1].removeprefix("R:").split(":")
    return ("client", pair(rest[0].removeprefix("http://")), found["--auth"], (host, int(port)),
            (service, int(service_port)))  # fmt: skip


# ---- relaying ----


async def copy(reader, writer, lose):
    passed = 0
    try:
        while data := await reader.read(65536):
            passed += len(data)
            if lose and passed > LOSS_AFTER:
                data, lose = data[:-1], False
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.close()


async def relay(service, reader, writer):
    there = await asyncio.open_connection(*service)
    lose = os.environ.get("QP_FAKE_LOSES") == "1"
    await asyncio.gather(copy(reader, there[1], lose), copy(there[0], writer, False))
    for end in (writer, there[1]):
        end.close()


async def serve(link, token, users):
    async def client_came(reader, writer):
        told = json.loads(await reader.readline())
        if told["token"] != token:
            fail("authentication failed")
        host, port = (given or wanted for given, wanted in zip(users, told["users"] or users, strict=True))
        await asyncio.start_server(lambda r, w: relay(told["service"], r, w), host, port, backlog=1024)
        await reader.read()

    await (await asyncio.start_server(client_came, *link)).serve_forever()


async def connect(link, token, users, service):
    reader, writer = await asyncio.open_connection(*link)
    writer.write(json.dumps({"token": token, "users": users, "service": service}).encode() + b"\n")
    await reader.read()


def main():
    name = Path(sys.argv[0]).name
    if sys.argv[1:] == ["--version"]:
        print(f"{name} version 9.8.7-fake")
        return
    asked = {"frps": frps, "frpc": frpc, "rathole": rathole, "chisel": chisel}[name](sys.argv[1:])
    if os.environ.get("QP_FAKE_REFUSES") == "1":
        fail("no, and that is why")
    asyncio.run((serve if asked[0] == "server" else connect)(*asked[1:]))


main()
