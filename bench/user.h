/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_BENCH_USER_H
#define QP_BENCH_USER_H

#include "bench/worker.h"

/*
 * An outside user: one TCP connection at a time, or one UDP source. Owner: its
 * worker. Life: the worker's.
 */
enum qpb_user_state {
	QPB_USER_NONE,       /* no connection */
	QPB_USER_CONNECTING,
	QPB_USER_READY,      /* connected, nothing asked */
	QPB_USER_BUSY,       /* a request is on its way, or its answer */
	QPB_USER_CLOSING,    /* FIN is queued */
};

struct qpb_user {
	struct qpb_worker *w;
	struct qpb_pump pump;
	struct qp_tcp_conn *tcp;
	TAILQ_ENTRY(qpb_user) link; /* on users_ready while `ready` */
	enum qpb_user_state state;
	bool ready;
	bool header_out;     /* the request's header is queued */
	bool shut;           /* FIN is queued */
	bool asked_last;     /* idle: the request at the end is under way */
	uint64_t at_ns;      /* when the request was to begin */
	struct qpb_request req;
	uint64_t tx, rx;     /* payload bytes of request and answer so far */
	uint32_t number;     /* UDP: of the datagram that is waited for, closed loop */
};

/* Number k of the worker's own user addresses. */
struct qp_ipaddr qpb_user_addr(const struct qpb_worker *w, uint32_t k);
/* A client whose port is open, at random; UINT32_MAX: there is none. */
uint32_t qpb_user_pick_client(struct qpb_worker *w);
/* What user `u` asks for next. */
void qpb_user_draw(struct qpb_user *u);

#endif
