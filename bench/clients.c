/* SPDX-License-Identifier: Apache-2.0 */
/* When which client opens and closes its tunnel, phase by phase. The worker's lcore. */
#include "bench/client.h"

#include <stdlib.h>

#define STARTING_MAX 64u /* handshakes at once a worker, when tunnels are only set up */
#define BEGIN_MAX 64u /* of a turn */

static bool
begin_next(struct qpb_worker *w, uint64_t at_ns)
{
	struct qpb_client *c = TAILQ_FIRST(&w->clients_idle);

	TAILQ_REMOVE(&w->clients_idle, c, link);
	qpb_client_begin(c, at_ns);
	return true;
}

static bool
open_tunnels(struct qpb_worker *w)
{
	bool work = false;

	while (w->clients_started < w->nclients && w->clients_busy < STARTING_MAX) {
		w->clients_started++;
		work = begin_next(w, w->now_ns);
	}
	return work;
}

/* Of a closed loop all that are free, of an open one as many as arrive before `until_ns`. */
static bool
serve(struct qpb_worker *w, uint64_t until_ns)
{
	uint64_t at = w->now_ns;
	bool work = false;

	for (unsigned i = 0; i < BEGIN_MAX && !TAILQ_EMPTY(&w->clients_idle); i++) {
		if (w->schedule.arrivals != QPB_CLOSED &&
			!qpb_schedule_take(&w->schedule, until_ns, &at))
			break;
		work = begin_next(w, at);
	}
	return work;
}

static bool
load_handshakes(struct qpb_worker *w)
{
	if (w->phase == QPB_FINISH)
		return qpb_backlog(w) && serve(w, w->b->run_to_ns - 1);
	return w->now_ns >= w->b->load_from_ns && w->now_ns < w->b->run_to_ns &&
	       serve(w, w->now_ns);
}

static bool
close_tunnels(struct qpb_worker *w)
{
	bool work = false;

	for (uint32_t i = 0; i < w->nclients; i++) {
		enum qpb_client_state state = w->client[i].state;

		if (state == QPB_CLIENT_IDLE || state == QPB_CLIENT_CLOSING)
			continue;
		qpb_client_close(&w->client[i]);
		work = true;
	}
	return work;
}

bool
qpb_clients_step(struct qpb_worker *w)
{
	switch (w->phase) {
	case QPB_TUNNELS:
		return !qpb_handshakes(w) && open_tunnels(w);
	case QPB_LOAD:
	case QPB_FINISH:
		return qpb_handshakes(w) && load_handshakes(w);
	case QPB_CLOSE:
	case QPB_QUIT:
		return close_tunnels(w);
	default:
		return false;
	}
}

bool
qpb_clients_settled(const struct qpb_worker *w)
{
	switch (w->phase) {
	case QPB_TUNNELS:
		return qpb_handshakes(w) ||
		       (w->clients_started == w->nclients && w->clients_busy == 0);
	case QPB_FINISH:
		return w->clients_busy == 0 &&
		       (!qpb_handshakes(w) || w->schedule.arrivals == QPB_CLOSED ||
			       qpb_schedule_peek(&w->schedule) >= w->b->run_to_ns);
	case QPB_CLOSE:
		for (uint32_t i = 0; i < w->nclients; i++)
			if (w->client[i].state != QPB_CLIENT_IDLE)
				return false;
		return true;
	default:
		return true;
	}
}

int
qpb_clients_new(struct qpb_worker *w, struct qp_errmsg *msg)
{
	const struct qpb_hosts *h = &w->b->clients;

	TAILQ_INIT(&w->clients_idle);
	for (uint32_t i = 0; i < h->count; i++)
		w->nclients += (h->first + i) % w->b->nworkers == w->index;
	w->client = calloc(w->nclients != 0 ? w->nclients : 1, sizeof(*w->client));
	if (w->client == NULL)
		return qp_fail(msg, QP_E_NOMEM, "no memory for %u clients", w->nclients);
	for (uint32_t i = 0, n = 0; i < h->count; i++) {
		if ((h->first + i) % w->b->nworkers != w->index)
			continue;
		w->client[n] = (struct qpb_client) {
			.w = w,
			.id = i,
			.addr = qpb_host_addr(h->port, h->first + i),
			.next_port = QPB_CLIENT_FIRST_PORT,
		};
		TAILQ_INSERT_TAIL(&w->clients_idle, &w->client[n], link);
		n++; /* the macro reads its argument more than once */
	}
	return 0;
}

void
qpb_clients_free(struct qpb_worker *w)
{
	for (uint32_t i = 0; i < w->nclients; i++)
		qp_auth_client_free(w->client[i].auth);
	free(w->client);
	w->client = NULL;
	w->nclients = 0;
}
