/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_CONTROLPLANE_BRAIN_H
#define QP_TESTS_CONTROLPLANE_BRAIN_H

/* What a test tells the fake data plane itself, beside what it passes on: qp_msg.type. */
enum {
	BRAIN_COUNT = 0xf000, /* relay_bytes_in = id, and some other counters */
	BRAIN_END = 0xf002, /* it exits, as after its last tunnel */
	BRAIN_FLOOD = 0xf001, /* a ring full of messages that mean nothing */
};

#endif
