/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_HOSTNET_STATE_H
#define QP_CONTROLPLANE_HOSTNET_STATE_H

#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

/*
 * STATE_DIR/host.state: the filters that one gateway attached, written before
 * each is, for whoever has to take them back:
 *
 *	quicport-host 1
 *	netns 4026531840            the namespace's cookie: indexes mean nothing elsewhere
 *	filter 2 20816 77 1234      ifindex, priority, handle, program id
 *
 * A later release appends fields and lines with other words, which are skipped here
 * and lost when the file is written anew; what cannot be skipped gets another number
 * in the first line, and is refused.
 *
 * Pure but for load, save and remove. Any thread.
 */

/* A tc filter of ours. The kernel never gives a program's id to another while we look for it. */
struct qp_host_filter {
	uint32_t ifindex;
	uint32_t priority;
	uint32_t handle;
	uint32_t prog_id;
};

/* All zero: empty. */
struct qp_host_state {
	uint64_t netns;
	struct qp_host_filter *filters;
	unsigned nfilters;
	unsigned cap;
};

void qp_host_state_clear(struct qp_host_state *s);

/* QP_E_NOMEM. A filter of the same interface is replaced: there is one on each. */
int qp_host_state_put(struct qp_host_state *s, const struct qp_host_filter *f);
void qp_host_state_drop(struct qp_host_state *s, uint32_t ifindex);
/* NULL: none on that interface. */
const struct qp_host_filter *qp_host_state_find(const struct qp_host_state *s, uint32_t ifindex);

/* Fills an empty state. QP_E_INVAL for what is no such file, whole; then it is empty again. */
int qp_host_state_parse(const char *text, struct qp_host_state *s);
/* In memory that the caller frees; NULL: out of memory. */
char *qp_host_state_format(const struct qp_host_state *s);

/* QP_E_NOTFOUND: there is none. */
int qp_host_state_load(const char *dir, struct qp_host_state *s, struct qp_errmsg *msg);
int qp_host_state_save(const char *dir, const struct qp_host_state *s, struct qp_errmsg *msg);
void qp_host_state_remove(const char *dir);

#endif
