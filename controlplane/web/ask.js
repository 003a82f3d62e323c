// SPDX-License-Identifier: Apache-2.0
// A question before something is done.

import { why } from "./api.js";
import { $, make, say } from "./show.js";
import { tell } from "./tell.js";

let asking = null;

// fields: [{id, label, type, value, options}]; act(values) does it, and may throw Refused.
export function ask({ title, body, yes, fields = [], first, act, after }) {
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
