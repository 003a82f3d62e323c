/* SPDX-License-Identifier: Apache-2.0 */
/* What is left of a data plane, for a person to read. Loop thread. */
#include "controlplane/crash_report.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int
qp_crash_reports_open(struct qp_crash_reports *r, const char *state_dir, const char *instance,
	struct qp_errmsg *msg)
{
	if (snprintf(r->dir, sizeof(r->dir), "%s/crash", state_dir) >= (int)sizeof(r->dir))
		return qp_fail(msg, QP_E_INVAL, "--state-dir %s is too long", state_dir);
	snprintf(r->instance, sizeof(r->instance), "%s", instance);
	if (mkdir(r->dir, 0700) != 0 && errno != EEXIST)
		return qp_fail(msg, qp_err_from_errno(errno), "%s: %s", r->dir, strerror(errno));
	return 0;
}

/* "20260102T030405Z": names sort by age. */
static void
time_text(time_t t, char out[20])
{
	struct tm tm;

	strftime(out, 20, "%Y%m%dT%H%M%SZ", gmtime_r(&t, &tm));
}

void
qp_crash_report_own_path(const struct qp_crash_reports *r, char path[PATH_MAX])
{
	char when[20];

	time_text(time(NULL), when);
	snprintf(path, PATH_MAX, "%.3900s/%s-%s-control-plane-%d.txt", r->dir, r->instance, when,
		(int)getpid());
}

static bool
is_drop(const char *name)
{
	return strncmp(name, "drop_", 5) == 0 || strstr(name, "_drop_") != NULL ||
	       strncmp(name, "ip_", 3) == 0 || strcmp(name, "tx_dropped") == 0;
}

/* Those that are not 0, whichever release it was of; first of all the drops. */
static void
write_values(FILE *out, const struct qp_shared_view *view, unsigned worker, bool drops)
{
	struct qp_shared_name name;

	for (uint32_t i = 0; i < view->nnames; i++) {
		if (!qp_shared_name(view, i, &name) || name.n != 1 || is_drop(name.name) != drops)
			continue;
		if (qp_shared_word(view, worker, &name, 0) != 0)
			fprintf(out, "  %s %" PRIu64 "\n", name.name,
				qp_shared_word(view, worker, &name, 0));
	}
}

static void
write_worker(FILE *out, const struct qp_crash_report *r, unsigned worker)
{
	const struct qp_worker_door *door = &r->shared->door[worker];
	const uint64_t beat = qp_shared_read(&door->heartbeat_ns);

	fprintf(out, "\nworker %u, tid %u, last sign of life %" PRIu64 " ms before this report\n",
		worker, door->tid, r->now_ns > beat ? (r->now_ns - beat) / 1000000u : 0);
	if (r->view == NULL || worker >= r->view->nworkers)
		return;
	fputs(" drops\n", out);
	write_values(out, r->view, worker, true);
	fputs(" counters\n", out);
	write_values(out, r->view, worker, false);
}

/* Its text, which a broken process wrote: only what can be printed. */
static void
write_words(FILE *out, const struct qp_last_words *w)
{
	const size_t len = w->len < sizeof(w->text) ? w->len : sizeof(w->text);

	if (w->magic != QP_LAST_WORDS_MAGIC || len == 0)
		return;
	fputs("\nlast words\n", out);
	for (size_t i = 0; i < len; i++)
		fputc(w->text[i] == '\n' || (w->text[i] >= ' ' && w->text[i] <= '~') ? w->text[i]
										      : '?',
			out);
	fputs("functions and lines: addr2line -fipCe FILE OFFSET, with the file of that build id\n",
		out);
}

static void
write_report(FILE *out, const struct qp_crash_report *r)
{
	char when[20];

	time_text(time(NULL), when);
	fprintf(out, "data plane 0x%04x died at %s\n", r->server_id, when);
	fprintf(out, "it %s\n", r->how);
	if (r->hung != NULL && r->hung[0] != '\0')
		fprintf(out, "it hung: %s\n", r->hung);
	fprintf(out, "process %d, state %s, control plane version " QP_VERSION "\n", (int)r->pid,
		r->state != NULL ? r->state : "unknown");
	if (r->started_at != 0) {
		time_text((time_t)r->started_at, when);
		fprintf(out, "started at %s\n", when);
	}
	if (r->words != NULL)
		write_words(out, r->words);
	if (r->threads != NULL)
		fprintf(out, "\nthreads before it was killed\n%s", r->threads);
	if (r->shared == NULL)
		return;
	for (unsigned w = 0; w < r->shared->nworkers && w < QP_MAX_WORKERS; w++)
		write_worker(out, r, w);
}

/* scandir's filter has no context. Loop thread only. */
static const struct qp_crash_reports *pruned;

static int
is_report(const struct dirent *e)
{
	const size_t len = strlen(pruned->instance);

	/* Its time follows: another gateway's name may begin as ours does. */
	return strncmp(e->d_name, pruned->instance, len) == 0 && e->d_name[len] == '-' &&
	       strlen(e->d_name) > len + 9 && e->d_name[len + 9] == 'T';
}

static void
prune(const struct qp_crash_reports *r)
{
	struct dirent **found;
	char path[PATH_MAX + 256];
	int n;

	pruned = r;
	n = scandir(r->dir, &found, is_report, alphasort);
	if (n < 0)
		return;
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%s", r->dir, found[i]->d_name);
		if (i + (int)QP_CRASH_REPORTS_KEPT < n)
			unlink(path);
		free(found[i]);
	}
	free(found);
}

int
qp_crash_report_write(const struct qp_crash_reports *r, const struct qp_crash_report *report,
	char path[PATH_MAX], struct qp_errmsg *msg)
{
	char when[20];
	FILE *out;
	int fd, err;

	time_text(time(NULL), when);
	snprintf(path, PATH_MAX, "%.3900s/%s-%s-data-plane-%04x.txt", r->dir, r->instance, when,
		report->server_id);
	fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600);
	out = fd >= 0 ? fdopen(fd, "w") : NULL;
	if (out == NULL) {
		err = errno;
		if (fd >= 0)
			close(fd);
		return qp_fail(msg, qp_err_from_errno(err), "%s: %s", path, strerror(err));
	}
	write_report(out, report);
	err = ferror(out) != 0 ? EIO : 0;
	if (fclose(out) != 0 && err == 0)
		err = errno;
	prune(r);
	return err == 0 ? 0 : qp_fail(msg, qp_err_from_errno(err), "%s: %s", path, strerror(err));
}
