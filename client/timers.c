/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pairing heap of timers. The loop's thread; knows nothing of clocks, the
 * loop tells it the time.
 */
#include "client/timers.h"

#include <assert.h>
#include <stddef.h>

/* Either may be NULL. Both are roots: without siblings. */
static struct qpc_timer *
meld(struct qpc_timer *a, struct qpc_timer *b)
{
	if (a == NULL)
		return b;
	if (b == NULL)
		return a;
	if (b->at_ns < a->at_ns) {
		struct qpc_timer *t = a;

		a = b;
		b = t;
	}
	b->next = a->child;
	if (a->child != NULL)
		a->child->prev = b;
	b->prev = a;
	a->child = b;
	return a;
}

static struct qpc_timer *
detach(struct qpc_timer *t)
{
	t->next = NULL;
	t->prev = NULL;
	return t;
}

/* Siblings in pairs from the left, then the pairs from the right: what makes it O(log n). */
static struct qpc_timer *
meld_siblings(struct qpc_timer *first)
{
	struct qpc_timer *pairs = NULL, *root = NULL;

	while (first != NULL) {
		struct qpc_timer *a = first, *b = a->next;
		struct qpc_timer *rest = b != NULL ? b->next : NULL;

		detach(a);
		a = meld(a, b != NULL ? detach(b) : NULL);
		a->next = pairs;
		pairs = a;
		first = rest;
	}
	while (pairs != NULL) {
		struct qpc_timer *rest = pairs->next;

		root = meld(root, detach(pairs));
		pairs = rest;
	}
	return root;
}

static struct qpc_timer *
take_children(struct qpc_timer *t)
{
	struct qpc_timer *child = t->child;

	t->child = NULL;
	return meld_siblings(child);
}

static void
unlink_from_parent(struct qpc_timer *t)
{
	if (t->prev->child == t)
		t->prev->child = t->next;
	else
		t->prev->next = t->next;
	if (t->next != NULL)
		t->next->prev = t->prev;
	detach(t);
}

void
qpc_timer_cancel(struct qpc_timers *timers, struct qpc_timer *t)
{
	if (!t->armed)
		return;
	if (timers->root == t) {
		timers->root = take_children(t);
	} else {
		unlink_from_parent(t);
		timers->root = meld(timers->root, take_children(t));
	}
	t->armed = false;
}

void
qpc_timer_arm(struct qpc_timers *timers, struct qpc_timer *t, uint64_t at_ns)
{
	assert(t->fire != NULL);
	if (t->armed && t->at_ns == at_ns)
		return;
	qpc_timer_cancel(timers, t);
	t->at_ns = at_ns;
	t->armed = true;
	timers->root = meld(timers->root, t);
}

uint64_t
qpc_timers_next(const struct qpc_timers *timers)
{
	return timers->root != NULL ? timers->root->at_ns : UINT64_MAX;
}

void
qpc_timers_run(struct qpc_timers *timers, uint64_t now_ns)
{
	while (timers->root != NULL && timers->root->at_ns <= now_ns) {
		struct qpc_timer *t = timers->root;

		qpc_timer_cancel(timers, t);
		t->fire(t);
	}
}
