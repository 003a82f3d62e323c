/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_STATE_DB_H
#define QP_CONTROLPLANE_STATE_DB_H

#include <sqlite3.h>
#include <stdint.h>

#include "common/error.h"

/*
 * One SQLite connection with the tables of the state: the one in memory or the
 * one on disk. Changes are values, so that the same one is done to both.
 * Thread: one at a time.
 */
enum qp_state_op {
	QP_STATE_PUT_LEASE,
	QP_STATE_DROP_LEASE,
	QP_STATE_PUT_CLIENT,
	QP_STATE_DROP_CLIENT,
	QP_STATE_PUT_BLOCK,
	QP_STATE_DROP_BLOCK,
	QP_STATE_NOPS,
};

#define QP_STATE_VALUES 7u

/* A value of a statement: text, when it is not NULL, else the number. */
struct qp_state_value {
	const char *text;
	int64_t number;
};

struct qp_state_change {
	struct qp_state_change *next;
	enum qp_state_op op;
	unsigned n;
	struct qp_state_value value[QP_STATE_VALUES];
	char bytes[]; /* the texts */
};

struct qp_state_db {
	sqlite3 *db; /* NULL: closed */
	sqlite3_stmt *stmt[QP_STATE_NOPS];
};

/* A copy that owns its texts; free() it. NULL: out of memory. */
struct qp_state_change *qp_state_change_copy(const struct qp_state_change *c);

/* An empty one. QP_E_NOMEM. */
int qp_state_db_open_memory(struct qp_state_db *d);
/*
 * Opens or makes the file, in WAL mode and locked against every other process;
 * brings an older schema up to date.
 * QP_E_PROTO: broken, or no database. QP_E_INUSE: another process has it.
 * QP_E_VERSION: a newer program made it. QP_E_IO, QP_E_PERM, QP_E_FULL: the disk.
 */
int qp_state_db_open_file(struct qp_state_db *d, const char *path, struct qp_errmsg *msg);
/* What can be read of a file that cannot be written. As above. */
int qp_state_db_open_readonly(struct qp_state_db *d, const char *path, struct qp_errmsg *msg);
void qp_state_db_close(struct qp_state_db *d);

/* All below: SQLITE_OK or its code. `*rows` (NULL is allowed) gets how many rows changed. */
int qp_state_db_apply(struct qp_state_db *d, const struct qp_state_change *c, int *rows);
/* All of the list in one transaction, or nothing. */
int qp_state_db_apply_all(struct qp_state_db *d, const struct qp_state_change *first);
/* `to` becomes a copy of `from`. */
int qp_state_db_copy(struct qp_state_db *to, struct qp_state_db *from);
/* The same through a copy in memory that sqlite3_free() frees: taken by one thread, used by another. */
unsigned char *qp_state_db_snapshot(struct qp_state_db *from, int64_t *len);
/* Takes the bytes over. */
int qp_state_db_restore(struct qp_state_db *to, unsigned char *bytes, int64_t len);

/* Names the file and its log PATH.bad-TIME; `moved` gets the name. */
int qp_state_db_move_aside(const char *path, char *moved, size_t cap, struct qp_errmsg *msg);

#endif
