/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_SLOWDOWN_H
#define QP_CONTROLPLANE_SLOWDOWN_H

#include <stdbool.h>
#include <stdint.h>

#include "controlplane/loop.h"
#include "controlplane/msg.h"

/*
 * Failed authentications, by source: an IPv4 address, an IPv6 /64. The more
 * there were, the longer a refusal waits until it is told, and while some wait
 * further attempts from there are refused unchecked. Other sources notice
 * nothing, and a success wipes the slate. Memory is bounded, whoever comes.
 * Owner: the loop thread. Lock: none.
 */
struct qp_slowdown;

#define QP_SLOWDOWN_FIRST_MS 250u
#define QP_SLOWDOWN_LEVELS 6u       /* doubled each time: up to 8 s */
#define QP_SLOWDOWN_SOURCES 4096u
#define QP_SLOWDOWN_WAITING 1024u   /* refusals of all sources; beyond them none waits */
#define QP_SLOWDOWN_AT_ONCE 4u      /* refusals of a source that wait */
#define QP_SLOWDOWN_AT_ONCE_GOOD 32u /* where somebody has proven himself lately */
#define QP_SLOWDOWN_FORGET_S 600u   /* without a failure; and how long a success counts */

struct qp_slowdown_config {
	struct qp_loop *loop;
	/* The refusal may be told now. Not called after qp_slowdown_free. */
	void (*refuse)(void *ctx, const struct qp_origin *to);
	void *ctx;
	uint64_t (*now_ns)(void); /* NULL: qp_now_ns */
};

/* NULL when out of memory. */
struct qp_slowdown *qp_slowdown_new(const struct qp_slowdown_config *cfg);
/* NULL is allowed. */
void qp_slowdown_free(struct qp_slowdown *s);

/* False: an attempt from there is to be refused at once, and not looked at. */
bool qp_slowdown_admits(struct qp_slowdown *s, const uint8_t addr[16]);
/*
 * An attempt has failed: `refuse` is called for it later, or before this
 * returns. How many have failed from there, this one included; 0: not kept.
 */
unsigned qp_slowdown_failed(
	struct qp_slowdown *s, const uint8_t addr[16], const struct qp_origin *tunnel);
void qp_slowdown_succeeded(struct qp_slowdown *s, const uint8_t addr[16]);
/* Tells what is due: the loop's timer calls it. */
void qp_slowdown_run(struct qp_slowdown *s);
/* Refusals that wait now. */
unsigned qp_slowdown_waiting(const struct qp_slowdown *s);

#endif
