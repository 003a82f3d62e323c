/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When which user does what, phase by phase. The worker's lcore. A request whose
 * time has come waits for a free user and keeps its time.
 */
#include "bench/users.h"

#include <stdlib.h>

#define CONNECTING_MAX 256u /* at once, while kept connections are opened */
#define ASKING_MAX                                                                                 \
	256u /* idle ones, at the end: whether they are there, not whether they are fast */
#define BEGIN_MAX 64u /* of a turn */

struct qp_ipaddr
qpb_user_addr(const struct qpb_worker *w, uint32_t k)
{
	return qpb_host_addr(w->b->users.port, w->first_addr + k * w->b->nworkers);
}

uint32_t
qpb_user_pick_client(struct qpb_worker *w)
{
	uint32_t n = w->b->clients.count, first = (uint32_t)qpb_rng_below(&w->rng, n);

	for (uint32_t i = 0; i < n; i++) {
		uint32_t c = (first + i) % n;

		if (atomic_load_explicit(&w->b->open[c], memory_order_acquire))
			return c;
	}
	return UINT32_MAX;
}

void
qpb_user_draw(struct qpb_user *u)
{
	struct qpb_worker *w = u->w;
	const struct qpb_config *cfg = &w->b->cfg;

	u->req = (struct qpb_request) {
		.flags = cfg->echo ? QPB_ECHO : 0,
		.seed = qpb_rng_next(&w->rng),
	};
	if (cfg->scenario == QPB_BULK) {
		bool in = (cfg->direction + 1) & QPB_IN, out = (cfg->direction + 1) & QPB_OUT;

		u->req.request_bytes = in ? QPB_ENDLESS : 0;
		u->req.answer_bytes = out && !cfg->echo ? QPB_ENDLESS : 0;
		return;
	}
	/* An answer of nothing would leave nothing to wait for. */
	u->req.request_bytes = qpb_sizes_draw(&cfg->size, &w->rng, cfg->echo ? 1 : 0);
	u->req.answer_bytes = qpb_sizes_draw(&cfg->answer, &w->rng, 1);
	if (cfg->echo)
		u->req.answer_bytes = u->req.request_bytes;
}

/* Phases. */

static bool
open_kept(struct qpb_worker *w)
{
	bool work = false;

	if (qpb_users_short(w))
		return false;
	while (w->users_started < w->nusers && w->users_connecting < CONNECTING_MAX) {
		(void)qpb_user_connect(&w->user[w->users_started++], w->now_ns);
		work = true;
	}
	return work;
}

static void
begin(struct qpb_user *u, uint64_t at_ns)
{
	if (!qpb_users_short(u->w)) {
		qpb_user_draw(u);
		qpb_user_ask(u, at_ns);
	} else if (!qpb_user_connect(u, at_ns)) {
		u->ready = true;
		TAILQ_INSERT_TAIL(&u->w->users_ready, u, link);
	}
}

/* Bulk runs from the beginning to the end; idle users wait for the latter. */
static bool
scheduled(const struct qpb_worker *w)
{
	return w->schedule.arrivals != QPB_CLOSED && !qpb_users_bulk(w) &&
	       w->b->cfg.scenario != QPB_IDLE;
}

/* Whom an arrival before `until_ns` finds free begins, with the arrival's time. */
static bool
serve(struct qpb_worker *w, uint64_t until_ns)
{
	uint64_t at;
	bool work = false;

	for (unsigned i = 0; i < BEGIN_MAX && !TAILQ_EMPTY(&w->users_ready); i++) {
		if (!qpb_schedule_take(&w->schedule, until_ns, &at))
			break;
		begin(TAILQ_FIRST(&w->users_ready), at);
		work = true;
	}
	return work;
}

static bool
load(struct qpb_worker *w)
{
	bool work = false;

	if (w->b->cfg.scenario == QPB_IDLE || w->now_ns < w->b->load_from_ns ||
		w->now_ns >= w->b->run_to_ns)
		return false;
	if (scheduled(w))
		return serve(w, w->now_ns);
	for (unsigned i = 0; i < BEGIN_MAX && !TAILQ_EMPTY(&w->users_ready); i++) {
		begin(TAILQ_FIRST(&w->users_ready), w->now_ns);
		work = true;
	}
	return work;
}

/* Those with a connection close it; idle ones show before that they still work. */
static bool
finish(struct qpb_worker *w)
{
	struct qpb_user *u;
	bool work = false;

	if (w->users_started != UINT32_MAX) {
		w->users_started = UINT32_MAX;
		for (uint32_t i = 0; i < w->nusers && qpb_users_bulk(w); i++)
			if (w->user[i].state == QPB_USER_BUSY)
				qpb_user_shut(&w->user[i]);
	}
	if (scheduled(w) && qpb_backlog(w)) {
		(void)serve(w, w->b->run_to_ns - 1);
		return true;
	}
	for (unsigned i = 0; i < BEGIN_MAX && (u = TAILQ_FIRST(&w->users_ready)) != NULL; i++) {
		work = true;
		if (u->state != QPB_USER_READY) {
			TAILQ_REMOVE(&w->users_ready, u, link);
			u->ready = false;
		} else if (w->b->cfg.scenario == QPB_IDLE) {
			if (w->users_asking >= ASKING_MAX)
				return work;
			w->users_asking++;
			u->asked_last = true;
			begin(u, w->now_ns);
		} else {
			qpb_user_close(u);
		}
	}
	return work;
}

bool
qpb_users_step(struct qpb_worker *w)
{
	switch (w->phase) {
	case QPB_OPEN:
		return open_kept(w);
	case QPB_LOAD:
		return load(w);
	case QPB_FINISH:
		return finish(w);
	case QPB_CLOSE:
	case QPB_QUIT:
		if (w->users_live > 0)
			qpb_users_abort(w);
		return false;
	default:
		return false;
	}
}

bool
qpb_users_settled(const struct qpb_worker *w)
{
	if (w->b->cfg.scenario == QPB_UDP || w->b->cfg.scenario == QPB_HANDSHAKES)
		return true;
	switch (w->phase) {
	case QPB_OPEN:
		return qpb_users_short(w) ||
		       (w->users_started == w->nusers && w->users_connecting == 0);
	case QPB_FINISH:
		return w->users_started == UINT32_MAX && w->users_live == 0 &&
		       (!scheduled(w) || qpb_schedule_peek(&w->schedule) >= w->b->run_to_ns);
	case QPB_CLOSE:
		return w->users_live == 0;
	default:
		return true;
	}
}

void
qpb_users_abort(struct qpb_worker *w)
{
	for (uint32_t i = 0; i < w->nusers; i++)
		if (w->user[i].state != QPB_USER_NONE)
			qpb_user_abort(&w->user[i]);
}

int
qpb_users_new(struct qpb_worker *w)
{
	const struct qpb *b = w->b;
	const struct qpb_hosts *h = &b->users;
	const uint32_t users = qpb_users_wanted(&b->cfg);

	TAILQ_INIT(&w->users_ready);
	w->nusers = users / b->nworkers + (w->index < users % b->nworkers);
	w->first_addr = h->first;
	while (w->first_addr % b->nworkers != w->index)
		w->first_addr++;
	for (uint32_t a = w->first_addr; a < h->first + h->count; a += b->nworkers)
		w->naddrs++;
	w->user = calloc(w->nusers != 0 ? w->nusers : 1, sizeof(*w->user));
	if (w->user == NULL)
		return QP_E_NOMEM;
	for (uint32_t i = 0; i < w->nusers; i++) {
		w->user[i].w = w;
		if (qpb_users_short(w) || b->cfg.scenario == QPB_UDP) {
			w->user[i].ready = true;
			TAILQ_INSERT_TAIL(&w->users_ready, &w->user[i], link);
		}
	}
	return 0;
}

void
qpb_users_free(struct qpb_worker *w)
{
	free(w->user);
	w->user = NULL;
}
