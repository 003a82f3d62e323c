/* SPDX-License-Identifier: Apache-2.0 */
/* Blocked networks: kept here until there are ports, then in the table that the workers read. Loop thread. */
#include <stdlib.h>
#include <string.h>

#include "controlplane/nicnet_impl.h"

static struct qp_nic_blocked *
table(const struct qp_nicnet *n)
{
	return n->nic != NULL ? &n->nic->blocked : n->blocked;
}

int
qp_nicnet_block(void *net, const struct qp_msg_network *which, struct qp_errmsg *msg)
{
	struct in6_addr addr;
	int err;

	memcpy(&addr, which->addr, sizeof(addr));
	err = qp_nic_block_add(table(net), &addr, which->prefix);
	if (err == QP_E_FULL)
		return qp_fail(msg, err, "%u networks are blocked, and more cannot be",
			QP_NIC_MAX_BLOCKED);
	return err == 0 ? 0 : qp_fail(msg, err, "the network cannot be blocked: %s", qp_strerror(err));
}

int
qp_nicnet_unblock(void *net, const struct qp_msg_network *which)
{
	struct in6_addr addr;

	memcpy(&addr, which->addr, sizeof(addr));
	return qp_nic_block_remove(table(net), &addr, which->prefix);
}

/* A slot's network. */
static unsigned
network_of(const struct qp_nic_blocked_slot *s, struct in6_addr *addr)
{
	memcpy(addr, s->addr, sizeof(*addr));
	return s->bits - 1;
}

/* A predecessor may have been killed before it took one away, or in the middle of it. */
static void
drop_others(struct qp_nic_blocked *b, const struct qp_nic_blocked *wanted)
{
	struct in6_addr addr;

	for (unsigned i = 0; i < QP_NIC_BLOCKED_SLOTS; i++) {
		/* What is behind one that is taken away may move into its slot. */
		while (b->slot[i].bits != 0) {
			const unsigned prefix = network_of(&b->slot[i], &addr);

			if (qp_nic_block_has(wanted, &addr, prefix))
				break;
			(void)qp_nic_block_remove(b, &addr, prefix);
		}
	}
}

void
qp_nicnet_block_attach(struct qp_nicnet *n)
{
	struct qp_nic_blocked *b = &n->nic->blocked;
	struct in6_addr addr;

	if ((b->seq & 1u) != 0)
		qp_nic_block_clear(b);
	drop_others(b, n->blocked);
	for (unsigned i = 0; n->blocked->n > 0 && i < QP_NIC_BLOCKED_SLOTS; i++) {
		if (n->blocked->slot[i].bits != 0) {
			const unsigned prefix = network_of(&n->blocked->slot[i], &addr);

			(void)qp_nic_block_add(b, &addr, prefix);
		}
	}
	free(n->blocked);
	n->blocked = NULL;
}
