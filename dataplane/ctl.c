/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ring messages to and from the control plane. Runs on the worker's lcore; the
 * control plane's end is controlplane/dp_link.c.
 */
#include "dataplane/ctl.h"

#include <rte_ring.h>
#include <rte_ring_elem.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIRST_BACKLOG 64u
#define STRANGERS_BACKLOG 1024u

static void
delay(struct qp_ctl *ctl, const struct qp_msg *msg)
{
	if (ctl->backlog_len == ctl->backlog_cap) {
		uint32_t cap = ctl->backlog_cap != 0 ? 2 * ctl->backlog_cap : FIRST_BACKLOG;
		struct qp_msg *more = realloc(ctl->backlog, cap * sizeof(*more));

		if (more == NULL)
			return;
		ctl->backlog = more;
		ctl->backlog_cap = cap;
	}
	ctl->backlog[ctl->backlog_len++] = *msg;
}

bool
qp_ctl_send(struct qp_ctl *ctl, const struct qp_msg *msg)
{
	ctl->ring_it = true;
	if (ctl->backlog_len == 0 &&
		rte_ring_sp_enqueue_elem(ctl->to_cp, (void *)(uintptr_t)msg, sizeof(*msg)) == 0)
		return true;
	ctl->mine->c.ctl_ring_full++;
	if (ctl->backlog_len >= STRANGERS_BACKLOG &&
		(msg->type == QP_MSG_AUTH_BEGIN || msg->type == QP_MSG_API_OPEN))
		return false;
	delay(ctl, msg);
	return true;
}

bool
qp_ctl_receive(struct qp_ctl *ctl, struct qp_msg *msg)
{
	return rte_ring_sc_dequeue_elem(ctl->from_cp, msg, sizeof(*msg)) == 0;
}

static void
drain_backlog(struct qp_ctl *ctl)
{
	unsigned sent = rte_ring_sp_enqueue_burst_elem(ctl->to_cp, ctl->backlog,
		sizeof(*ctl->backlog), ctl->backlog_len, NULL);

	ctl->ring_it |= sent > 0; /* they went unannounced when they were delayed */
	ctl->backlog_len -= sent;
	memmove(ctl->backlog, ctl->backlog + sent, ctl->backlog_len * sizeof(*ctl->backlog));
}

void
qp_ctl_flush(struct qp_ctl *ctl)
{
	const uint64_t one = 1;

	if (ctl->backlog_len > 0)
		drain_backlog(ctl);
	if (!ctl->ring_it)
		return;
	ctl->ring_it = false;
	/* The enqueue before this load; pairs with the control plane's store, then look at the ring. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&ctl->shared->d2c_sleeping, __ATOMIC_SEQ_CST) == 0)
		return;
	/* A counter at its maximum still wakes, so a failed write loses nothing. */
	if (write(ctl->cp_doorbell, &one, sizeof(one)) < 0)
		return;
}

bool
qp_ctl_sleep_begin(struct qp_ctl *ctl)
{
	__atomic_store_n(&ctl->mine->c2d_sleeping, 1, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (rte_ring_empty(ctl->from_cp))
		return true;
	qp_ctl_sleep_end(ctl);
	return false;
}

void
qp_ctl_sleep_end(struct qp_ctl *ctl)
{
	__atomic_store_n(&ctl->mine->c2d_sleeping, 0, __ATOMIC_SEQ_CST);
}

void
qp_ctl_fini(struct qp_ctl *ctl)
{
	free(ctl->backlog);
	ctl->backlog = NULL;
	ctl->backlog_len = ctl->backlog_cap = 0;
}
