/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lcore's timer wheel: four levels of 256 slots, a bitmap of the slots in
 * use for each level so that empty stretches are skipped and a sleeper learns
 * when to wake. Thread: the owning lcore. It reads no clock: callers say what
 * time it is.
 */
#include "dataplane/timer.h"

#include <stdlib.h>

#include "dataplane/lines.h"

#define SLOT_BITS  8u
#define SLOTS      (1u << SLOT_BITS)
#define LEVELS     4u
#define WORDS      (SLOTS / 64u)
#define REACH      (UINT64_C(1) << (SLOT_BITS * LEVELS))
#define NO_TICK    UINT64_MAX

struct qp_wheel {
	uint64_t tick;              /* all timers up to this tick have fired */
	uint64_t armed;             /* how many timers are armed */
	struct qp_timer *overdue;   /* armed for a tick that has passed: due at the next advance */
	uint64_t used[LEVELS][WORDS]; /* bit set = the slot's list is not empty */
	struct qp_timer *slot[LEVELS][SLOTS];
};

struct qp_wheel *
qp_wheel_new(uint64_t now_ns)
{
	struct qp_wheel *w = qp_lines_alloc(sizeof(*w));

	if (w != NULL)
		w->tick = now_ns / QP_TIMER_TICK_NS;
	return w;
}

void
qp_wheel_free(struct qp_wheel *w)
{
	free(w);
}

static void
list_push(struct qp_timer **head, struct qp_timer *t)
{
	t->next = *head;
	if (t->next != NULL)
		t->next->pprev = &t->next;
	*head = t;
	t->pprev = head;
}

/* Moves a whole list to another head: O(1), and its members stay cancellable. */
static void
list_move(struct qp_timer **from, struct qp_timer **to)
{
	*to = *from;
	*from = NULL;
	if (*to != NULL)
		(*to)->pprev = to;
}

/* The tick at whose end `at_ns` has passed for certain: never early. */
static uint64_t
tick_of(uint64_t at_ns)
{
	return at_ns / QP_TIMER_TICK_NS + (at_ns % QP_TIMER_TICK_NS != 0);
}

/*
 * Level l holds ticks that are 256^l … 256^(l+1)-1 ahead; what lies beyond the
 * reach waits in the farthest slot and is placed anew when that cascades.
 */
static void
place(struct qp_wheel *w, struct qp_timer *t, uint64_t tick)
{
	uint64_t ahead = tick - w->tick;
	unsigned level = 0;

	if (ahead >= REACH) {
		ahead = REACH - 1;
		tick = w->tick + ahead;
	}
	while (ahead >> (SLOT_BITS * (level + 1)) != 0)
		level++;
	unsigned i = (tick >> (SLOT_BITS * level)) % SLOTS;
	list_push(&w->slot[level][i], t);
	w->used[level][i / 64] |= UINT64_C(1) << (i % 64);
}

/* Takes `t` off its list; the bitmap follows when that was a slot's last. */
static void
unlink_timer(struct qp_wheel *w, struct qp_timer *t)
{
	struct qp_timer **pprev = t->pprev;

	*pprev = t->next;
	if (t->next != NULL)
		t->next->pprev = pprev;
	t->next = NULL;
	t->pprev = NULL;
	w->armed--;
	if (*pprev == NULL && pprev >= &w->slot[0][0] && pprev <= &w->slot[LEVELS - 1][SLOTS - 1]) {
		unsigned i = (unsigned)(pprev - &w->slot[0][0]);

		w->used[i / SLOTS][i % SLOTS / 64] &= ~(UINT64_C(1) << (i % 64));
	}
}

void
qp_timer_arm(struct qp_wheel *w, struct qp_timer *t, uint64_t at_ns)
{
	uint64_t tick = tick_of(at_ns);

	if (t->pprev != NULL)
		unlink_timer(w, t);
	t->at_ns = at_ns;
	w->armed++;
	if (tick <= w->tick)
		list_push(&w->overdue, t);
	else
		place(w, t, tick);
}

void
qp_timer_cancel(struct qp_wheel *w, struct qp_timer *t)
{
	if (t->pprev != NULL)
		unlink_timer(w, t);
}

/* How far after slot `from` the next used one is, going round: 1 … 256, 0 for none. */
static unsigned
next_used(const uint64_t *used, unsigned from)
{
	unsigned i = (from + 1) % SLOTS;
	uint64_t word = used[i / 64] & (~UINT64_C(0) << (i % 64));

	for (unsigned n = 0; n <= WORDS; n++) {
		if (word != 0) {
			unsigned hit = i / 64 * 64 + (unsigned)__builtin_ctzll(word);

			return (hit - from - 1) % SLOTS + 1;
		}
		i = (i / 64 + 1) % WORDS * 64;
		word = used[i / 64];
	}
	return 0;
}

/* The next tick at which a slot fires or cascades. Later than w->tick, or NO_TICK. */
static uint64_t
next_event(const struct qp_wheel *w)
{
	uint64_t best = NO_TICK;

	for (unsigned level = 0; level < LEVELS; level++) {
		unsigned shift = SLOT_BITS * level;
		uint64_t here = w->tick >> shift;
		unsigned ahead = next_used(w->used[level], here % SLOTS);

		if (ahead != 0 && (here + ahead) << shift < best)
			best = (here + ahead) << shift;
	}
	return best;
}

static unsigned
fire_list(struct qp_wheel *w, struct qp_timer **head, uint64_t now_ns)
{
	struct qp_timer *due;
	unsigned fired = 0;

	/* A handler may cancel others of this list: always take what is first now. */
	list_move(head, &due);
	while (due != NULL) {
		struct qp_timer *t = due;

		unlink_timer(w, t);
		t->fn(t, now_ns);
		fired++;
	}
	return fired;
}

/* w->tick has just reached the start of slots of higher levels: spread them out. */
static void
cascade(struct qp_wheel *w)
{
	for (unsigned level = LEVELS - 1; level > 0; level--) {
		unsigned shift = SLOT_BITS * level;
		unsigned i = (w->tick >> shift) % SLOTS;
		struct qp_timer *list;

		if (w->tick & ((UINT64_C(1) << shift) - 1))
			continue;
		list_move(&w->slot[level][i], &list);
		w->used[level][i / 64] &= ~(UINT64_C(1) << (i % 64));
		while (list != NULL) {
			struct qp_timer *t = list;

			list = t->next;
			place(w, t, tick_of(t->at_ns));
		}
	}
}

unsigned
qp_wheel_advance(struct qp_wheel *w, uint64_t now_ns)
{
	uint64_t target = now_ns / QP_TIMER_TICK_NS;
	unsigned fired = 0;

	if (w->overdue != NULL)
		fired += fire_list(w, &w->overdue, now_ns);
	if (target <= w->tick)
		return fired;
	for (uint64_t t; (t = next_event(w)) <= target;) {
		unsigned i = t % SLOTS;

		w->tick = t;
		cascade(w);
		w->used[0][i / 64] &= ~(UINT64_C(1) << (i % 64));
		fired += fire_list(w, &w->slot[0][i], now_ns);
	}
	w->tick = target;
	return fired;
}

uint64_t
qp_wheel_next_ns(const struct qp_wheel *w)
{
	uint64_t tick;

	if (w->overdue != NULL)
		return w->tick * QP_TIMER_TICK_NS;
	if (w->armed == 0)
		return UINT64_MAX;
	tick = next_event(w);
	return tick == NO_TICK ? UINT64_MAX : tick * QP_TIMER_TICK_NS;
}
