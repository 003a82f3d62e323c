/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connection ids and their table. Runs on the owning lcore; entries are heap
 * memory, which only opening and closing a connection or a path touches.
 */
#include "dataplane/quic/cid.h"

#include <arpa/inet.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/error.h"

#define FIRST_BUCKETS 256u
#define UNGUESSABLE   (QP_CID_BYTES - 5u) /* of an id; the others say whose it is */

int
qp_cid_table_init(struct qp_cid_table *t)
{
	t->buckets = calloc(FIRST_BUCKETS, sizeof(*t->buckets));
	if (t->buckets == NULL)
		return QP_E_NOMEM;
	t->mask = FIRST_BUCKETS - 1;
	t->used = 0;
	_Static_assert(sizeof(t->key) == crypto_shorthash_KEYBYTES, "SipHash-2-4 key");
	randombytes_buf(t->key, sizeof(t->key));
	return 0;
}

void
qp_cid_table_fini(struct qp_cid_table *t)
{
	free(t->buckets);
	t->buckets = NULL;
}

static struct qp_cid_list *
bucket(const struct qp_cid_table *t, const uint8_t *cid, size_t len)
{
	uint64_t h;

	crypto_shorthash((uint8_t *)&h, cid, len, t->key);
	return &t->buckets[h & t->mask];
}

static struct qp_cid_entry *
find_entry(const struct qp_cid_table *t, const uint8_t *cid, size_t len)
{
	struct qp_cid_entry *e;

	LIST_FOREACH(e, bucket(t, cid, len), bucket_link)
		if (e->cid.datalen == len && memcmp(e->cid.data, cid, len) == 0)
			return e;
	return NULL;
}

void *
qp_cid_find(const struct qp_cid_table *t, const uint8_t *cid, size_t len)
{
	struct qp_cid_entry *e = find_entry(t, cid, len);

	return e != NULL ? e->conn : NULL;
}

/* Doubles the buckets; without memory the chains just grow longer. */
static void
grow(struct qp_cid_table *t)
{
	uint32_t old = t->mask + 1;
	struct qp_cid_list *was = t->buckets;
	struct qp_cid_list *now = calloc(2 * (size_t)old, sizeof(*now));
	struct qp_cid_entry *e;

	if (now == NULL)
		return;
	t->buckets = now;
	t->mask = 2 * old - 1;
	for (uint32_t i = 0; i < old; i++) {
		while ((e = LIST_FIRST(&was[i])) != NULL) {
			LIST_REMOVE(e, bucket_link);
			LIST_INSERT_HEAD(bucket(t, e->cid.data, e->cid.datalen), e, bucket_link);
		}
	}
	free(was);
}

int
qp_cid_add(struct qp_cid_table *t, struct qp_cid_list *list, const ngtcp2_cid *cid, void *conn)
{
	struct qp_cid_entry *e;

	if (find_entry(t, cid->data, cid->datalen) != NULL)
		return QP_E_INUSE;
	e = malloc(sizeof(*e));
	if (e == NULL)
		return QP_E_NOMEM;
	e->conn = conn;
	e->cid = *cid;
	if (t->used > t->mask)
		grow(t);
	LIST_INSERT_HEAD(bucket(t, cid->data, cid->datalen), e, bucket_link);
	LIST_INSERT_HEAD(list, e, conn_link);
	t->used++;
	return 0;
}

static void
remove_entry(struct qp_cid_table *t, struct qp_cid_entry *e)
{
	LIST_REMOVE(e, bucket_link);
	LIST_REMOVE(e, conn_link);
	t->used--;
	free(e);
}

void
qp_cid_remove(struct qp_cid_table *t, const ngtcp2_cid *cid, const void *conn)
{
	struct qp_cid_entry *e = find_entry(t, cid->data, cid->datalen);

	if (e != NULL && e->conn == conn)
		remove_entry(t, e);
}

void
qp_cid_remove_all(struct qp_cid_table *t, struct qp_cid_list *list)
{
	while (!LIST_EMPTY(list))
		remove_entry(t, LIST_FIRST(list));
}

/* A connection has seven ids or more, and each question to the kernel costs more than its bytes. */
static void
draw(uint8_t out[UNGUESSABLE])
{
	static _Thread_local uint8_t drawn[32][UNGUESSABLE];
	static _Thread_local unsigned left;

	if (left == 0) {
		randombytes_buf(drawn, sizeof(drawn));
		left = sizeof(drawn) / sizeof(drawn[0]);
	}
	memcpy(out, drawn[--left], UNGUESSABLE);
}

void
qp_cid_make(ngtcp2_cid *cid, uint32_t server_id, uint8_t lcore)
{
	uint32_t be = htonl(server_id);

	cid->datalen = QP_CID_BYTES;
	memcpy(cid->data, &be, sizeof(be));
	cid->data[4] = lcore;
	draw(cid->data + 5);
}

bool
qp_cid_is_of(const ngtcp2_cid *cid, uint32_t server_id, uint8_t lcore)
{
	const uint32_t be = htonl(server_id);

	return cid->datalen == QP_CID_BYTES && memcmp(cid->data, &be, sizeof(be)) == 0 &&
	       cid->data[4] == lcore;
}
