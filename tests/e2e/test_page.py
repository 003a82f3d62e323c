# SPDX-License-Identifier: Apache-2.0
"""
The gateway's web page in a real browser: what a person sees, with the keyboard alone, light and dark,
narrow and wide; and that nothing in it runs but its own script.
"""

import json
import re
import time

import pytest

from browser import PROGRAM, Browser
from harness import eventually
from stubapi import WEB, Events, Raw, StubApi, page_files, pages, tunnel

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no chromium-headless-shell: scripts/setup.sh installs it")

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"
PLANES = [
    {"dp_id": "0x3038", "pid": 811, "state": "DRAINING", "active_tunnels": 3, "bytes_sent": 1, "bytes_received": 2},
    {"dp_id": "0x3039", "pid": 812, "state": "ACTIVE", "active_tunnels": 5, "bytes_sent": 10**9, "bytes_received": 0},
]
STATS = {"uptime_s": 3700, "interval_ms": 1000, "tunnels": 8, "ports": 7, "connections": 12345,
         "totals": {"connections_refused": 3, "auth_failed": 9},
         "rates": {"bytes_sent": 1250000, "bytes_received": 125000, "packets_in": 900, "packets_out": 100,
                   "connections": 21},
         "drops": {"tcp_drop_out_of_window": 12, "drop_quic_limit": 3}, "data_planes": PLANES}  # fmt: skip


def stats(**more):
    return {"time_ms": int(time.time() * 1000), **STATS, **more}


@pytest.fixture(scope="module")
def chromium():
    with Browser() as browser:
        yield browser


@pytest.fixture
def browser(chromium):
    chromium.call("Network.clearBrowserCache")
    chromium.open("about:blank")
    chromium.events.clear()
    chromium.size(1280, 900)
    chromium.media()
    return chromium


class Page:
    def __init__(self, browser, token=None, **answers):
        self.events = Events()
        rows = [tunnel(i) for i in range(3)]
        self.api = StubApi({
            **page_files(), "/api/v1/events": self.events.answer, "ListTunnels": pages("tunnels", rows),
            "ListClients": {"clients": []}, "ListPorts": {"ports": []}, "ListConnections": {"connections": []},
            "ListBlockedSources": {"blocked_sources": []}, **answers}, token)  # fmt: skip
        self.browser = browser

    def __enter__(self):
        self.api.__enter__()
        self.browser.open(self.api.url + "/")
        if self.api.token is None:
            self.browser.until("document.querySelector('#stream').dataset.state == 'live'")
            self.events.send("stats", stats())
            self.browser.until("document.querySelectorAll('#planes tr').length == 2")
            self.browser.until("document.querySelectorAll('#table-body tr').length > 0"
                               " || !document.querySelector('#table-none').hidden")  # fmt: skip
        return self

    def __exit__(self, *failure):
        self.browser.js("sessionStorage.clear()")
        self.browser.open("about:blank")
        self.api.__exit__()

    def asked(self, name):
        """The last request of this call."""
        eventually(lambda: self.api.times(name), what=f"{name} is asked")
        return [request for asked, request in self.api.asked if asked == name][-1]


def test_page_is_clean(browser):
    with Page(browser) as page:
        browser.until("document.querySelector('#n-connections').innerText == '12\u202f345'")
        assert browser.complaints() == []
        assert {url.startswith(page.api.url) for url in browser.requests()} == {True}
        assert browser.text("#rate-in") == "10 Mbit/s" and browser.text("#uptime") == "1 h 01 m"
        assert browser.js("[...document.querySelectorAll('#planes tr')].map(r => r.innerText.split('\\t').slice(0, 2))") == [
            ["0x3038", "DRAINING"], ["0x3039", "ACTIVE"]]  # fmt: skip
        assert browser.js("[...document.querySelectorAll('#drops tr')].map(r => r.innerText.split(/\\s*\\t/))") == [
            ["tcp out of window", "0", "12"], ["quic limit", "0", "3"]]  # fmt: skip


def test_source_needs_no_weaker_policy():
    html = (WEB / "index.html").read_text()
    script = "".join(file.read_text() for file in WEB.glob("*.js"))
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|https?://(?!www\.w3\.org/)", html)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|localStorage|"
                         r"https?://(?!www\.w3\.org/)", script)  # fmt: skip
    assert not re.search(r"@import|url\(", (WEB / "app.css").read_text())


def test_throughput_is_drawn_as_it_comes(browser):
    with Page(browser) as page:
        now = int(time.time() * 1000)
        for second in range(1, 6):
            page.events.send("stats", stats(time_ms=now + second * 1000, rates={**STATS["rates"], "bytes_sent": second * 10**6}))
        browser.until("document.querySelector('#rate-in').innerText == '40 Mbit/s'")
        points = browser.js("document.querySelector('#chart .line.in').getAttribute('d')")
        heights = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", points)][-5:]
        assert heights == sorted(heights, reverse=True) and len(set(heights)) == 5
        assert "40 Mbit/s" in browser.js("document.querySelector('#chart').getAttribute('aria-label')")
        # A gap in time is a gap in the line.
        page.events.send("stats", stats(time_ms=now + 60000))
        browser.until("document.querySelector('#chart .line.in').getAttribute('d').match(/M/g).length == 2")


def test_tunnel_appears_when_it_opens_and_goes_when_it_closes(browser):
    rows = [tunnel(1)]
    with Page(browser, ListTunnels=lambda request: {"tunnels": rows}) as page:
        assert "client-1" in browser.text("#table-body")
        rows.append(tunnel(2, client=HOSTILE))
        began = time.monotonic()
        page.events.send("tunnel_opened", {"time_ms": 1, "tunnel_id": "3039-0-2", "client": HOSTILE, "peer": "192.0.2.3:1"})
        browser.until("document.querySelectorAll('#table-body tr').length == 2", within=1.5)
        assert time.monotonic() - began < 1.5
        # What a client calls itself is text, wherever it is shown.
        assert browser.js("document.querySelector('#table-body tr:nth-child(2) th').innerText") == HOSTILE
        browser.until("document.querySelector('#events li') !== null")
        assert HOSTILE in browser.text("#events")
        browser.js("document.querySelectorAll('#table-body button')[1].click()")
        assert HOSTILE in browser.text("#ask-title")
        assert browser.js("document.scripts.length") == 1 and browser.js("document.images.length") == 0
        browser.key("Escape")
        rows.pop()
        page.events.send("tunnel_closed", {"time_ms": 1, "tunnel_id": "3039-0-2", "client": HOSTILE, "peer": "192.0.2.3:1",
                                           "reason": HOSTILE})  # fmt: skip
        browser.until("document.querySelectorAll('#table-body tr').length == 1")
        assert browser.complaints() == []


def test_kick_with_the_keyboard_alone(browser):
    rows = [tunnel(1), tunnel(2)]

    def kick(request):
        rows[:] = [row for row in rows if row["tunnel_id"] != request["tunnel_id"]]
        return {"status": "kicked"}

    with Page(browser, ListTunnels=lambda request: {"tunnels": rows}, KickTunnel=kick) as page:
        way = browser.tab_to("End the tunnel 3039-0-2 of client-2")
        assert way[0] == "Skip to the tables"
        browser.key("Enter")
        browser.until("document.querySelector('#ask').open")
        assert browser.focus() == "Cancel"  # a key that is held does no harm
        browser.key("Escape")
        browser.until("!document.querySelector('#ask').open")
        assert browser.focus() == "End the tunnel 3039-0-2 of client-2"
        assert page.api.times("KickTunnel") == 0
        browser.key(" ")
        browser.until("document.querySelector('#ask').open")
        browser.tab_to("Reason, told to the client (may be empty)", shift=True)
        browser.type("maintenance")
        browser.tab_to("End tunnel")
        browser.key("Enter")
        assert page.asked("KickTunnel") == {"tunnel_id": "3039-0-2", "reason": "maintenance"}
        browser.until("!document.querySelector('#ask').open")
        browser.until("document.querySelectorAll('#table-body tr').length == 1")
        assert browser.text("#status") == "Tunnel 3039-0-2 of client-2 is ended."
        browser.until("document.activeElement !== document.body")


def test_refusal_is_told_in_the_dialog(browser):
    problem = {"type": "about:blank", "title": "Not Found", "status": 404, "detail": f"no tunnel {HOSTILE}"}
    with Page(browser, KickTunnel=Raw(json.dumps(problem).encode(), 404, "application/problem+json")):
        browser.js("document.querySelector('#table-body button').click()")
        browser.js("document.querySelector('#ask-yes').click()")
        browser.until("document.querySelector('#ask-error').innerText != ''")
        assert browser.text("#ask-error") == f"no tunnel {HOSTILE}"
        assert browser.js("document.querySelector('#ask').open")
        browser.key("Escape")


def test_focus_stays_in_a_row_that_changes(browser):
    answers = iter(range(1, 1000))
    with Page(browser, ListTunnels=lambda request: {"tunnels": [tunnel(0), tunnel(1, bytes_sent=next(answers) * 10**9)]}) as page:
        browser.tab_to("End the tunnel 3039-0-1 of client-1")
        shown = browser.text("#table-body tr:nth-child(2)")
        page.events.send("port_opened", {"time_ms": 1, "protocol": "tcp", "port": 1, "client": "x", "tunnel_id": "x"})
        browser.until(f"document.querySelector('#table-body tr:nth-child(2)').innerText != {json.dumps(shown)}")
        assert browser.focus() == "End the tunnel 3039-0-1 of client-1"


def test_drain_and_shut_down_are_confirmed(browser):
    with Page(browser, DrainDataPlane={"status": "draining"}, ShutdownDataPlane={"status": "shutdown_initiated"}) as page:
        browser.tab_to("Drain data plane 0x3039")
        browser.key("Enter")
        browser.until("document.querySelector('#ask').open")
        assert "keeps its 5 tunnels" in browser.text("#ask-text")
        browser.tab_to("Drain")
        browser.key("Enter")
        assert page.asked("DrainDataPlane") == {"dp_id": "0x3039"}
        browser.until("!document.querySelector('#ask').open")
        # One that drains already has no such button.
        assert browser.js("document.querySelector('#planes tr button').hidden")
        browser.js("document.querySelectorAll('#planes tr:first-child button')[1].click()")
        assert "are cut now" in browser.text("#ask-text")
        browser.js("document.querySelector('#ask-yes').click()")
        assert page.asked("ShutdownDataPlane") == {"dp_id": "0x3038"}


def test_pages_and_filters(browser):
    rows = [tunnel(i) for i in range(1234)]

    def list_tunnels(request):
        if request.get("client") == "nonsense!":
            return Raw(b'{"detail":"client is \\"nonsense!\\"","expected":"a name"}', 400, "application/problem+json")
        wanted = [row for row in rows if request.get("client") in (None, row["client"])]
        return pages("tunnels", wanted)(request)

    with Page(browser, ListTunnels=list_tunnels):
        assert browser.js("document.querySelectorAll('#table-body tr').length") == 50
        assert browser.text("#page-text") == "Page 1, 50 rows"
        browser.tab_to("Next page")
        for page in (2, 3):
            browser.key("Enter")
            browser.until(f"document.querySelector('#page-text').innerText.startsWith('Page {page},')")
        assert browser.text("#table-body tr th") == "client-100"
        browser.tab_to("Previous page", shift=True)
        browser.key(" ")
        browser.until("document.querySelector('#page-text').innerText.startsWith('Page 2,')")
        browser.tab_to("Client", shift=True)
        browser.type("client-777")
        browser.until("document.querySelector('#page-text').innerText == 'Page 1, 1 row'")
        assert browser.text("#table-body tr th") == "client-777"
        browser.type("x")
        browser.until("document.querySelector('#table-none').innerText == 'Nothing fits this filter.'")
        browser.js("document.querySelector('#filter-client').value = ''")
        browser.type("nonsense!")
        browser.until("document.querySelector('#table-none').innerText.includes('expected a name')")
        assert browser.js("document.querySelector('#filter-client').getAttribute('aria-invalid')") == "true"


def test_tabs_by_arrow_keys(browser):
    with Page(browser, ListClients={"clients": [{"name": "alice", "kind": "psk", "origin": "api", "tunnels_now": 2}]}):
        browser.tab_to("Tunnels")
        browser.key("ArrowLeft")
        assert browser.focus() == "Blocked"
        browser.key("ArrowLeft")
        browser.until("document.querySelector('#table-body tr th')?.innerText == 'alice'")
        assert browser.js("document.querySelectorAll('[role=tab][aria-selected=true]').length") == 1
        assert browser.js("document.querySelector('#table-panel').getAttribute('aria-labelledby')") == "tab-clients"
        browser.key("Home")
        assert browser.focus() == "Tunnels"


def test_block_and_unblock(browser):
    blocked = {"source": "198.51.100.0/24", "since": "2026-11-26T01:02:03Z", "reason": HOSTILE}
    with Page(browser, ListBlockedSources={"blocked_sources": [blocked]}, BlockSource={"status": "blocked"},
              UnblockSource={"status": "unblocked"}) as page:  # fmt: skip
        browser.js("document.querySelector('#tab-blocked').click()")
        browser.until("document.querySelectorAll('#table-body tr').length == 1")
        browser.tab_to("Block an address…")
        browser.key("Enter")
        assert browser.focus() == "Address, or network as ADDRESS/BITS"
        browser.type("203.0.113.9")
        browser.key("Enter")
        assert page.asked("BlockSource") == {"source": "203.0.113.9", "seconds": 3600}
        browser.until("!document.querySelector('#ask').open")
        browser.tab_to("Unblock 198.51.100.0/24")
        browser.key("Enter")
        browser.tab_to("Unblock")
        browser.key("Enter")
        assert page.asked("UnblockSource") == {"source": "198.51.100.0/24"}


def test_token_is_asked_for_and_kept_in_the_session_alone(browser):
    with Page(browser, token="s3cret") as page:
        browser.until("document.querySelector('#login').open")
        assert browser.focus() == "Token"
        browser.key("Escape")
        browser.key("Escape")
        browser.until("document.querySelector('#login').open && document.activeElement.id === 'token'")
        browser.type("wrong")
        browser.key("Enter")
        browser.until("document.querySelector('#login-error').innerText.includes('does not take')")
        browser.type("s3cret")
        browser.key("Enter")
        browser.until("document.querySelector('#stream').dataset.state == 'live'")
        browser.until("document.querySelectorAll('#table-body tr').length == 3")
        assert not browser.js("document.querySelector('#login').open")
        assert browser.js("[Object.values(sessionStorage), localStorage.length, document.cookie, location.href]") == [
            ["s3cret"], 0, "", page.api.url + "/"]  # fmt: skip
        assert not any("s3cret" in url for url in browser.requests())
        browser.open(page.api.url + "/")  # loaded again: not asked again
        browser.until("document.querySelector('#stream').dataset.state == 'live'")


def test_drain_button_that_goes_leaves_the_keyboard_in_its_table(browser):
    with Page(browser, DrainDataPlane={"status": "draining"}) as page:
        browser.tab_to("Drain data plane 0x3039")
        browser.key("Enter")
        browser.tab_to("Drain")
        page.events.send("stats", stats(data_planes=[{**plane, "state": "DRAINING"} for plane in PLANES]))
        browser.until("document.querySelectorAll('#planes .DRAINING').length == 2")
        browser.key("Enter")
        browser.until("!document.querySelector('#ask').open")
        assert browser.js("document.activeElement.contains(document.querySelector('#planes'))")
        assert browser.js("document.activeElement !== document.body")


def test_slow_gateway_is_not_asked_again_and_again(browser):
    begun = []

    def slow(request):
        begun.append(time.monotonic())
        time.sleep(3)
        return {"tunnels": [tunnel(len(begun))]}

    with Page(browser, ListTunnels=slow) as page:  # shows the first answer although others were due
        for _ in range(20):
            page.events.send("tunnel_opened", {"time_ms": 1, "client": "x", "peer": "x"})
        browser.until("document.querySelector('#table-body').innerText.includes('client-2')")
        assert all(later - earlier >= 2.9 for earlier, later in zip(begun, begun[1:]))


def test_nothing_is_asked_while_the_stream_is_lost(browser):
    with Page(browser) as page:
        page.api.answers["/api/v1/events"] = Raw(b'{"detail":"too many listeners"}', 503, "application/problem+json")
        page.events.end()
        browser.until("document.querySelector('#stream-text').innerText.includes('too many listeners')")
        before = page.api.times("ListTunnels")
        time.sleep(2.5)  # longer than the time between two looks
        assert page.api.times("ListTunnels") == before


def test_stream_comes_back_after_a_cut(browser):
    with Page(browser) as page:
        page.events.send("config", {"time_ms": 1, "status": "reloaded"}, number=41)
        browser.until("document.querySelector('#events li') !== null")
        page.events.end()
        browser.until("document.querySelector('#stream').dataset.state == 'lost'")
        assert "next try in" in browser.text("#stream-text")
        assert browser.js("document.body.classList.contains('stale')")
        browser.until("document.querySelector('#stream').dataset.state == 'live'")
        heads = [head for name, head in page.api.heads if name == "/api/v1/events"]
        assert [head.get("Last-Event-ID") for head in heads] == [None, "41"]


def test_events_in_pieces_and_floods_are_bounded(browser):
    with Page(browser) as page:
        whole = b'event: auth_failed\r\ndata: {"time_ms":1,\r\ndata: "peer":"192.0.2.9:1","reason":"\xc3\xa4"}\r\n\r\n'
        for byte in whole:
            page.events.write(bytes([byte]))
        browser.until("document.querySelector('#events li')?.innerText.includes('192.0.2.9:1: \u00e4')")
        for n in range(3000):
            page.events.send("auth_failed", {"time_ms": 1, "peer": f"192.0.2.1:{n}", "reason": "unknown key"})
        browser.until("document.querySelector('#events li').innerText.includes('192.0.2.1:2999')")
        assert browser.js("document.querySelectorAll('#events li').length") == 100


def test_nonsense_breaks_nothing(browser):
    with Page(browser, ListTunnels={"tunnels": [None, 7, "x", {"tunnel_id": 5, "client": {"a": 1}, "ports": "x", "since": [],
                                                "rtt_us": "x", "bytes_sent": "1"}]}) as page:  # fmt: skip
        for data in ({"time_ms": "x", "rates": 5}, {"time_ms": 1, "rates": {}}, [], None, 5, {},
                     {"time_ms": 5, "rates": {"bytes_sent": "x"}, "totals": 7, "drops": {"x": "y", "z": None}, "data_planes": 3},
                     {**STATS, "time_ms": 6, "data_planes": [None, 5, {"dp_id": 7}]}):  # fmt: skip
            page.events.send("stats", data)
        page.events.write(b"event: stats\ndata: nonsense\n\nevent: __proto__\ndata: {}\n\nevent: constructor\ndata: {}\n\n")
        page.events.send("data_plane", {})
        page.events.send("stats", stats(tunnels=4711))
        browser.until("document.querySelector('#n-tunnels').innerText == '4\u202f711'")
        assert browser.complaints() == []


# ---- for everybody ----

# The ratio of each visible text and its ground (WCAG 2.1), of those below 4.5.
CONTRAST = """
(() => {
	const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
	const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
		.reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
	const ground = (node) => {
		for (; node; node = node.parentElement) {
			const color = rgb(getComputedStyle(node).backgroundColor);
			if (color.length < 4 || color[3] === 1) return color;
		}
		return [255, 255, 255];
	};
	const bad = [];
	const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	let seen = 0;
	while (walk.nextNode()) {
		const node = walk.currentNode.parentElement;
		if (!walk.currentNode.data.trim() || !node.checkVisibility() || node.closest(".unseen, script, noscript, option")) continue;
		const style = getComputedStyle(node);
		const [a, b] = [light(rgb(node.closest("svg") ? style.fill : style.color)), light(ground(node))].sort((x, y) => y - x);
		seen++;
		if ((a + 0.05) / (b + 0.05) < 4.5) bad.push([walk.currentNode.data.trim(), style.color, ((a + 0.05) / (b + 0.05)).toFixed(2)]);
	}
	return [seen > 40, bad];
})()
"""

NAMELESS = """
[...document.querySelectorAll("button, input, select, a[href], [tabindex], table, dialog, svg[role=img], [role=region], form[aria-label]")]
	.filter((e) => e.checkVisibility() && !(e.getAttribute("aria-label") || e.labels?.length || e.caption || e.textContent.trim() && !/^(DIV|TABLE)$/i.test(e.tagName)
		|| (e.getAttribute("aria-labelledby") || "").split(" ").some((id) => id && document.getElementById(id)?.textContent.trim())
		|| e.tagName === "TABLE" && e.closest("[aria-labelledby], [aria-label]") || e.id === "table-panel"))
	.map((e) => e.outerHTML.slice(0, 120))
"""

STRUCTURE = """
(() => {
	const ids = [...document.querySelectorAll("[id]")].map((e) => e.id), levels = [...document.querySelectorAll("h1, h2, h3")].map((h) => h.tagName);
	return {
		lang: document.documentElement.lang, title: document.title !== "",
		h1: levels.filter((l) => l === "H1").length, twice: ids.filter((id, i) => ids.indexOf(id) !== i),
		unscoped: document.querySelectorAll("th:not([scope])").length,
		dangling: [...document.querySelectorAll("[aria-controls], [aria-labelledby], [aria-describedby], label[for]")]
			.flatMap((e) => ["aria-controls", "aria-labelledby", "aria-describedby", "for"].map((n) => e.getAttribute(n)).filter(Boolean).join(" ").split(" "))
			.filter((id) => !document.getElementById(id)),
		live: document.querySelectorAll("[aria-live], [role=status], [role=alert], [role=log]").length,
		positive: document.querySelectorAll('[tabindex]:not([tabindex="0"]):not([tabindex="-1"])').length,
		images: document.querySelectorAll("img:not([alt])").length,
	};
})()
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_enough(browser, scheme):
    browser.media(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
    with Page(browser, ListPorts={"ports": [{"protocol": "tcp", "port": 1, "state": "leased", "client": "x"}]}) as page:
        for kind in ("auth_failed", "port_opened"):
            page.events.send(kind, {"time_ms": 1, "peer": "x", "reason": "x", "port": 1, "protocol": "tcp", "client": "x"})
        browser.until("document.querySelectorAll('#events li').length == 2")
        assert browser.js(CONTRAST) == [True, []]
        browser.js("document.querySelector('#tab-ports').click()")
        browser.until("document.querySelector('#table-body .badge') !== null")
        assert browser.js(CONTRAST) == [True, []]
        browser.js("document.querySelector('#reload').click()")
        assert browser.js(CONTRAST) == [True, []]
        assert browser.js("getComputedStyle(document.body).backgroundColor") == {
            "light": "rgb(238, 240, 242)", "dark": "rgb(16, 19, 22)"}[scheme]  # fmt: skip
        browser.key("Escape")


def test_everything_has_a_name(browser):
    with Page(browser):
        for tab in ("tunnels", "ports", "connections", "clients", "blocked"):
            browser.js(f"document.querySelector('#tab-{tab}').click()")
            assert browser.js(NAMELESS) == []
        browser.js("document.querySelector('#tab-tunnels').click()")
        browser.until("document.querySelectorAll('#table-body tr').length == 3")
        assert browser.js(STRUCTURE) == {
            "lang": "en", "title": True, "h1": 1, "twice": [], "unscoped": 0, "dangling": [], "live": 3, "positive": 0,
            "images": 0}  # fmt: skip
        browser.js("document.querySelector('#table-body button').click()")
        assert browser.js(NAMELESS) == []
        browser.key("Escape")


def test_focus_is_seen_wherever_it_goes(browser):
    with Page(browser):
        way = []
        while True:
            browser.key("Tab")
            outline = browser.js("(s => [s.outlineStyle, parseFloat(s.outlineWidth)])(getComputedStyle(document.activeElement))")
            if browser.js("document.activeElement === document.body") or browser.focus() in way[:1]:
                break
            way.append(browser.focus())
            assert outline[0] == "solid" and outline[1] >= 2, way[-1]
            assert len(way) < 60
        # In the order of reading.
        order = [way.index(name) for name in ("Skip to the tables", "Reload configuration", "Drain data plane 0x3039", "Tunnels",
                                              "Client", "End the tunnel 3039-0-0 of client-0", "Previous page")]  # fmt: skip
        assert order == sorted(order)


@pytest.mark.parametrize("width", [360, 768, 1024, 1440, 2560])
def test_every_width_fits(browser, width):
    browser.size(width, 800)
    with Page(browser, ListTunnels={"tunnels": [tunnel(1, client="w" * 63)]}):
        assert browser.js("document.documentElement.scrollWidth") <= width
        outside = browser.js("[...document.querySelectorAll('main > *, .bar > *')].filter(e => { const r = e.getBoundingClientRect();"
                             f" return r.left < 0 || r.right > {width}; }}).map(e => e.className)")  # fmt: skip
        assert outside == []
        browser.js("document.querySelector('#reload').click()")
        box = browser.js("(r => [r.left, r.right])(document.querySelector('#ask').getBoundingClientRect())")
        assert box[0] >= 0 and box[1] <= width
        browser.key("Escape")


def test_nothing_moves_when_asked_not_to(browser):
    with Page(browser):
        moving = "[...document.querySelectorAll('*')].filter(e => parseFloat(getComputedStyle(e).transitionDuration) > 0).length"
        browser.media(prefers_reduced_motion="no-preference")
        assert browser.js(moving) > 0
        browser.media(prefers_reduced_motion="reduce")
        assert browser.js(moving) == 0
