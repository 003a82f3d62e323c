/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_STATE_H
#define QP_CONTROLPLANE_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

/*
 * What a gateway remembers over its restarts: port leases, clients that the API
 * has written, blocked sources. Everything is in memory, where it is read; a
 * thread of its own brings changes to an SQLite database (WAL), so that the
 * loop never waits for a disk. A disk that fails costs one warning: the gateway
 * goes on in memory, and writes all down when the disk is back.
 * Owner: the loop thread. Lock: one inside, never held while the disk works.
 */
struct qp_state;

struct qp_state_config {
	const char *dir;  /* made when it is missing; 0700 */
	const char *name; /* of the file in it, without ".db": the gateway's, and no other's */
	unsigned retry_ms; /* between attempts to come back to the disk; 0: five seconds */
};

/*
 * Opens the database, or goes without: a broken one is moved aside, one that
 * cannot be used is told by a line of the log. QP_E_NOMEM only.
 */
int qp_state_open(
	const struct qp_state_config *cfg, struct qp_state **out, struct qp_errmsg *msg);
/* Waits until all is written, if it can be. NULL is allowed. */
void qp_state_close(struct qp_state *s);

/*
 * Until all changes so far are on the disk. QP_E_IO: they are in memory only;
 * QP_E_TIMEOUT: not yet, but they will be if the disk answers.
 */
int qp_state_sync(struct qp_state *s, unsigned timeout_ms);

/*
 * The same without waiting: the place of the last change, whether the disk has
 * all up to it (0, QP_E_IO as above, QP_E_AGAIN: not yet), and an eventfd, to be
 * watched by one, that is readable when that may have changed.
 */
uint64_t qp_state_place(struct qp_state *s);
int qp_state_reached(struct qp_state *s, uint64_t place);
int qp_state_bell(const struct qp_state *s);

struct qp_state_stats {
	bool on_disk;      /* what changes now reaches the disk */
	uint64_t changes;  /* since the start */
	uint64_t commits;
	uint64_t failures; /* batches that the disk did not take */
	uint64_t longest_commit_us;
};
void qp_state_stats(struct qp_state *s, struct qp_state_stats *out);

/* Text is borrowed for the call. */
struct qp_lease_row {
	uint8_t protocol; /* IPPROTO_TCP, IPPROTO_UDP; with `port`: the key */
	uint16_t port;
	const char *client;
	const char *destination; /* the client's own, as it told it */
	const char *peer;        /* address of its machine, without port */
	uint64_t granted_at;     /* Unix time, seconds */
	uint64_t used_at;        /* … when it was last known to be in use */
};
void qp_state_put_lease(struct qp_state *s, const struct qp_lease_row *row);
void qp_state_drop_lease(struct qp_state *s, uint8_t protocol, uint16_t port);
/* Oldest use first. `each` must not call this module. */
int qp_state_each_lease(
	struct qp_state *s, void (*each)(void *ctx, const struct qp_lease_row *row), void *ctx);

/* Clients that the API has written: name, and what it wrote as JSON text. */
void qp_state_put_client(struct qp_state *s, const char *name, const char *json);
/* QP_E_NOTFOUND. */
int qp_state_drop_client(struct qp_state *s, const char *name);
/* By name. `each` must not call this module. */
int qp_state_each_client(struct qp_state *s,
	void (*each)(void *ctx, const char *name, const char *json), void *ctx);

/* Blocked sources: "198.51.100.0/24", until when (Unix time, 0: for ever), and who said why. */
struct qp_block_row {
	const char *network; /* the key */
	uint64_t expires_at;
	uint64_t since;
	const char *reason;
};
void qp_state_put_block(struct qp_state *s, const struct qp_block_row *row);
/* QP_E_NOTFOUND. */
int qp_state_drop_block(struct qp_state *s, const char *network);
/* By network. `each` must not call this module. */
int qp_state_each_block(
	struct qp_state *s, void (*each)(void *ctx, const struct qp_block_row *row), void *ctx);

#endif
