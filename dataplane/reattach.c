/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Life between two control planes. Main thread. The packet path goes on
 * meanwhile: what the workers have to say waits in their rings and backlogs.
 */
#define QP_LOG_MODULE QP_LOG_M_process
#include "dataplane/reattach.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/log.h"
#include "common/shared.h"

int
qp_reattach_init(struct qp_reattach *r, struct qp_attachment *a, const char *instance)
{
	int taken = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	r->attachment = a;
	r->instance = instance;
	for (uint32_t i = 0; i < QP_MAX_WORKERS; i++)
		r->offer[i].taken_fd = taken;
	return taken;
}

bool
qp_reattach_away(const struct qp_reattach *r)
{
	return r->attachment->sock < 0;
}

void
qp_reattach_lost(struct qp_reattach *r)
{
	qp_attach_lost(r->attachment);
	r->useless_since_ns = 0;
	r->why[0] = '\0';
	qp_log(QP_LOG_WARN, "the control plane is gone: tunnels run on, new ones wait for the next");
}

/* The workers hear of it at once, however deep they sleep. */
static void
offer_rings(struct qp_reattach *r)
{
	const struct qp_attachment *next = &r->next;
	const uint64_t one = 1;

	for (uint32_t i = 0; i < next->nworkers; i++) {
		struct qp_ctl_offer *o = &r->offer[i];

		o->rings = (struct qp_ctl_rings) {next->to_cp[i], next->from_cp[i],
			next->cp_doorbell, next->version};
		/* Pairs with the acquire in qp_ctl_follow: the rings are there before their number. */
		atomic_store_explicit(&o->epoch, next->epoch, memory_order_release);
		if (write(next->doorbell[i], &one, sizeof(one)) < 0)
			qp_log(QP_LOG_DEBUG, "a worker's doorbell rings already");
	}
	r->switching = true;
}

static bool
all_taken(const struct qp_reattach *r)
{
	for (uint32_t i = 0; i < r->next.nworkers; i++) {
		/* Pairs with the worker's release: it touches the old rings no more. */
		if (atomic_load_explicit(&r->offer[i].taken, memory_order_acquire) != r->next.epoch)
			return false;
	}
	return true;
}

static void
try_to_connect(struct qp_reattach *r)
{
	struct qp_errmsg msg = {""};
	int rc = qp_attach_again(r->attachment, r->instance, &r->next, &msg);

	if (rc == 0) {
		offer_rings(r);
		return;
	}
	/* Nobody listens: that is what waiting is like. A refusal is news, once. */
	if (rc == QP_E_NOTFOUND || rc == QP_E_CLOSED ||
		strcmp(r->why, msg.text) == 0)
		return;
	snprintf(r->why, sizeof(r->why), "%s", msg.text);
	qp_log(QP_LOG_WARN, "the new control plane does not take this data plane",
		QP_LOG_STR("reason", msg.text));
}

void
qp_reattach_turn(struct qp_reattach *r)
{
	struct qp_errmsg msg;
	uint64_t ignored;

	if (read(r->offer[0].taken_fd, &ignored, sizeof(ignored)) < 0)
		ignored = 0;
	if (!qp_reattach_away(r))
		return;
	if (!r->switching) {
		try_to_connect(r);
		return;
	}
	if (!all_taken(r))
		return;
	r->switching = false;
	if (qp_attach_switch(r->attachment, &r->next, &msg) != 0)
		qp_reattach_lost(r);
	else
		qp_log(QP_LOG_INFO, "a new control plane has taken over",
			QP_LOG_U64("epoch", r->attachment->epoch),
			QP_LOG_U64("ring_protocol", r->attachment->version));
}

static uint64_t
tunnels(const struct qp_attachment *a)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < a->nworkers; i++)
		n += __atomic_load_n(
			&qp_shared_worker(a->shared, i)->c.tunnels_active, __ATOMIC_RELAXED);
	return n;
}

bool
qp_reattach_orphaned(struct qp_reattach *r, uint64_t now_ns)
{
	const uint32_t timeout_s =
		__atomic_load_n(&r->attachment->shared->orphan_timeout_s, __ATOMIC_RELAXED);

	if (!qp_reattach_away(r) || timeout_s == 0 || tunnels(r->attachment) > 0) {
		r->useless_since_ns = 0;
		return false;
	}
	if (r->useless_since_ns == 0)
		r->useless_since_ns = now_ns;
	return now_ns - r->useless_since_ns >= timeout_s * 1000000000ull;
}
