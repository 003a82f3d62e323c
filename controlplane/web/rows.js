// SPDX-License-Identifier: Apache-2.0
// Table rows that keep their place, and the keyboard's focus in them.

import { make, say } from "./show.js";

// Brings a tbody to these rows: rows of a known key are changed, not made anew.
export class Rows {
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
