/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_QUIC_CID_H
#define QP_DATAPLANE_QUIC_CID_H

#include <stdbool.h>
#include <sys/queue.h>

#include <ngtcp2/ngtcp2.h>

/*
 * Connection ids: how ours are laid out, and the table that finds a connection
 * by one. Ours are 8 bytes: server id (4, big-endian), lcore (1), random (3),
 * so that a classifier or another process finds the owner without state.
 */
#define QP_CID_BYTES 8u

struct qp_cid_entry {
	LIST_ENTRY(qp_cid_entry) bucket_link; /* in the table */
	LIST_ENTRY(qp_cid_entry) conn_link;   /* in the connection's list */
	void *conn;
	ngtcp2_cid cid;
};
LIST_HEAD(qp_cid_list, qp_cid_entry);

/*
 * Chained hash table over SipHash of the id (ids of clients are theirs to
 * choose, so the key is secret). Grows by doubling. Owner: one lcore.
 */
struct qp_cid_table {
	struct qp_cid_list *buckets;
	uint32_t mask;
	uint32_t used;
	uint8_t key[16];
};

int qp_cid_table_init(struct qp_cid_table *t);
void qp_cid_table_fini(struct qp_cid_table *t);

/* NULL when nothing has that id. */
void *qp_cid_find(const struct qp_cid_table *t, const uint8_t *cid, size_t len);
/* QP_E_INUSE when the id is taken, QP_E_NOMEM. `list` is the connection's. */
int qp_cid_add(struct qp_cid_table *t, struct qp_cid_list *list, const ngtcp2_cid *cid, void *conn);
void qp_cid_remove(struct qp_cid_table *t, const ngtcp2_cid *cid, const void *conn);
/* Removes all ids of a connection. */
void qp_cid_remove_all(struct qp_cid_table *t, struct qp_cid_list *list);

/* A fresh id of ours; not checked against the table. */
void qp_cid_make(ngtcp2_cid *cid, uint32_t server_id, uint8_t lcore);
/* Whether it looks like one that qp_cid_make made for these. */
bool qp_cid_is_of(const ngtcp2_cid *cid, uint32_t server_id, uint8_t lcore);

#endif
