// SPDX-License-Identifier: Apache-2.0
// What a stats event says: figures, data planes, dropped packets.

import { showThroughput } from "./chart.js";
import { askToDrain, askToShutDown } from "./questions.js";
import { Rows } from "./rows.js";
import { $, bits, bytes, count, duration, say, short, text } from "./show.js";

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

export function showStats(stats) {
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
	showThroughput(stats);
}
