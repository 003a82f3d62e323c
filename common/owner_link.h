/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_OWNER_LINK_H
#define QP_COMMON_OWNER_LINK_H

#include <stdint.h>

#include "common/error.h"
#include "common/ipc.h"

/*
 * A process's connection to the port owner's owner.sock (common/ipc.h). One
 * thread; blocks for an answer, for a limited time. No DPDK in here.
 */

/*
 * *fd: the connection, to be kept for life. QP_E_NOTFOUND: a port owner of an
 * earlier release, which has no such socket; QP_E_CLOSED: it is dead; QP_E_AGAIN: it
 * hangs, and so many have asked that it has no place for one more.
 */
int qp_owner_link_open(const char *instance, int *fd, struct qp_errmsg *msg);

/* One question. `name`: of a zone, or NULL. QP_E_IO: not sent. */
int qp_owner_link_send(int fd, enum qp_owner_ask_type type, uint32_t server_id, const char *name,
	uint64_t bytes, struct qp_errmsg *msg);
/*
 * The next answer, whichever question's it is. QP_E_AGAIN: none within `patience_ms`;
 * QP_E_CLOSED: the port owner is dead; QP_E_PROTO, QP_E_VERSION.
 */
int qp_owner_link_receive(
	int fd, unsigned patience_ms, struct qp_owner_told *out, struct qp_errmsg *msg);
/*
 * Both, for one that has no other question open. Also QP_E_PERM: the port owner says no, `msg` why.
 * After QP_E_AGAIN the connection is good for its process's life, and for no question more.
 */
int qp_owner_link_zone(int fd, enum qp_owner_ask_type type, uint32_t server_id, const char *name,
	uint64_t bytes, struct qp_owner_told *out, struct qp_errmsg *msg);
/* The same for memory that should be on a NUMA node; -1: on any. It is on another one where that has no room. */
int qp_owner_link_reserve(int fd, uint32_t server_id, const char *name, uint64_t bytes, int node,
	struct qp_owner_told *out, struct qp_errmsg *msg);
/* The same where no zone is meant. */
int qp_owner_link_ask(
	int fd, enum qp_owner_ask_type type, struct qp_owner_told *out, struct qp_errmsg *msg);

#endif
