// SPDX-License-Identifier: Apache-2.0
// Elements, and values for people. All text comes in by textContent: a client's name may be anything.

export const $ = (id) => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
	const node = document.createElement(tag);
	for (const [name, value] of Object.entries(attributes)) {
		if (name === "class") node.className = value;
		else node.setAttribute(name, value);
	}
	node.append(...children);
	return node;
}

export function say(node, text) {
	if (node.textContent !== text) node.textContent = text;
}

export function short(n, units = ["", "k", "M", "G", "T", "P"]) {
	if (typeof n !== "number" || !Number.isFinite(n)) return "–";
	let u = 0;
	while (n >= 999.5 && u < units.length - 1) {
		n /= 1000;
		u++;
	}
	const digits = u > 0 && n < 9.95 ? 1 : 0;
	return n.toFixed(digits) + (units[u] ? " " + units[u] : "");
}

export const bytes = (n) => short(n, ["B", "kB", "MB", "GB", "TB", "PB"]);
export const bits = (n) => short(n * 8, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"]);
export const count = (n) => (typeof n === "number" ? n.toLocaleString("en").replaceAll(",", "\u202f") : "–");
export const limit = (n) => (n > 0 ? short(n) : "–");
export const text = (v) => (typeof v === "string" && v !== "" ? v : "–");

export function duration(s) {
	if (typeof s !== "number" || !Number.isFinite(s)) return "–";
	s = Math.max(0, Math.floor(s));
	const two = (n) => String(n).padStart(2, "0");
	if (s < 60) return `${s} s`;
	if (s < 3600) return `${Math.floor(s / 60)} m ${two(s % 60)} s`;
	if (s < 86400) return `${Math.floor(s / 3600)} h ${two(Math.floor(s / 60) % 60)} m`;
	return `${Math.floor(s / 86400)} d ${two(Math.floor(s / 3600) % 24)} h`;
}

export const since = (t) => duration((Date.now() - Date.parse(t)) / 1000);
export const until = (t) => (t ? duration((Date.parse(t) - Date.now()) / 1000) : "–");
export const ports = (list) => (Array.isArray(list) && list.length > 0 ? list.map((p) => `${p.port}/${p.protocol}`).join(", ") : "–");
export const words = (list) => (Array.isArray(list) && list.length > 0 ? list.join(", ") : "–");
