/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accounts of clients: what their tunnels' data planes say is added as the
 * difference to what they said before, so that sums never fall. Loop thread.
 */
#include "controlplane/usage.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/metrics_impl.h"

#define BUCKETS 1024u /* a power of two, more than QP_USAGE_NAMED */

struct qp_usage_account {
	uint32_t tunnels;
	uint64_t in_bytes, out_bytes, conns_total, conns_refused, conns_now;
	char name[sizeof(((struct qp_msg_identity *)0)->name)];
};

struct qp_usage {
	struct qp_loop *loop;
	struct qp_queries *queries;
	struct qp_tunnels *tunnels;
	struct qp_query *query; /* under way, or NULL */
	struct qp_loop_timer timer;
	uint64_t wanted_until_ns;
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

	(void)u;
	if (a == NULL)
		return;
	a->in_bytes += grown(now->in_bytes, said->in_bytes);
	a->out_bytes += grown(now->out_bytes, said->out_bytes);
	a->conns_total += grown(now->conns_total, said->conns_total);
	a->conns_refused += grown(now->conns_refused, said->conns_refused);
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
	a->tunnels--;
	tun->account = NULL;
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
	const char *type, size_t offset, bool is_u32)
{
	qp_metrics_head(out, name, help, type);
	for (unsigned i = 0; i <= QP_USAGE_NAMED; i++) {
		const struct qp_usage_account *a = &u->account[i];
		const char *at = (const char *)a + offset;
		uint64_t value;

		if (i >= u->n && i < QP_USAGE_NAMED)
			continue;
		value = is_u32 ? *(const uint32_t *)(const void *)at
			       : *(const uint64_t *)(const void *)at;
		fprintf(out, "quicport_%s{client=\"%s\"} %" PRIu64 "\n", name, a->name, value);
	}
}

void
qp_usage_metrics(struct qp_usage *u, FILE *out)
{
#define AT(field) offsetof(struct qp_usage_account, field)
	keep_fresh(u);
	write_metric(u, out, "client_tunnels", "tunnels of a client now", "gauge", AT(tunnels), true);
	write_metric(u, out, "client_connections", "outside connections of a client now", "gauge",
		AT(conns_now), false);
	write_metric(u, out, "client_connections_total", "outside connections of a client",
		"counter", AT(conns_total), false);
	write_metric(u, out, "client_connections_refused_total",
		"outside connections that a limit of the client or its absence refused", "counter",
		AT(conns_refused), false);
	write_metric(u, out, "client_bytes_sent_total", "payload bytes sent into a client's tunnels",
		"counter", AT(in_bytes), false);
	write_metric(u, out, "client_bytes_received_total",
		"payload bytes received from a client's tunnels", "counter", AT(out_bytes), false);
#undef AT
}
