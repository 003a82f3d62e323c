/* SPDX-License-Identifier: Apache-2.0 */
/* Of the private API: dedicated ports. Loop thread. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/nic.h"
#include "controlplane/admin_calls.h"

static json_t *
addresses_of(const struct qp_nic *nic, unsigned port)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < nic->net.naddrs; i++) {
		const struct qp_nic_addr *a = &nic->net.addr[i];
		const bool v4 = IN6_IS_ADDR_V4MAPPED(&a->addr);
		char text[INET6_ADDRSTRLEN], whole[INET6_ADDRSTRLEN + 8];

		if (a->port != port)
			continue;
		inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? a->addr.s6_addr + 12 : a->addr.s6_addr, text,
			sizeof(text));
		snprintf(whole, sizeof(whole), "%s/%u", text, v4 ? a->prefix - 96u : a->prefix);
		json_array_append_new(list, json_string(whole));
	}
	return list;
}

/* Each data plane once; while the queues change hands there may be two, or none. */
static json_t *
pollers_of(const struct qp_nic *nic, unsigned port)
{
	uint32_t seen[QP_NIC_MAX_QUEUES];
	json_t *list = json_array();
	unsigned n = 0;

	for (unsigned q = 0; q < nic->port[port].nrx && q < QP_NIC_MAX_QUEUES; q++) {
		const uint32_t by = __atomic_load_n(&nic->queue[port][q].polled_by, __ATOMIC_RELAXED);
		unsigned k = 0;
		char id[16];

		while (k < n && seen[k] != by)
			k++;
		if (by == 0 || k < n)
			continue;
		seen[n++] = by;
		json_array_append_new(list, json_string(qp_dp_id_format(by, id)));
	}
	return list;
}

static json_t *
row_of(const struct qp_nic *nic, unsigned port)
{
	const struct qp_nic_port *p = &nic->port[port];
	const uint32_t mbps = __atomic_load_n(&p->link_mbps, __ATOMIC_RELAXED);
	char mac[18];
	json_t *row;

	snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", p->mac[0], p->mac[1], p->mac[2],
		p->mac[3], p->mac[4], p->mac[5]);
	row = json_pack("{s:i, s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:o, s:o}", "nic",
		(int)port, "device", p->name, "driver", p->driver, "mac", mac, "link",
		mbps == 0 ? "down" : "up", "mtu", (int)nic->net.link[port].mtu, "vlan",
		(int)nic->net.link[port].vlan, "numa_node", (int)p->socket, "rx_queues", (int)p->nrx,
		"tx_queues", (int)p->ntx, "slots", (int)p->nslots, "addresses",
		addresses_of(nic, port), "polled_by", pollers_of(nic, port));
	/* Up, at a speed that the driver does not tell: no number. */
	if (mbps != UINT32_MAX)
		json_object_set_new(row, "link_mbps", json_integer(mbps));
	return row;
}

void
qp_admin_list_nics(struct qp_admin_call *c)
{
	const struct qp_nic *nic = c->admin->nics != NULL ? c->admin->nics(c->admin->ctx) : NULL;
	const unsigned n = nic != NULL ? nic->nports : 0;
	struct qp_page page;
	unsigned first, last;
	char cursor[16] = "";
	json_t *rows;

	qp_args_page(c->args, &page);
	if (!qp_args_ok(c->args))
		return;
	rows = json_array();
	first = page.cursor != NULL ? (unsigned)strtoul(page.cursor, NULL, 10) : 0;
	last = n < first ? first : n;
	if (last - first > page.limit)
		last = first + page.limit;
	for (unsigned i = first; i < last; i++)
		json_array_append_new(rows, row_of(nic, i));
	snprintf(cursor, sizeof(cursor), "%u", last);
	qp_admin_reply_rows(c->out, "nics", rows, last < n ? cursor : NULL);
}
