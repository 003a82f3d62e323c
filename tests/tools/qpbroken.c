/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A control plane that can run as far as a trial shows, and cannot after all:
 * it gives the process back to the program that has called it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/gateway.h"
#include "controlplane/reexec.h"

int
main(int argc, char **argv)
{
	struct qp_errmsg msg;

	if (argc > 3 && strcmp(argv[argc - 3], QP_PROBE_WORD) == 0)
		return dprintf(atoi(argv[argc - 2]), "R") == 1 ? 0 : 1;
	if (qp_keys_init() != 0 || qp_reexec_remember(argv, &msg) != 0)
		return 1;
	fprintf(stderr, "qpbroken: giving back\n");
	qp_reexec_back();
	fprintf(stderr, "qpbroken: there is no way back\n");
	return 1;
}
