// SPDX-License-Identifier: Apache-2.0
// Requests to the private API, with the token when it wants one.

import { $, say } from "./show.js";
import { setStream } from "./tell.js";

export class Refused extends Error {}

const TOKEN_KEY = "quicport-token";

let token = sessionStorage.getItem(TOKEN_KEY);
let login = null; // a promise while somebody is asked for the token

function headers(more) {
	return token === null ? more : { ...more, Authorization: `Bearer ${token}` };
}

export async function problem(answer) {
	try {
		const p = await answer.json();
		const why = p.detail || p.title || `HTTP ${answer.status}`;
		return p.expected ? `${why}: expected ${p.expected}` : why;
	} catch {
		return `HTTP ${answer.status}`;
	}
}

// Each call waits for the token when one is asked for, and then is made again.
export async function request(path, options) {
	for (;;) {
		if (login !== null) await login;
		const used = token;
		const answer = await fetch(path, { ...options, headers: headers(options.headers), cache: "no-store", redirect: "error" });
		if (answer.status !== 401) return answer;
		if (token === used && login === null) login = askForToken(used !== null);
	}
}

export async function call(name, args = {}) {
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

export const why = (error) => (error instanceof Refused ? error.message : "the gateway does not answer");
