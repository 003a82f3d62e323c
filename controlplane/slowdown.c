/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table of sources in sets of a few, so that a flood of addresses drives out
 * some of itself and nothing grows; and for each length of delay a queue of
 * refusals, which are due in the order that they came in. Loop thread.
 */
#include "controlplane/slowdown.h"

#include <netinet/in.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define WAYS 8u
#define SETS (QP_SLOWDOWN_SOURCES / WAYS)
#define NS_PER_MS 1000000ull
#define FORGET_NS (QP_SLOWDOWN_FORGET_S * 1000ull * NS_PER_MS)

struct source {
	uint8_t addr[16];     /* IPv6: the rest of the /64 is 0 */
	bool used;
	unsigned failures;
	unsigned waiting;     /* refusals; the entry stays while there are some */
	uint64_t failed_ns;   /* the last time */
	uint64_t good_ns;     /* the last success; 0: none */
};

struct refusal {
	struct qp_origin to;
	struct source *source; /* NULL: not kept */
	uint64_t due_ns;
	TAILQ_ENTRY(refusal) next;
};
TAILQ_HEAD(refusals, refusal);

struct qp_slowdown {
	struct qp_slowdown_config cfg;
	struct qp_loop_timer timer;
	unsigned waiting;
	struct refusals free;
	struct refusals level[QP_SLOWDOWN_LEVELS]; /* soonest first, each */
	uint8_t hash_key[crypto_shorthash_KEYBYTES];
	struct source source[SETS][WAYS];
	struct refusal refusal[QP_SLOWDOWN_WAITING];
};

static void on_timer(void *ctx);

struct qp_slowdown *
qp_slowdown_new(const struct qp_slowdown_config *cfg)
{
	struct qp_slowdown *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->cfg = *cfg;
	if (s->cfg.now_ns == NULL)
		s->cfg.now_ns = qp_now_ns;
	s->timer = (struct qp_loop_timer) {.fire = on_timer, .ctx = s};
	TAILQ_INIT(&s->free);
	for (unsigned i = 0; i < QP_SLOWDOWN_LEVELS; i++)
		TAILQ_INIT(&s->level[i]);
	for (unsigned i = 0; i < QP_SLOWDOWN_WAITING; i++)
		TAILQ_INSERT_TAIL(&s->free, &s->refusal[i], next);
	crypto_shorthash_keygen(s->hash_key);
	return s;
}

void
qp_slowdown_free(struct qp_slowdown *s)
{
	if (s == NULL)
		return;
	qp_loop_timer_cancel(s->cfg.loop, &s->timer);
	free(s);
}

unsigned
qp_slowdown_waiting(const struct qp_slowdown *s)
{
	return s->waiting;
}

static void
source_of(const uint8_t addr[16], uint8_t out[16])
{
	memcpy(out, addr, 16);
	if (!IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)(const void *)addr))
		memset(out + 8, 0, 8);
}

/* The set that the address belongs to; nobody outside can aim at one. */
static struct source *
set_of(struct qp_slowdown *s, const uint8_t source[16])
{
	uint8_t hash[crypto_shorthash_BYTES];
	uint64_t h;

	crypto_shorthash(hash, source, 16, s->hash_key);
	memcpy(&h, hash, sizeof(h));
	return s->source[h % SETS];
}

static struct source *
find(struct qp_slowdown *s, const uint8_t addr[16])
{
	uint8_t key[16];
	struct source *set;

	source_of(addr, key);
	set = set_of(s, key);
	for (unsigned i = 0; i < WAYS; i++) {
		if (set[i].used && memcmp(set[i].addr, key, sizeof(key)) == 0)
			return &set[i];
	}
	return NULL;
}

/* Of two, the one whose loss matters less: fewer failures, then longer ago. */
static bool
matters_less(const struct source *a, const struct source *b)
{
	if (a->failures != b->failures)
		return a->failures < b->failures;
	return a->failed_ns < b->failed_ns;
}

/* A place for a new source; NULL: all of its set have refusals that wait. */
static struct source *
take_place(struct qp_slowdown *s, const uint8_t addr[16])
{
	uint8_t key[16];
	struct source *set, *place = NULL;

	source_of(addr, key);
	set = set_of(s, key);
	for (unsigned i = 0; i < WAYS; i++) {
		if (!set[i].used) {
			place = &set[i];
			break;
		}
		if (set[i].waiting == 0 && (place == NULL || matters_less(&set[i], place)))
			place = &set[i];
	}
	if (place == NULL)
		return NULL;
	*place = (struct source) {.used = true};
	memcpy(place->addr, key, sizeof(key));
	return place;
}

static bool
is_good(const struct source *src, uint64_t now)
{
	return src->good_ns != 0 && now - src->good_ns < FORGET_NS;
}

bool
qp_slowdown_admits(struct qp_slowdown *s, const uint8_t addr[16])
{
	const struct source *src = find(s, addr);

	if (src == NULL)
		return true;
	return src->waiting < (is_good(src, s->cfg.now_ns()) ? QP_SLOWDOWN_AT_ONCE_GOOD
							      : QP_SLOWDOWN_AT_ONCE);
}

static void
arm(struct qp_slowdown *s)
{
	uint64_t now = s->cfg.now_ns(), soonest = UINT64_MAX;

	for (unsigned i = 0; i < QP_SLOWDOWN_LEVELS; i++) {
		const struct refusal *r = TAILQ_FIRST(&s->level[i]);

		if (r != NULL && r->due_ns < soonest)
			soonest = r->due_ns;
	}
	if (soonest == UINT64_MAX)
		qp_loop_timer_cancel(s->cfg.loop, &s->timer);
	else
		qp_loop_timer_set(s->cfg.loop, &s->timer,
			soonest <= now ? 1 : (unsigned)((soonest - now) / NS_PER_MS + 1));
}

void
qp_slowdown_run(struct qp_slowdown *s)
{
	uint64_t now = s->cfg.now_ns();
	struct refusal *r;

	for (unsigned i = 0; i < QP_SLOWDOWN_LEVELS; i++) {
		while ((r = TAILQ_FIRST(&s->level[i])) != NULL && r->due_ns <= now) {
			TAILQ_REMOVE(&s->level[i], r, next);
			TAILQ_INSERT_TAIL(&s->free, r, next);
			s->waiting--;
			if (r->source != NULL)
				r->source->waiting--;
			s->cfg.refuse(s->cfg.ctx, &r->to);
		}
	}
	arm(s);
}

static void
on_timer(void *ctx)
{
	qp_slowdown_run(ctx);
}

static void
refuse_later(struct qp_slowdown *s, struct source *src, const struct qp_origin *tunnel,
	uint64_t now)
{
	unsigned level = src == NULL || src->failures == 0 ? 0 : src->failures - 1;
	struct refusal *r = TAILQ_FIRST(&s->free);

	if (level >= QP_SLOWDOWN_LEVELS)
		level = QP_SLOWDOWN_LEVELS - 1;
	TAILQ_REMOVE(&s->free, r, next);
	*r = (struct refusal) {.to = *tunnel,
		.source = src,
		.due_ns = now + (QP_SLOWDOWN_FIRST_MS * NS_PER_MS << level)};
	TAILQ_INSERT_TAIL(&s->level[level], r, next);
	s->waiting++;
	if (src != NULL)
		src->waiting++;
	arm(s);
}

unsigned
qp_slowdown_failed(struct qp_slowdown *s, const uint8_t addr[16], const struct qp_origin *tunnel)
{
	struct source *src = find(s, addr);
	uint64_t now = s->cfg.now_ns();

	if (src == NULL)
		src = take_place(s, addr);
	if (src != NULL) {
		if (now - src->failed_ns > FORGET_NS)
			src->failures = 0;
		src->failures++;
		src->failed_ns = now;
	}
	if (TAILQ_EMPTY(&s->free))
		s->cfg.refuse(s->cfg.ctx, tunnel);
	else
		refuse_later(s, src, tunnel, now);
	return src != NULL ? src->failures : 0;
}

void
qp_slowdown_succeeded(struct qp_slowdown *s, const uint8_t addr[16])
{
	struct source *src = find(s, addr);

	/* Of those without a failure nothing needs to be kept. */
	if (src == NULL)
		return;
	src->failures = 0;
	src->good_ns = s->cfg.now_ns();
}
