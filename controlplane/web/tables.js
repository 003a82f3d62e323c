// SPDX-License-Identifier: Apache-2.0
// The tables that there are: their calls, columns and filters.

import { askToBlock, askToKick, askToReset, askToUnblock } from "./questions.js";
import { bytes, count, duration, limit, ports, since, text, until, words } from "./show.js";

const KICK = { class: "do", buttons: [{ label: "End", name: (t) => `End the tunnel ${t.tunnel_id} of ${t.client}`, act: askToKick }] };
const RESET = { class: "do", buttons: [{ label: "Reset", name: (c) => `Reset connection ${c.connection_id} of ${c.remote_addr}`, act: askToReset }] };
const UNBLOCK = { class: "do", buttons: [{ label: "Unblock", name: (b) => `Unblock ${b.source}`, act: askToUnblock }] };
const CLIENT = { label: "Client", key: "client", hint: "whole name" };
const PEER = { label: "Address or network", key: "peer", hint: "192.0.2.0/24" };
const PORT = { label: "Port", key: "port", number: true, hint: "9000" };

export const TABLES = [
	{
		id: "tunnels", title: "Tunnels", call: "ListTunnels", rows: "tunnels", key: (t) => t.tunnel_id,
		filters: [CLIENT, PEER], none: "No tunnel is open.",
		columns: [
			{ head: "Client", class: "cut", value: (t) => text(t.client) },
			{ head: "Tunnel", class: "id wide", value: (t) => text(t.tunnel_id) },
			{ head: "From", class: "id", value: (t) => text(t.peer) },
			{ head: "Ports", class: "cut", value: (t) => ports(t.ports) },
			{ head: "Up", class: "n wide", value: (t) => since(t.since) },
			{ head: "RTT", class: "n wide", value: (t) => (typeof t.rtt_us === "number" ? `${(t.rtt_us / 1000).toFixed(1)} ms` : "–") },
			{ head: "Connections", class: "n", value: (t) => count(t.connections) },
			{ head: "In", class: "n", value: (t) => bytes(t.bytes_sent) },
			{ head: "Out", class: "n", value: (t) => bytes(t.bytes_received) },
			KICK,
		],
	},
	{
		id: "ports", title: "Ports", call: "ListPorts", rows: "ports", key: (p) => `${p.port}/${p.protocol}`,
		filters: [CLIENT, PORT], none: "No port is open.",
		columns: [
			{ head: "Port", class: "id", value: (p) => `${p.port}/${p.protocol}` },
			{ head: "State", badge: true, value: (p) => text(p.state) },
			{ head: "Client", class: "cut", value: (p) => text(p.client) },
			{ head: "Tunnel", class: "id wide", value: (p) => text(p.tunnel_id) },
			{ head: "From", class: "id wide", value: (p) => text(p.peer) },
			{ head: "Leads to", class: "cut", value: (p) => text(p.destination) },
			{ head: "Since", class: "n", value: (p) => (p.since ? since(p.since) : "–") },
		],
	},
	{
		id: "connections", title: "Connections", call: "ListConnections", rows: "connections",
		key: (c) => `${c.tunnel_id} ${c.connection_id}`,
		filters: [PORT, PEER, { label: "Tunnel", key: "tunnel_id", hint: "3039-0-1f" }], none: "No connection is open.",
		columns: [
			{ head: "From", class: "id", value: (c) => text(c.remote_addr) },
			{ head: "Port", class: "id", value: (c) => (c.local ? `local, ${c.protocol}` : `${c.port}/${c.protocol}`) },
			{ head: "Client", class: "cut", value: (c) => text(c.client) },
			{ head: "Tunnel", class: "id wide", value: (c) => text(c.tunnel_id) },
			{ head: "Number", class: "n wide", value: (c) => String(c.connection_id) },
			{ head: "Age", class: "n wide", value: (c) => duration(c.age_ms / 1000) },
			{ head: "In", class: "n", value: (c) => bytes(c.bytes_sent) },
			{ head: "Out", class: "n", value: (c) => bytes(c.bytes_received) },
			RESET,
		],
	},
	{
		id: "clients", title: "Clients", call: "ListClients", rows: "clients", key: (c) => c.name,
		filters: [{ label: "Name begins with", key: "prefix", hint: "" }, { label: "Group", key: "group", hint: "whole name" }],
		none: "No client is known.",
		columns: [
			{ head: "Name", class: "cut", value: (c) => text(c.name) },
			{ head: "Group", class: "cut wide", value: (c) => text(c.group) },
			{ head: "By", value: (c) => text(c.kind) },
			{ head: "Tunnels", class: "n", value: (c) => (c.tunnels > 0 ? `${count(c.tunnels_now)} of ${count(c.tunnels)}` : count(c.tunnels_now)) },
			{ head: "May open", class: "cut", value: (c) => words(c.ports) },
			{ head: "Connections", class: "n wide", value: (c) => limit(c.connections) },
			{ head: "New a second", class: "n wide", value: (c) => limit(c.connections_per_second) },
			{ head: "In, bit/s", class: "n wide", value: (c) => limit(c.bandwidth_in) },
			{ head: "Out, bit/s", class: "n wide", value: (c) => limit(c.bandwidth_out) },
			{ head: "Expires in", class: "n wide", value: (c) => until(c.expires) },
			{ head: "Written in", class: "cut wide", value: (c) => text(c.origin) },
		],
	},
	{
		id: "blocked", title: "Blocked", call: "ListBlockedSources", rows: "blocked_sources", key: (b) => b.source,
		filters: [], none: "Nothing is blocked.", button: { label: "Block an address…", act: askToBlock },
		columns: [
			{ head: "Source", class: "id", value: (b) => text(b.source) },
			{ head: "For", class: "n", value: (b) => since(b.since) },
			{ head: "Ends in", class: "n", value: (b) => until(b.expires) },
			{ head: "Reason", class: "cut", value: (b) => text(b.reason) },
			UNBLOCK,
		],
	},
];
