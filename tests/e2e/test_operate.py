# SPDX-License-Identifier: Apache-2.0
"""
An operator's day on a real gateway: with the admin commands over each way to the API, and with the
web page.
"""

import ipaddress
import json
import re
import subprocess
from datetime import datetime, timedelta, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from browser import PROGRAM, Browser
from harness import QUICPORT, Client, Gateway, clean_environment, eventually, link, new_port

LO = "127.0.0.1"


class Admin:
    """`quicport admin` on a host, for one gateway."""

    def __init__(self, host, api, *options):
        self.host, self.options = host, ("--api", api, *options)

    def run(self, *words):
        command = self.host.command(QUICPORT, "admin", *words, *self.options)
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=clean_environment(None))

    def ok(self, *words):
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *words):
        return json.loads(self.ok(*words, "--json"))

    def fails(self, *words):
        done = self.run(*words)
        assert done.returncode == 1 and done.stderr.count("\n") == 1, (done.returncode, done.stderr)
        return done.stderr


def gateway_with_client(host, *args, **options):
    """A gateway, a client of it, the client's port, and the admin commands for it."""
    gateway = Gateway(host, new_port(), *args, **options)
    port, inside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    client = Client(host, f"{LO}:{gateway.port}", port, inside)
    client.opens(host, LO, port)
    return gateway, client, port, Admin(host, f"http://{LO}:{gateway.port}")


def certificate(folder):
    """A self-signed one for 127.0.0.1: its file and its key's."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "quicport test")])
    now = datetime.now(timezone.utc)
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(LO))]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256()))  # fmt: skip
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))  # fmt: skip
    return folder / "cert.pem", folder / "key.pem"


# ---- ways to the API ----


def test_data_planes_are_listed_and_ended(host):
    _, client, _, admin = gateway_with_client(host)
    (plane,) = admin.json("list-data-planes")["data_planes"]
    assert plane["state"] == "ACTIVE" and plane["active_tunnels"] == 1
    assert plane["dp_id"] in admin.ok("list-data-planes")
    assert admin.json("get-data-plane-status", plane["dp_id"])["pid"] == plane["pid"]
    assert "dp_id" in admin.fails("get-data-plane-status", "0xfffe")
    assert "--yes" in admin.fails("shutdown-data-plane", plane["dp_id"])
    admin.ok("shutdown-data-plane", "--yes", plane["dp_id"])
    client.wait()
    eventually(lambda: plane["dp_id"] not in [p["dp_id"] for p in admin.json("list-data-planes")["data_planes"]
                                              if p["state"] == "ACTIVE"], what="it has ended")  # fmt: skip


def test_unix_socket(host, logs):
    path = logs / "api.sock"
    gateway_with_client(host, "--private-api-socket", path)
    admin = Admin(host, f"unix:{path}")
    assert len(admin.json("list-data-planes")["data_planes"]) == 1


def test_token_and_tls(host, logs):
    cert, key = certificate(logs)
    token = logs / "token"
    token.write_text("0123456789abcdef0123456789abcdef\n")
    token.chmod(0o600)
    key.chmod(0o600)
    port = new_port()
    gateway = Gateway(host, new_port(), "--private-api-listen", f"{LO}:{port}", "--private-api-token-file", token,
                      "--private-api-tls-cert", cert, "--private-api-tls-key", key, wait=False)  # fmt: skip
    url = f"https://{LO}:{port}"
    good = Admin(host, url, "--cacert", cert, "--token-file", token)
    eventually(lambda: "ACTIVE" in good.run("list-data-planes").stdout or not gateway.running(), what="the API answers")
    assert len(good.json("list-data-planes")["data_planes"]) == 1
    assert "--cacert" in Admin(host, url, "--token-file", token).fails("list-data-planes")
    assert "--token-file" in Admin(host, url, "--cacert", cert).fails("list-data-planes")
    assert "https" in Admin(host, f"http://{LO}:{port}", "--token-file", token).fails("list-data-planes")


def test_log_levels(host):
    *_, admin = gateway_with_client(host)
    admin.ok("log-level", "auth=debug")
    levels = admin.json("log-level")["modules"]
    assert levels["auth"] == "debug" and levels["http"] == "info"
    admin.ok("log-level", "warn")
    assert set(admin.json("log-level")["modules"].values()) == {"warn"}
    assert "expected" in admin.fails("log-level", "nonsense")


def test_configuration_is_shown_and_read_again(host, logs):
    file = logs / "gateway.yaml"
    file.write_text("# ours\ntcp-keepalive: 500\n")
    *_, admin = gateway_with_client(host, "--config", file)

    def keepalive():
        (found,) = [s for s in admin.json("get-config")["settings"] if s["name"] == "tcp-keepalive"]
        return found

    assert keepalive()["place"] == f"{file}:2" and str(keepalive()["value"]) == "500"
    assert re.search(rf"tcp-keepalive +500 +file +{re.escape(str(file))}:2", admin.ok("get-config"))
    assert "***" in admin.ok("get-config") and "secret" not in admin.ok("get-config")
    file.write_text("# ours\n\ntcp-keepalive: nonsense\n")
    line = admin.fails("reload")
    assert f"{file}:3" in line and "tcp-keepalive" in line
    assert str(keepalive()["value"]) == "500"
    file.write_text("tcp-keepalive: 400\n")
    assert admin.ok("reload").startswith("reloaded\n")


def test_events_tell_of_a_client_that_comes(host):
    gateway = Gateway(host, new_port())
    events = host.start("events", QUICPORT, "admin", "events", "--json", "--api", f"http://{LO}:{gateway.port}")
    stats = host.start("stats", QUICPORT, "admin", "events", "--json", "--type", "stats", "--count", "2",
                       "--api", f"http://{LO}:{gateway.port}")  # fmt: skip
    stats.wait_for_line('"event":"stats"')
    port, inside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    client = Client(host, f"{LO}:{gateway.port}", port, inside)
    client.opens(host, LO, port)
    events.wait_for_line(f'"port_opened".*"port":{port}')
    client.stop()
    events.wait_for_line('"tunnel_closed"')
    kinds = [event["event"] for event in events.lines()]
    assert kinds.index("tunnel_opened") < kinds.index("port_opened") < kinds.index("tunnel_closed")
    assert stats.wait() == 0
    gateway.stop()
    assert events.wait() == 1


# ---- tunnels and connections ----


def test_tunnels_are_listed_and_kicked(host):
    gateway, client, port, admin = gateway_with_client(host)
    (tunnel,) = admin.json("list-tunnels")["tunnels"]
    assert tunnel["ports"] == [{"protocol": "tcp", "port": port}] and tunnel["dp_id"].startswith("0x")
    assert f"{port}/tcp" in admin.ok("list-tunnels")
    assert [row["port"] for row in admin.json("list-ports", "--port", str(port))["ports"]] == [port]
    assert admin.json("list-tunnels", "--peer", "192.0.2.0/24") == {"tunnels": []}
    with host.connect(LO, port) as sock:
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
        (connection,) = admin.json("list-connections", "--port", str(port))["connections"]
        assert connection["tunnel_id"] == tunnel["tunnel_id"]
        assert admin.json("get-connections", tunnel["dp_id"])["connections"][0]["connection_id"] == connection["connection_id"]
        admin.ok("kick", tunnel["tunnel_id"], str(connection["connection_id"]))
        sock.settimeout(5)
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    assert client.running()
    admin.ok("kick", tunnel["tunnel_id"], "--reason", "maintenance")
    client.wait()
    eventually(lambda: admin.json("list-tunnels") == {"tunnels": []}, what="the tunnel is gone")
    assert admin.fails("kick", tunnel["tunnel_id"])
    shown = admin.ok("top", "--once")
    assert "0 tunnels" in shown and "no tunnel" in shown


def test_source_is_blocked_and_let_in_again(hosts):
    host, outside = hosts("gateway"), hosts("outside")
    link(host, outside, ["198.51.100.1/24"], ["198.51.100.7/24"], "up0", "up1")
    gateway = Gateway(host, new_port(), data_plane="0.0.0.0:39000")
    port, inside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    Client(host, f"{LO}:39000", port, inside).opens(outside, "198.51.100.1", port)
    admin = Admin(host, f"http://{LO}:{gateway.port}")
    admin.ok("block", "198.51.100.7", "--for", "12h", "--reason", "scan")
    (blocked,) = admin.json("list-blocked")["blocked_sources"]
    assert blocked["source"] == "198.51.100.7/32" and blocked["reason"] == "scan"
    assert re.search(r"198.51.100.7/32 +[0-9]s +(12h00m|11h59m) +scan", admin.ok("list-blocked"))
    assert not outside.port_opens("198.51.100.1", port) and host.port_opens(LO, port)
    admin.ok("unblock", "198.51.100.7")
    assert admin.json("list-blocked") == {"blocked_sources": []}
    assert outside.port_opens("198.51.100.1", port)
    assert "is not blocked" in admin.fails("unblock", "198.51.100.7")
    assert "expected" in admin.fails("block", "nonsense")


def test_clients_are_written_and_removed(host, logs):
    gateway, _, _, admin = gateway_with_client(host)
    wish = {"name": "shop", "psk": "0123456789abcdef", "ports": ["20000-29999/tcp"], "tunnels": 2}
    (logs / "shop.json").write_text(json.dumps(wish))
    shown = admin.ok("put-client", logs / "shop.json")
    assert shown.startswith("created\n") and wish["psk"] not in shown
    assert re.search(r"(?m)^shop +psk .*20000-29999/tcp +api$", admin.ok("list-clients"))
    assert [c["name"] for c in admin.json("list-clients", "--prefix", "sh")["clients"]] == ["shop"]
    port, inside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    client = Client(host, f"{LO}:{gateway.port}", port, inside, auth=("--psk", wish["psk"]))
    client.opens(host, LO, port)
    assert admin.json("get-client", "shop")["client"]["tunnels_now"] == 1
    assert [t["client"] for t in admin.json("list-tunnels", "--client", "shop")["tunnels"]] == ["shop"]
    admin.ok("delete-client", "shop")
    client.wait()
    eventually(lambda: admin.json("list-tunnels", "--client", "shop")["tunnels"] == [], 2, "its tunnel has ended")
    assert admin.fails("get-client", "shop")


def test_top_shows_the_tunnel(host):
    _, _, port, admin = gateway_with_client(host)
    shown = admin.ok("top", "--once")
    assert f"{port}/tcp" in shown and "ACTIVE 1" in shown


# ---- the page ----


@pytest.fixture
def page(host):
    """A browser on the host, beside a gateway with a client."""
    if PROGRAM is None:
        pytest.skip("no chromium-headless-shell: scripts/setup.sh installs it")
    gateway, client, port, admin = gateway_with_client(host)
    with Browser(host.command()) as browser:
        browser.gateway, browser.client, browser.port, browser.admin = gateway, client, port, admin
        browser.open(f"http://{LO}:{gateway.port}/")
        browser.until("document.querySelector('#stream').dataset.state == 'live'")
        browser.until("document.querySelectorAll('#table-body tr').length == 1")
        browser.until("document.querySelectorAll('#planes tr').length == 1")
        yield browser


def test_page_of_a_gateway(page, host):
    url = f"http://{LO}:{page.gateway.port}"
    assert page.complaints() == []
    assert {one.startswith(url) for one in page.requests()} == {True}
    assert "ACTIVE" in page.text("#planes") and f"{page.port}/tcp" in page.text("#table-body")
    # Another client comes: its row too, at once.
    port, inside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    other = Client(host, f"{LO}:{page.gateway.port}", port, inside)
    other.opens(host, LO, port)
    page.until(f"document.querySelector('#table-body').innerText.includes('{port}/tcp')")
    page.until("document.querySelector('#n-tunnels').innerText == '2'")
    # Bytes that flow are drawn.
    host.load(LO, port, "--echo", "--send", 3000000, "--half-close")
    page.until("document.querySelector('#table-body').innerText.includes('3.0 MB')")
    page.until("new Set(document.querySelector('#chart .line.in').getAttribute('d').match(/ [0-9.]+/g)).size > 1")
    other.stop()
    page.until(f"!document.querySelector('#table-body').innerText.includes('{port}/tcp')")
    assert page.complaints() == []


def test_page_kicks_by_keyboard(page):
    name = page.js("document.querySelector('#table-body button').getAttribute('aria-label')")
    page.tab_to(name)
    page.key("Enter")
    page.tab_to("End tunnel")
    page.key("Enter")
    page.client.wait()
    page.until("!document.querySelector('#table-none').hidden")
    assert "No tunnel is open." == page.text("#table-none")
    assert page.complaints() == []


def test_page_outlives_its_gateway(page):
    """The stream's state is shown; a gateway that comes back is live again."""
    page.gateway.stop()
    page.until("document.querySelector('#stream').dataset.state == 'lost'")
    Gateway(page.gateway.host, page.gateway.port)
    page.until("document.querySelector('#stream').dataset.state == 'live'", within=40)
    page.until("document.querySelectorAll('#planes tr').length == 1")


def test_page_and_events_go_on_over_a_killed_control_plane(page):
    """The tunnel is there all the time, and in the new control plane's table."""
    host, gateway = page.gateway.host, page.gateway
    events = host.start("events", QUICPORT, "admin", "events", "--json", "--reconnect",
                        "--api", f"http://{LO}:{gateway.port}")  # fmt: skip
    (tunnel,) = page.admin.json("list-tunnels")["tunnels"]
    gateway.kill()
    page.until("document.querySelector('#stream').dataset.state == 'lost'")
    assert host.port_opens(LO, page.port)
    Gateway(host, gateway.port)
    page.until("document.querySelector('#stream').dataset.state == 'live'", within=40)
    page.until(f"document.querySelector('#table-body').innerText.includes('{tunnel['tunnel_id']}')")
    assert [t["tunnel_id"] for t in page.admin.json("list-tunnels")["tunnels"]] == [tunnel["tunnel_id"]]
    page.client.stop()
    events.wait_for_line('"tunnel_closed"')
    page.until("document.querySelectorAll('#table-body tr').length == 0")
