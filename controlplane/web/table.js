// SPDX-License-Identifier: Apache-2.0
// The table that is shown: a page of it, asked for as it is looked at.

import { Refused, call } from "./api.js";
import { Rows } from "./rows.js";
import { $, make, say } from "./show.js";
import { TABLES } from "./tables.js";
import { isLive } from "./tell.js";

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
document.addEventListener("changed", () => table.soon());
table.open(TABLES[0]);
