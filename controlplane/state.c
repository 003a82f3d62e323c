/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state as the loop thread sees it: a database in memory that is changed
 * and read at once, each change queued for the disk. Loop thread.
 */
#include "controlplane/state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "common/file.h"
#include "common/log.h"
#include "controlplane/state_writer.h"

#define RETRY_MS 5000u

static int
start_thread(struct qp_state *s)
{
	pthread_condattr_t attr;
	int err;

	pthread_mutex_init(&s->mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->changed, &attr);
	pthread_cond_init(&s->written, &attr);
	pthread_condattr_destroy(&attr);
	err = pthread_create(&s->thread, NULL, qp_state_writer_run, s);
	if (err == 0)
		return 0;
	pthread_cond_destroy(&s->written);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->mutex);
	return QP_E_NOMEM;
}

static void
release(struct qp_state *s)
{
	qp_state_db_close(&s->disk);
	qp_state_db_close(&s->memory);
	if (s->bell >= 0)
		close(s->bell);
	free(s->path);
	free(s);
}

int
qp_state_open(const struct qp_state_config *cfg, struct qp_state **out, struct qp_errmsg *msg)
{
	struct qp_state *s = calloc(1, sizeof(*s));
	struct qp_errmsg why;

	if (s == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	s->last = &s->first;
	s->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->retry_ms = cfg->retry_ms != 0 ? cfg->retry_ms : RETRY_MS;
	if (asprintf(&s->path, "%s/%s.db", cfg->dir, cfg->name) < 0)
		s->path = NULL;
	if (s->path == NULL || s->bell < 0 || qp_state_db_open_memory(&s->memory) != 0) {
		release(s);
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	}
	/* Opening the file tells what came of it. */
	(void)qp_file_make_parents(s->path, &why);
	qp_state_open_disk(s);
	if (start_thread(s) != 0) {
		release(s);
		return qp_fail(msg, QP_E_NOMEM, "no thread for the state can be started");
	}
	*out = s;
	return 0;
}

void
qp_state_close(struct qp_state *s)
{
	if (s == NULL)
		return;
	pthread_mutex_lock(&s->mutex);
	s->ending = true;
	pthread_cond_signal(&s->changed);
	pthread_mutex_unlock(&s->mutex);
	pthread_join(s->thread, NULL);
	if (s->given != s->done)
		qp_log(QP_LOG_WARN, "the last changes of the state are not on the disk",
			QP_LOG_STR("file", s->path));
	pthread_cond_destroy(&s->written);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->mutex);
	release(s);
}

int
qp_state_sync(struct qp_state *s, unsigned timeout_ms)
{
	struct timespec until;
	int rc = 0, err;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += timeout_ms / 1000;
	until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&s->mutex);
	while (!s->down && s->done != s->given && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(&s->written, &s->mutex, &until);
	err = s->down ? QP_E_IO : s->done != s->given ? QP_E_TIMEOUT : 0;
	pthread_mutex_unlock(&s->mutex);
	return err;
}

uint64_t
qp_state_place(struct qp_state *s)
{
	uint64_t place;

	pthread_mutex_lock(&s->mutex);
	place = s->given;
	pthread_mutex_unlock(&s->mutex);
	return place;
}

int
qp_state_reached(struct qp_state *s, uint64_t place)
{
	int err;

	pthread_mutex_lock(&s->mutex);
	err = s->done >= place ? 0 : s->down ? QP_E_IO : QP_E_AGAIN;
	pthread_mutex_unlock(&s->mutex);
	return err;
}

int
qp_state_bell(const struct qp_state *s)
{
	return s->bell;
}

void
qp_state_announce(struct qp_state *s)
{
	pthread_cond_broadcast(&s->written);
	(void)eventfd_write(s->bell, 1);
}

void
qp_state_stats(struct qp_state *s, struct qp_state_stats *out)
{
	pthread_mutex_lock(&s->mutex);
	*out = s->stats;
	out->on_disk = !s->down;
	out->changes = s->given;
	pthread_mutex_unlock(&s->mutex);
}

/* Held: the mutex. */
static void
queue(struct qp_state *s, const struct qp_state_change *c)
{
	struct qp_state_change *copy;

	s->given++;
	if (s->down)
		return;
	copy = s->queued < QP_STATE_MAX_QUEUED ? qp_state_change_copy(c) : NULL;
	if (copy == NULL) {
		/* A later copy of all makes up for what is not queued. */
		s->down = true;
		qp_state_announce(s);
		qp_log(QP_LOG_WARN, "the state is kept in memory: its disk does not keep up",
			QP_LOG_STR("file", s->path));
	} else {
		*s->last = copy;
		s->last = &copy->next;
		s->queued++;
	}
	pthread_cond_signal(&s->changed);
}

/* In memory at once; how many rows it changed. */
static int
change(struct qp_state *s, const struct qp_state_change *c)
{
	int rows = 0, rc;

	pthread_mutex_lock(&s->mutex);
	rc = qp_state_db_apply(&s->memory, c, &rows);
	if (rc == SQLITE_OK)
		queue(s, c);
	pthread_mutex_unlock(&s->mutex);
	if (rc != SQLITE_OK)
		qp_log(QP_LOG_ERROR, "a change of the state is lost",
			QP_LOG_STR("reason", sqlite3_errstr(rc)));
	return rc == SQLITE_OK ? rows : 0;
}

/* Calls `row` for each row that `sql` finds in memory. */
static int
each(struct qp_state *s, const char *sql, void (*row)(void *ctx, sqlite3_stmt *stmt), void *ctx)
{
	sqlite3_stmt *stmt = NULL;
	int rc;

	pthread_mutex_lock(&s->mutex);
	rc = sqlite3_prepare_v2(s->memory.db, sql, -1, &stmt, NULL);
	while (rc == SQLITE_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		row(ctx, stmt);
		rc = SQLITE_OK;
	}
	sqlite3_finalize(stmt);
	pthread_mutex_unlock(&s->mutex);
	return rc == SQLITE_DONE ? 0 : QP_E_NOMEM;
}

static const char *
text_at(sqlite3_stmt *stmt, int column)
{
	const char *text = (const char *)sqlite3_column_text(stmt, column);

	return text != NULL ? text : "";
}

#define NUMBER(n) ((struct qp_state_value) {.number = (int64_t)(n)})
#define TEXT(t) ((struct qp_state_value) {.text = (t)})

void
qp_state_put_lease(struct qp_state *s, const struct qp_lease_row *row)
{
	change(s, &(struct qp_state_change) {.op = QP_STATE_PUT_LEASE,
			  .n = 7,
			  .value = {NUMBER(row->protocol), NUMBER(row->port), TEXT(row->client),
				  TEXT(row->destination), TEXT(row->peer), NUMBER(row->granted_at),
				  NUMBER(row->used_at)}});
}

void
qp_state_drop_lease(struct qp_state *s, uint8_t protocol, uint16_t port)
{
	change(s, &(struct qp_state_change) {.op = QP_STATE_DROP_LEASE,
			  .n = 2,
			  .value = {NUMBER(protocol), NUMBER(port)}});
}

struct lease_reader {
	void (*each)(void *ctx, const struct qp_lease_row *row);
	void *ctx;
};

static void
read_lease(void *ctx, sqlite3_stmt *stmt)
{
	const struct lease_reader *r = ctx;
	const struct qp_lease_row row = {
		.protocol = (uint8_t)sqlite3_column_int(stmt, 0),
		.port = (uint16_t)sqlite3_column_int(stmt, 1),
		.client = text_at(stmt, 2),
		.destination = text_at(stmt, 3),
		.peer = text_at(stmt, 4),
		.granted_at = (uint64_t)sqlite3_column_int64(stmt, 5),
		.used_at = (uint64_t)sqlite3_column_int64(stmt, 6),
	};

	r->each(r->ctx, &row);
}

int
qp_state_each_lease(
	struct qp_state *s, void (*row)(void *ctx, const struct qp_lease_row *row), void *ctx)
{
	return each(s,
		"SELECT protocol, port, client, destination, peer, granted_at, used_at"
		" FROM leases ORDER BY used_at, port",
		read_lease, &(struct lease_reader) {row, ctx});
}

void
qp_state_put_client(struct qp_state *s, const char *name, const char *json)
{
	change(s, &(struct qp_state_change) {
			  .op = QP_STATE_PUT_CLIENT, .n = 2, .value = {TEXT(name), TEXT(json)}});
}

int
qp_state_drop_client(struct qp_state *s, const char *name)
{
	return change(s, &(struct qp_state_change) {
				 .op = QP_STATE_DROP_CLIENT, .n = 1, .value = {TEXT(name)}}) > 0
		       ? 0
		       : QP_E_NOTFOUND;
}

struct client_reader {
	void (*each)(void *ctx, const char *name, const char *json);
	void *ctx;
};

static void
read_client(void *ctx, sqlite3_stmt *stmt)
{
	const struct client_reader *r = ctx;

	r->each(r->ctx, text_at(stmt, 0), text_at(stmt, 1));
}

int
qp_state_each_client(struct qp_state *s,
	void (*row)(void *ctx, const char *name, const char *json), void *ctx)
{
	return each(s, "SELECT name, json FROM clients ORDER BY name", read_client,
		&(struct client_reader) {row, ctx});
}

void
qp_state_put_block(struct qp_state *s, const struct qp_block_row *row)
{
	change(s, &(struct qp_state_change) {.op = QP_STATE_PUT_BLOCK,
			  .n = 4,
			  .value = {TEXT(row->network), NUMBER(row->expires_at), NUMBER(row->since),
				  TEXT(row->reason)}});
}

int
qp_state_drop_block(struct qp_state *s, const char *network)
{
	return change(s, &(struct qp_state_change) {
				 .op = QP_STATE_DROP_BLOCK, .n = 1, .value = {TEXT(network)}}) > 0
		       ? 0
		       : QP_E_NOTFOUND;
}

struct block_reader {
	void (*each)(void *ctx, const struct qp_block_row *row);
	void *ctx;
};

static void
read_block(void *ctx, sqlite3_stmt *stmt)
{
	const struct block_reader *r = ctx;
	const struct qp_block_row row = {
		.network = text_at(stmt, 0),
		.expires_at = (uint64_t)sqlite3_column_int64(stmt, 1),
		.since = (uint64_t)sqlite3_column_int64(stmt, 2),
		.reason = text_at(stmt, 3),
	};

	r->each(r->ctx, &row);
}

int
qp_state_each_block(
	struct qp_state *s, void (*row)(void *ctx, const struct qp_block_row *row), void *ctx)
{
	return each(s, "SELECT network, expires_at, since, reason FROM blocks ORDER BY network",
		read_block, &(struct block_reader) {row, ctx});
}
