/* SPDX-License-Identifier: Apache-2.0 */
/* A sorted array: blocks are few, and changed by people. Loop thread. */
#define QP_LOG_MODULE QP_LOG_M_policy
#include "controlplane/blocks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "controlplane/apitext.h"
#include "controlplane/policy.h"
#include "controlplane/wallclock.h"

/* How long an answer waits for the disk. */
#define SYNC_MS 2000u

struct qp_blocks {
	struct qp_blocks_config cfg;
	struct qp_wallclock clock;
	struct qp_loop_timer timer; /* the next expiry, at most a minute away */
	unsigned n;
	struct qp_block block[QP_BLOCKS_MAX];
};

static int
compare(const struct qp_msg_network *a, const struct qp_msg_network *b)
{
	int order = memcmp(a->addr, b->addr, sizeof(a->addr));

	return order != 0 ? order : (int)a->prefix - (int)b->prefix;
}

/* Where it is, or belongs. */
static unsigned
place_of(const struct qp_blocks *b, const struct qp_msg_network *n)
{
	unsigned low = 0, high = b->n;

	while (low < high) {
		unsigned mid = (low + high) / 2;

		if (compare(&b->block[mid].network, n) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct qp_block *
find(struct qp_blocks *b, const struct qp_msg_network *n)
{
	unsigned at = place_of(b, n);

	return at < b->n && compare(&b->block[at].network, n) == 0 ? &b->block[at] : NULL;
}

static struct qp_block *
insert(struct qp_blocks *b, const struct qp_msg_network *n)
{
	unsigned at = place_of(b, n);

	memmove(&b->block[at + 1], &b->block[at], (b->n - at) * sizeof(b->block[0]));
	b->n++;
	b->block[at] = (struct qp_block) {.network = *n};
	return &b->block[at];
}

static void
erase(struct qp_blocks *b, struct qp_block *block)
{
	unsigned at = (unsigned)(block - b->block);

	b->n--;
	memmove(block, block + 1, (b->n - at) * sizeof(b->block[0]));
}

static void
write_down(struct qp_blocks *b, const struct qp_block *block)
{
	char text[QP_NETWORK_BYTES];

	qp_state_put_block(b->cfg.state,
		&(struct qp_block_row) {.network = qp_network_format(&block->network, text),
			.expires_at = block->expires_at,
			.since = block->since,
			.reason = block->reason});
}

/* The clock was set: a block is for so many seconds, whatever the clock says. */
static uint64_t
time_now(struct qp_blocks *b)
{
	int64_t set_by;
	uint64_t now = qp_wallclock_now(&b->clock, &set_by);

	for (unsigned i = 0; set_by != 0 && i < b->n; i++) {
		struct qp_block *block = &b->block[i];

		block->since = qp_wallclock_moved(block->since, set_by);
		if (block->expires_at == 0)
			continue;
		block->expires_at = qp_wallclock_moved(block->expires_at, set_by);
		if (block->expires_at == 0)
			block->expires_at = 1; /* 0 is for ever */
		write_down(b, block);
	}
	return now;
}

static void
set_timer(struct qp_blocks *b)
{
	uint64_t now = time_now(b), wait = UINT64_MAX;

	for (unsigned i = 0; i < b->n; i++) {
		uint64_t at = b->block[i].expires_at;

		if (at != 0 && (at <= now ? 0 : at - now) < wait)
			wait = at <= now ? 0 : at - now;
	}
	if (wait == UINT64_MAX)
		qp_loop_timer_cancel(b->cfg.loop, &b->timer);
	else /* The clock may be set meanwhile. */
		qp_loop_timer_set(
			b->cfg.loop, &b->timer, wait > 60 ? 60000u : (unsigned)wait * 1000u);
}

static void
let_in(struct qp_blocks *b, struct qp_block *block)
{
	char text[QP_NETWORK_BYTES];

	b->cfg.unblock(b->cfg.ctx, &block->network);
	if (qp_state_drop_block(b->cfg.state, qp_network_format(&block->network, text)) != 0)
		qp_log(QP_LOG_DEBUG, "an unblocked source was not in the state",
			QP_LOG_STR("source", text));
	erase(b, block);
}

static void
on_timer(void *ctx)
{
	struct qp_blocks *b = ctx;
	uint64_t now = time_now(b);

	for (unsigned i = 0; i < b->n;) {
		struct qp_block over = b->block[i];

		if (over.expires_at == 0 || over.expires_at > now) {
			i++;
			continue;
		}
		let_in(b, &b->block[i]);
		if (b->cfg.expired != NULL)
			b->cfg.expired(b->cfg.ctx, &over);
	}
	set_timer(b);
}

/* Before somebody is told that it is done. */
static void
sync_state(struct qp_blocks *b)
{
	if (qp_state_sync(b->cfg.state, SYNC_MS) != 0)
		qp_log(QP_LOG_WARN,
			"a change of blocked sources is in force, but not on the disk yet");
}

int
qp_blocks_add(struct qp_blocks *b, const struct qp_msg_network *n, uint64_t seconds,
	const char *reason, const struct qp_block **out, struct qp_errmsg *msg)
{
	struct qp_block *block = find(b, n);
	int err;

	(void)time_now(b); /* before one is there that it must not move */
	if (block == NULL) {
		if (b->n == QP_BLOCKS_MAX)
			return qp_fail(msg, QP_E_FULL,
				"%u sources are blocked already: let some in", QP_BLOCKS_MAX);
		err = b->cfg.block(b->cfg.ctx, n, msg);
		if (err != 0)
			return err;
		block = insert(b, n);
	}
	block->since = time_now(b);
	block->expires_at = seconds != 0 ? block->since + seconds : 0;
	snprintf(block->reason, sizeof(block->reason), "%s", reason != NULL ? reason : "");
	write_down(b, block);
	sync_state(b);
	set_timer(b);
	*out = block;
	return 0;
}

int
qp_blocks_remove(struct qp_blocks *b, const struct qp_msg_network *n)
{
	struct qp_block *block = find(b, n);

	if (block == NULL)
		return QP_E_NOTFOUND;
	let_in(b, block);
	sync_state(b);
	set_timer(b);
	return 0;
}

unsigned
qp_blocks_count(const struct qp_blocks *b)
{
	return b->n;
}

const struct qp_block *
qp_blocks_at(const struct qp_blocks *b, unsigned i)
{
	return &b->block[i];
}

unsigned
qp_blocks_after(const struct qp_blocks *b, const struct qp_msg_network *n)
{
	unsigned at = place_of(b, n);

	return at < b->n && compare(&b->block[at].network, n) == 0 ? at + 1 : at;
}

static void
read_row(void *ctx, const struct qp_block_row *row)
{
	struct qp_blocks *b = ctx;
	struct qp_msg_network n;
	struct qp_errmsg msg;
	struct qp_block *block;
	int err = qp_network_parse(row->network, &n, &msg);

	if (err == 0 && b->n < QP_BLOCKS_MAX && find(b, &n) == NULL)
		err = b->cfg.block(b->cfg.ctx, &n, &msg);
	else
		return;
	if (err != 0) {
		qp_log(QP_LOG_ERROR, "a blocked source is not kept out",
			QP_LOG_STR("source", row->network), QP_LOG_STR("reason", msg.text));
		return;
	}
	block = insert(b, &n);
	block->since = row->since;
	block->expires_at = row->expires_at;
	snprintf(
		block->reason, sizeof(block->reason), "%s", row->reason != NULL ? row->reason : "");
}

int
qp_blocks_new(const struct qp_blocks_config *cfg, struct qp_blocks **out, struct qp_errmsg *msg)
{
	struct qp_blocks *b = calloc(1, sizeof(*b));
	int err;

	if (b == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	b->cfg = *cfg;
	b->clock = (struct qp_wallclock) {.unix_time = cfg->unix_time, .up_time = cfg->up_time};
	b->timer = (struct qp_loop_timer) {.fire = on_timer, .ctx = b};
	err = qp_state_each_block(cfg->state, read_row, b);
	if (err != 0) {
		free(b);
		return qp_fail(msg, err, "the blocked sources cannot be read");
	}
	set_timer(b);
	*out = b;
	return 0;
}

void
qp_blocks_free(struct qp_blocks *b)
{
	if (b == NULL)
		return;
	qp_loop_timer_cancel(b->cfg.loop, &b->timer);
	free(b);
}
