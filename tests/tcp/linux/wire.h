/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_TCP_LINUX_WIRE_H
#define QP_TESTS_TCP_LINUX_WIRE_H

#include <stdint.h>

/*
 * A TAP that returns each frame after a while: what a netem qdisc would do
 * with rate, delay and a queue that drops at its tail. Whoever sends into it
 * must have its super-segments cut: it has no offloads. One thread.
 */
struct wire_config {
	const char *name;
	uint32_t mtu;
	uint64_t rate_bps;    /* 0: no limit */
	uint64_t delay_ns;
	uint64_t queue_bytes; /* waiting for the rate, at most */
};

struct wire;

/* Ends the process when it cannot. */
struct wire *wire_open(const struct wire_config *cfg);
/* Takes in what was sent and gives back what is due. Returns when the next is due, UINT64_MAX: none. */
uint64_t wire_turn(struct wire *w, uint64_t now_ns);
int wire_fd(const struct wire *w);
uint64_t wire_dropped(const struct wire *w);
void wire_close(struct wire *w);

#endif
