/* SPDX-License-Identifier: Apache-2.0 */
#include "storm.h"

#include <stdio.h>
#include <string.h>

#include "net.h"

/*
 * What a storm has seen, for the phase since the last mark and for all of it,
 * printed as JSON lines. Times are collected in buckets of an eighth of their
 * power of two, so that percentiles cost no list of all connections.
 */

enum {
	BUCKETS = 40 * 8,
	WORST = 5,
};

struct histogram {
	uint64_t count;
	int64_t longest_us;
	uint64_t buckets[BUCKETS];
};

struct stall {
	int64_t us;
	int64_t began_us; /* of the monotonic clock, as all programs and perf have it */
	uint32_t number;
	unsigned target;
	bool to_service;
};

struct figures {
	int64_t began_us;
	uint64_t started[STORM_KINDS];
	uint64_t ended[STORM_KINDS][STORM_ENDS];
	struct histogram stalls; /* of bulk connections */
	struct histogram shorts; /* whole short connections */
	struct stall worst[WORST]; /* the longest first, one for each connection */
	int64_t outage_us[STORM_TARGETS];
	uint64_t losses[STORM_TARGETS]; /* lost bulk connections, short ones that did not finish */
	uint64_t lost_bulk;
	uint64_t bytes;
	uint64_t wrong_bytes;
	int64_t lag_us;
};

static struct figures phase, total;
static struct figures *const both[] = {&phase, &total};
static int64_t last_success_us[STORM_TARGETS]; /* 0: none yet */
static int64_t no_more_us; /* since then no short connection is made; 0: they are */

#define FOR_BOTH(f) for (struct figures *f, *const *at = both; at < both + 2 && (f = *at); at++)

static unsigned
bucket_of(int64_t us)
{
	uint64_t value = us < 8 ? 8 : (uint64_t)us;
	unsigned power = 63u - (unsigned)__builtin_clzll(value);
	unsigned bucket = (power - 3) * 8 + (unsigned)(value >> (power - 3) & 7);

	return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

/* The least time that is beyond the bucket. */
static int64_t
bucket_end_us(unsigned bucket)
{
	return (int64_t)(9 + bucket % 8) << (bucket / 8);
}

static void
add(struct histogram *h, int64_t us)
{
	h->count++;
	h->buckets[bucket_of(us)]++;
	if (us > h->longest_us)
		h->longest_us = us;
}

static double
percentile_ms(const struct histogram *h, double share)
{
	uint64_t below = 0;

	for (unsigned i = 0; i < BUCKETS; i++) {
		below += h->buckets[i];
		if (below != 0 && (double)below >= share * (double)h->count) {
			int64_t us = bucket_end_us(i);

			return (double)(us < h->longest_us ? us : h->longest_us) / 1e3;
		}
	}
	return 0;
}

/* ---- counting ---- */

void
storm_count_start(enum storm_kind kind)
{
	FOR_BOTH(f)
		f->started[kind]++;
}

/* A short connection to it has finished. */
static void
count_success(struct figures *f, unsigned target, int64_t now)
{
	/* A phase's outage begins with the phase at the earliest. */
	int64_t since = last_success_us[target] > f->began_us ? last_success_us[target] : f->began_us;

	if (last_success_us[target] != 0 && no_more_us == 0 && now - since > f->outage_us[target])
		f->outage_us[target] = now - since;
}

void
storm_count_end(enum storm_kind kind, enum storm_end end, unsigned target, int64_t took_us, bool served)
{
	bool lost = end != STORM_FINISHED && (kind == STORM_SHORT || served);
	int64_t now = now_us();

	FOR_BOTH(f) {
		f->ended[kind][end]++;
		f->losses[target] += lost;
		f->lost_bulk += lost && kind == STORM_BULK;
		if (kind == STORM_SHORT && end == STORM_FINISHED) {
			add(&f->shorts, took_us);
			count_success(f, target, now);
		}
	}
	if (kind == STORM_SHORT && end == STORM_FINISHED)
		last_success_us[target] = now;
}

void
storm_count_bytes(uint64_t bytes)
{
	FOR_BOTH(f)
		f->bytes += bytes;
}

void
storm_count_wrong(uint64_t bytes)
{
	FOR_BOTH(f)
		f->wrong_bytes += bytes;
}

static void
keep_worst(struct figures *f, const struct stall *stall)
{
	unsigned at = 0, same;

	while (at < WORST && f->worst[at].us >= stall->us) {
		if (f->worst[at].number == stall->number && f->worst[at].us != 0)
			return; /* this connection has a longer one there */
		at++;
	}
	if (at == WORST)
		return;
	for (same = at; same < WORST - 1 && f->worst[same].number != stall->number; same++)
		;
	memmove(&f->worst[at + 1], &f->worst[at], (same - at) * sizeof(f->worst[0]));
	f->worst[at] = *stall;
}

void
storm_count_stall(uint32_t number, unsigned target, bool to_service, int64_t stall_us, bool over)
{
	struct stall stall = {
		.us = stall_us,
		.began_us = now_us() - stall_us,
		.number = number,
		.target = target,
		.to_service = to_service,
	};

	FOR_BOTH(f) {
		if (over)
			add(&f->stalls, stall_us);
		else if (stall_us > f->stalls.longest_us)
			f->stalls.longest_us = stall_us;
		keep_worst(f, &stall);
	}
}

void
storm_count_lag(int64_t lag_us)
{
	FOR_BOTH(f) {
		if (lag_us > f->lag_us)
			f->lag_us = lag_us;
	}
}

void
storm_no_more(void)
{
	no_more_us = now_us();
}

/* ---- printing ---- */

static void
print_kind(const struct figures *f, enum storm_kind kind)
{
	const uint64_t *ended = f->ended[kind];
	const struct histogram *times = kind == STORM_BULK ? &f->stalls : &f->shorts;

	printf("\"%s\": {\"opened\": %lu, \"finished\": %lu, \"refused\": %lu, \"reset\": %lu, "
	       "\"timed_out\": %lu, \"ended_early\": %lu, \"unreachable\": %lu, \"corrupt\": %lu, "
	       "\"%s_ms\": %.3f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"p999_ms\": %.3f}, ",
		kind == STORM_BULK ? "bulk" : "short", f->started[kind], ended[STORM_FINISHED],
		ended[STORM_REFUSED], ended[STORM_RESET], ended[STORM_TIMED_OUT],
		ended[STORM_ENDED_EARLY], ended[STORM_UNREACHABLE], ended[STORM_CORRUPT],
		kind == STORM_BULK ? "stall" : "longest", (double)times->longest_us / 1e3,
		percentile_ms(times, 0.5), percentile_ms(times, 0.99), percentile_ms(times, 0.999));
}

static void
print_worst(const struct figures *f)
{
	printf("\"worst\": [");
	for (unsigned i = 0; i < WORST && f->worst[i].us != 0; i++) {
		const struct stall *s = &f->worst[i];

		printf("%s{\"ms\": %.3f, \"at_s\": %.3f, \"connection\": %u, \"target\": \"%s\", "
		       "\"to\": \"%s\"}",
			i == 0 ? "" : ", ", (double)s->us / 1e3, (double)s->began_us / 1e6, s->number,
			storm_plan.targets[s->target].name, s->to_service ? "service" : "user");
	}
	printf("], ");
}

static void
print_targets(const struct figures *f)
{
	int64_t now = no_more_us != 0 ? no_more_us : now_us();

	printf("\"targets\": {");
	for (unsigned i = 0; i < storm_plan.targets_count; i++) {
		int64_t since = last_success_us[i] > f->began_us ? last_success_us[i] : f->began_us;
		int64_t us = now - since > f->outage_us[i] ? now - since : f->outage_us[i];
		unsigned served, bulk = storm_running_bulk(i, &served);

		printf("%s\"%s\": {\"lost\": %lu, \"outage_ms\": %.3f, \"bulk\": %u, \"served\": %u}",
			i == 0 ? "" : ", ", storm_plan.targets[i].name, f->losses[i], (double)us / 1e3, bulk,
			served);
	}
	printf("}");
}

static void
print_figures(const char *key, const char *name, const struct figures *f)
{
	int64_t now = now_us();

	printf("{\"%s\": \"%s\", \"seconds\": %.3f, ", key, name, (double)(now - f->began_us) / 1e6);
	print_kind(f, STORM_BULK);
	print_kind(f, STORM_SHORT);
	printf("\"lost_bulk\": %lu, \"running\": %u, \"bytes\": %lu, \"wrong_bytes\": %lu, \"own_lag_ms\": %.3f, ",
		f->lost_bulk, storm_running(), f->bytes, f->wrong_bytes, (double)f->lag_us / 1e3);
	print_worst(f);
	print_targets(f);
	printf("}\n");
	fflush(stdout);
}

void
storm_mark(const char *name)
{
	if (phase.began_us != 0)
		print_figures("mark", name, &phase);
	memset(&phase, 0, sizeof(phase));
	phase.began_us = now_us();
	if (total.began_us == 0)
		total.began_us = phase.began_us;
}

void
storm_print_total(void)
{
	print_figures("total", "all", &total);
}

uint64_t
storm_failures(void)
{
	uint64_t failures = total.wrong_bytes;

	for (int kind = 0; kind < STORM_KINDS; kind++) {
		for (int end = STORM_FINISHED + 1; end < STORM_ENDS; end++)
			failures += total.ended[kind][end];
	}
	return failures;
}
