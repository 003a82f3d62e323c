/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_TCP_SCRIPT_SHORT_H
#define QP_TESTS_TCP_SCRIPT_SHORT_H

#include <criterion/criterion.h>
#include <stdio.h>

#include <rte_mempool.h>

#include "tests/tcp/script.h"

/* What every file of packet scripts uses: one script `t`, and short names. */

static struct script t;

#define OPEN() script_open(&t)
/* With all options: the peer's windows are in units of 128 bytes. */
#define ESTABLISHED()                                                                              \
	do {                                                                                       \
		script_open(&t);                                                                   \
		script_establish(&t);                                                              \
	} while (0)
/* With no option but the MSS of 1460. */
#define PLAIN(win)                                                                                 \
	do {                                                                                       \
		script_open(&t);                                                                   \
		script_establish_plain(&t, win);                                                   \
	} while (0)
#define CLOSE() script_close(&t)
#define SHUTDOWN()                                                                                 \
	do {                                                                                       \
		qp_tcp_shutdown(t.c);                                                              \
		script_flush(&t);                                                                  \
	} while (0)
#define COUNTER(field) (qp_tcp_counters(t.tcp)->field)
#define STATE(s)       cr_expect(t.c->tcb.state == QP_TCP_##s, "state %d", t.c->tcb.state)

/* A segment whose literal is printed from arguments. */
#define INF(...)                                                                                   \
	do {                                                                                       \
		char text_[160];                                                                   \
		snprintf(text_, sizeof(text_), __VA_ARGS__);                                       \
		IN(text_);                                                                         \
	} while (0)

/* Spends the quick ACKs of a new connection with timestamps: 16 segments of 100 bytes. */
static inline void
settle(void)
{
	for (int i = 0; i < 16; i++)
		INF("A %d+100 ack 1 win 512 ts 101/_", 1 + 100 * i);
	script_ignore(&t);
	cr_assert(t.received == 1600);
}

#endif
