// SPDX-License-Identifier: Apache-2.0
// Throughput of the last five minutes.

import { $, bits } from "./show.js";

const HISTORY_S = 300;

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

export function showThroughput(stats) {
	remember(stats);
	drawChart();
	const { in: rateIn, out: rateOut } = history.at(-1);
	$("chart").setAttribute("aria-label", `Throughput of the last five minutes; now ${bits(rateIn)} outside to tunnel, ${bits(rateOut)} tunnel to outside`);
}
