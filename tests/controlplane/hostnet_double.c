/* SPDX-License-Identifier: Apache-2.0 */
/* Stands in for hostnet where a test is not about it: remembers what was undone, and where. */
#include "tests/controlplane/hostnet_double.h"

#include <stdio.h>

#include "controlplane/hostnet.h"
#include "controlplane/stale.h"

struct undone undone[8];
unsigned nundone;

int
qp_hostnet_undo_stale(const char *state_dir, struct qp_errmsg *msg)
{
	snprintf(undone[nundone].dir, sizeof(undone[nundone].dir), "%s", state_dir);
	undone[nundone++].netns = qp_netns_inode();
	return 0;
}
