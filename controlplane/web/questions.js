// SPDX-License-Identifier: Apache-2.0
// What an operator may do here, each after a question. "changed" on the document says that it was done.

import { call } from "./api.js";
import { ask } from "./ask.js";
import { $, count } from "./show.js";

const BLOCK_FIELD = {
	id: "block", label: "Keep its address out",
	options: [["", "no"], ["900", "for 15 minutes"], ["3600", "for an hour"], ["86400", "for a day"]],
};

export function askToKick(tunnel) {
	ask({
		title: `End the tunnel of ${tunnel.client}?`,
		body: `Tunnel ${tunnel.tunnel_id}, from ${tunnel.peer}. Its connections are cut. The client may connect again unless its address is kept out.`,
		yes: "End tunnel",
		fields: [{ id: "reason", label: "Reason, told to the client (may be empty)" }, BLOCK_FIELD],
		after: $("tables"),
		act: async ({ reason, block }) => {
			const args = { tunnel_id: tunnel.tunnel_id };
			if (reason.trim()) args.reason = reason.trim();
			if (block) args.block_seconds = Number(block);
			await call("KickTunnel", args);
			document.dispatchEvent(new Event("changed"));
			return `Tunnel ${tunnel.tunnel_id} of ${tunnel.client} is ended.`;
		},
	});
}

export function askToReset(connection) {
	ask({
		title: `Reset the connection of ${connection.remote_addr}?`,
		body: `Connection ${connection.connection_id} of tunnel ${connection.tunnel_id}.`,
		yes: "Reset connection",
		after: $("tables"),
		act: async () => {
			await call("KickConnection", { tunnel_id: connection.tunnel_id, connection_id: connection.connection_id });
			document.dispatchEvent(new Event("changed"));
			return `The connection of ${connection.remote_addr} is reset.`;
		},
	});
}

export function askToBlock() {
	ask({
		title: "Block an address or a network",
		body: "All packets from there are dropped, those of connections that are there now included.",
		yes: "Block",
		first: "source",
		fields: [
			{ id: "source", label: "Address, or network as ADDRESS/BITS", max: 64 },
			{ id: "seconds", label: "For how long", options: [["3600", "an hour"], ["86400", "a day"], ["604800", "a week"], ["", "until it is unblocked"]] },
			{ id: "reason", label: "Reason (may be empty)" },
		],
		after: $("tables"),
		act: async ({ source, seconds, reason }) => {
			const args = { source: source.trim() };
			if (seconds) args.seconds = Number(seconds);
			if (reason.trim()) args.reason = reason.trim();
			await call("BlockSource", args);
			document.dispatchEvent(new Event("changed"));
			return `${args.source} is blocked.`;
		},
	});
}

export function askToUnblock(row) {
	ask({
		title: `Let ${row.source} in again?`,
		body: row.reason ? `It was blocked for this reason: ${row.reason}` : "No reason was given when it was blocked.",
		yes: "Unblock",
		after: $("tables"),
		act: async () => {
			await call("UnblockSource", { source: row.source });
			document.dispatchEvent(new Event("changed"));
			return `${row.source} is no longer blocked.`;
		},
	});
}

export function askToDrain(plane) {
	ask({
		title: `Drain data plane ${plane.dp_id}?`,
		body: `A new data plane takes new tunnels. This one keeps its ${count(plane.active_tunnels)} tunnels and all their connections, and ends with the last of them.`,
		yes: "Drain",
		after: $("planes").closest(".scroll"),
		act: async () => {
			await call("DrainDataPlane", { dp_id: plane.dp_id });
			return `Data plane ${plane.dp_id} is draining.`;
		},
	});
}

export function askToShutDown(plane) {
	ask({
		title: `Shut data plane ${plane.dp_id} down?`,
		body: `Its ${count(plane.active_tunnels)} tunnels and all their connections are cut now. Draining cuts nothing.`,
		yes: "Shut down",
		after: $("planes").closest(".scroll"),
		act: async () => {
			await call("ShutdownDataPlane", { dp_id: plane.dp_id });
			return `Data plane ${plane.dp_id} is ending.`;
		},
	});
}

export function askToReload() {
	ask({
		title: "Read the configuration again?",
		body: "A file that is wrong changes nothing. A good one applies at once: tunnels that it no longer allows end.",
		yes: "Reload",
		after: $("reload"),
		act: async () => {
			const answer = await call("ReloadConfig");
			return answer.detail ? `Reloaded. ${answer.detail}` : "The configuration is reloaded.";
		},
	});
}
