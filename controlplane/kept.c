/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters that outlive a control plane. Those of data planes are kept in the
 * form of a data plane's own block (common/shared.h), which says what they are
 * called; of the rest, a part whose size is another one is left out. Loop thread.
 */
#define QP_LOG_MODULE QP_LOG_M_process
#include "controlplane/kept.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/file.h"
#include "common/log.h"
#include "common/shared.h"

#define MAGIC 0x51504b54u /* "QPKT" */
#define MAX_BYTES (1u << 20)
#define COMPLAIN_NS 60000000000ull

#define ALIGNMENT 64u /* of a data plane's block */

/* Each part follows its neighbour, the block first. */
struct head {
	uint32_t magic;
	uint32_t head_bytes;
	uint32_t block_bytes;
	uint32_t auth_bytes;
	uint32_t stats_bytes;
	uint32_t more_bytes;
	uint32_t account_bytes; /* of one */
	uint32_t naccounts;
	uint32_t nretired;
	uint32_t retired_id[QP_KEPT_RETIRED];
} __attribute__((aligned(ALIGNMENT)));

static void *
aligned(size_t len)
{
	return aligned_alloc(ALIGNMENT, (len + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
}

static bool
is_retired(const struct qp_kept *k, uint32_t server_id)
{
	const uint32_t n = k->nretired < QP_KEPT_RETIRED ? k->nretired : QP_KEPT_RETIRED;

	for (uint32_t i = 0; i < n; i++) {
		if (k->retired_id[i] == server_id)
			return true;
	}
	return false;
}

static bool
add_view(struct qp_kept *k, uint32_t server_id, const struct qp_shared_view *v)
{
	if (is_retired(k, server_id))
		return false;
	k->retired_id[k->nretired++ % QP_KEPT_RETIRED] = server_id;
	if (v == NULL)
		return true;
	qp_totals_add_view(&k->retired, v);
	qp_totals_drop_gauges(&k->retired);
	return true;
}

bool
qp_kept_retire(struct qp_kept *k, const struct qp_generation *g)
{
	return add_view(k, g->server_id, g->link != NULL ? qp_dp_link_view(g->link) : NULL);
}

bool
qp_kept_retire_block(struct qp_kept *k, uint32_t server_id, const void *block, size_t len)
{
	struct qp_shared_view v;

	return block != NULL && qp_shared_open(&v, block, len, NULL) == 0 &&
	       add_view(k, server_id, &v);
}

static void
complain(const struct qp_errmsg *msg)
{
	static uint64_t last_ns;
	uint64_t now = qp_now_ns();

	if (last_ns != 0 && now - last_ns < COMPLAIN_NS)
		return;
	last_ns = now;
	qp_log(QP_LOG_WARN, "counters cannot be kept for the next control plane",
		QP_LOG_STR("reason", msg->text));
}

/* The totals as the counters of a worker that never was. */
static void
fill_block(const struct qp_totals *t, void *at)
{
	struct qp_gen_shared *block = at;
	struct qp_worker_shared *w;

	qp_shared_init(block, 1, 0);
	w = qp_shared_worker(block, 0);
	w->c = t->c;
	memcpy(w->tcp, t->tcp, sizeof(w->tcp));
	memcpy(w->udp, t->udp, sizeof(w->udp));
	memcpy(w->ip_drops, t->ip_drops, sizeof(w->ip_drops));
	memcpy(w->net, t->net, sizeof(w->net));
	memcpy(w->nic, t->nic, sizeof(w->nic));
	w->tcp_rtt = t->tcp_rtt;
	w->quic_rtt = t->quic_rtt;
}

void
qp_kept_save(const struct qp_kept *k, struct qp_usage *usage, const char *dir)
{
	struct head h = {.magic = MAGIC,
		.head_bytes = sizeof(h),
		.block_bytes = k->retired.added ? (uint32_t)qp_shared_bytes(1, 0) : 0,
		.auth_bytes = sizeof(k->auth),
		.stats_bytes = sizeof(k->stats),
		.more_bytes = sizeof(k->more),
		.account_bytes = sizeof(struct qp_usage_kept),
		.naccounts = usage != NULL ? qp_usage_naccounts(usage) : 0,
		.nretired = k->nretired};
	const size_t len = sizeof(h) + h.block_bytes + h.auth_bytes + h.stats_bytes +
			   h.more_bytes + (size_t)h.naccounts * h.account_bytes;
	char path[PATH_MAX], *file = aligned(len), *at = file;
	struct qp_errmsg msg;

	if (file == NULL)
		return;
	memcpy(h.retired_id, k->retired_id, sizeof(h.retired_id));
	memcpy(at, &h, sizeof(h));
	at += sizeof(h);
	if (h.block_bytes > 0)
		fill_block(&k->retired, at);
	at += h.block_bytes;
	memcpy(at, &k->auth, sizeof(k->auth));
	at += sizeof(k->auth);
	memcpy(at, &k->stats, sizeof(k->stats));
	at += sizeof(k->stats);
	memcpy(at, &k->more, sizeof(k->more));
	at += sizeof(k->more);
	for (uint32_t i = 0; i < h.naccounts; i++, at += h.account_bytes)
		qp_usage_keep(usage, i, (struct qp_usage_kept *)(void *)at);
	snprintf(path, sizeof(path), "%s/counters", dir);
	if (qp_file_write(path, file, len, 0600, true, &msg) != 0)
		complain(&msg);
	free(file);
}

/* Whether the sizes that it names come to its size. */
static bool
is_whole(const struct head *h, size_t len)
{
	return h->magic == MAGIC && h->head_bytes == sizeof(*h) &&
	       len == (uint64_t)sizeof(*h) + h->block_bytes + h->auth_bytes + h->stats_bytes +
			      h->more_bytes + (uint64_t)h->naccounts * h->account_bytes;
}

static void
take_block(struct qp_kept *k, const char *at, size_t len)
{
	struct qp_shared_view v;
	void *block = len > 0 ? aligned(len) : NULL;

	if (block == NULL)
		return;
	memcpy(block, at, len);
	if (qp_shared_open(&v, block, len, NULL) == 0)
		qp_totals_add_view(&k->retired, &v);
	free(block);
}

static void
take(struct qp_kept *k, struct qp_usage *usage, const struct head *h, const char *at)
{
	struct qp_usage_kept account;

	k->nretired = h->nretired;
	memcpy(k->retired_id, h->retired_id, sizeof(k->retired_id));
	take_block(k, at, h->block_bytes);
	at += h->block_bytes;
	if (h->auth_bytes == sizeof(k->auth))
		memcpy(&k->auth, at, sizeof(k->auth));
	at += h->auth_bytes;
	if (h->stats_bytes == sizeof(k->stats))
		memcpy(&k->stats, at, sizeof(k->stats));
	at += h->stats_bytes;
	memcpy(&k->more, at, h->more_bytes < sizeof(k->more) ? h->more_bytes : sizeof(k->more));
	at += h->more_bytes;
	for (uint32_t i = 0; i < h->naccounts && h->account_bytes == sizeof(account); i++) {
		memcpy(&account, at + (size_t)i * sizeof(account), sizeof(account));
		account.name[sizeof(account.name) - 1] = '\0';
		if (usage != NULL)
			qp_usage_resume(usage, &account);
	}
}

void
qp_kept_load(struct qp_kept *k, struct qp_usage *usage, const char *dir)
{
	char path[PATH_MAX], *text = NULL;
	struct head h;
	size_t len = 0;

	memset(k, 0, sizeof(*k));
	snprintf(path, sizeof(path), "%s/counters", dir);
	if (qp_file_read(path, MAX_BYTES, &text, &len, NULL, NULL) != 0)
		return;
	if (len >= sizeof(h)) {
		memcpy(&h, text, sizeof(h));
		if (is_whole(&h, len))
			take(k, usage, &h, text + sizeof(h));
	}
	qp_file_free(text);
}
