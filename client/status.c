/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A running client's status, over a Unix socket that its user alone can reach.
 */
#define QP_LOG_MODULE QP_LOG_M_client
#include "client/status.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/heap.h"
#include "common/log.h"

#define SEND_TIMEOUT_S 1

int
qpc_status_folder(char out[QPC_STATUS_PATH_BYTES], struct qp_errmsg *msg)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	int n;

	if (runtime != NULL && runtime[0] == '/')
		n = snprintf(out, QPC_STATUS_PATH_BYTES, "%s/quicport", runtime);
	else if (geteuid() == 0)
		n = snprintf(out, QPC_STATUS_PATH_BYTES, "/run/quicport-client");
	else
		n = snprintf(out, QPC_STATUS_PATH_BYTES, "/tmp/quicport-%u", (unsigned)geteuid());
	/* Room for "/client-1234567.sock". */
	if (n > (int)QPC_STATUS_PATH_BYTES - 24)
		return qp_fail(msg, QP_E_NOTFOUND, "XDG_RUNTIME_DIR is too long a path for a socket: %s",
			runtime);
	return QP_OK;
}

/* Ours alone, also where somebody else could have made it first. */
static int
make_folder(const char *path, struct qp_errmsg *msg)
{
	struct stat st;

	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return qp_fail(msg, qp_err_from_errno(errno), "cannot make %s: %s", path, strerror(errno));
	if (lstat(path, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() ||
		(st.st_mode & 077) != 0)
		return qp_fail(msg, QP_E_PERM, "%s is not a folder of this user alone", path);
	return QP_OK;
}

static int
listen_at(struct qpc_status *s, struct qp_errmsg *msg)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	_Static_assert(sizeof(addr.sun_path) >= QPC_STATUS_PATH_BYTES, "the path fits");
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", s->path);
	(void)unlink(s->path); /* of a dead process that had our number */
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->fd >= 0 && bind(s->fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 &&
		listen(s->fd, 8) == 0)
		return QP_OK;
	return qp_fail(msg, QP_E_IO, "cannot listen at %s: %s", s->path, strerror(errno));
}

void
qpc_status_open(struct qpc_status *s)
{
	char folder[QPC_STATUS_PATH_BYTES];
	struct qp_errmsg msg = {""};
	int err;

	*s = (struct qpc_status) {.fd = -1};
	err = qpc_status_folder(folder, &msg);
	if (err == QP_OK)
		err = make_folder(folder, &msg);
	if (err == QP_OK) {
		snprintf(s->path, sizeof(s->path), "%.80s/client-%d.sock", folder, (int)getpid());
		err = listen_at(s, &msg);
	}
	if (err != QP_OK) {
		qpc_status_close(s);
		qp_log(QP_LOG_DEBUG, "`quicport status` will not see this client",
			QP_LOG_STR("why", msg.text));
	}
}

void
qpc_status_close(struct qpc_status *s)
{
	if (s->fd < 0)
		return;
	close(s->fd);
	(void)unlink(s->path);
	s->fd = -1;
}

static const char *
state_name(enum qp_forward_state state)
{
	static const char *const names[] = {"connecting", "open", "waiting", "ended"};

	return (unsigned)state <= QP_FORWARD_ENDED ? names[state] : "unknown";
}

static json_t *
forward_row(struct qpc_desk *d, const struct qpc_item *item)
{
	struct qp_forward_stats s = {.size = sizeof(s)};

	qp_forward_get_stats(d->client, item->forward, &s);
	return json_pack("{s:s, s:s, s:s, s:s, s:s?, s:s?, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s?}",
		"name", qp_forward_name(item->forward), "kind",
		item->spec.kind == QP_FORWARD_REMOTE ? "remote" : "local", "state", state_name(s.state),
		"server", item->spec.peer.server, "remote", item->spec.remote, "local", item->spec.local,
		"port", (int)s.port, "connections", (json_int_t)s.connections, "connections_active",
		(json_int_t)s.connections_active, "refused", (json_int_t)s.refused, "bytes_in",
		(json_int_t)s.bytes_to_local, "bytes_out", (json_int_t)s.bytes_from_local, "reconnects",
		(json_int_t)s.reconnects, "migrations", (json_int_t)s.migrations, "rtt_us", (json_int_t)s.rtt_us, "error",
		s.error != QP_OK ? qp_strerror(s.error) : NULL);
}

static char *
describe(struct qpc_desk *d)
{
	json_t *rows = json_array(), *all;
	char *text;

	for (size_t i = 0; i < d->nitems; i++)
		json_array_append_new(rows, forward_row(d, d->item[i]));
	all = json_pack("{s:i, s:s, s:s?, s:I, s:I, s:o}", "pid", (int)getpid(), "version",
		qp_version(), "config", d->o->config, "heap_bytes", (json_int_t)qp_heap_in_use(),
		"memory_budget_bytes", (json_int_t)qp_heap_budget(), "forwards", rows);
	text = all != NULL ? json_dumps(all, JSON_COMPACT) : NULL;
	json_decref(all);
	return text;
}

void
qpc_status_serve(struct qpc_status *s, struct qpc_desk *d)
{
	struct timeval limit = {.tv_sec = SEND_TIMEOUT_S};
	int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
	char *text;
	size_t done = 0, len;

	if (fd < 0)
		return;
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	text = describe(d);
	len = text != NULL ? strlen(text) : 0;
	while (done < len) {
		ssize_t n = send(fd, text + done, len - done, MSG_NOSIGNAL);

		if (n <= 0)
			break;
		done += (size_t)n;
	}
	free(text);
	close(fd);
}
