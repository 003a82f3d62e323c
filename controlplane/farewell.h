/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_FAREWELL_H
#define QP_CONTROLPLANE_FAREWELL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/farewell.h"
#include "controlplane/loop.h"

/*
 * Tells the clients of a dead data plane that their connections are gone, by the
 * stateless resets that it left behind (common/farewell.h), so that they connect
 * again at once and not when they next have something to say. Only once somebody
 * is there to answer them. Owner: the loop thread.
 */
struct qp_goodbyes;

struct qp_goodbyes_config {
	struct qp_loop *loop;
	/* A UDP socket that is bound to the QUIC port, borrowed; -1: there is none. */
	int (*socket)(void *ctx);
	/*
	 * NULL, or in its place: takes so many of `n` as can be sent now, and says how
	 * many it took; what has no way out counts as taken. -1: nobody is there to send.
	 */
	int (*send)(void *ctx, const struct qp_farewell_entry *e, unsigned n);
	/* A memzone of a dead generation; NULL: there is none. */
	const void *(*zone)(const char *name, size_t *len);
	void *ctx;
};

/* NULL: out of memory. */
struct qp_goodbyes *qp_goodbyes_new(const struct qp_goodbyes_config *cfg);
/* Those that have not been sent are not sent. NULL is allowed. */
void qp_goodbyes_free(struct qp_goodbyes *g);

/* Copies what a dead generation has left, before its memory is freed. Returns how many clients. */
unsigned qp_goodbyes_collect(struct qp_goodbyes *g, uint32_t server_id);
/* A data plane serves: what was collected goes out, a part in each turn of the loop. */
void qp_goodbyes_send(struct qp_goodbyes *g);
/* Some are on their way out. */
bool qp_goodbyes_busy(const struct qp_goodbyes *g);
/* Sent since the start. */
uint64_t qp_goodbyes_sent(const struct qp_goodbyes *g);

#endif
