/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service manager, or this process before it became another program, as a
 * keeper of descriptors. Any thread.
 */
#include "controlplane/fdstore.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

static bool settled;

unsigned
qp_fdstore_take(const char *name, int *fds, unsigned max)
{
	char **names = NULL;
	int n = settled ? 0 : sd_listen_fds_with_names(0, &names);
	unsigned found = 0;

	for (int i = 0; i < n; i++) {
		if (found < max && strcmp(names[i], name) == 0) {
			int copy = fds != NULL ? fcntl(SD_LISTEN_FDS_START + i, F_DUPFD_CLOEXEC, 0) : 0;

			if (fds != NULL)
				fds[found] = copy;
			found += copy >= 0;
		}
		free(names[i]);
	}
	free(names);
	return found;
}

unsigned
qp_fdstore_count(const char *name)
{
	return qp_fdstore_take(name, NULL, UINT_MAX);
}

void
qp_fdstore_settle(void)
{
	int n = settled ? 0 : sd_listen_fds(0);

	settled = true;
	for (int i = 0; i < n; i++)
		close(SD_LISTEN_FDS_START + i);
}

void
qp_fdstore_keep(const char *name, const int *fds, unsigned n)
{
	char text[96];

	snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", name);
	sd_notify(0, text);
	/* FDPOLL: an eBPF map polls as broken, which would end its stay. */
	snprintf(text, sizeof(text), "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
	sd_pid_notify_with_fds(0, 0, text, fds, n);
}
