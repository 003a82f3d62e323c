/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_NET_WIRE_H
#define QP_TESTS_NET_WIRE_H

#include <sys/socket.h>
#include <time.h>

#include "dataplane/net/internal.h"

/*
 * This kernel as the other host on the link: a network namespace that ends with
 * the test's process, a TAP in it (wire0), and a thread that is the host at the
 * TAP's other end, by struct qp_net alone. The kernel has 192.0.2.254/24 and
 * 2001:db8::fe/64, ours are 192.0.2.1 and 2001:db8::1. UDP that goes up to us is
 * answered with port unreachable.
 */
struct wire {
	struct qp_net *net;
	struct qp_nic_net conf; /* as configured now; see wire_configure */
	int fd;
};

#define WIRE_OUR4    "192.0.2.1"
#define WIRE_OUR6    "2001:db8::1"
#define WIRE_KERNEL4 "192.0.2.254"
#define WIRE_KERNEL6 "2001:db8::fe"
#define WIRE_MAC     "02:00:00:00:0a:01"
#define WIRE_OUR_LL  "fe80::ff:fe00:a01"

/* Skips the test when it is not root's. */
struct wire *wire_open(unsigned mtu);
void wire_close(struct wire *w);
/* w->conf is taken by the thread before it returns. */
void wire_configure(struct wire *w, bool fresh);
void wire_announce(struct wire *w);
/* A datagram from us, 9 bytes "from here". */
void wire_send(struct wire *w, const char *from, const char *to, uint16_t port);
/* One of the thread's counters, by its place. */
uint64_t wire_count(const struct wire *w, size_t offset);

/* Runs a shell command; true: it succeeded. */
bool wire_run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Is `part` in what the command prints? */
bool wire_prints(const char *part, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Sends an echo request with so many bytes of payload from the kernel; true: the same came back in five seconds. */
bool wire_ping(const char *from, const char *to, unsigned bytes);

/* Until `cond` holds, else a failed assertion after ten seconds. */
#define wire_wait_for(cond)                                                                        \
	do {                                                                                       \
		int wire_left = 1000;                                                              \
		while (!(cond)) {                                                                  \
			cr_assert(--wire_left > 0, "still not: %s", #cond);                        \
			nanosleep(&(struct timespec) {.tv_nsec = 10000000}, NULL);                 \
		}                                                                                  \
	} while (0)

#endif
