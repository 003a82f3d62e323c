/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules for forwarded ports, at a device of the linker's making: the test has its
 * rte_flow_validate, rte_flow_create and rte_flow_destroy.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <rte_flow.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/nic/port_flow.h"

#define HOLDER 7u
#define MAX    64u

int __wrap_rte_flow_validate(uint16_t port_id, const struct rte_flow_attr *attr,
	const struct rte_flow_item pattern[], const struct rte_flow_action actions[],
	struct rte_flow_error *error);
struct rte_flow *__wrap_rte_flow_create(uint16_t port_id, const struct rte_flow_attr *attr,
	const struct rte_flow_item pattern[], const struct rte_flow_action actions[],
	struct rte_flow_error *error);
int __wrap_rte_flow_destroy(uint16_t port_id, struct rte_flow *flow, struct rte_flow_error *error);

/* What the device has. */
struct made {
	bool used, v6, udp;
	uint16_t port, queue;
};

static struct made device[MAX];
static unsigned room = MAX;
static enum rte_flow_item_type refuses = RTE_FLOW_ITEM_TYPE_END; /* END: takes all */
static struct qp_nic *nic;
static struct qp_port_flow *flow;

static bool
takes(const struct rte_flow_item pattern[])
{
	for (; pattern->type != RTE_FLOW_ITEM_TYPE_END; pattern++)
		if (pattern->type == refuses)
			return false;
	return true;
}

int
__wrap_rte_flow_validate(uint16_t port_id, const struct rte_flow_attr *attr,
	const struct rte_flow_item pattern[], const struct rte_flow_action actions[],
	struct rte_flow_error *error)
{
	return port_id == 3 && attr->ingress && takes(pattern) ? 0 : -1;
}

struct rte_flow *
__wrap_rte_flow_create(uint16_t port_id, const struct rte_flow_attr *attr,
	const struct rte_flow_item pattern[], const struct rte_flow_action actions[],
	struct rte_flow_error *error)
{
	const struct rte_flow_item_tcp *tcp = pattern[2].spec;
	const struct rte_flow_item_udp *udp = pattern[2].spec;

	cr_assert_eq(pattern[0].type, RTE_FLOW_ITEM_TYPE_ETH);
	cr_assert_eq(actions[0].type, RTE_FLOW_ACTION_TYPE_QUEUE);
	for (unsigned i = 0; i < room; i++) {
		struct made *m = &device[i];

		if (m->used)
			continue;
		*m = (struct made) {.used = true, .v6 = pattern[1].type == RTE_FLOW_ITEM_TYPE_IPV6,
			.udp = pattern[2].type == RTE_FLOW_ITEM_TYPE_UDP,
			.queue = ((const struct rte_flow_action_queue *)actions[0].conf)->index};
		m->port = ntohs(m->udp ? udp->hdr.dst_port : tcp->hdr.dst_port);
		return (struct rte_flow *)(void *)m;
	}
	return NULL;
}

int
__wrap_rte_flow_destroy(uint16_t port_id, struct rte_flow *f, struct rte_flow_error *error)
{
	struct made *m = (struct made *)(void *)f;

	cr_assert(m->used);
	m->used = false;
	return 0;
}

static void
start(void)
{
	nic = calloc(1, sizeof(*nic));
	cr_assert_not_null(nic);
	nic->holder = HOLDER;
	nic->port[0] = (struct qp_nic_port) {.name = "test", .port_id = 3, .nrx = 4};
	flow = qp_port_flow_new(&nic->port[0]);
	cr_assert_not_null(flow);
}

static void
end(void)
{
	qp_port_flow_free(flow);
	for (unsigned i = 0; i < MAX; i++)
		if (device[i].used)
			abort(); /* Criterion takes no notice of an assert in here */
	free(nic);
}

TestSuite(port_flow, .init = start, .fini = end, .timeout = 60);

/* How many rules the device has for it; *queue: where they lead, all to the same. */
static unsigned
has(bool udp, uint16_t port, uint16_t *queue)
{
	unsigned n = 0;

	for (unsigned i = 0; i < MAX; i++) {
		if (!device[i].used || device[i].udp != udp || device[i].port != port)
			continue;
		cr_expect(n == 0 || *queue == device[i].queue);
		*queue = device[i].queue;
		n++;
	}
	return n;
}

Test(port_flow, forwarded_port_leads_to_its_workers_queue_in_both_families)
{
	uint16_t queue;

	nic->owner[QP_NIC_TCP][8080] = QP_NIC_OWNER(HOLDER, 2);
	nic->owner[QP_NIC_UDP][53] = QP_NIC_OWNER(HOLDER, 3);
	cr_expect_not(qp_port_flow_turn(flow, nic));
	cr_expect_eq(has(false, 8080, &queue), 2u);
	cr_expect_eq(queue, 2u);
	cr_expect_eq(has(true, 53, &queue), 2u);
	cr_expect_eq(queue, 3u);
	cr_expect_eq(has(true, 8080, &queue), 0u);
	cr_expect_eq(qp_port_flow_count(flow), 2u);
}

Test(port_flow, port_that_is_given_back_or_moves_takes_its_rules_along)
{
	uint16_t queue;

	nic->owner[QP_NIC_TCP][1] = QP_NIC_OWNER(HOLDER, 1);
	nic->owner[QP_NIC_TCP][2] = QP_NIC_OWNER(HOLDER, 1);
	nic->owner[QP_NIC_TCP][3] = QP_NIC_OWNER(HOLDER, 1);
	(void)qp_port_flow_turn(flow, nic);
	nic->owner[QP_NIC_TCP][1] = 0;
	nic->owner[QP_NIC_TCP][2] = QP_NIC_OWNER(HOLDER, 3);
	(void)qp_port_flow_turn(flow, nic);
	cr_expect_eq(has(false, 1, &queue), 0u);
	cr_expect(has(false, 2, &queue) == 2 && queue == 3);
	cr_expect(has(false, 3, &queue) == 2 && queue == 1);
	/* Another generation holds the queues: what is the old one's is handed over. */
	nic->holder = HOLDER + 1;
	(void)qp_port_flow_turn(flow, nic);
	cr_expect_eq(qp_port_flow_count(flow), 0u);
}

Test(port_flow, worker_without_a_queue_needs_no_rule)
{
	nic->owner[QP_NIC_TCP][1] = QP_NIC_OWNER(HOLDER, 4);
	(void)qp_port_flow_turn(flow, nic);
	cr_expect_eq(qp_port_flow_count(flow), 0u);
}

Test(port_flow, device_that_is_full_keeps_what_it_has_and_is_not_asked_again)
{
	uint16_t queue;

	room = 5; /* of the third port, IPv6 finds none */
	for (uint16_t p = 1; p <= 10; p++)
		nic->owner[QP_NIC_UDP][p] = QP_NIC_OWNER(HOLDER, 0);
	(void)qp_port_flow_turn(flow, nic);
	cr_expect_eq(qp_port_flow_count(flow), 2u);
	cr_expect_eq(has(true, 3, &queue), 0u, "half a rule is none");
	room = MAX;
	(void)qp_port_flow_turn(flow, nic);
	cr_expect_eq(qp_port_flow_count(flow), 2u);
	nic->owner[QP_NIC_UDP][1] = 0;
	(void)qp_port_flow_turn(flow, nic);
	cr_expect_eq(has(true, 1, &queue), 0u, "what is stale goes all the same");
}

Test(port_flow, many_ports_are_a_matter_of_several_turns)
{
	for (uint32_t p = 1; p <= MAX / 2; p++)
		nic->owner[QP_NIC_TCP][p] = QP_NIC_OWNER(HOLDER, p % 4);
	cr_expect_not(qp_port_flow_turn(flow, nic));
	cr_expect_eq(qp_port_flow_count(flow), MAX / 2);
	for (uint32_t p = 1; p < 65536; p++)
		nic->owner[QP_NIC_TCP][p] = QP_NIC_OWNER(HOLDER, (p + 1) % 4);
	(void)qp_port_flow_turn(flow, nic);
	cr_expect_eq(qp_port_flow_count(flow), MAX / 2);
}

Test(port_flow, device_that_cannot_is_let_alone)
{
	refuses = RTE_FLOW_ITEM_TYPE_IPV6;
	cr_expect_null(qp_port_flow_new(&nic->port[0]));
	refuses = RTE_FLOW_ITEM_TYPE_END;
	nic->port[0].port_id = 4;
	cr_expect_null(qp_port_flow_new(&nic->port[0]));
	nic->port[0].port_id = 3;
	nic->port[0].nrx = 1;
	cr_expect_null(qp_port_flow_new(&nic->port[0]), "one queue");
	nic->port[0].nrx = 4;
}
