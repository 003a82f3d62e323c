// SPDX-License-Identifier: Apache-2.0
// The list of recent events.

import { $, make } from "./show.js";

const EVENTS_KEPT = 100;

const KINDS = {
	tunnel_opened: ["Tunnel opened", "good", (e) => `${e.client} from ${e.peer}`],
	tunnel_closed: ["Tunnel closed", "", (e) => [`${e.client} from ${e.peer}`, e.reason].filter(Boolean).join(": ")],
	port_opened: ["Port opened", "good", (e) => `${e.port}/${e.protocol} for ${e.client}`],
	port_closed: ["Port closed", "", (e) => `${e.port}/${e.protocol} of ${e.client}`],
	auth_failed: ["Sign-in failed", "bad", (e) => `${e.client ? e.client + ", " : ""}${e.peer}: ${e.reason}`],
	data_plane: ["Data plane", "", (e) => `${e.dp_id} is ${e.state}`],
	port_owner: ["Port owner", "bad", (e) => [`it is ${e.state}`, e.how].filter(Boolean).join(": ")],
	config: ["Configuration", "", (e) => [e.status, e.detail].filter(Boolean).join(": ")],
	policy: ["Policy", "", (e) => [String(e.action).replaceAll("_", " "), e.client, e.source].filter(Boolean).join(" ")],
	lost: ["Events lost", "bad", () => "some were no longer kept when this page came back"],
};

let waiting = []; // events that are not drawn yet

export function addEvent(type, data) {
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
