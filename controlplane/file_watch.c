/* SPDX-License-Identifier: Apache-2.0 */
/* Files that change, by inotify on their folders. Loop thread. */
#define QP_LOG_MODULE QP_LOG_M_config
#include "controlplane/file_watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "common/log.h"

#define EVENTS                                                                                     \
	(IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CREATE | IN_DELETE_SELF |   \
		IN_MOVE_SELF | IN_ONLYDIR)
#define RETRY_MS 1000u /* for a folder that is not there */
#define MAX_DELAY_NS ((uint64_t)QP_FILE_WATCH_QUIET_MS * 5 * 1000000)

struct path {
	char *folder;
	char *name; /* NULL: every file in it */
	int wd;     /* -1: the folder is not there, or may not be watched */
};

struct qp_file_watch {
	struct qp_loop *loop;
	void (*changed)(void *ctx);
	void *ctx;
	int fd;
	struct qp_watch watch;
	struct qp_loop_timer quiet, retry;
	uint64_t first_ns; /* of the changes that are not told yet; 0: there are none */
	unsigned n;
	struct path path[QP_FILE_WATCH_PATHS];
};

/* What editors make beside a file. A folder's link ("..data") may swap all that is in it. */
static bool
is_litter(const char *name)
{
	size_t len = strlen(name);

	return (name[0] == '.' && strcmp(name, "..data") != 0) || (len > 0 && name[len - 1] == '~');
}

static bool
matters(const struct qp_file_watch *w, const struct inotify_event *e)
{
	for (unsigned i = 0; i < w->n; i++) {
		const struct path *p = &w->path[i];

		if (p->wd != e->wd)
			continue;
		if (e->len == 0)
			return true; /* the folder itself */
		if (p->name == NULL ? !is_litter(e->name)
				    : strcmp(p->name, e->name) == 0 || strcmp(e->name, "..data") == 0)
			return true;
	}
	return false;
}

static void
note_change(struct qp_file_watch *w)
{
	uint64_t now = qp_now_ns();

	if (w->first_ns == 0)
		w->first_ns = now;
	/* Once told at the latest then, although changes go on. */
	if (now - w->first_ns < MAX_DELAY_NS)
		qp_loop_timer_set(w->loop, &w->quiet, QP_FILE_WATCH_QUIET_MS);
}

/* The folder is gone, or is somewhere else: its name is looked at again. */
static void
forget_folder(struct qp_file_watch *w, int wd, bool watched_still)
{
	if (watched_still)
		(void)inotify_rm_watch(w->fd, wd);
	for (unsigned i = 0; i < w->n; i++) {
		if (w->path[i].wd == wd)
			w->path[i].wd = -1;
	}
	qp_loop_timer_set(w->loop, &w->retry, QP_FILE_WATCH_QUIET_MS);
}

static void
take_event(struct qp_file_watch *w, const struct inotify_event *e)
{
	if ((e->mask & IN_Q_OVERFLOW) != 0 || matters(w, e))
		note_change(w);
	if ((e->mask & (IN_IGNORED | IN_MOVE_SELF)) != 0)
		forget_folder(w, e->wd, (e->mask & IN_IGNORED) == 0);
}

static void
on_events(void *ctx, uint32_t events)
{
	_Alignas(struct inotify_event) char buffer[4096];
	struct qp_file_watch *w = ctx;
	ssize_t n;

	(void)events;
	while ((n = read(w->fd, buffer, sizeof(buffer))) > 0) {
		const char *p = buffer;

		while (p < buffer + n) {
			const struct inotify_event *e = (const void *)p;

			take_event(w, e);
			p += sizeof(*e) + e->len;
		}
	}
}

static void
on_quiet(void *ctx)
{
	struct qp_file_watch *w = ctx;

	w->first_ns = 0;
	w->changed(w->ctx);
}

/* True: `found` says whether some folder is there now that was not. */
static bool
add_watches(struct qp_file_watch *w, bool *found)
{
	bool missing = false;

	*found = false;
	for (unsigned i = 0; i < w->n; i++) {
		struct path *p = &w->path[i];

		if (p->wd >= 0)
			continue;
		p->wd = inotify_add_watch(w->fd, p->folder, EVENTS);
		*found |= p->wd >= 0;
		missing |= p->wd < 0;
	}
	return missing;
}

static void
on_retry(void *ctx)
{
	struct qp_file_watch *w = ctx;
	bool found;

	if (add_watches(w, &found))
		qp_loop_timer_set(w->loop, &w->retry, RETRY_MS);
	if (found)
		note_change(w);
}

struct qp_file_watch *
qp_file_watch_new(struct qp_loop *loop, void (*changed)(void *ctx), void *ctx)
{
	struct qp_file_watch *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	*w = (struct qp_file_watch) {.loop = loop,
		.changed = changed,
		.ctx = ctx,
		.watch = QP_WATCH_NONE,
		.quiet = {.fire = on_quiet, .ctx = w},
		.retry = {.fire = on_retry, .ctx = w}};
	w->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (w->fd >= 0 && qp_loop_watch(loop, &w->watch, w->fd, EPOLLIN, on_events, w) == 0)
		return w;
	if (w->fd >= 0)
		close(w->fd);
	free(w);
	return NULL;
}

static void
clear(struct qp_file_watch *w)
{
	for (unsigned i = 0; i < w->n; i++) {
		free(w->path[i].folder);
		free(w->path[i].name);
	}
	w->n = 0;
}

void
qp_file_watch_free(struct qp_file_watch *w)
{
	if (w == NULL)
		return;
	clear(w);
	qp_loop_timer_cancel(w->loop, &w->quiet);
	qp_loop_timer_cancel(w->loop, &w->retry);
	qp_loop_unwatch(w->loop, &w->watch);
	close(w->fd);
	free(w);
}

static int
add_path(struct qp_file_watch *w, const char *path)
{
	const char *slash = strrchr(path, '/');
	struct path *p = &w->path[w->n];

	if (w->n == QP_FILE_WATCH_PATHS)
		return QP_E_FULL;
	*p = (struct path) {.wd = -1};
	p->folder = slash == NULL ? strdup(".")
		: slash == path   ? strdup("/")
				  : strndup(path, (size_t)(slash - path));
	if (slash == NULL || slash[1] != '\0')
		p->name = strdup(slash == NULL ? path : slash + 1);
	w->n++; /* clear() frees what there is of it */
	return p->folder == NULL || (p->name == NULL && (slash == NULL || slash[1] != '\0'))
		       ? QP_E_NOMEM : 0;
}

/* A watch that no path has any more would still wake us. */
static void
remove_unused(struct qp_file_watch *w, const int *wds, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		bool used = wds[i] < 0;

		for (unsigned k = 0; k < w->n; k++)
			used |= w->path[k].wd == wds[i];
		for (unsigned k = 0; k < i; k++)
			used |= wds[k] == wds[i]; /* done already */
		if (!used)
			(void)inotify_rm_watch(w->fd, wds[i]);
	}
}

int
qp_file_watch_set(struct qp_file_watch *w, const char *const *paths, unsigned n)
{
	int wds[QP_FILE_WATCH_PATHS];
	unsigned old = w->n;
	bool found;
	int err = 0;

	for (unsigned i = 0; i < old; i++)
		wds[i] = w->path[i].wd;
	clear(w);
	for (unsigned i = 0; err == 0 && i < n; i++)
		err = add_path(w, paths[i]);
	/* A folder that is watched already gets its number again. */
	if (add_watches(w, &found))
		qp_loop_timer_set(w->loop, &w->retry, RETRY_MS);
	remove_unused(w, wds, old);
	return err;
}
