/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ring messages to and from the control plane. Runs on the worker's lcore; the
 * control plane's end is controlplane/dp_link.c.
 */
#include "dataplane/ctl.h"

#include <rte_ring.h>
#include <rte_ring_elem.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/shared.h"

#define STRANGERS_BACKLOG 1024u
#define BLOCK_MESSAGES 64u

/* A part of the backlog: it grows and shrinks by these, so that no turn copies all of it. */
struct qp_ctl_block {
	struct qp_ctl_block *next;
	uint32_t from, to; /* of msg, those that wait */
	struct qp_msg msg[BLOCK_MESSAGES];
};

static void
append(struct qp_ctl *ctl, struct qp_ctl_block *b)
{
	b->next = NULL;
	if (ctl->backlog_tail != NULL)
		ctl->backlog_tail->next = b;
	else
		ctl->backlog = b;
	ctl->backlog_tail = b;
}

static void
delay(struct qp_ctl *ctl, const struct qp_msg *msg)
{
	struct qp_ctl_block *b = ctl->backlog_tail;

	if (b == NULL || b->to == BLOCK_MESSAGES) {
		b = malloc(sizeof(*b));
		if (b == NULL)
			return;
		b->from = b->to = 0;
		append(ctl, b);
	}
	b->msg[b->to] = *msg;
	b->msg[b->to++].version = ctl->version;
	ctl->backlog_len++;
}

static bool
is_too_much(const struct qp_ctl *ctl, const struct qp_msg *msg)
{
	switch (msg->type) {
	case QP_MSG_AUTH_BEGIN:
	case QP_MSG_API_OPEN:
		return ctl->backlog_len >= STRANGERS_BACKLOG;
	case QP_MSG_CONN_CLOSED:
		if (ctl->backlog_len < QP_CTL_MAX_ENDED)
			return false;
		ctl->mine->c.ended_conns_untold++;
		return true;
	}
	return false;
}

#if QP_IPC_AHEAD > 0
/* What an older control plane does not know: it ignores it. */
static void
send_ahead(struct qp_ctl *ctl)
{
	struct qp_msg m = {.type = QP_MSG_AHEAD, .version = ctl->version};

	(void)rte_ring_sp_enqueue_elem(ctl->to_cp, &m, sizeof(m));
}

static void
count_ahead(struct qp_ctl *ctl)
{
	++*(uint64_t *)(void *)((char *)ctl->mine - QP_SHARED_AHEAD_BYTES);
}
#endif

bool
qp_ctl_send(struct qp_ctl *ctl, const struct qp_msg *msg)
{
	if (qp_msg_since(msg->type) > ctl->version) {
		ctl->mine->c.ctl_unspoken++;
		return true;
	}
	ctl->ring_it = true;
	if (ctl->backlog_len == 0) {
		struct qp_msg out = *msg;

		out.version = ctl->version;
		if (rte_ring_sp_enqueue_elem(ctl->to_cp, &out, sizeof(out)) == 0) {
#if QP_IPC_AHEAD > 0
			if (out.type == QP_MSG_HELLO)
				send_ahead(ctl);
#endif
			return true;
		}
	}
	ctl->mine->c.ctl_ring_full++;
	if (is_too_much(ctl, msg))
		return false;
	delay(ctl, msg);
	return true;
}

bool
qp_ctl_receive(struct qp_ctl *ctl, struct qp_msg *msg)
{
	while (rte_ring_sc_dequeue_elem(ctl->from_cp, msg, sizeof(*msg)) == 0) {
#if QP_IPC_AHEAD > 0
		if (msg->type == QP_MSG_AHEAD) {
			count_ahead(ctl);
			continue;
		}
#endif
		if (msg->version == ctl->version && msg->type < QP_MSG_NTYPES)
			return true;
		ctl->mine->c.ctl_unknown++;
	}
	return false;
}

/* Nothing tells these again: a replay speaks of what there is, not of what has been. */
static bool
outlives(const struct qp_msg *msg)
{
	return msg->type == QP_MSG_TUNNEL_CLOSED || msg->type == QP_MSG_CONN_CLOSED;
}

/*
 * What stands in a ring whose consumer is dead. It may have died after it moved
 * the head, before it moved the tail: then it has not looked at those messages,
 * and they are read again.
 */
static void
take_unread(struct qp_ctl *ctl, struct rte_ring *ring)
{
	struct qp_msg msg;

	ring->cons.head = ring->cons.tail;
	while (rte_ring_sc_dequeue_elem(ring, &msg, sizeof(msg)) == 0) {
		if (outlives(&msg))
			delay(ctl, &msg);
	}
}

/* In its place: a long outage's backlog is large, and packets wait meanwhile. */
static void
keep_outliving(struct qp_ctl_block *b, uint32_t version)
{
	uint32_t kept = b->from;

	for (uint32_t i = b->from; i < b->to; i++) {
		if (!outlives(&b->msg[i]))
			continue;
		b->msg[kept] = b->msg[i];
		b->msg[kept].version = version;
		kept++;
	}
	b->to = kept;
}

/* Of an old backlog, what a new control plane does not ask for by itself. Takes it over. */
static void
delay_again(struct qp_ctl *ctl, struct qp_ctl_block *b)
{
	while (b != NULL) {
		struct qp_ctl_block *next = b->next;

		keep_outliving(b, ctl->version);
		if (b->from == b->to) {
			free(b);
		} else {
			append(ctl, b);
			ctl->backlog_len += b->to - b->from;
		}
		b = next;
	}
}

void
qp_ctl_follow(struct qp_ctl *ctl)
{
	const uint64_t one = 1;
	struct qp_ctl_block *later;
	uint32_t epoch;

	if (ctl->offer == NULL)
		return;
	epoch = atomic_load_explicit(&ctl->offer->epoch, memory_order_acquire);
	if (epoch == ctl->epoch)
		return;
	later = ctl->backlog;
	ctl->backlog = ctl->backlog_tail = NULL;
	ctl->backlog_len = 0;
	ctl->version = ctl->offer->rings.version;
	take_unread(ctl, ctl->to_cp); /* it is older than the backlog */
	delay_again(ctl, later);
	ctl->to_cp = ctl->offer->rings.to_cp;
	ctl->from_cp = ctl->offer->rings.from_cp;
	ctl->cp_doorbell = ctl->offer->rings.cp_doorbell;
	ctl->epoch = epoch;
	atomic_store_explicit(&ctl->offer->taken, epoch, memory_order_release);
	if (write(ctl->offer->taken_fd, &one, sizeof(one)) < 0)
		return; /* a counter at its maximum wakes as well */
}

static void
drop_first_block(struct qp_ctl *ctl)
{
	struct qp_ctl_block *b = ctl->backlog;

	ctl->backlog = b->next;
	if (ctl->backlog == NULL)
		ctl->backlog_tail = NULL;
	free(b);
}

static void
drain_backlog(struct qp_ctl *ctl)
{
	struct qp_ctl_block *b;
	unsigned sent;

	while ((b = ctl->backlog) != NULL) {
		sent = rte_ring_sp_enqueue_burst_elem(ctl->to_cp, b->msg + b->from, sizeof(b->msg[0]),
			b->to - b->from, NULL);
		ctl->ring_it |= sent > 0; /* they went unannounced when they were delayed */
		ctl->backlog_len -= sent;
		b->from += sent;
		if (b->from < b->to)
			return;
		drop_first_block(ctl);
	}
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
	__atomic_store_n(&ctl->door->c2d_sleeping, 1, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (rte_ring_empty(ctl->from_cp))
		return true;
	qp_ctl_sleep_end(ctl);
	return false;
}

void
qp_ctl_sleep_end(struct qp_ctl *ctl)
{
	__atomic_store_n(&ctl->door->c2d_sleeping, 0, __ATOMIC_SEQ_CST);
}

bool
qp_ctl_told(const struct qp_ctl *ctl)
{
	return ctl->backlog_len == 0 && rte_ring_empty(ctl->to_cp);
}

void
qp_ctl_fini(struct qp_ctl *ctl)
{
	while (ctl->backlog != NULL)
		drop_first_block(ctl);
	ctl->backlog_len = 0;
}
