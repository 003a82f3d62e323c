/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rte_flow rules for forwarded ports: destination port of TCP or UDP, of both IP versions,
 * to a queue. What a device can is found out by asking it. The port owner's main thread.
 */
#define QP_LOG_MODULE QP_LOG_M_process
#include "dataplane/nic/port_flow.h"

#include <rte_byteorder.h>
#include <rte_flow.h>
#include <stdlib.h>

#include "common/log.h"

#define NONE     0xffu
#define FAMILIES 2u

/* Of one forwarded port. */
struct rule {
	struct rte_flow *flow[FAMILIES];
	uint16_t port;
	uint8_t proto; /* QP_NIC_TCP or QP_NIC_UDP */
	uint8_t queue;
};

struct qp_port_flow {
	const struct qp_nic_port *port;
	bool full; /* it refused one: what it has stays right, more is not asked for */
	unsigned n;
	struct rule rule[QP_PORT_FLOW_RULES];
	uint16_t at[QP_NIC_NPROTOCOLS][65536]; /* 1 + its index in `rule`; 0: it has none */
};

/* The rule in DPDK's words. Life: a call's. */
struct words {
	struct rte_flow_attr attr;
	struct rte_flow_item_tcp tcp, tcp_mask;
	struct rte_flow_item_udp udp, udp_mask;
	struct rte_flow_action_queue queue;
	struct rte_flow_item item[4];
	struct rte_flow_action action[2];
};

static void
spell(struct words *w, unsigned proto, uint16_t port, uint16_t queue, unsigned family)
{
	const rte_be16_t be = rte_cpu_to_be_16(port);

	*w = (struct words) {.attr = {.ingress = 1},
		.tcp.hdr.dst_port = be,
		.tcp_mask.hdr.dst_port = UINT16_MAX,
		.udp.hdr.dst_port = be,
		.udp_mask.hdr.dst_port = UINT16_MAX,
		.queue.index = queue};
	w->item[0].type = RTE_FLOW_ITEM_TYPE_ETH;
	w->item[1].type = family == 0 ? RTE_FLOW_ITEM_TYPE_IPV4 : RTE_FLOW_ITEM_TYPE_IPV6;
	if (proto == QP_NIC_TCP)
		w->item[2] = (struct rte_flow_item) {.type = RTE_FLOW_ITEM_TYPE_TCP, .spec = &w->tcp,
			.mask = &w->tcp_mask};
	else
		w->item[2] = (struct rte_flow_item) {.type = RTE_FLOW_ITEM_TYPE_UDP, .spec = &w->udp,
			.mask = &w->udp_mask};
	w->item[3].type = RTE_FLOW_ITEM_TYPE_END;
	w->action[0] = (struct rte_flow_action) {.type = RTE_FLOW_ACTION_TYPE_QUEUE, .conf = &w->queue};
	w->action[1].type = RTE_FLOW_ACTION_TYPE_END;
}

static bool
can(const struct qp_nic_port *port, unsigned proto, unsigned family)
{
	struct rte_flow_error why;
	struct words w;

	spell(&w, proto, 1, (uint16_t)(port->nrx - 1), family);
	return rte_flow_validate(port->port_id, &w.attr, w.item, w.action, &why) == 0;
}

struct qp_port_flow *
qp_port_flow_new(const struct qp_nic_port *port)
{
	struct qp_port_flow *f;

	if (port->nrx < 2 || port->nrx > QP_NIC_MAX_QUEUES)
		return NULL;
	for (unsigned proto = 0; proto < QP_NIC_NPROTOCOLS; proto++)
		for (unsigned family = 0; family < FAMILIES; family++)
			if (!can(port, proto, family))
				return NULL;
	f = calloc(1, sizeof(*f));
	if (f != NULL)
		f->port = port;
	return f;
}

static void
undo(const struct qp_port_flow *f, struct rule *r)
{
	struct rte_flow_error why;

	for (unsigned family = 0; family < FAMILIES; family++) {
		if (r->flow[family] != NULL && rte_flow_destroy(f->port->port_id, r->flow[family], &why) != 0)
			qp_log(QP_LOG_DEBUG, "a device keeps a rule", QP_LOG_STR("port", f->port->name));
		r->flow[family] = NULL;
	}
}

/* The last one takes its place. */
static void
drop_rule(struct qp_port_flow *f, struct rule *r)
{
	struct rule *last = &f->rule[--f->n];

	undo(f, r);
	f->at[r->proto][r->port] = 0;
	if (r == last)
		return;
	*r = *last;
	f->at[r->proto][r->port] = (uint16_t)(r - f->rule + 1);
}

static void
make_rule(struct qp_port_flow *f, unsigned proto, uint16_t port, uint8_t queue)
{
	struct rule *r = &f->rule[f->n];
	struct rte_flow_error why;
	struct words w;

	*r = (struct rule) {.port = port, .proto = (uint8_t)proto, .queue = queue};
	for (unsigned family = 0; family < FAMILIES && !f->full; family++) {
		spell(&w, proto, port, queue, family);
		r->flow[family] = rte_flow_create(f->port->port_id, &w.attr, w.item, w.action, &why);
		f->full = r->flow[family] == NULL;
	}
	if (f->full) {
		undo(f, r);
		qp_log(QP_LOG_INFO, "a device takes no more rules: packets of other ports are handed over",
			QP_LOG_STR("port", f->port->name), QP_LOG_U64("rules", f->n * FAMILIES));
		return;
	}
	f->at[proto][port] = (uint16_t)++f->n;
}

/* The queue that the port's worker polls; NONE: it needs no rule. */
static uint8_t
wanted(const struct qp_port_flow *f, const struct qp_nic *nic, unsigned proto, uint32_t port)
{
	const uint32_t owner = __atomic_load_n(&nic->owner[proto][port], __ATOMIC_RELAXED);
	const uint32_t worker = QP_NIC_OWNER_WORKER(owner);

	if (owner == 0 || QP_NIC_OWNER_SERVER(owner) != __atomic_load_n(&nic->holder, __ATOMIC_RELAXED) ||
		worker >= f->port->nrx)
		return NONE;
	return (uint8_t)worker;
}

bool
qp_port_flow_turn(struct qp_port_flow *f, const struct qp_nic *nic)
{
	unsigned did = 0;

	for (unsigned proto = 0; proto < QP_NIC_NPROTOCOLS; proto++) {
		for (uint32_t port = 0; port < 65536; port++) {
			const uint8_t queue = wanted(f, nic, proto, port);
			const uint16_t at = f->at[proto][port];
			const uint8_t has = at != 0 ? f->rule[at - 1].queue : NONE;

			if (queue == has || (has == NONE && (f->full || f->n == QP_PORT_FLOW_RULES)))
				continue;
			if (did++ == QP_PORT_FLOW_TURN)
				return true;
			if (has != NONE)
				drop_rule(f, &f->rule[at - 1]);
			if (queue != NONE && !f->full)
				make_rule(f, proto, (uint16_t)port, queue);
		}
	}
	return false;
}

unsigned
qp_port_flow_count(const struct qp_port_flow *f)
{
	return f->n;
}

void
qp_port_flow_free(struct qp_port_flow *f)
{
	if (f == NULL)
		return;
	while (f->n > 0)
		drop_rule(f, &f->rule[f->n - 1]);
	free(f);
}
