// SPDX-License-Identifier: Apache-2.0
// The stream of events, and its state for people to see.

import { Refused, problem, request } from "./api.js";
import { setStream } from "./tell.js";

const SILENCE_MS = 40000; // the stream has a comment each 15 s

let lastId = null;

function onEvent(take, type, data, id) {
	let value;
	try {
		value = JSON.parse(data);
	} catch {
		return;
	}
	if (value === null || typeof value !== "object") return;
	if (/^[0-9]+$/.test(id)) lastId = id;
	take(type, value);
}

// Server-Sent Events, since EventSource cannot send a token. Returns when the stream ends.
async function readStream(body, alive, take) {
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
				if (data.length > 0) onEvent(take, type || "message", data.join("\n"), id);
				[type, data, id] = ["", [], ""];
			} else if (name === "event") type = content;
			else if (name === "data") data.push(content);
			else if (name === "id") id = content;
		}
	}
}

async function followOnce(take) {
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
		document.dispatchEvent(new Event("changed"));
		await readStream(answer.body, alive, take);
	} finally {
		clearTimeout(watch);
	}
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// Each event goes to take(type, data), for as long as the page is open.
export async function follow(take) {
	let wait = 1;
	for (;;) {
		const began = Date.now();
		let reason = "stream ended";
		try {
			await followOnce(take);
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
