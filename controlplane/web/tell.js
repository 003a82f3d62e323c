// SPDX-License-Identifier: Apache-2.0
// What the page tells by itself: the line below the bar, and the state of the stream.

import { $, say } from "./show.js";

let statusTimer;

export function tell(message, bad = false) {
	const status = $("status");
	clearTimeout(statusTimer);
	say(status, message);
	status.className = bad ? "status bad" : "status";
	if (!bad) statusTimer = setTimeout(() => say(status, ""), 8000);
}

export function setStream(state, words_) {
	$("stream").dataset.state = state;
	say($("stream-text"), words_);
	document.body.classList.toggle("stale", state !== "live");
}

export const isLive = () => $("stream").dataset.state === "live";
