// SPDX-License-Identifier: Apache-2.0
// The gateway's page: draws what the private API says. All text comes in by textContent: a client's
// name may be anything. One stream of events, and one table that is asked for as it is looked at.

const HISTORY_S = 300;
const EVENTS_KEPT = 100;
const SILENCE_MS = 40000; // the stream has a comment each 15 s
const TOKEN_KEY = "quicport-token";

const $ = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
	const node = document.createElement(tag);
	for (const [name, value] of Object.entries(attributes)) {
		if (name === "class") node.className = value;
		else node.setAttribute(name, value);
	}
	node.append(...children);
	return node;
}

function say(node, text) {
	if (node.textContent !== text) node.textContent = text;
}

// ---- numbers for people ----

function short(n, units = ["", "k", "M", "G", "T", "P"]) {
	if (typeof n !== "number" || !Number.isFinite(n)) return "–";
	let u = 0;
	while (n >= 999.5 && u < units.length - 1) {
		n /= 1000;
		u++;
	}
	const digits = u > 0 && n < 9.95 ? 1 : 0;
	return n.toFixed(digits) + (units[u] ? " " + units[u] : "");
}

const bytes = (n) => short(n, ["B", "kB", "MB", "GB", "TB", "PB"]);
const bits = (n) => short(n * 8, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"]);
const count = (n) => (typeof n === "number" ? n.toLocaleString("en").replaceAll(",", "\u202f") : "–");
const limit = (n) => (n > 0 ? short(n) : "–");
const text = (v) => (typeof v === "string" && v !== "" ? v : "–");

function duration(s) {
	if (typeof s !== "number" || !Number.isFinite(s)) return "–";
	s = Math.max(0, Math.floor(s));
	const two = (n) => String(n).padStart(2, "0");
	if (s < 60) return `${s} s`;
	if (s < 3600) return `${Math.floor(s / 60)} m ${two(s % 60)} s`;
	if (s < 86400) return `${Math.floor(s / 3600)} h ${two(Math.floor(s / 60) % 60)} m`;
	return `${Math.floor(s / 86400)} d ${two(Math.floor(s / 3600) % 24)} h`;
}

const since = (t) => duration((Date.now() - Date.parse(t)) / 1000);
const until = (t) => (t ? duration((Date.parse(t) - Date.now()) / 1000) : "–");
const ports = (list) => (Array.isArray(list) && list.length > 0 ? list.map((p) => `${p.port}/${p.protocol}`).join(", ") : "–");
const words = (list) => (Array.isArray(list) && list.length > 0 ? list.join(", ") : "–");

// ---- the API ----

class Refused extends Error {}

let token = sessionStorage.getItem(TOKEN_KEY);
let login = null; // a promise while somebody is asked for the token

function headers(more) {
	return token === null ? more : { ...more, Authorization: `Bearer ${token}` };
}

async function problem(answer) {
	try {
		const p = await answer.json();
		const why = p.detail || p.title || `HTTP ${answer.status}`;
		return p.expected ? `${why}: expected ${p.expected}` : why;
	} catch {
		return `HTTP ${answer.status}`;
	}
}

// Each call waits for the token when one is asked for, and then is made again.
async function request(path, options) {
	for (;;) {
		if (login !== null) await login;
		const used = token;
		const answer = await fetch(path, { ...options, headers: headers(options.headers), cache: "no-store", redirect: "error" });
		if (answer.status !== 401) return answer;
		if (token === used && login === null) login = askForToken(used !== null);
	}
}

async function call(name, args = {}) {
	const answer = await request(`/api/v1/admin/${name}`, {
		method: "POST",
		headers: { "Content-Type": "application/json" },
		body: JSON.stringify(args),
		signal: AbortSignal.timeout(15000),
	});
	if (!answer.ok) throw new Refused(await problem(answer));
	return answer.json();
}

function askForToken(wasWrong) {
	const dialog = $("login");
	sessionStorage.removeItem(TOKEN_KEY);
	setStream("lost", "token needed");
	say($("login-error"), wasWrong ? "The gateway does not take that token." : "");
	$("token").value = "";
	if (!dialog.open) dialog.showModal();
	$("token").focus();
	return new Promise((done) => {
		// The browser lets Esc through in the end.
		const again = () => {
			if (!dialog.open) dialog.showModal();
			$("token").focus();
		};
		const take = (event) => {
			event.preventDefault();
			const value = $("token").value.trim();
			if (!/^[\x21-\x7e]+$/.test(value)) {
				say($("login-error"), "A token is one word of plain characters.");
				return;
			}
			token = value;
			sessionStorage.setItem(TOKEN_KEY, value);
			$("login-form").removeEventListener("submit", take);
			dialog.removeEventListener("close", again);
			dialog.close();
			login = null;
			done();
		};
		$("login-form").addEventListener("submit", take);
		dialog.addEventListener("close", again);
	});
}

$("login").addEventListener("cancel", (event) => event.preventDefault());

// ---- what is told to people ----

let statusTimer;

function tell(message, bad = false) {
	const status = $("status");
	clearTimeout(statusTimer);
	say(status, message);
	status.className = bad ? "status bad" : "status";
	if (!bad) statusTimer = setTimeout(() => say(status, ""), 8000);
}

const why = (error) => (error instanceof Refused ? error.message : "the gateway does not answer");

// ---- a question ----

let asking = null;

// fields: [{id, label, type, value, options}]; act(values) does it, and may throw Refused.
function ask({ title, body, yes, fields = [], first, act, after }) {
	asking = { act, after, back: document.activeElement };
	say($("ask-title"), title);
	say($("ask-text"), body);
	say($("ask-yes"), yes);
	$("ask-yes").className = "danger";
	say($("ask-error"), "");
	$("ask-fields").replaceChildren(...fields.map(makeField));
	$("ask").showModal();
	// A key that is held must not answer yes.
	(first ? $(first) : $("ask-no")).focus();
}

function makeField(f) {
	let input;
	if (f.options) {
		input = make("select", { id: f.id, name: f.id }, ...f.options.map(([value, label]) => make("option", { value }, label)));
	} else {
		input = make("input", { id: f.id, name: f.id, type: "text", autocomplete: "off", maxlength: f.max || 100 });
	}
	return make("div", { class: "field" }, make("label", { for: f.id }, f.label), input);
}

function endAsking() {
	if (asking === null) return;
	const { back, after } = asking;
	asking = null;
	$("ask").close();
	(back && back.isConnected && back.checkVisibility() ? back : after).focus();
}

$("ask-no").addEventListener("click", endAsking);
$("ask").addEventListener("close", () => {
	if (!$("ask").open) endAsking(); // by Esc
});
$("ask-form").addEventListener("submit", async (event) => {
	event.preventDefault();
	const mine = asking, values = Object.fromEntries(new FormData($("ask-form")));
	if (mine === null || mine.busy) return;
	mine.busy = true;
	try {
		tell(await mine.act(values));
		if (asking === mine) endAsking();
	} catch (error) {
		mine.busy = false;
		if (asking === mine) say($("ask-error"), why(error));
		else tell(why(error), true); // the question is closed
	}
});

const BLOCK_FIELD = {
	id: "block", label: "Keep its address out",
	options: [["", "no"], ["900", "for 15 minutes"], ["3600", "for an hour"], ["86400", "for a day"]],
};

function askToKick(tunnel) {
	ask({
		title: `End the tunnel of ${tunnel.client}?`,
		body: `Tunnel ${tunnel.tunnel_id}, from ${tunnel.peer}. Its connections are cut. The client may connect again unless its address is kept out.`,
		yes: "End tunnel",
		fields: [{ id: "reason", label: "Reason, told to the client (may be empty)" }, BLOCK_FIELD],
		after: $("tables"),
		act: async ({ reason, block }) => {
			const args = { tunnel_id: tunnel.tunnel_id };
			if (reason.trim()) args.reason = reason.trim();
			if (block) args.block_seconds = Number(block);
			await call("KickTunnel", args);
			table.soon();
			return `Tunnel ${tunnel.tunnel_id} of ${tunnel.client} is ended.`;
		},
	});
}

function askToReset(connection) {
	ask({
		title: `Reset the connection of ${connection.remote_addr}?`,
		body: `Connection ${connection.connection_id} of tunnel ${connection.tunnel_id}.`,
		yes: "Reset connection",
		after: $("tables"),
		act: async () => {
			await call("KickConnection", { tunnel_id: connection.tunnel_id, connection_id: connection.connection_id });
			table.soon();
			return `The connection of ${connection.remote_addr} is reset.`;
		},
	});
}

function askToBlock() {
	ask({
		title: "Block an address or a network",
		body: "All packets from there are dropped, those of connections that are there now included.",
		yes: "Block",
		first: "source",
		fields: [
			{ id: "source", label: "Address, or network as ADDRESS/BITS", max: 64 },
			{ id: "seconds", label: "For how long", options: [["3600", "an hour"], ["86400", "a day"], ["604800", "a week"], ["", "until it is unblocked"]] },
			{ id: "reason", label: "Reason (may be empty)" },
		],
		after: $("tables"),
		act: async ({ source, seconds, reason }) => {
			const args = { source: source.trim() };
			if (seconds) args.seconds = Number(seconds);
			if (reason.trim()) args.reason = reason.trim();
			await call("BlockSource", args);
			table.soon();
			return `${args.source} is blocked.`;
		},
	});
}

function askToUnblock(row) {
	ask({
		title: `Let ${row.source} in again?`,
		body: row.reason ? `It was blocked for this reason: ${row.reason}` : "No reason was given when it was blocked.",
		yes: "Unblock",
		after: $("tables"),
		act: async () => {
			await call("UnblockSource", { source: row.source });
			table.soon();
			return `${row.source} is no longer blocked.`;
		},
	});
}

function askToDrain(plane) {
	ask({
		title: `Drain data plane ${plane.dp_id}?`,
		body: `A new data plane takes new tunnels. This one keeps its ${count(plane.active_tunnels)} tunnels and all their connections, and ends with the last of them.`,
		yes: "Drain",
		after: $("planes").closest(".scroll"),
		act: async () => {
			await call("DrainDataPlane", { dp_id: plane.dp_id });
			return `Data plane ${plane.dp_id} is draining.`;
		},
	});
}

function askToShutDown(plane) {
	ask({
		title: `Shut data plane ${plane.dp_id} down?`,
		body: `Its ${count(plane.active_tunnels)} tunnels and all their connections are cut now. Draining cuts nothing.`,
		yes: "Shut down",
		after: $("planes").closest(".scroll"),
		act: async () => {
			await call("ShutdownDataPlane", { dp_id: plane.dp_id });
			return `Data plane ${plane.dp_id} is ending.`;
		},
	});
}

$("reload").addEventListener("click", () => ask({
	title: "Read the configuration again?",
	body: "A file that is wrong changes nothing. A good one applies at once: tunnels that it no longer allows end.",
	yes: "Reload",
	after: $("reload"),
	act: async () => {
		const answer = await call("ReloadConfig");
		return answer.detail ? `Reloaded. ${answer.detail}` : "The configuration is reloaded.";
	},
}));

// ---- rows that keep their place, and the focus in them ----

// Brings a tbody to these rows: rows of a known key are changed, not made anew.
class Rows {
	constructor(body, columns, key) {
		this.body = body;
		this.columns = columns;
		this.key = key;
		this.known = new Map();
	}

	show(rows) {
		const before = this.known;
		let at = this.body.firstChild;
		this.known = new Map();
		for (const row of rows) {
			if (row === null || typeof row !== "object") continue;
			const key = this.key(row);
			if (this.known.has(key)) continue;
			const entry = before.get(key) || this.make();
			before.delete(key);
			this.fill(entry, row);
			this.known.set(key, entry);
			if (entry.tr === at) at = at.nextSibling;
			else this.body.insertBefore(entry.tr, at);
		}
		for (const { tr } of before.values()) {
			// The keyboard's place in a row that ends is its table.
			if (tr.contains(document.activeElement)) this.body.closest(".scroll").focus();
			tr.remove();
		}
	}

	make() {
		const entry = { tr: make("tr"), cells: [], row: null };
		this.columns.forEach((column, i) => {
			const cell = i === 0 ? make("th", { scope: "row" }) : make("td");
			cell.className = column.class || "";
			if (column.buttons) {
				for (const button of column.buttons) {
					const node = make("button", { type: "button" }, button.label);
					node.addEventListener("click", () => button.act(entry.row));
					cell.append(node);
				}
			} else if (column.badge || column.share) {
				cell.append(make("span"));
				if (column.share) cell.append(make("progress", { class: "share", max: "1", "aria-hidden": "true" }));
			}
			entry.cells.push(cell);
			entry.tr.append(cell);
		});
		return entry;
	}

	fill(entry, row) {
		entry.row = row;
		this.columns.forEach((column, i) => {
			const cell = entry.cells[i];
			if (column.buttons) {
				column.buttons.forEach((button, n) => {
					const node = cell.children[n], hide = button.when ? !button.when(row) : false;
					if (hide && node === document.activeElement) this.body.closest(".scroll").focus();
					node.hidden = hide;
					node.setAttribute("aria-label", button.name(row));
				});
				return;
			}
			const value = column.value(row);
			if (column.badge) {
				say(cell.firstChild, value);
				cell.firstChild.className = `badge ${/^[A-Za-z]+$/.test(value) ? value : ""}`;
			} else if (column.share) {
				say(cell.firstChild, value);
				cell.lastChild.value = column.share(row);
			} else {
				say(cell, value);
				if (column.class && column.class.includes("cut")) cell.title = value;
			}
		});
	}
}

// ---- data planes, drops ----

const planes = new Rows($("planes"), [
	{ class: "id", value: (p) => text(p.dp_id) },
	{ badge: true, value: (p) => text(p.state) },
	{ class: "n wide", value: (p) => String(p.pid) },
	{ class: "n", value: (p) => count(p.active_tunnels) },
	{ class: "n", value: (p) => bytes(p.bytes_sent) },
	{ class: "n", value: (p) => bytes(p.bytes_received) },
	{ class: "do", buttons: [
		{ label: "Drain", name: (p) => `Drain data plane ${p.dp_id}`, act: askToDrain, when: (p) => p.state === "ACTIVE" },
		{ label: "Shut down", name: (p) => `Shut data plane ${p.dp_id} down`, act: askToShutDown, when: (p) => p.state !== "TERMINATED" },
	] },
], (p) => p.dp_id);

function dropName(reason) {
	return reason.replace(/^drop_/, "").replace(/_drop_/, " ").replaceAll("_", " ");
}

const drops = new Rows($("drops"), [
	{ value: (d) => dropName(d.reason), share: (d) => d.share },
	{ class: "n", value: (d) => count(d.rate) },
	{ class: "n", value: (d) => count(d.total) },
], (d) => d.reason);

let dropsBefore = null;

function showDrops(now, interval) {
	const totals = Object.entries(now || {}).filter(([, n]) => n > 0);
	const most = Math.max(1, ...totals.map(([, n]) => n));
	const rows = totals.map(([reason, total]) => ({
		reason, total, share: total / most,
		rate: dropsBefore === null ? 0 : Math.max(0, Math.round((total - (dropsBefore[reason] || 0)) * 1000 / Math.max(interval, 1))),
	}));
	rows.sort((a, b) => b.total - a.total || (a.reason < b.reason ? -1 : 1));
	drops.show(rows);
	$("drops-none").hidden = rows.length > 0;
	$("drops-table").hidden = rows.length === 0;
	dropsBefore = now || {};
}

// ---- throughput ----

const history = []; // {t, in, out}, a second each; in null: the stream was cut

function niceTop(n) {
	const unit = 10 ** Math.floor(Math.log10(Math.max(n, 1000)));
	return [1, 2, 4, 5, 8, 10].map((k) => k * unit).find((top) => top >= n);
}

const svg = (tag, attributes) => {
	const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
	for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
	return node;
};

function linePath(points) {
	let path = "", pen = false;
	for (const point of points) {
		if (point === null) {
			pen = false;
			continue;
		}
		path += `${pen ? "L" : "M"}${point[0].toFixed(1)} ${point[1].toFixed(1)}`;
		pen = true;
	}
	return path;
}

function areaPath(points, floor) {
	let path = "", run = [];
	for (const point of [...points, null]) {
		if (point !== null) {
			run.push(point);
			continue;
		}
		if (run.length > 1) path += `${linePath(run)}L${run.at(-1)[0].toFixed(1)} ${floor}L${run[0][0].toFixed(1)} ${floor}Z`;
		run = [];
	}
	return path;
}

function drawChart() {
	const chart = $("chart"), width = chart.clientWidth, height = chart.clientHeight;
	if (width === 0 || height === 0) return;
	const floor = height - 18, roof = 8, now = history.length > 0 ? history.at(-1).t : 0;
	const top = niceTop(8 * Math.max(0, ...history.map((h) => Math.max(h.in ?? 0, h.out ?? 0)))) / 8;
	const x = (t) => width - (now - t) * width / HISTORY_S;
	const y = (v) => floor - v * (floor - roof) / top;
	const points = (key) => history.map((h) => (h[key] === null ? null : [x(h.t), y(h[key])]));
	const nodes = [], labels = [];
	for (const share of [0, 0.25, 0.5, 0.75, 1]) {
		const line = Math.round(y(top * share)) + 0.5;
		nodes.push(svg("line", { class: "grid", x1: 0, x2: width, y1: line, y2: line }));
		if (share === 0.5 || share === 1) {
			const label = svg("text", { x: 2, y: line + 12 });
			label.textContent = bits(top * share);
			labels.push(label);
		}
	}
	const minutes = HISTORY_S / 60;
	for (let m = 0; m <= minutes; m += width < 500 ? 5 : 1) {
		const label = svg("text", { x: width - m * width / minutes, y: height - 4, "text-anchor": m === 0 ? "end" : m === minutes ? "start" : "middle" });
		label.textContent = m === 0 ? "now" : `−${m} min`;
		nodes.push(label);
	}
	nodes.push(svg("path", { class: "area", d: areaPath(points("in"), floor) }));
	nodes.push(svg("path", { class: "line in", d: linePath(points("in")) }));
	nodes.push(svg("path", { class: "line out", d: linePath(points("out")) }), ...labels);
	chart.setAttribute("viewBox", `0 0 ${width} ${height}`);
	chart.replaceChildren(...nodes);
}

new ResizeObserver(drawChart).observe($("chart"));

function remember(stats) {
	const t = stats.time_ms / 1000, last = history.at(-1);
	if (last && t - last.t > 5) history.push({ t: t - 1, in: null, out: null });
	history.push({ t, in: Number(stats.rates.bytes_sent) || 0, out: Number(stats.rates.bytes_received) || 0 });
	while (history.length > 0 && (history[0].t < t - HISTORY_S || history.length > 2 * HISTORY_S)) history.shift();
	if (last && t < last.t) history.splice(0, history.length - 1); // its clock went back
}

function showStats(stats) {
	const rates = stats.rates || {}, totals = stats.totals || {};
	say($("rate-in"), bits(rates.bytes_sent));
	say($("rate-out"), bits(rates.bytes_received));
	say($("uptime"), duration(stats.uptime_s));
	say($("n-tunnels"), count(stats.tunnels));
	say($("n-connections"), count(stats.connections));
	say($("n-ports"), count(stats.ports));
	say($("n-new"), `${short(rates.connections)}/s`);
	say($("n-packets-in"), `${short(rates.packets_in)}/s`);
	say($("n-packets-out"), `${short(rates.packets_out)}/s`);
	say($("n-refused"), count(totals.connections_refused));
	say($("n-auth"), count(totals.auth_failed));
	planes.show(Array.isArray(stats.data_planes) ? stats.data_planes : []);
	showDrops(stats.drops, stats.interval_ms);
	remember(stats);
	drawChart();
	const { in: rateIn, out: rateOut } = history.at(-1);
	$("chart").setAttribute("aria-label", `Throughput of the last five minutes; now ${bits(rateIn)} outside to tunnel, ${bits(rateOut)} tunnel to outside`);
}

// ---- recent events ----

const KINDS = {
	tunnel_opened: ["Tunnel opened", "good", (e) => `${e.client} from ${e.peer}`],
	tunnel_closed: ["Tunnel closed", "", (e) => [`${e.client} from ${e.peer}`, e.reason].filter(Boolean).join(": ")],
	port_opened: ["Port opened", "good", (e) => `${e.port}/${e.protocol} for ${e.client}`],
	port_closed: ["Port closed", "", (e) => `${e.port}/${e.protocol} of ${e.client}`],
	auth_failed: ["Sign-in failed", "bad", (e) => `${e.client ? e.client + ", " : ""}${e.peer}: ${e.reason}`],
	data_plane: ["Data plane", "", (e) => `${e.dp_id} is ${e.state}`],
	config: ["Configuration", "", (e) => [e.status, e.detail].filter(Boolean).join(": ")],
	policy: ["Policy", "", (e) => [String(e.action).replaceAll("_", " "), e.client, e.source].filter(Boolean).join(" ")],
	lost: ["Events lost", "bad", () => "some were no longer kept when this page came back"],
};

let waiting = []; // events that are not drawn yet

function addEvent(type, data) {
	if (!Object.hasOwn(KINDS, type)) return;
	if (waiting.length === 0) setTimeout(drawEvents, 100);
	waiting.push([type, data]);
	if (waiting.length > EVENTS_KEPT) waiting.shift();
}

function drawEvents() {
	const list = $("events");
	for (const [type, data] of waiting) {
		const [title, mood, describe] = KINDS[type];
		const when = new Date(typeof data.time_ms === "number" ? data.time_ms : Date.now());
		const bad = mood === "bad" || (type === "config" && data.status === "failed");
		list.prepend(make("li", { class: bad ? "bad" : mood },
			make("time", { datetime: when.toISOString() }, when.toTimeString().slice(0, 8)),
			make("span", { class: "what" }, make("span", { class: "kind" }, title), " ", describe(data))));
	}
	waiting = [];
	while (list.children.length > EVENTS_KEPT) list.lastChild.remove();
	$("events-none").hidden = list.children.length > 0;
}

// ---- the stream ----

function setStream(state, words_) {
	$("stream").dataset.state = state;
	say($("stream-text"), words_);
	document.body.classList.toggle("stale", state !== "live");
}

const isLive = () => $("stream").dataset.state === "live";

let lastId = null;

function onEvent(type, data, id) {
	let value;
	try {
		value = JSON.parse(data);
	} catch {
		return;
	}
	if (value === null || typeof value !== "object") return;
	if (/^[0-9]+$/.test(id)) lastId = id;
	if (type === "stats") {
		if (typeof value.time_ms === "number" && value.rates) showStats(value);
		return;
	}
	addEvent(type, value);
	if (/^(tunnel|port|policy)/.test(type)) table.soon();
}

// Server-Sent Events, since EventSource cannot send a token. Returns when the stream ends.
async function readStream(body, alive) {
	const reader = body.pipeThrough(new TextDecoderStream()).getReader();
	let rest = "", type = "", data = [], id = "";
	for (;;) {
		const { value, done } = await reader.read();
		if (done) return;
		alive();
		const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
		rest = lines.pop();
		if (rest.length > 1 << 20) throw new Error("a line without an end");
		for (const line of lines) {
			const [, name, content] = /^([^:]*):? ?(.*)$/s.exec(line);
			if (line === "") {
				if (data.length > 0) onEvent(type || "message", data.join("\n"), id);
				[type, data, id] = ["", [], ""];
			} else if (name === "event") type = content;
			else if (name === "data") data.push(content);
			else if (name === "id") id = content;
		}
	}
}

async function followOnce() {
	const stop = new AbortController();
	let watch = setTimeout(() => stop.abort(), SILENCE_MS);
	const alive = () => {
		clearTimeout(watch);
		watch = setTimeout(() => stop.abort(), SILENCE_MS);
	};
	try {
		const more = lastId === null ? {} : { "Last-Event-ID": lastId };
		const answer = await request("/api/v1/events", { headers: { Accept: "text/event-stream", ...more }, signal: stop.signal });
		if (!answer.ok || !(answer.headers.get("Content-Type") || "").startsWith("text/event-stream")) throw new Refused(await problem(answer));
		setStream("live", "live");
		table.soon();
		await readStream(answer.body, alive);
	} finally {
		clearTimeout(watch);
	}
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

async function follow() {
	let wait = 1;
	for (;;) {
		const began = Date.now();
		let reason = "stream ended";
		try {
			await followOnce();
		} catch (error) {
			reason = error instanceof Refused ? error.message : "gateway does not answer";
		}
		if (Date.now() - began > 10000) wait = 1;
		for (let left = wait; left > 0; left--) {
			setStream("lost", `${reason}; next try in ${left} s`);
			await sleep(1000);
		}
		setStream("connecting", "connecting");
		wait = Math.min(2 * wait, 15);
	}
}

// ---- the table ----

const KICK = { class: "do", buttons: [{ label: "End", name: (t) => `End the tunnel ${t.tunnel_id} of ${t.client}`, act: askToKick }] };
const RESET = { class: "do", buttons: [{ label: "Reset", name: (c) => `Reset connection ${c.connection_id} of ${c.remote_addr}`, act: askToReset }] };
const UNBLOCK = { class: "do", buttons: [{ label: "Unblock", name: (b) => `Unblock ${b.source}`, act: askToUnblock }] };
const CLIENT = { label: "Client", key: "client", hint: "whole name" };
const PEER = { label: "Address or network", key: "peer", hint: "192.0.2.0/24" };
const PORT = { label: "Port", key: "port", number: true, hint: "9000" };

const TABLES = [
	{
		id: "tunnels", title: "Tunnels", call: "ListTunnels", rows: "tunnels", key: (t) => t.tunnel_id,
		filters: [CLIENT, PEER], none: "No tunnel is open.",
		columns: [
			{ head: "Client", class: "cut", value: (t) => text(t.client) },
			{ head: "Tunnel", class: "id wide", value: (t) => text(t.tunnel_id) },
			{ head: "From", class: "id", value: (t) => text(t.peer) },
			{ head: "Ports", class: "cut", value: (t) => ports(t.ports) },
			{ head: "Up", class: "n wide", value: (t) => since(t.since) },
			{ head: "RTT", class: "n wide", value: (t) => (typeof t.rtt_us === "number" ? `${(t.rtt_us / 1000).toFixed(1)} ms` : "–") },
			{ head: "Connections", class: "n", value: (t) => count(t.connections) },
			{ head: "In", class: "n", value: (t) => bytes(t.bytes_sent) },
			{ head: "Out", class: "n", value: (t) => bytes(t.bytes_received) },
			KICK,
		],
	},
	{
		id: "ports", title: "Ports", call: "ListPorts", rows: "ports", key: (p) => `${p.port}/${p.protocol}`,
		filters: [CLIENT, PORT], none: "No port is open.",
		columns: [
			{ head: "Port", class: "id", value: (p) => `${p.port}/${p.protocol}` },
			{ head: "State", badge: true, value: (p) => text(p.state) },
			{ head: "Client", class: "cut", value: (p) => text(p.client) },
			{ head: "Tunnel", class: "id wide", value: (p) => text(p.tunnel_id) },
			{ head: "From", class: "id wide", value: (p) => text(p.peer) },
			{ head: "Leads to", class: "cut", value: (p) => text(p.destination) },
			{ head: "Since", class: "n", value: (p) => (p.since ? since(p.since) : "–") },
		],
	},
	{
		id: "connections", title: "Connections", call: "ListConnections", rows: "connections",
		key: (c) => `${c.tunnel_id} ${c.connection_id}`,
		filters: [PORT, PEER, { label: "Tunnel", key: "tunnel_id", hint: "3039-0-1f" }], none: "No connection is open.",
		columns: [
			{ head: "From", class: "id", value: (c) => text(c.remote_addr) },
			{ head: "Port", class: "id", value: (c) => (c.local ? `local, ${c.protocol}` : `${c.port}/${c.protocol}`) },
			{ head: "Client", class: "cut", value: (c) => text(c.client) },
			{ head: "Tunnel", class: "id wide", value: (c) => text(c.tunnel_id) },
			{ head: "Number", class: "n wide", value: (c) => String(c.connection_id) },
			{ head: "Age", class: "n wide", value: (c) => duration(c.age_ms / 1000) },
			{ head: "In", class: "n", value: (c) => bytes(c.bytes_sent) },
			{ head: "Out", class: "n", value: (c) => bytes(c.bytes_received) },
			RESET,
		],
	},
	{
		id: "clients", title: "Clients", call: "ListClients", rows: "clients", key: (c) => c.name,
		filters: [{ label: "Name begins with", key: "prefix", hint: "" }, { label: "Group", key: "group", hint: "whole name" }],
		none: "No client is known.",
		columns: [
			{ head: "Name", class: "cut", value: (c) => text(c.name) },
			{ head: "Group", class: "cut wide", value: (c) => text(c.group) },
			{ head: "By", value: (c) => text(c.kind) },
			{ head: "Tunnels", class: "n", value: (c) => (c.tunnels > 0 ? `${count(c.tunnels_now)} of ${count(c.tunnels)}` : count(c.tunnels_now)) },
			{ head: "May open", class: "cut", value: (c) => words(c.ports) },
			{ head: "Connections", class: "n wide", value: (c) => limit(c.connections) },
			{ head: "New a second", class: "n wide", value: (c) => limit(c.connections_per_second) },
			{ head: "In, bit/s", class: "n wide", value: (c) => limit(c.bandwidth_in) },
			{ head: "Out, bit/s", class: "n wide", value: (c) => limit(c.bandwidth_out) },
			{ head: "Expires in", class: "n wide", value: (c) => until(c.expires) },
			{ head: "Written in", class: "cut wide", value: (c) => text(c.origin) },
		],
	},
	{
		id: "blocked", title: "Blocked", call: "ListBlockedSources", rows: "blocked_sources", key: (b) => b.source,
		filters: [], none: "Nothing is blocked.", button: { label: "Block an address…", act: askToBlock },
		columns: [
			{ head: "Source", class: "id", value: (b) => text(b.source) },
			{ head: "For", class: "n", value: (b) => since(b.since) },
			{ head: "Ends in", class: "n", value: (b) => until(b.expires) },
			{ head: "Reason", class: "cut", value: (b) => text(b.reason) },
			UNBLOCK,
		],
	},
];

class Table {
	constructor() {
		this.spec = null;
		this.asked = 0; // counts questions: an answer to an older one is late
		this.timer = null;
		this.last = 0; // when it was asked last
		this.flying = 0;
		this.again = false;
		setInterval(() => this.soon(), 2000);
	}

	open(spec) {
		this.spec = spec;
		this.args = {};
		for (const tab of $("tabs").children) {
			const mine = tab.id === `tab-${spec.id}`;
			tab.setAttribute("aria-selected", String(mine));
			tab.tabIndex = mine ? 0 : -1;
		}
		$("table-panel").setAttribute("aria-labelledby", `tab-${spec.id}`);
		$("table-scroll").setAttribute("aria-label", spec.title);
		say($("table-caption"), spec.title);
		$("table-head").replaceChildren(...spec.columns.map((c) => {
			const head = make("th", { scope: "col", class: (c.class || "").split(" ").filter((name) => name === "n" || name === "wide").join(" ") });
			head.append(c.head || make("span", { class: "unseen" }, "Actions"));
			return head;
		}));
		$("table-body").replaceChildren();
		this.rows = new Rows($("table-body"), spec.columns, spec.key);
		$("filters").replaceChildren(...spec.filters.map((f) => make("div", { class: "field" },
			make("label", { for: `filter-${f.key}` }, f.label),
			make("input", { id: `filter-${f.key}`, name: f.key, type: "search", autocomplete: "off", spellcheck: "false",
				placeholder: f.hint, maxlength: 64 }))));
		if (spec.button) {
			const button = make("button", { type: "button" }, spec.button.label);
			button.addEventListener("click", spec.button.act);
			$("filters").append(button);
		}
		$("table-none").hidden = true;
		this.first();
	}

	first() {
		this.cursors = [null];
		this.ask();
	}

	filter() {
		this.args = {};
		for (const f of this.spec.filters) {
			const value = $(`filter-${f.key}`).value.trim();
			if (value === "") continue;
			this.args[f.key] = f.number && /^[0-9]{1,9}$/.test(value) ? Number(value) : value;
		}
		this.first();
	}

	// Asks again in a moment: many events are one question.
	soon() {
		if (this.timer !== null || document.hidden || !isLive()) return;
		if (this.flying > 0) { // a slow gateway is not asked twice
			this.again = true;
			return;
		}
		this.timer = setTimeout(() => {
			this.timer = null;
			this.ask();
		}, Math.max(150, this.last + 700 - Date.now()));
	}

	async ask() {
		const mine = ++this.asked, spec = this.spec, cursor = this.cursors.at(-1);
		const args = { ...this.args, limit: Number($("page-size").value) };
		if (cursor !== null) args.cursor = cursor;
		this.last = Date.now();
		this.flying++;
		try {
			const answer = await call(spec.call, args);
			if (mine === this.asked) this.show(answer);
		} catch (error) {
			if (mine === this.asked && error instanceof Refused) this.refuse(error.message);
		} finally {
			this.flying--;
		}
		if (this.again && this.flying === 0) {
			this.again = false;
			this.soon();
		}
	}

	show(answer) {
		const rows = Array.isArray(answer[this.spec.rows]) ? answer[this.spec.rows].filter((r) => r !== null && typeof r === "object") : [];
		const filtered = Object.keys(this.args).length > 0, page = this.cursors.length;
		if (rows.length === 0 && page > 1) { // what was there has ended
			this.cursors.pop();
			this.ask();
			return;
		}
		this.next = typeof answer.next_cursor === "string" ? answer.next_cursor : null;
		this.rows.show(rows);
		this.invalid(false);
		$("table").hidden = rows.length === 0;
		$("table-none").hidden = rows.length > 0;
		say($("table-none"), filtered ? "Nothing fits this filter." : this.spec.none);
		$("page-back").setAttribute("aria-disabled", String(page === 1));
		$("page-on").setAttribute("aria-disabled", String(this.next === null));
		say($("page-text"), rows.length === 0 ? "" : `Page ${page}, ${rows.length} row${rows.length === 1 ? "" : "s"}`);
	}

	refuse(message) {
		this.rows.show([]);
		this.invalid(true);
		$("table").hidden = true;
		$("table-none").hidden = false;
		say($("table-none"), message);
		say($("page-text"), "");
		this.next = null;
		for (const id of ["page-back", "page-on"]) $(id).setAttribute("aria-disabled", "true");
	}

	invalid(is) {
		for (const input of $("filters").querySelectorAll("input")) input.setAttribute("aria-invalid", String(is && input.value !== ""));
	}

	turn(on) {
		if (on && this.next) this.cursors.push(this.next);
		else if (!on && this.cursors.length > 1) this.cursors.pop();
		else return;
		$("table-scroll").scrollTop = 0;
		this.ask();
	}
}

const table = new Table();

$("page-on").addEventListener("click", () => table.turn(true));
$("page-back").addEventListener("click", () => table.turn(false));
$("page-size").addEventListener("change", () => table.first());
$("filters").addEventListener("submit", (event) => {
	event.preventDefault();
	table.filter();
});
let typing;
$("filters").addEventListener("input", () => {
	clearTimeout(typing);
	typing = setTimeout(() => table.filter(), 300);
});

for (const spec of TABLES) {
	const tab = make("button", { type: "button", role: "tab", id: `tab-${spec.id}`, "aria-controls": "table-panel" }, spec.title);
	tab.addEventListener("click", () => table.open(spec));
	$("tabs").append(tab);
}
$("tabs").addEventListener("keydown", (event) => {
	const tabs = [...$("tabs").children], at = tabs.indexOf(document.activeElement);
	const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
	if (at < 0 || to === undefined) return;
	event.preventDefault();
	const tab = tabs[(to + tabs.length) % tabs.length];
	tab.focus();
	tab.click();
});
document.addEventListener("visibilitychange", () => table.soon());

say($("host"), location.host);
table.open(TABLES[0]);
follow();
