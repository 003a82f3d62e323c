/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_CONTROLPLANE_HOSTNET_DOUBLE_H
#define QP_TESTS_CONTROLPLANE_HOSTNET_DOUBLE_H

#include <sys/types.h>

struct undone {
	char dir[256];
	ino_t netns; /* of the thread that called */
};

extern struct undone undone[8];
extern unsigned nundone;

#endif
