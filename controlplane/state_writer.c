/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Brings the state to the disk, on a thread of its own: what came while one
 * commit was synced is the next one's batch. A batch that fails ends the file's
 * part until it takes a copy of everything again.
 */
#define QP_LOG_MODULE QP_LOG_M_config
#include "controlplane/state_writer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "common/clock.h"
#include "common/log.h"

static uint64_t
now_us(void)
{
	return qp_now_ns() / 1000u;
}

static void
free_changes(struct qp_state_change *c)
{
	while (c != NULL) {
		struct qp_state_change *next = c->next;

		free(c);
		c = next;
	}
}

/* Opens the file; a broken one is moved aside and begun anew. */
static int
open_or_replace(struct qp_state *s, struct qp_errmsg *msg)
{
	int err = qp_state_db_open_file(&s->disk, s->path, msg);
	struct qp_errmsg why;
	char moved[512];

	if (err != QP_E_PROTO)
		return err;
	why = *msg;
	err = qp_state_db_move_aside(s->path, moved, sizeof(moved), msg);
	if (err != 0)
		return err;
	qp_log(QP_LOG_ERROR,
		"THE STATE FILE IS BROKEN: a new one is begun; port leases, and clients and blocks "
		"that the API wrote, are forgotten",
		QP_LOG_STR("file", s->path), QP_LOG_STR("moved_to", moved),
		QP_LOG_STR("reason", why.text));
	return qp_state_db_open_file(&s->disk, s->path, msg);
}

/* What we have not read must not be written over. A full disk leaves an empty file. */
static bool
has_content(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? st.st_size > 0 : errno != ENOENT;
}

void
qp_state_open_disk(struct qp_state *s)
{
	struct qp_state_db readable = {0};
	struct qp_errmsg msg, ignored;
	int err = open_or_replace(s, &msg);

	if (err == 0 && qp_state_db_copy(&s->memory, &s->disk) == SQLITE_OK)
		return;
	if (err == 0) {
		qp_state_db_close(&s->disk);
		err = qp_fail(&msg, QP_E_IO, "%s cannot be read", s->path);
	}
	s->down = true;
	if (err == QP_E_INUSE || err == QP_E_VERSION)
		s->for_good = true; /* somebody else's */
	else if (qp_state_db_open_readonly(&readable, s->path, &ignored) == 0)
		s->for_good = qp_state_db_copy(&s->memory, &readable) != SQLITE_OK;
	else
		s->for_good = has_content(s->path);
	qp_state_db_close(&readable);
	qp_log(QP_LOG_WARN,
		s->for_good ? "the state is kept in memory only, until the next start"
			    : "the state is kept in memory until its file can be written",
		QP_LOG_STR("reason", msg.text));
}

/* Held: the mutex. */
static void
forget_queue(struct qp_state *s)
{
	free_changes(s->first);
	s->first = NULL;
	s->last = &s->first;
	s->queued = 0;
}

/* A batch, or a copy of all, that the disk did not take. Held: the mutex. */
static void
go_down(struct qp_state *s, const char *why)
{
	if (!s->down)
		qp_log(QP_LOG_WARN, "the state is kept in memory until its file can be written",
			QP_LOG_STR("file", s->path), QP_LOG_STR("reason", why));
	s->down = true;
	s->stats.failures++;
	forget_queue(s);
	qp_state_announce(s);
}

static void
note_commit(struct qp_state *s, uint64_t began_us)
{
	uint64_t took = now_us() - began_us;

	s->stats.commits++;
	if (took > s->stats.longest_commit_us)
		s->stats.longest_commit_us = took;
	qp_state_announce(s);
}

/* Held: the mutex, but not while the disk works. */
static void
write_batch(struct qp_state *s)
{
	struct qp_state_change *batch = s->first;
	uint64_t upto = s->given, began = now_us();
	char why[256];
	int rc;

	s->first = NULL;
	s->last = &s->first;
	s->queued = 0;
	pthread_mutex_unlock(&s->mutex);
	rc = qp_state_db_apply_all(&s->disk, batch);
	strncpy(why, sqlite3_errmsg(s->disk.db), sizeof(why) - 1);
	why[sizeof(why) - 1] = '\0';
	free_changes(batch);
	if (rc != SQLITE_OK)
		qp_state_db_close(&s->disk);
	pthread_mutex_lock(&s->mutex);
	if (rc != SQLITE_OK) {
		go_down(s, why);
		return;
	}
	if (!s->down)
		s->done = upto;
	note_commit(s, began);
}

/* Opens the file anew and copies the memory over. Held: the mutex, but not while the disk works. */
static void
come_back(struct qp_state *s)
{
	unsigned char *bytes = NULL;
	struct qp_errmsg msg = {"it is full, or fails"};
	uint64_t upto, began = now_us();
	int64_t len = 0;
	int rc = SQLITE_ERROR, err;

	pthread_mutex_unlock(&s->mutex);
	if (s->disk.db != NULL)
		qp_state_db_close(&s->disk);
	err = open_or_replace(s, &msg);
	pthread_mutex_lock(&s->mutex);
	if (err == 0) {
		bytes = qp_state_db_snapshot(&s->memory, &len);
		forget_queue(s); /* the copy has them; later ones are queued behind it */
		s->down = bytes == NULL;
	}
	upto = s->given;
	if (bytes != NULL) {
		pthread_mutex_unlock(&s->mutex);
		rc = qp_state_db_restore(&s->disk, bytes, len);
		pthread_mutex_lock(&s->mutex);
	}
	if (rc == SQLITE_OK) {
		s->done = upto;
		note_commit(s, began);
		qp_log(QP_LOG_INFO, "the state is on the disk again", QP_LOG_STR("file", s->path));
		return;
	}
	qp_state_db_close(&s->disk);
	s->down = true; /* said once already */
	go_down(s, msg.text);
}

/* True after retry_ms; false when the end or something else came before. Held: the mutex. */
static bool
wait_for_retry(struct qp_state *s)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += s->retry_ms / 1000;
	until.tv_nsec += (long)(s->retry_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	while (!s->ending) {
		if (pthread_cond_timedwait(&s->changed, &s->mutex, &until) == ETIMEDOUT)
			return true;
	}
	return false;
}

void *
qp_state_writer_run(void *arg)
{
	struct qp_state *s = arg;

	pthread_mutex_lock(&s->mutex);
	while (!s->ending || (s->first != NULL && !s->down)) {
		if (s->down && !s->for_good) {
			if (wait_for_retry(s))
				come_back(s);
		} else if (s->first != NULL) {
			write_batch(s);
		} else {
			pthread_cond_wait(&s->changed, &s->mutex);
		}
	}
	/* The last chance: what is only in memory would be lost. */
	if (s->down && !s->for_good)
		come_back(s);
	pthread_mutex_unlock(&s->mutex);
	return NULL;
}
