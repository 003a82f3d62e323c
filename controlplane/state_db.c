/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The database of the state: schema, its versions, and what SQLite is asked to
 * do. Belongs to whoever holds the connection. The file is locked as long as it
 * is open (locking_mode EXCLUSIVE), which also spares the shared-memory file of
 * WAL: no second process is meant to read it, the API tells its contents.
 */
#define QP_LOG_MODULE QP_LOG_M_config
#include "controlplane/state_db.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/file.h"

/*
 * From version i to i + 1. What was released is never changed: a new step is added.
 * One that only adds tables, or columns with a default, leaves READER as it is: the
 * file says so (application_id), and the release before goes on with it.
 */
static const char *const steps[] = {
	"CREATE TABLE leases(protocol INTEGER NOT NULL, port INTEGER NOT NULL,"
	" client TEXT NOT NULL, destination TEXT NOT NULL, peer TEXT NOT NULL,"
	" granted_at INTEGER NOT NULL, used_at INTEGER NOT NULL,"
	" PRIMARY KEY(protocol, port)) WITHOUT ROWID;"
	"CREATE TABLE clients(name TEXT PRIMARY KEY NOT NULL, json TEXT NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE blocks(network TEXT PRIMARY KEY NOT NULL, expires_at INTEGER NOT NULL,"
	" since INTEGER NOT NULL, reason TEXT NOT NULL) WITHOUT ROWID;",
};
#define VERSION ((int)(sizeof(steps) / sizeof(steps[0])))
#define READER  1 /* the oldest version whose programs can work with a file of VERSION */

static const char *const statements[QP_STATE_NOPS] = {
	[QP_STATE_PUT_LEASE] = "REPLACE INTO leases(protocol, port, client, destination, peer,"
			       " granted_at, used_at) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
	[QP_STATE_DROP_LEASE] = "DELETE FROM leases WHERE protocol = ?1 AND port = ?2",
	[QP_STATE_PUT_CLIENT] = "REPLACE INTO clients(name, json) VALUES(?1, ?2)",
	[QP_STATE_DROP_CLIENT] = "DELETE FROM clients WHERE name = ?1",
	[QP_STATE_PUT_BLOCK] = "REPLACE INTO blocks(network, expires_at, since, reason)"
			       " VALUES(?1, ?2, ?3, ?4)",
	[QP_STATE_DROP_BLOCK] = "DELETE FROM blocks WHERE network = ?1",
};

struct qp_state_change *
qp_state_change_copy(const struct qp_state_change *c)
{
	struct qp_state_change *copy;
	size_t bytes = 0;
	char *at;

	for (unsigned i = 0; i < c->n; i++)
		bytes += c->value[i].text != NULL ? strlen(c->value[i].text) + 1 : 0;
	copy = malloc(sizeof(*copy) + bytes);
	if (copy == NULL)
		return NULL;
	*copy = *c;
	copy->next = NULL;
	at = copy->bytes;
	for (unsigned i = 0; i < c->n; i++) {
		if (c->value[i].text == NULL)
			continue;
		copy->value[i].text = strcpy(at, c->value[i].text);
		at += strlen(at) + 1;
	}
	return copy;
}

static int
code_of(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
		return 0;
	case SQLITE_NOMEM:
		return QP_E_NOMEM;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return QP_E_PROTO;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return QP_E_INUSE;
	case SQLITE_FULL:
		return QP_E_FULL;
	case SQLITE_READONLY:
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return QP_E_PERM;
	}
	return QP_E_IO;
}

static int
fail(struct qp_state_db *d, const char *path, int rc, struct qp_errmsg *msg)
{
	if (code_of(rc) == QP_E_INUSE)
		return qp_fail(msg, QP_E_INUSE, "%s is in use by another process", path);
	return qp_fail(msg, code_of(rc), "%s: %s", path,
		d->db != NULL ? sqlite3_errmsg(d->db) : sqlite3_errstr(rc));
}

static int
prepare(struct qp_state_db *d)
{
	int rc = SQLITE_OK;

	for (unsigned i = 0; i < QP_STATE_NOPS && rc == SQLITE_OK; i++)
		rc = sqlite3_prepare_v3(d->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT,
			&d->stmt[i], NULL);
	return rc;
}

/* The first column of the first row of `sql`, as a number, or as text into `text`. */
static int
ask(struct qp_state_db *d, const char *sql, int *number, char *text, size_t cap)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(d->db, sql, -1, &stmt, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW) {
		if (number != NULL)
			*number = sqlite3_column_int(stmt, 0);
		else
			snprintf(text, cap, "%s", (const char *)sqlite3_column_text(stmt, 0));
		rc = SQLITE_OK;
	}
	sqlite3_finalize(stmt);
	return rc == SQLITE_DONE ? SQLITE_ERROR : rc;
}

static int
migrate(struct qp_state_db *d, int from)
{
	int rc = sqlite3_exec(d->db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
	char sql[96];

	for (int i = from; i < VERSION && rc == SQLITE_OK; i++)
		rc = sqlite3_exec(d->db, steps[i], NULL, NULL, NULL);
	snprintf(sql, sizeof(sql), "PRAGMA user_version = %d; PRAGMA application_id = %d", VERSION,
		READER);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(d->db, sql, NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(d->db, "COMMIT", NULL, NULL, NULL);
	if (rc != SQLITE_OK && !sqlite3_get_autocommit(d->db))
		sqlite3_exec(d->db, "ROLLBACK", NULL, NULL, NULL);
	return rc;
}

int
qp_state_db_open_memory(struct qp_state_db *d)
{
	int rc = sqlite3_open(":memory:", &d->db);

	if (rc == SQLITE_OK)
		rc = migrate(d, 0);
	if (rc == SQLITE_OK)
		rc = prepare(d);
	if (rc == SQLITE_OK)
		return 0;
	qp_state_db_close(d);
	return QP_E_NOMEM;
}

/* Intact, and of a version that we know: which one, into `*version`. */
static int
check(struct qp_state_db *d, const char *path, int *version, struct qp_errmsg *msg)
{
	char text[128] = "";
	int rc = ask(d, "PRAGMA quick_check(1)", NULL, text, sizeof(text)), reader = 0;

	if (rc == SQLITE_OK)
		rc = ask(d, "PRAGMA user_version", version, NULL, 0);
	if (rc == SQLITE_OK)
		rc = ask(d, "PRAGMA application_id", &reader, NULL, 0);
	if (rc != SQLITE_OK)
		return fail(d, path, rc, msg);
	if (strcmp(text, "ok") != 0)
		return qp_fail(msg, QP_E_PROTO, "%s: %s", path, text);
	if (*version < 0)
		return qp_fail(msg, QP_E_PROTO, "%s: a schema of version %d", path, *version);
	if (*version > VERSION && (reader < 1 || reader > VERSION))
		return qp_fail(msg, QP_E_VERSION,
			"%s was made by a newer version (its schema is %d, ours %d)", path, *version,
			VERSION);
	return 0;
}

/* A file that is intact but lacks a table is as broken as one that is not. */
static int
prepare_file(struct qp_state_db *d, const char *path, struct qp_errmsg *msg)
{
	int rc = prepare(d);

	if (rc == SQLITE_ERROR)
		return qp_fail(msg, QP_E_PROTO, "%s: %s", path, sqlite3_errmsg(d->db));
	return rc == SQLITE_OK ? 0 : fail(d, path, rc, msg);
}

int
qp_state_db_open_file(struct qp_state_db *d, const char *path, struct qp_errmsg *msg)
{
	/* SQLite gives its log the file's mode: nobody else's business who may come. */
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	int rc, err, version = 0;

	if (fd < 0)
		return qp_fail(msg, qp_err_from_errno(errno), "%s: %s", path, strerror(errno));
	close(fd);
	rc = sqlite3_open_v2(path, &d->db, SQLITE_OPEN_READWRITE, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(d->db,
			"PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;"
			"PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 4194304",
			NULL, NULL, NULL);
	err = rc == SQLITE_OK ? check(d, path, &version, msg) : fail(d, path, rc, msg);
	if (err == 0 && version < VERSION) {
		rc = migrate(d, version);
		err = rc == SQLITE_OK ? 0 : fail(d, path, rc, msg);
	}
	if (err == 0)
		err = prepare_file(d, path, msg);
	if (err != 0)
		qp_state_db_close(d);
	return err;
}

int
qp_state_db_open_readonly(struct qp_state_db *d, const char *path, struct qp_errmsg *msg)
{
	char uri[512];
	int rc, err, version = 0;

	/*
	 * Immutable, since even reading a WAL database makes files beside it. What
	 * its log has is missing then: a clean end leaves none.
	 */
	snprintf(uri, sizeof(uri), "file:%s?immutable=1", path);
	rc = sqlite3_open_v2(uri, &d->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL);
	err = rc == SQLITE_OK ? check(d, path, &version, msg) : fail(d, path, rc, msg);
	if (err == 0 && version < VERSION)
		err = qp_fail(msg, QP_E_VERSION, "%s is of an older version", path);
	if (err == 0)
		err = prepare_file(d, path, msg);
	if (err != 0)
		qp_state_db_close(d);
	return err;
}

void
qp_state_db_close(struct qp_state_db *d)
{
	for (unsigned i = 0; i < QP_STATE_NOPS; i++) {
		sqlite3_finalize(d->stmt[i]);
		d->stmt[i] = NULL;
	}
	sqlite3_close(d->db);
	d->db = NULL;
}

int
qp_state_db_apply(struct qp_state_db *d, const struct qp_state_change *c, int *rows)
{
	sqlite3_stmt *stmt = d->stmt[c->op];
	int rc = SQLITE_OK;

	for (int i = 0; i < (int)c->n && rc == SQLITE_OK; i++) {
		const struct qp_state_value *v = &c->value[i];

		rc = v->text != NULL ? sqlite3_bind_text(stmt, i + 1, v->text, -1, SQLITE_STATIC)
				     : sqlite3_bind_int64(stmt, i + 1, v->number);
	}
	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	if (rows != NULL)
		*rows = sqlite3_changes(d->db);
	sqlite3_reset(stmt);
	sqlite3_clear_bindings(stmt);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int
qp_state_db_apply_all(struct qp_state_db *d, const struct qp_state_change *first)
{
	int rc = sqlite3_exec(d->db, "BEGIN IMMEDIATE", NULL, NULL, NULL);

	for (const struct qp_state_change *c = first; c != NULL && rc == SQLITE_OK; c = c->next)
		rc = qp_state_db_apply(d, c, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(d->db, "COMMIT", NULL, NULL, NULL);
	if (rc != SQLITE_OK && !sqlite3_get_autocommit(d->db))
		sqlite3_exec(d->db, "ROLLBACK", NULL, NULL, NULL);
	return rc;
}

int
qp_state_db_copy(struct qp_state_db *to, struct qp_state_db *from)
{
	sqlite3_backup *b = sqlite3_backup_init(to->db, "main", from->db, "main");
	int rc = b != NULL ? sqlite3_backup_step(b, -1) : sqlite3_errcode(to->db);

	if (b != NULL)
		sqlite3_backup_finish(b);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

unsigned char *
qp_state_db_snapshot(struct qp_state_db *from, int64_t *len)
{
	sqlite3_int64 n = 0;
	unsigned char *bytes = sqlite3_serialize(from->db, "main", &n, 0);

	*len = n;
	/* Pages that came from the file say WAL, which a database out of bytes cannot have. */
	if (bytes != NULL && n > 19)
		bytes[18] = bytes[19] = 1;
	return bytes;
}

int
qp_state_db_restore(struct qp_state_db *to, unsigned char *bytes, int64_t len)
{
	struct qp_state_db between = {0};
	int rc = sqlite3_open(":memory:", &between.db);

	if (rc == SQLITE_OK)
		rc = sqlite3_deserialize(between.db, "main", bytes, len, len,
			SQLITE_DESERIALIZE_FREEONCLOSE);
	else
		sqlite3_free(bytes);
	if (rc == SQLITE_OK)
		rc = qp_state_db_copy(to, &between);
	qp_state_db_close(&between);
	return rc;
}

int
qp_state_db_move_aside(const char *path, char *moved, size_t cap, struct qp_errmsg *msg)
{
	char from[512], to[512], stamp[32];
	time_t now = time(NULL);
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm);
	snprintf(moved, cap, "%s.bad-%s", path, stamp);
	if (rename(path, moved) < 0)
		return qp_fail(msg, qp_err_from_errno(errno), "%s cannot be moved aside: %s", path,
			strerror(errno));
	snprintf(from, sizeof(from), "%s-wal", path);
	snprintf(to, sizeof(to), "%.500s-wal", moved);
	/* Without it, a log of the old file would be played into the new one. */
	if (rename(from, to) < 0 && errno != ENOENT)
		unlink(from);
	return 0;
}
