/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Port leases: by port, by client, and those that wait for their lessee by the
 * time of their release. Loop thread. The state's thread writes them down.
 */
#define QP_LOG_MODULE QP_LOG_M_ports
#include "controlplane/leases.h"

#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "common/log.h"
#include "controlplane/wallclock.h"

#define BUCKETS 4096u
#define TURN_MS 60000u
/* How far the note of a lease in use may lag behind: what a kill shortens its time by. */
#define NOTE_S 3600u

struct lease {
	uint8_t protocol;
	bool in_use;
	uint16_t port;
	uint32_t hash; /* of the client */
	uint64_t granted_at, used_at; /* as written down */
	LIST_ENTRY(lease) in_bucket;
	TAILQ_ENTRY(lease) in_order; /* of `waiting` or `used` */
	char *client, *destination, *peer; /* in `text` */
	char text[];
};
TAILQ_HEAD(lease_order, lease);

struct qp_leases {
	struct qp_leases_config cfg;
	struct qp_loop_timer timer;
	struct qp_wallclock clock;
	unsigned count;
	struct lease_order waiting; /* for their lessees; released first comes first */
	struct lease_order used;    /* noted first comes first */
	LIST_HEAD(, lease) bucket[BUCKETS];
	struct lease *tcp[65536];
	struct lease *udp[65536];
};

static struct lease **
slot(struct qp_leases *l, uint8_t protocol, uint16_t port)
{
	return protocol == IPPROTO_UDP ? &l->udp[port] : &l->tcp[port];
}

/* FNV-1a: names are the operator's, so nobody makes them collide. */
static uint32_t
hash_of(const char *client)
{
	uint32_t h = 2166136261u;

	for (; *client != '\0'; client++)
		h = (h ^ (uint8_t)*client) * 16777619u;
	return h;
}

static struct lease *
make(uint8_t protocol, uint16_t port, const struct qp_lessee *who)
{
	size_t client = strnlen(who->client, QP_LEASE_TEXT_BYTES) + 1;
	size_t destination = strnlen(who->destination, QP_LEASE_TEXT_BYTES) + 1;
	size_t peer = strnlen(who->peer, QP_LEASE_TEXT_BYTES) + 1;
	struct lease *le = calloc(1, sizeof(*le) + client + destination + peer);

	if (le == NULL)
		return NULL;
	le->protocol = protocol;
	le->port = port;
	le->client = memcpy(le->text, who->client, client - 1);
	le->destination = memcpy(le->text + client, who->destination, destination - 1);
	le->peer = memcpy(le->text + client + destination, who->peer, peer - 1);
	le->hash = hash_of(le->client);
	return le;
}

static struct lease_order *
order_of(struct qp_leases *l, const struct lease *le)
{
	return le->in_use ? &l->used : &l->waiting;
}

static void
insert(struct qp_leases *l, struct lease *le)
{
	*slot(l, le->protocol, le->port) = le;
	LIST_INSERT_HEAD(&l->bucket[le->hash % BUCKETS], le, in_bucket);
	TAILQ_INSERT_TAIL(order_of(l, le), le, in_order);
	l->count++;
}

/* From memory only. */
static void
remove_lease(struct qp_leases *l, struct lease *le)
{
	*slot(l, le->protocol, le->port) = NULL;
	LIST_REMOVE(le, in_bucket);
	TAILQ_REMOVE(order_of(l, le), le, in_order);
	l->count--;
	free(le);
}

static void
drop(struct qp_leases *l, struct lease *le)
{
	qp_state_drop_lease(l->cfg.state, le->protocol, le->port);
	remove_lease(l, le);
}

static void
write_down(struct qp_leases *l, struct lease *le, uint64_t now)
{
	le->used_at = now;
	qp_state_put_lease(l->cfg.state, &(struct qp_lease_row) {.protocol = le->protocol,
						 .port = le->port,
						 .client = le->client,
						 .destination = le->destination,
						 .peer = le->peer,
						 .granted_at = le->granted_at,
						 .used_at = le->used_at});
}

/* The clock was set: the leases last as long as they would have. */
static void
move_times(struct qp_leases *l, struct lease_order *order, int64_t by)
{
	struct lease *le;

	TAILQ_FOREACH (le, order, in_order)
		write_down(l, le, qp_wallclock_moved(le->used_at, by));
}

static uint64_t
time_now(struct qp_leases *l)
{
	int64_t set_by;
	uint64_t now = qp_wallclock_now(&l->clock, &set_by);

	if (set_by == 0)
		return now;
	qp_log(QP_LOG_INFO, "the system's clock was set: port leases go on for as long as before",
		QP_LOG_I64("seconds", set_by), QP_LOG_U64("leases", l->count));
	move_times(l, &l->waiting, set_by);
	move_times(l, &l->used, set_by);
	return now;
}

static bool
is_over(const struct qp_leases *l, const struct lease *le, uint64_t now)
{
	return now > le->used_at && now - le->used_at > l->cfg.lease_time_s;
}

static void
read_row(void *ctx, const struct qp_lease_row *row)
{
	struct qp_leases *l = ctx;
	struct lease *le = NULL;

	/* Whatever the file says: a port is a port, and once in the table. */
	if (row->port == 0 || (row->protocol != IPPROTO_TCP && row->protocol != IPPROTO_UDP) ||
		*slot(l, row->protocol, row->port) != NULL)
		return;
	if (l->count < l->cfg.max)
		le = make(row->protocol, row->port,
			&(struct qp_lessee) {row->client, row->destination, row->peer});
	if (le == NULL)
		return;
	le->granted_at = row->granted_at;
	le->used_at = row->used_at;
	insert(l, le);
}

static void
on_timer(void *ctx)
{
	struct qp_leases *l = ctx;

	qp_leases_turn(l);
	qp_loop_timer_set(l->cfg.loop, &l->timer, TURN_MS);
}

int
qp_leases_new(const struct qp_leases_config *cfg, struct qp_leases **out, struct qp_errmsg *msg)
{
	struct qp_leases *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	l->cfg = *cfg;
	l->clock = (struct qp_wallclock) {.unix_time = cfg->unix_time, .up_time = cfg->up_time};
	if (l->cfg.max == 0)
		l->cfg.max = QP_LEASES_MAX;
	if (l->cfg.max_per_client == 0)
		l->cfg.max_per_client = QP_LEASES_PER_CLIENT;
	TAILQ_INIT(&l->waiting);
	TAILQ_INIT(&l->used);
	l->timer.fire = on_timer;
	l->timer.ctx = l;
	if (qp_state_each_lease(cfg->state, read_row, l) != 0) {
		qp_leases_free(l);
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	}
	if (l->count > 0)
		qp_log(QP_LOG_INFO, "port leases are known", QP_LOG_U64("leases", l->count));
	qp_leases_turn(l);
	if (cfg->loop != NULL)
		qp_loop_timer_set(cfg->loop, &l->timer, TURN_MS);
	*out = l;
	return 0;
}

void
qp_leases_free(struct qp_leases *l)
{
	if (l == NULL)
		return;
	if (l->cfg.loop != NULL)
		qp_loop_timer_cancel(l->cfg.loop, &l->timer);
	while (!TAILQ_EMPTY(&l->waiting))
		remove_lease(l, TAILQ_FIRST(&l->waiting));
	while (!TAILQ_EMPTY(&l->used))
		remove_lease(l, TAILQ_FIRST(&l->used));
	free(l);
}

static bool
is_for(const struct lease *le, uint8_t protocol, uint32_t hash, const struct qp_lessee *who)
{
	return le->protocol == protocol && le->hash == hash && strcmp(le->client, who->client) == 0 &&
	       strcmp(le->destination, who->destination) == 0;
}

/* Of two that wait: from the same machine first, then the one that was used last. */
static bool
is_better(const struct lease *a, const struct lease *b, const char *peer)
{
	bool a_near = strcmp(a->peer, peer) == 0, b_near = strcmp(b->peer, peer) == 0;

	return a_near != b_near ? a_near : a->used_at > b->used_at;
}

unsigned
qp_leases_find(const struct qp_leases *l, uint8_t protocol, const struct qp_lessee *who,
	uint16_t *ports, unsigned max)
{
	const struct lease *best[QP_LEASES_PER_CLIENT], *le;
	uint32_t hash = hash_of(who->client);
	unsigned n = 0, i;

	LIST_FOREACH (le, &l->bucket[hash % BUCKETS], in_bucket) {
		if (le->in_use || !is_for(le, protocol, hash, who))
			continue;
		for (i = n; i > 0 && is_better(le, best[i - 1], who->peer); i--) {
			if (i < QP_LEASES_PER_CLIENT)
				best[i] = best[i - 1];
		}
		if (i < QP_LEASES_PER_CLIENT)
			best[i] = le;
		if (n < QP_LEASES_PER_CLIENT)
			n++;
	}
	if (n > max)
		n = max;
	for (i = 0; i < n; i++)
		ports[i] = best[i]->port;
	return n;
}

uint64_t
qp_leases_used_at(const struct qp_leases *l, uint8_t protocol, uint16_t port)
{
	const struct lease *le = protocol == IPPROTO_UDP ? l->udp[port] : l->tcp[port];

	return le != NULL ? le->used_at : 0;
}

unsigned
qp_leases_in_use(const struct qp_leases *l, uint8_t protocol, const struct qp_lessee *who,
	uint16_t *port)
{
	uint32_t hash = hash_of(who->client);
	const struct lease *le;
	unsigned n = 0;

	LIST_FOREACH (le, &l->bucket[hash % BUCKETS], in_bucket) {
		if (!le->in_use || !is_for(le, protocol, hash, who) ||
			strcmp(le->peer, who->peer) != 0)
			continue;
		*port = le->port;
		n++;
	}
	return n;
}

const char *
qp_leases_client(const struct qp_leases *l, uint8_t protocol, uint16_t port)
{
	const struct lease *le = protocol == IPPROTO_UDP ? l->udp[port] : l->tcp[port];

	return le != NULL ? le->client : NULL;
}

/* Room for one more of this client's: what was released first goes first. */
static bool
make_room(struct qp_leases *l, const struct lease *mine)
{
	struct lease *le, *oldest = NULL;
	unsigned of_client = 0;

	LIST_FOREACH (le, &l->bucket[mine->hash % BUCKETS], in_bucket) {
		if (le->hash != mine->hash || strcmp(le->client, mine->client) != 0)
			continue;
		of_client++;
		if (!le->in_use && (oldest == NULL || le->used_at <= oldest->used_at))
			oldest = le;
	}
	if (of_client >= l->cfg.max_per_client) {
		if (oldest == NULL)
			return false;
		drop(l, oldest);
	}
	if (l->count < l->cfg.max)
		return true;
	if (TAILQ_EMPTY(&l->waiting))
		return false;
	drop(l, TAILQ_FIRST(&l->waiting));
	return true;
}

void
qp_leases_take(struct qp_leases *l, uint8_t protocol, uint16_t port, const struct qp_lessee *who)
{
	struct lease *old = *slot(l, protocol, port), *le;
	uint64_t now = time_now(l), granted_at = now;

	if (l->cfg.lease_time_s == 0)
		return;
	assert(old == NULL || !old->in_use);
	if (old != NULL) {
		if (strcmp(old->client, who->client) == 0)
			granted_at = old->granted_at;
		remove_lease(l, old); /* its row is written over below, or dropped */
	}
	le = make(protocol, port, who);
	if (le == NULL || !make_room(l, le)) {
		qp_state_drop_lease(l->cfg.state, protocol, port);
		free(le);
		return;
	}
	le->in_use = true;
	le->granted_at = granted_at;
	insert(l, le);
	write_down(l, le, now);
}

void
qp_leases_release(struct qp_leases *l, uint8_t protocol, uint16_t port)
{
	struct lease *le = *slot(l, protocol, port);

	if (le == NULL || !le->in_use)
		return;
	TAILQ_REMOVE(&l->used, le, in_order);
	le->in_use = false;
	TAILQ_INSERT_TAIL(&l->waiting, le, in_order);
	write_down(l, le, time_now(l));
}

/* Used in a future that the lease time does not reach: the clock was ahead. Used now, then. */
static void
mend_times(struct qp_leases *l, struct lease_order *order, uint64_t now)
{
	struct lease *le, *next;

	for (le = TAILQ_FIRST(order); le != NULL; le = next) {
		next = TAILQ_NEXT(le, in_order);
		if (le->used_at <= now || le->used_at - now <= l->cfg.lease_time_s)
			continue;
		write_down(l, le, now);
		TAILQ_REMOVE(order, le, in_order);
		TAILQ_INSERT_TAIL(order, le, in_order);
	}
}

void
qp_leases_turn(struct qp_leases *l)
{
	uint32_t note_s = l->cfg.lease_time_s / 4 < NOTE_S ? l->cfg.lease_time_s / 4 : NOTE_S;
	uint64_t now = time_now(l);
	struct lease *le;

	mend_times(l, &l->waiting, now);
	mend_times(l, &l->used, now);
	while ((le = TAILQ_FIRST(&l->waiting)) != NULL && is_over(l, le, now)) {
		qp_log(QP_LOG_DEBUG, "lease is over", QP_LOG_U64("port", le->port),
			QP_LOG_STR("client", le->client));
		drop(l, le);
	}
	while ((le = TAILQ_FIRST(&l->used)) != NULL && now > le->used_at &&
		now - le->used_at >= note_s) {
		write_down(l, le, now);
		TAILQ_REMOVE(&l->used, le, in_order);
		TAILQ_INSERT_TAIL(&l->used, le, in_order);
	}
}

unsigned
qp_leases_count(const struct qp_leases *l)
{
	return l->count;
}
