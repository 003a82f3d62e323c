/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accounts of clients: what their tunnels' data planes say is added as the
 * difference to what they said before, so that sums never fall. Loop thread.
 */
#include "controlplane/usage.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/metrics_impl.h"

#define BUCKETS 1024u /* a power of two, more than QP_USAGE_NAMED */

struct qp_usage_account {
	uint32_t tunnels;
	uint64_t conns_now;
	struct qp_usage_sums sum;
	struct qp_usage_sums closed; /* of it, what tunnels carried that have ended */
	struct qp_usage_sums floor; /* what a predecessor has shown */
	char name[sizeof(((struct qp_msg_identity *)0)->name)];
};

struct qp_usage {
	struct qp_loop *loop;
	struct qp_queries *queries;
	struct qp_tunnels *tunnels;
	struct qp_query *query; /* under way, or NULL */
	struct qp_loop_timer timer;
	uint64_t wanted_until_ns;
	uint64_t changes;
	unsigned n;
	struct qp_usage_account account[QP_USAGE_NAMED + 1]; /* the last is the others' */
	uint16_t bucket[BUCKETS]; /* index + 1 of an account; open addressing */
};

static void on_timer(void *ctx);

struct qp_usage *
qp_usage_new(struct qp_loop *loop, struct qp_queries *queries, struct qp_tunnels *tunnels)
{
	struct qp_usage *u = calloc(1, sizeof(*u));

	if (u == NULL)
		return NULL;
	u->loop = loop;
	u->queries = queries;
	u->tunnels = tunnels;
	u->timer = (struct qp_loop_timer) {.fire = on_timer, .ctx = u};
	memcpy(u->account[QP_USAGE_NAMED].name, QP_USAGE_OTHERS, sizeof(QP_USAGE_OTHERS));
	return u;
}

unsigned
qp_usage_count(const struct qp_usage *u)
{
	return u->n;
}

void
qp_usage_free(struct qp_usage *u)
{
	if (u == NULL)
		return;
	qp_loop_timer_cancel(u->loop, &u->timer);
	if (u->query != NULL)
		qp_query_cancel(u->query);
	free(u);
}

/* FNV-1a; where the name's account is, or would be. */
static uint16_t *
slot_of(struct qp_usage *u, const char *name)
{
	uint32_t h = 2166136261u;

	for (const char *c = name; *c != '\0'; c++)
		h = (h ^ (uint8_t)*c) * 16777619u;
	for (;; h++) {
		uint16_t *slot = &u->bucket[h & (BUCKETS - 1)];

		if (*slot == 0 || strcmp(u->account[*slot - 1].name, name) == 0)
			return slot;
	}
}

static struct qp_usage_account *
account_of(struct qp_usage *u, const char *name)
{
	uint16_t *slot = slot_of(u, name);

	if (*slot != 0)
		return &u->account[*slot - 1];
	if (u->n == QP_USAGE_NAMED)
		return &u->account[QP_USAGE_NAMED];
	snprintf(u->account[u->n].name, sizeof(u->account[0].name), "%s", name);
	*slot = (uint16_t)++u->n;
	u->changes++;
	return &u->account[u->n - 1];
}

void
qp_usage_opened(struct qp_usage *u, struct qp_tunnel *tun)
{
	if (tun->account != NULL)
		return;
	tun->account = account_of(u, tun->identity.name);
	tun->account->tunnels++;
	memset(&tun->said, 0, sizeof(tun->said));
}

static uint64_t
grown(uint64_t now, uint64_t before)
{
	return now > before ? now - before : 0;
}

void
qp_usage_settle(struct qp_usage *u, struct qp_tunnel *tun, const struct qp_msg_usage *now)
{
	struct qp_usage_account *a = tun->account;
	struct qp_msg_usage *said = &tun->said;

	if (a == NULL)
		return;
	u->changes += memcmp(now, said, sizeof(*now)) != 0;
	a->sum.in_bytes += grown(now->in_bytes, said->in_bytes);
	a->sum.out_bytes += grown(now->out_bytes, said->out_bytes);
	a->sum.conns_total += grown(now->conns_total, said->conns_total);
	a->sum.conns_refused += grown(now->conns_refused, said->conns_refused);
	a->conns_now += now->conns_now;
	a->conns_now -= said->conns_now;
	*said = *now;
}

void
qp_usage_closed(struct qp_usage *u, struct qp_tunnel *tun, const struct qp_msg_usage *last)
{
	struct qp_usage_account *a = tun->account;

	if (a == NULL)
		return;
	if (last != NULL)
		qp_usage_settle(u, tun, last);
	assert(a->tunnels > 0 && a->conns_now >= tun->said.conns_now);
	a->conns_now -= tun->said.conns_now;
	a->closed.in_bytes += tun->said.in_bytes;
	a->closed.out_bytes += tun->said.out_bytes;
	a->closed.conns_total += tun->said.conns_total;
	a->closed.conns_refused += tun->said.conns_refused;
	a->tunnels--;
	u->changes++;
	tun->account = NULL;
}

uint64_t
qp_usage_changes(const struct qp_usage *u)
{
	return u->changes;
}

unsigned
qp_usage_naccounts(const struct qp_usage *u)
{
	return u->n + 1; /* the others' is the last */
}

static void
add_sums(struct qp_usage_sums *to, const struct qp_usage_sums *what)
{
	to->in_bytes += what->in_bytes;
	to->out_bytes += what->out_bytes;
	to->conns_total += what->conns_total;
	to->conns_refused += what->conns_refused;
}

static uint64_t
higher(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static struct qp_usage_sums
shown(const struct qp_usage_account *a)
{
	return (struct qp_usage_sums) {.in_bytes = higher(a->sum.in_bytes, a->floor.in_bytes),
		.out_bytes = higher(a->sum.out_bytes, a->floor.out_bytes),
		.conns_total = higher(a->sum.conns_total, a->floor.conns_total),
		.conns_refused = higher(a->sum.conns_refused, a->floor.conns_refused)};
}

void
qp_usage_keep(const struct qp_usage *u, unsigned index, struct qp_usage_kept *out)
{
	const struct qp_usage_account *a = &u->account[index < u->n ? index : QP_USAGE_NAMED];

	memset(out, 0, sizeof(*out));
	out->closed = a->closed;
	out->shown = shown(a);
	snprintf(out->name, sizeof(out->name), "%s", a->name);
}

void
qp_usage_resume(struct qp_usage *u, const struct qp_usage_kept *k)
{
	struct qp_usage_account *a = strcmp(k->name, QP_USAGE_OTHERS) == 0
					     ? &u->account[QP_USAGE_NAMED]
					     : account_of(u, k->name);

	add_sums(&a->sum, &k->closed);
	add_sums(&a->closed, &k->closed);
	add_sums(&a->floor, &k->shown);
}

static void ask(struct qp_usage *u, struct qp_query_cursor from);

static void
on_page(void *ctx, const struct qp_query_page *page)
{
	struct qp_usage *u = ctx;

	u->query = NULL;
	for (unsigned i = 0; i < page->n; i++) {
		struct qp_tunnel *tun = qp_tunnels_find(u->tunnels, &page->tunnel[i].origin);

		if (tun != NULL)
			qp_usage_settle(u, tun, &page->tunnel[i].row.usage);
	}
	if (page->more)
		ask(u, page->next);
}

/* When too many queries are under way, the next turn of the timer asks. */
static void
ask(struct qp_usage *u, struct qp_query_cursor from)
{
	u->query = qp_query_start(u->queries,
		&(struct qp_query_ask) {
			.from = from, .max = QP_QUERY_MAX_ROWS, .done = on_page, .ctx = u});
}

static void
on_timer(void *ctx)
{
	struct qp_usage *u = ctx;

	if (qp_now_ns() >= u->wanted_until_ns)
		return;
	if (u->query == NULL)
		ask(u, (struct qp_query_cursor) {0});
	qp_loop_timer_set(u->loop, &u->timer, QP_USAGE_EVERY_MS);
}

static void
keep_fresh(struct qp_usage *u)
{
	u->wanted_until_ns = qp_now_ns() + QP_USAGE_LINGER_MS * 1000000ull;
	if (!u->timer.armed)
		on_timer(u);
}

/* Names have letters, digits and a few signs that need no escape (policy.h), or are ours. */
static void
write_metric(const struct qp_usage *u, FILE *out, const char *name, const char *help,
	const char *type, uint64_t (*value)(const struct qp_usage_account *a))
{
	qp_metrics_head(out, name, help, type);
	for (unsigned i = 0; i <= QP_USAGE_NAMED; i++) {
		if (i >= u->n && i < QP_USAGE_NAMED)
			continue;
		fprintf(out, "quicport_%s{client=\"%s\"} %" PRIu64 "\n", name, u->account[i].name,
			value(&u->account[i]));
	}
}

static uint64_t
tunnels(const struct qp_usage_account *a)
{
	return a->tunnels;
}

static uint64_t
conns_now(const struct qp_usage_account *a)
{
	return a->conns_now;
}

static uint64_t
conns_total(const struct qp_usage_account *a)
{
	return shown(a).conns_total;
}

static uint64_t
conns_refused(const struct qp_usage_account *a)
{
	return shown(a).conns_refused;
}

static uint64_t
in_bytes(const struct qp_usage_account *a)
{
	return shown(a).in_bytes;
}

static uint64_t
out_bytes(const struct qp_usage_account *a)
{
	return shown(a).out_bytes;
}

void
qp_usage_metrics(struct qp_usage *u, FILE *out)
{
	keep_fresh(u);
	write_metric(u, out, "client_tunnels", "tunnels of a client now", "gauge", tunnels);
	write_metric(u, out, "client_connections", "outside connections of a client now", "gauge",
		conns_now);
	write_metric(u, out, "client_connections_total", "outside connections of a client",
		"counter", conns_total);
	write_metric(u, out, "client_connections_refused_total",
		"outside connections that a limit of the client or its absence refused", "counter",
		conns_refused);
	write_metric(u, out, "client_bytes_sent_total", "payload bytes sent into a client's tunnels",
		"counter", in_bytes);
	write_metric(u, out, "client_bytes_received_total",
		"payload bytes received from a client's tunnels", "counter", out_bytes);
}
