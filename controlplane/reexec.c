/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control plane's successor in the same process. Descriptors go by the
 * service manager's protocol (LISTEN_FDS), so that whoever looks for what a
 * manager has kept finds what a predecessor has passed. Main thread.
 */
#include "controlplane/reexec.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "common/keys.h"
#include "controlplane/fdstore.h"

#define MAX_PASSED 64u
#define NAME_BYTES 32u
/* Where copies wait for their place: beyond all places. */
#define PARKED_FD ((int)(SD_LISTEN_FDS_START + MAX_PASSED))
#define WORD_LISTEN "LISTEN_"

static struct {
	struct qp_secret *words, *environment; /* each text with its NUL, one after the other */
	char program[PATH_MAX];
	unsigned npassed;
	struct {
		char name[NAME_BYTES];
		int fd;
	} passed[MAX_PASSED];
	bool settled;
} self;

/* ---- words ---- */

static bool
is_ours_to_say(const char *variable)
{
	return strncmp(variable, WORD_LISTEN, strlen(WORD_LISTEN)) == 0;
}

static struct qp_secret *
copy_texts(char *const *v)
{
	struct qp_secret *copy;
	size_t len = 0, at = 0;
	char *flat;

	for (unsigned i = 0; v[i] != NULL; i++)
		len += strlen(v[i]) + 1;
	flat = malloc(len + 1);
	if (flat == NULL)
		return NULL;
	for (unsigned i = 0; v[i] != NULL; i++) {
		memcpy(flat + at, v[i], strlen(v[i]) + 1);
		at += strlen(v[i]) + 1;
	}
	copy = qp_secret_new(flat, len);
	sodium_memzero(flat, len);
	free(flat);
	return copy;
}

/* A list of texts with `more` behind it, in one piece of memory each. */
static char **
list_texts(const struct qp_secret *from, const char *const more[], bool (*leave)(const char *))
{
	unsigned n = 0, room = 1;
	char **v;

	for (size_t at = 0; at < from->len; at += strlen((const char *)from->bytes + at) + 1)
		room++;
	for (unsigned i = 0; more != NULL && more[i] != NULL; i++)
		room++;
	v = calloc(room, sizeof(*v));
	if (v == NULL)
		return NULL;
	for (size_t at = 0; at < from->len; at += strlen((const char *)from->bytes + at) + 1) {
		if (leave == NULL || !leave((const char *)from->bytes + at))
			v[n++] = strdup((const char *)from->bytes + at);
	}
	for (unsigned i = 0; more != NULL && more[i] != NULL; i++)
		v[n++] = strdup(more[i]);
	for (unsigned i = 0; i < n; i++) {
		if (v[i] == NULL) {
			qp_reexec_free_words(v);
			return NULL;
		}
	}
	return v;
}

char **
qp_reexec_words(const char *const more[])
{
	return list_texts(self.words, more, NULL);
}

char **
qp_reexec_environment(void)
{
	return list_texts(self.environment, NULL, is_ours_to_say);
}

void
qp_reexec_free_words(char **words)
{
	for (unsigned i = 0; words != NULL && words[i] != NULL; i++) {
		sodium_memzero(words[i], strlen(words[i]));
		free(words[i]);
	}
	free(words);
}

static void
find_program(void)
{
	static const char deleted[] = " (deleted)";
	ssize_t n = readlink("/proc/self/exe", self.program, sizeof(self.program) - 1);
	size_t len = n > 0 ? (size_t)n : 0;

	/* One that was put in its place meanwhile is what the path means. */
	if (len > sizeof(deleted) - 1 &&
		memcmp(self.program + len - (sizeof(deleted) - 1), deleted, sizeof(deleted) - 1) == 0)
		len -= sizeof(deleted) - 1;
	self.program[len] = '\0';
}

int
qp_reexec_remember(char **argv, struct qp_errmsg *msg)
{
	self.words = copy_texts(argv);
	self.environment = copy_texts(environ);
	find_program();
	return self.words != NULL && self.environment != NULL
		       ? 0
		       : qp_fail(msg, QP_E_NOMEM, "out of memory");
}

const char *
qp_reexec_program(void)
{
	return self.program;
}

bool
qp_reexec_follows(void)
{
	return qp_fdstore_count(QP_PASS_LOCK) > 0;
}

/* ---- descriptors ---- */

int
qp_reexec_pass(const char *name, int fd)
{
	int copy;

	if (self.npassed == MAX_PASSED)
		return QP_E_FULL;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, PARKED_FD);
	if (copy < 0)
		return qp_err_from_errno(errno);
	snprintf(self.passed[self.npassed].name, NAME_BYTES, "%s", name);
	self.passed[self.npassed++].fd = copy;
	return 0;
}

/* From here on there is no way back: what had these numbers is closed. */
static void
put_in_place(void)
{
	for (unsigned i = 0; i < self.npassed; i++)
		(void)dup2(self.passed[i].fd, SD_LISTEN_FDS_START + (int)i);
	/* EAL's own are not marked to be closed, and hold locks. */
	(void)close_range((unsigned)SD_LISTEN_FDS_START + self.npassed, ~0u, CLOSE_RANGE_CLOEXEC);
}

/* The environment as we got it, and what is passed. */
static char **
environment(void)
{
	char pid[32], n[32], names[sizeof("LISTEN_FDNAMES=") + MAX_PASSED * NAME_BYTES];
	const char *const more[] = {pid, n, names, NULL};
	size_t at = (size_t)snprintf(names, sizeof(names), "LISTEN_FDNAMES=");

	snprintf(pid, sizeof(pid), "LISTEN_PID=%d", (int)getpid());
	snprintf(n, sizeof(n), "LISTEN_FDS=%u", self.npassed);
	for (unsigned i = 0; i < self.npassed; i++)
		at += (size_t)snprintf(names + at, sizeof(names) - at, "%s%s", i > 0 ? ":" : "",
			self.passed[i].name);
	return list_texts(self.environment, more, is_ours_to_say);
}

void
qp_reexec_go(struct qp_errmsg *msg)
{
	int previous = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	char **words = qp_reexec_words(NULL), **env = NULL;
	int err = previous >= 0 ? qp_reexec_pass(QP_PASS_PREVIOUS, previous) : QP_E_IO;

	if (err == 0)
		env = environment();
	if (words != NULL && env != NULL) {
		put_in_place();
		execve(self.program, words, env);
		err = errno;
		/* It was there when it was tried out: better the old one than none. */
		execve("/proc/self/exe", words, env);
		qp_fail(msg, QP_E_IO, "cannot start %s: %s", self.program, strerror(err));
	} else {
		qp_fail(msg, QP_E_NOMEM, "out of memory or descriptors");
	}
	qp_reexec_free_words(words);
	qp_reexec_free_words(env);
}

/* Our predecessor's descriptors lie where it has put them; its program is not passed to itself. */
static char **
same_environment(unsigned n)
{
	char **names = NULL;

	if (sd_listen_fds_with_names(0, &names) != (int)n)
		return NULL;
	self.npassed = n;
	for (unsigned i = 0; i < n; i++) {
		bool previous = strcmp(names[i], QP_PASS_PREVIOUS) == 0;

		snprintf(self.passed[i].name, NAME_BYTES, "%s", previous ? "unknown" : names[i]);
		free(names[i]);
	}
	free(names);
	return environment();
}

void
qp_reexec_back(void)
{
	char **words, **env;
	int n, previous = -1;

	if (self.settled || qp_fdstore_take(QP_PASS_PREVIOUS, &previous, 1) == 0)
		return;
	n = sd_listen_fds(0);
	env = n > 0 && n <= (int)MAX_PASSED ? same_environment((unsigned)n) : NULL;
	words = qp_reexec_words(NULL);
	if (env != NULL && words != NULL) {
		for (int i = 0; i < n; i++)
			(void)fcntl(SD_LISTEN_FDS_START + i, F_SETFD, 0);
		(void)close_range((unsigned)(SD_LISTEN_FDS_START + n), ~0u, CLOSE_RANGE_CLOEXEC);
		fexecve(previous, words, env);
	}
	qp_reexec_free_words(words);
	qp_reexec_free_words(env);
	close(previous);
}

void
qp_reexec_settle(void)
{
	if (!self.settled)
		qp_fdstore_settle();
	self.settled = true;
}
