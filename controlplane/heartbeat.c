/* SPDX-License-Identifier: Apache-2.0 */
/* A silent thread: stuck, spinning, or starved by others. Any thread. */
#include "controlplane/heartbeat.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MS 1000000ull
/* A thread that has 1/SHARE of a CPU is not held to starve. No turn needs a part of the limit that small. */
#define SHARE 4u

bool
qp_thread_look(pid_t pid, pid_t tid, struct qp_thread_sample *out)
{
	unsigned long long user, system;
	char path[64], text[512];
	const char *after;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", (int)pid, (int)tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	/* Counted from the last ")", since the name before it is any text. */
	after = strrchr(text, ')');
	if (after == NULL ||
		sscanf(after + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu",
			&out->state, &user, &system) != 3)
		return false;
	out->ran_ns = (user + system) * (1000000000ull / (unsigned long)sysconf(_SC_CLK_TCK));
	return true;
}

static uint64_t
least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

bool
qp_heartbeat_quiet(
	struct qp_heartbeat *h, uint64_t beat_ns, uint64_t now_ns, uint64_t *passed_ns)
{
	const uint64_t age = now_ns > beat_ns ? now_ns - beat_ns : 0;

	if (beat_ns != h->beat_ns || h->looked_ns == 0) {
		*h = (struct qp_heartbeat) {.beat_ns = beat_ns, .looked_ns = now_ns,
			.quiet_ns = least(age, QP_HEARTBEAT_EVERY_MS * MS)};
		return false;
	}
	*passed_ns = least(now_ns - h->looked_ns, QP_HEARTBEAT_LATEST_MS * MS);
	h->looked_ns = now_ns;
	if (h->quiet_ns >= QP_HEARTBEAT_QUIET_MS * MS)
		return true;
	h->quiet_ns += *passed_ns;
	return false;
}

uint64_t
qp_heartbeat_silence_ns(
	struct qp_heartbeat *h, const struct qp_thread_sample *s, uint64_t passed_ns)
{
	if (!h->sampled) {
		h->sampled = true;
		h->ran_ns = s->ran_ns;
	}
	if (s->state == 'R')
		h->ready_ns += passed_ns;
	else
		h->stuck_ns += passed_ns;
	return h->quiet_ns + h->stuck_ns + least(h->ready_ns, SHARE * (s->ran_ns - h->ran_ns));
}
