/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gateway's programs, started in this one's place: beside it, else in
 * QP_LIBEXECDIR. Main thread.
 */
#include "client/commands.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/error.h"

/* The folder of the running program, without the slash. Empty when unknown. */
static void
own_folder(char out[PATH_MAX])
{
	ssize_t n = readlink("/proc/self/exe", out, PATH_MAX - 1);
	char *slash;

	out[n > 0 ? n : 0] = '\0';
	slash = strrchr(out, '/');
	if (slash != NULL)
		*slash = '\0';
}

static void
try_exec(const char *folder, const char *name, char **argv)
{
	char path[PATH_MAX + 64];

	if (folder[0] == '\0')
		return;
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	execv(path, argv);
}

int
qpc_command_exec(const char *name, int argc, char **argv)
{
	char folder[PATH_MAX], own_name[64];
	int err;

	/* The sibling says "quicport control-plane" of itself, whatever argv[0] is. */
	snprintf(own_name, sizeof(own_name), "%s", name);
	argv[0] = own_name;
	own_folder(folder);
	try_exec(folder, name, argv);
	err = errno;
	if (err == ENOENT) {
		try_exec(QP_LIBEXECDIR, name, argv);
		err = errno;
	}
	if (err == ENOENT)
		fprintf(stderr,
			"quicport: %s is neither in %s nor in %s: install quicport-gateway, which has it\n",
			name, folder, QP_LIBEXECDIR);
	else
		fprintf(stderr, "quicport: cannot start %s: %s\n", name, strerror(err));
	return 1;
}
