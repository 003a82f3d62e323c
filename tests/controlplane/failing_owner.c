/* SPDX-License-Identifier: Apache-2.0 */
/* Stands in for the port owner: says one line where the owner says that it is ready, and fails. */
#include <unistd.h>

#include "controlplane/proc.h"

int
main(void)
{
	static const char why[] = "there is no memory";

	return write(QP_CHILD_FIRST_FD, why, sizeof(why) - 1) == (ssize_t)sizeof(why) - 1 ? 1 : 2;
}
