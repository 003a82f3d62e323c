# SPDX-License-Identifier: Apache-2.0
"""
Local forwards through the gateway: a client's port here leads to whatever the gateway reaches, its own
host and hosts beyond it. Services are plain Linux sockets.
"""

import socket
import threading

import pytest

import quicport1 as q
from harness import QUICPORT, Client, Gateway, Process, RefPeer, eventually, link, new_port

LO = "127.0.0.1"
MIB = 1 << 20
HOME = {4: "203.0.113.2", 6: "2001:db8:2::2"}
GATEWAY = {4: "203.0.113.1", 6: "2001:db8:2::1"}  # towards home
GATEWAY_INNER = {4: "192.0.2.1", 6: "2001:db8:3::1"}
SERVER = {4: "192.0.2.2", 6: "2001:db8:3::2"}
FAR = {4: "198.18.0.9", 6: "2001:db8:9::9"}  # behind the server, by a route
OWN = [LO, "::1", GATEWAY_INNER[4], GATEWAY_INNER[6], "127.1.2.3"]
BEYOND = [SERVER[4], SERVER[6], FAR[4], FAR[6]]


def with_prefix(addresses):
    return [f"{addresses[4]}/24", f"{addresses[6]}/64"]


def at(address, port):
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class World:
    """home ── gateway ── server, which has an address behind a route as well"""

    def __init__(self, hosts):
        self.home, self.gateway, self.server = hosts("home"), hosts("gateway"), hosts("server")
        link(self.home, self.gateway, with_prefix(HOME), with_prefix(GATEWAY), "gw", "home")
        link(self.gateway, self.server, with_prefix(GATEWAY_INNER), with_prefix(SERVER),
             "srv", "gw")  # fmt: skip
        self.server.run("ip", "address", "add", f"{FAR[4]}/32", "dev", "lo")
        self.server.run("ip", "address", "add", f"{FAR[6]}/128", "dev", "lo", "nodad")
        self.gateway.run("ip", "route", "add", "198.18.0.0/24", "via", SERVER[4])
        self.gateway.run("ip", "-6", "route", "add", "2001:db8:9::/64", "via", SERVER[6])
        self.gw = None

    def start(self, *args):
        port = new_port()
        self.gw = Gateway(self.gateway, port, *args, data_plane=f"0.0.0.0:{port}")

    def forward(self, destination, *args, **options):
        """A client whose port, the second value, leads to `destination`."""
        here = new_port()
        client = LocalClient(self.home, f"{GATEWAY[4]}:{self.gw.port}", here, destination,
                             *args, **options)  # fmt: skip
        return client, here

    def opened(self, destination, *args):
        client, here = self.forward(destination, *args)
        client.wait_for_line("forward open")
        return here

    def host_of(self, address):
        return self.server if address in BEYOND else self.gateway


class LocalClient(Client):
    def __init__(self, host, server, local, remote, *args, auth=("--psk", "secret")):
        words = ["-s", server, "-L", str(local), "-R", remote, *auth, "--insecure",
                 "--reconnect", "no", *args]  # fmt: skip
        self.auth = auth
        Process.__init__(self, host, "client", [QUICPORT, "client", *words])


@pytest.fixture
def world(hosts):
    world = World(hosts)
    yield world
    if world.gw is not None:
        assert world.gw.running()
        for process in world.home.processes:
            process.stop()
        eventually(lambda: world.gw.metric("quicport_conns_active") == 0, what="no connection stays")


@pytest.fixture
def open_world(world):
    world.start("--allow-local-forward-any")
    return world


def idle(world):
    """Nothing is left of any connection: relays, mbufs, TCP's states but TIME-WAIT."""
    return (world.gw.metric("quicport_conns_active") == 0
            and world.gw.metric("quicport_tcp_established") == 0
            and world.gw.metric("quicport_relay_queued_bytes") == 0)  # fmt: skip


@pytest.mark.parametrize("address", OWN + BEYOND)
def test_destination_on_the_gateways_host_and_beyond(open_world, address):
    port = new_port()
    open_world.host_of(address).service(address, port, "--echo")
    here = open_world.opened(at(address, port))
    result = open_world.home.load(LO, here, "--echo", "--send", MIB, "--half-close", "--sha",
                                  "--connections", 5, deadline=20)  # fmt: skip
    assert (result["ok"], result["errors"]) == (5, {})
    eventually(lambda: idle(open_world), what="all is given back")


@pytest.mark.parametrize("address", [LO, "::1", SERVER[4], SERVER[6]])
def test_100_mebibytes_each_way_arrive_whole(open_world, address):
    port = new_port()
    service = open_world.host_of(address).service(address, port, "--send", 100 * MIB, "--sha")
    here = open_world.opened(at(address, port))
    result = open_world.home.load(LO, here, "--send", 100 * MIB, "--half-close", "--sha",
                                  deadline=60)  # fmt: skip
    assert (result["ok"], result["rx_bytes"]) == (1, 100 * MIB)
    there = eventually(lambda: [e for e in service.lines() if "conn" in e], what="service reports")[0]
    assert (there["rx_sha"], there["tx_sha"]) == (
        result["connections"][0]["tx_sha"], result["connections"][0]["rx_sha"])  # fmt: skip


@pytest.mark.parametrize("address", [LO, SERVER[4]])
def test_half_close_lets_the_whole_answer_back(open_world, address):
    port = new_port()
    open_world.host_of(address).service(address, port, "--after-eof", "--send", 4 * MIB)
    here = open_world.opened(at(address, port))
    result = open_world.home.load(LO, here, "--send", MIB, "--half-close")
    assert (result["ok"], result["rx_bytes"]) == (1, 4 * MIB)


def test_a_service_that_speaks_first(open_world):
    port = new_port()
    open_world.gateway.service(LO, port, "--send", 1000)
    here = open_world.opened(at(LO, port))
    with open_world.home.connect(LO, here) as sock:
        assert len(recv_all(sock)) == 1000


def test_curl_from_a_plain_web_server(open_world, tmp_path):
    (tmp_path / "page").write_text("from beyond\n" * 1000)
    port = new_port()
    server = open_world.gateway.start("http", "python3", "-m", "http.server", port, "--bind", LO,
                                      "--directory", tmp_path)  # fmt: skip
    server.opens(open_world.gateway, LO, port)
    here = open_world.opened(str(port))  # the gateway itself
    page = open_world.home.run("curl", "-sS", "-m", "10", f"http://{LO}:{here}/page")
    assert page == "from beyond\n" * 1000


@pytest.mark.parametrize("address", [LO, SERVER[4]])
def test_500_connections_at_once(open_world, address):
    port = new_port()
    open_world.host_of(address).service(address, port, "--echo")
    here = open_world.opened(at(address, port))
    result = open_world.home.load(LO, here, "--echo", "--send", 100000, "--half-close",
                                  "--connections", 500, "--parallel", 500, deadline=60)  # fmt: skip
    assert (result["ok"], result["failed"], result["errors"]) == (500, 0, {})
    eventually(lambda: idle(open_world), what="all is given back")


def test_5000_short_connections_use_ports_again(open_world):
    port = new_port()
    open_world.server.service(SERVER[4], port, "--echo")
    here = open_world.opened(at(SERVER[4], port))
    result = open_world.home.load(LO, here, "--echo", "--send", 100, "--half-close",
                                  "--connections", 5000, "--parallel", 32, deadline=90)  # fmt: skip
    assert (result["ok"], result["failed"], result["errors"]) == (5000, 0, {})


@pytest.mark.parametrize("address", [LO, "::1", SERVER[4], SERVER[6]])
def test_refused_destination_resets_at_once(open_world, address):
    here = open_world.opened(at(address, new_port()))
    result = open_world.home.load(LO, here, "--send", 100, "--connections", 20, "--parallel", 20,
                                  deadline=10)  # fmt: skip
    assert result["errors"] == {"ECONNRESET": 20}
    assert result["slowest_ms"] < 1000
    assert open_world.gw.metric("quicport_local_conns_failed_total") == 20
    eventually(lambda: idle(open_world), what="all is given back")


def test_silent_destination_times_out(open_world):
    port = new_port()
    open_world.server.run("nft", "-f", "-", input=f"""
        table inet t {{
            chain c {{
                type filter hook input priority 0;
                tcp dport {port} drop
            }}
        }}""")
    here = open_world.opened(at(SERVER[4], port))
    result = open_world.home.load(LO, here, "--send", 100, deadline=30)
    assert result["errors"] == {"ECONNRESET": 1}
    assert 8000 < result["slowest_ms"] < 15000
    eventually(lambda: idle(open_world), what="all is given back")


def test_address_that_nobody_has_ends_in_time(open_world):
    here = open_world.opened(at("192.0.2.99", 80))
    result = open_world.home.load(LO, here, "--send", 100, deadline=30)
    assert result["errors"] == {"ECONNRESET": 1}
    assert result["slowest_ms"] < 15000


def test_reset_goes_both_ways(open_world):
    port = new_port()
    service = open_world.server.service(SERVER[4], port, "--after-eof", "--sha")
    here = open_world.opened(at(SERVER[4], port))
    assert open_world.home.load(LO, here, "--send", 100000, "--reset-after", 100000)["ok"] == 1
    seen = eventually(lambda: [e for e in service.lines() if "conn" in e], what="service reports")
    assert seen[0]["end"] == "rst"
    other = new_port()
    open_world.server.service(SERVER[4], other, "--after-eof", "--reset-after", 1000)
    here = open_world.opened(at(SERVER[4], other))
    result = open_world.home.load(LO, here, "--send", 100000)
    assert result["errors"] in ({"ECONNRESET": 1}, {"EPIPE": 1})


# ---- UDP ----


class Echo(threading.Thread):
    """A UDP service in a host, in this process: it answers each datagram, and notes who asked."""

    def __init__(self, host, address, port):
        super().__init__(daemon=True)
        with host.inside():
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.bind((address, port))
        self.peers = set()
        self.start()

    def run(self):
        while True:
            try:
                data, peer = self.sock.recvfrom(70000)
            except OSError:
                return
            if data == b"end":
                return
            self.peers.add(peer[:2])
            self.sock.sendto(data, peer)

    def end(self):
        name = self.sock.getsockname()
        self.sock.sendto(b"end", name)  # it may be asleep in recvfrom
        self.join(5)
        self.sock.close()


@pytest.fixture
def echoes():
    made = []

    def make(*args):
        made.append(Echo(*args))
        return made[-1]

    yield make
    for echo in made:
        echo.end()


def udp_opened(world, destination):
    client, here = None, new_port()
    client = LocalClient(world.home, f"{GATEWAY[4]}:{world.gw.port}", f"{here}/udp",
                         f"{destination}/udp")  # fmt: skip
    client.wait_for_line("forward open")
    return here


def asker(world, here, timeout=5):
    with world.home.inside():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((LO, here))
    sock.settimeout(timeout)
    return sock


@pytest.mark.parametrize("address", OWN + BEYOND)
def test_udp_destination_on_the_gateways_host_and_beyond(open_world, echoes, address):
    port = new_port()
    echo = echoes(open_world.host_of(address), address, port)
    here = udp_opened(open_world, at(address, port))
    with asker(open_world, here) as one, asker(open_world, here) as other:
        for n in range(50):
            one.send(b"one %d" % n)
            other.send(b"other %d" % n)
            assert one.recv(100) == b"one %d" % n
            assert other.recv(100) == b"other %d" % n
    assert len(echo.peers) == 2  # a port of its own for each
    assert open_world.gw.metric("quicport_local_conns_total") == 2


@pytest.mark.parametrize("address", [LO, "::1", SERVER[4], SERVER[6]])
@pytest.mark.parametrize("size", [0, 1472, 9000, 65507])
def test_udp_datagram_of_any_size(open_world, echoes, address, size):
    port = new_port()
    echoes(open_world.host_of(address), address, port)
    here = udp_opened(open_world, at(address, port))
    text = bytes(i * 7 % 251 for i in range(size))
    with asker(open_world, here) as sock:
        sock.send(text)
        assert sock.recv(70000) == text


@pytest.mark.parametrize("address", [LO, "::1", SERVER[4], SERVER[6]])
def test_udp_without_a_service_is_refused(open_world, address):
    here = udp_opened(open_world, at(address, new_port()))
    with asker(open_world, here) as sock:
        sock.send(b"anybody there?")
        eventually(lambda: open_world.gw.metric("quicport_local_conns_failed_total") == 1,
                   what="the refusal comes")  # fmt: skip
        eventually(lambda: idle(open_world), what="all is given back")


def test_udp_name_with_an_address_that_refuses(open_world, echoes):
    """localhost's first address has no service: whoever asks again asks at the next one."""
    port = new_port()
    echoes(open_world.gateway, LO, port)
    here = udp_opened(open_world, f"localhost:{port}")
    with asker(open_world, here, 1) as sock:

        def answered():
            sock.send(b"hello")
            try:
                return sock.recv(100) == b"hello"
            except OSError:
                return False

        eventually(answered, what="an answer")


# ---- the reference client ----


@pytest.mark.parametrize("announce", ["before", "after"])
def test_reference_client(open_world, announce):
    port, here = new_port(), new_port()
    service = open_world.server.service(SERVER[4], port, "--after-eof", "--send", MIB, "--sha")
    peer = RefPeer(open_world.home, "local", "--psk", "secret", "--announce", announce,
                   "--server", f"{GATEWAY[4]}:{open_world.gw.port}", "--listen", f"{LO}:{here}",
                   "--destination", f"{SERVER[4]}:{port}")  # fmt: skip
    assert peer.event("forward")["status"] == q.STATUS_OK
    peer.event("listening")
    result = open_world.home.load(LO, here, "--send", MIB, "--half-close", "--sha",
                                  "--connections", 5, "--parallel", 5)  # fmt: skip
    assert (result["ok"], result["rx_bytes"], result["errors"]) == (5, 5 * MIB, {})
    there = eventually(lambda: len(e := [e for e in service.lines() if "conn" in e]) == 5 and e,
                       what="service reports")  # fmt: skip
    assert {e["rx_sha"] for e in there} == {e["tx_sha"] for e in result["connections"]}


def test_reference_client_is_told_of_a_refused_destination(open_world):
    port, here = new_port(), new_port()
    peer = RefPeer(open_world.home, "local", "--psk", "secret", "--listen", f"{LO}:{here}",
                   "--server", f"{GATEWAY[4]}:{open_world.gw.port}",
                   "--destination", f"{SERVER[4]}:{port}")  # fmt: skip
    peer.event("listening")
    result = open_world.home.load(LO, here, "--send", 100, deadline=10)
    assert result["errors"] in ({"ECONNRESET": 1}, {"EPIPE": 1})
    told = peer.event("message")
    assert (told["kind"], told["reason"]) == (q.CONNECTION_CLOSE, q.REASON_REFUSED)
    assert told["connection"] == 0x70000001


# ---- policy ----


def denied(world, destination, within=10):
    """Why the gateway said no."""
    client, _ = world.forward(destination)
    assert client.wait(within) != 0
    return client.output()


def test_nothing_is_allowed_by_default(world):
    world.start()
    for destination in (f"{LO}:80", f"[::1]:80", f"{SERVER[4]}:80", "localhost:80", "80"):
        assert "permission denied" in denied(world, destination), destination


def test_only_what_a_rule_names_is_allowed(world):
    port, other = new_port(), new_port()
    world.start("--allow-local-forward", f"192.0.2.0/24:{port},{port + 1000}-{port + 1010}",
                "--allow-local-forward", f"[2001:db8:9::]/64:{port}",
                "--allow-local-forward", "127.0.0.1")  # fmt: skip
    for address in (SERVER[4], FAR[6]):
        world.server.service(address, port, "--echo")
        here = world.opened(at(address, port))
        assert world.home.load(LO, here, "--echo", "--send", 100, "--half-close")["ok"] == 1
    world.opened(at(SERVER[4], port + 1005))
    world.opened(at(GATEWAY_INNER[4], port))
    world.opened(f"localhost:{other}")  # of its addresses, 127.0.0.1
    for destination in (at(SERVER[4], other), at(SERVER[4], port + 1011), at(FAR[4], port),
                        at(SERVER[6], port), at("::1", port), at("127.0.0.2", port),
                        at("::ffff:198.18.0.9", port)):  # fmt: skip
        assert "permission denied" in denied(world, destination), destination


def test_the_private_api_is_never_a_destination(open_world):
    assert "permission denied" in denied(open_world, at(LO, open_world.gw.port))


@pytest.mark.parametrize("destination", ["0.0.0.0:80", "[::]:80", "224.0.0.1:80", "[ff02::1]:80",
                                         "192.0.2.255:80", "[fe80::1]:80"])  # fmt: skip
def test_no_hosts_address_is_refused(open_world, destination):
    assert "no destination" in (text := denied(open_world, destination)) or "not the address" in text


def test_address_without_a_route_is_refused(open_world):
    assert "no route" in denied(open_world, "10.255.0.1:80")


# ---- names ----


def test_name_is_resolved_by_the_gateways_host(open_world):
    port = new_port()
    open_world.gateway.service(LO, port, "--echo")
    # Of the two that localhost has, ::1 refuses: the next one is tried.
    here = open_world.opened(f"localhost:{port}")
    result = open_world.home.load(LO, here, "--echo", "--send", 1000, "--half-close",
                                  "--connections", 10)  # fmt: skip
    assert (result["ok"], result["errors"]) == (10, {})


def test_name_that_is_unknown_is_refused_and_says_so(open_world):
    assert "cannot find the address of no-such-name.invalid" in denied(
        open_world, "no-such-name.invalid:80", 40
    )


# ---- the tunnel's end ----


def test_end_of_the_client_ends_its_connections(open_world):
    port = new_port()
    service = open_world.server.service(SERVER[4], port, "--hold")
    client, here = open_world.forward(at(SERVER[4], port))
    client.wait_for_line("forward open")
    socks = [open_world.home.connect(LO, here) for _ in range(20)]
    eventually(lambda: open_world.gw.metric("quicport_tcp_established") == 20, what="all connect")
    assert client.stop() == 0
    eventually(lambda: idle(open_world), what="all is given back")
    for sock in socks:
        sock.close()
    assert service.running()


def test_gateway_leaves_nothing(open_world):
    port = new_port()
    open_world.gateway.service(LO, port, "--echo")
    here = open_world.opened(at(LO, port))
    assert open_world.home.load(LO, here, "--echo", "--send", MIB, "--half-close")["ok"] == 1
    open_world.gw.end()
    open_world.gw = None


def test_ports_of_the_gateways_connections_are_the_hosts_no_more(open_world):
    """The kernel gives none of them to a program, and a remote forward does not get one either."""
    open_world.opened(at(LO, 9))
    bound = open_world.gateway.run("ss", "-Htan", "state", "closed")
    taken = set()
    with open_world.gateway.inside():
        for port in range(8192, 65536):
            with socket.socket() as sock:
                try:
                    sock.bind(("", port))
                except OSError:
                    taken.add(port)
    first = min(taken, key=lambda p: (p + 500 not in taken, p))
    assert {*range(first, first + 1024)} <= taken, bound


def recv_all(sock):
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data
