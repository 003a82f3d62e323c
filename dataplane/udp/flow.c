/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtual connections: which outside address and port is which, their limits
 * and their end. Runs on the lcore that owns the tunnel. Their streams and
 * their silence are waiting.c's, what they carry is input.c's and output.c's.
 */
#include <rte_mbuf.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/tcp/siphash.h"
#include "dataplane/udp/internal.h"

#define SECOND_NS UINT64_C(1000000000)
#define STREAM_WINDOW (256u * 1024)
#define MIN_BUCKETS 64u
#define MAX_BUCKETS (1u << 18)

void
qp_udp_config_default(struct qp_udp_config *cfg)
{
	*cfg = (struct qp_udp_config) {
		.idle_ns = 60 * SECOND_NS,
		.max_flows = 65536,
		.max_flows_per_tunnel = 8192,
		.queue_bytes = 512 * 1024,
		.flight_bytes = 4096 * 1024,
		.max_waiting = 4096,
		.icmp_limit = 1000,
		.fragment_ns = 15 * SECOND_NS,
	};
}

struct qp_udp *
qp_udp_new(const struct qp_udp_env *env, const struct qp_udp_config *cfg)
{
	struct qp_udp *u = calloc(1, sizeof(*u));

	if (u == NULL)
		return NULL;
	u->env = *env;
	u->cfg = *cfg;
	u->key[0] = env->random(env->random_ctx);
	u->key[1] = env->random(env->random_ctx);
	u->next_ip_id = (uint32_t)env->random(env->random_ctx);
	u->nbuckets = MIN_BUCKETS;
	while (u->nbuckets < cfg->max_flows && u->nbuckets < MAX_BUCKETS)
		u->nbuckets *= 2;
	u->bucket = calloc(u->nbuckets, sizeof(*u->bucket));
	u->fragments = qp_udp_fragments_new(u);
	if (u->bucket == NULL || u->fragments == NULL) {
		qp_udp_free(u);
		return NULL;
	}
	return u;
}

void
qp_udp_free(struct qp_udp *u)
{
	if (u == NULL)
		return;
	qp_udp_batch_flush(u, NULL);
	qp_udp_fragments_free(u->fragments);
	free(u->bucket);
	free(u);
}

const struct qp_udp_counters *
qp_udp_counters(const struct qp_udp *u)
{
	return &u->counters;
}

void
qp_udp_port_give(struct qp_udp_port *p, const struct qp_ipaddr *addr, struct qp_tunnel *t)
{
	p->tunnel = t;
	p->addr = addr != NULL ? *addr : (struct qp_ipaddr) {0};
}

int
qp_udp_listen(struct qp_udp *u, const struct qp_ipaddr *addr, uint16_t port_be,
	struct qp_tunnel *t, struct qp_udp_port **out)
{
	uint16_t port = ntohs(port_be);
	struct qp_udp_port *p;

	if (u->port[port] != NULL)
		return QP_E_INUSE;
	p = calloc(1, sizeof(*p));
	if (p == NULL)
		return QP_E_NOMEM;
	*p = (struct qp_udp_port) {.udp = u, .port = port};
	qp_udp_port_give(p, addr, t);
	u->port[port] = p;
	*out = p;
	return 0;
}

void
qp_udp_unlisten(struct qp_udp_port *p)
{
	p->udp->port[p->port] = NULL;
	free(p);
}

static struct qp_udp_bucket *
bucket_of(const struct qp_udp *u, const struct qp_flow *flow)
{
	const uint64_t words[] = {flow->local.q[0], flow->local.q[1], flow->remote.q[0],
		flow->remote.q[1], (uint64_t)flow->lport_be << 16 | flow->rport_be};

	return &u->bucket[qp_siphash13(u->key, words, 5) & (u->nbuckets - 1)];
}

struct qp_udp_flow *
qp_udp_flow_find(struct qp_udp *u, const struct qp_flow *flow)
{
	struct qp_udp_flow *f;

	LIST_FOREACH(f, bucket_of(u, flow), bucket_link)
		if (qp_flow_same_ends(&f->flow, flow))
			return f;
	return NULL;
}

void
qp_udp_flow_queued(struct qp_udp_flow *f, int64_t bytes)
{
	f->queued_bytes += (uint64_t)bytes;
	f->tunnel->held_bytes += (uint64_t)bytes;
	f->udp->counters.queued_bytes += (uint64_t)bytes;
}

void
qp_udp_flow_enqueue(struct qp_udp_flow *f, bool waiting)
{
	f->waiting = waiting;
	f->tunnel->nwaiting += waiting;
	TAILQ_INSERT_TAIL(waiting ? &f->tunnel->waiting_flows : &f->tunnel->flows, f, link);
}

void
qp_udp_flow_dequeue(struct qp_udp_flow *f)
{
	f->tunnel->nwaiting -= f->waiting;
	TAILQ_REMOVE(f->waiting ? &f->tunnel->waiting_flows : &f->tunnel->flows, f, link);
}

void
qp_udp_flow_drop_out(struct qp_udp_flow *f)
{
	rte_pktmbuf_free(f->out);
	f->out = f->out_tail = NULL;
	f->tunnel->held_bytes -= f->out_bytes;
	f->out_bytes = 0;
}

static void
flow_free(struct qp_udp_flow *f)
{
	struct qp_udp *u = f->udp;
	struct qp_tunnel *t = f->tunnel;

	/* What the client said before the end still goes out. */
	qp_udp_batch_flush(u, f);
	qp_udp_flow_dequeue(f);
	qp_timer_cancel(u->env.wheel, &f->idle);
	qp_udp_flow_queued(f, -(int64_t)f->queued_bytes);
	qp_mbufq_clear(&f->held);
	qp_udp_flow_drop_out(f);
	LIST_REMOVE(f, bucket_link);
	qp_usage_closed(t, &f->use);
	if (f->local != NULL)
		qp_local_conn_free(t, f->local);
	qp_slots_remove(&t->relay_ids, f->id);
	t->nflows--;
	if (t->client != NULL)
		t->client->nflows--;
	u->counters.flows--;
	t->all->env.counters->conns_active--;
	free(f);
}

void
qp_udp_flow_abort(struct qp_udp_flow *f, uint64_t code)
{
	qp_usage_why(&f->use.why, qp_usage_reason_of(code));
	if (f->stream != NULL) {
		qp_quic_stream_set_ctx(f->stream, NULL);
		qp_quic_stream_abort(f->stream, code);
	}
	flow_free(f);
}

void
qp_udp_abort_all(struct qp_tunnel *t)
{
	while (!TAILQ_EMPTY(&t->waiting_flows))
		qp_udp_flow_abort(TAILQ_FIRST(&t->waiting_flows), QP_STREAM_CLOSED);
	while (!TAILQ_EMPTY(&t->flows))
		qp_udp_flow_abort(TAILQ_FIRST(&t->flows), QP_STREAM_CLOSED);
}

static void
abort_larger(struct qp_udp_flow_queue *q, uint64_t average)
{
	struct qp_udp_flow *f, *next;

	for (f = TAILQ_FIRST(q); f != NULL; f = next) {
		uint64_t bytes = f->queued_bytes + f->out_bytes;

		next = TAILQ_NEXT(f, link);
		if (bytes >= average && bytes > 0)
			qp_udp_flow_abort(f, QP_STREAM_LIMIT);
	}
}

void
qp_udp_abort_largest(struct qp_tunnel *t)
{
	uint64_t average = t->held_bytes / RTE_MAX(t->nflows, 1u);

	abort_larger(&t->flows, average);
	abort_larger(&t->waiting_flows, average);
}

void
qp_udp_flow_touch(struct qp_udp_flow *f, bool answer)
{
	struct qp_tunnel *t = f->tunnel;

	f->last_ns = *f->udp->env.now_ns;
	f->answered = answer;
	if (f->waiting || TAILQ_NEXT(f, link) == NULL)
		return;
	TAILQ_REMOVE(&t->flows, f, link);
	TAILQ_INSERT_TAIL(&t->flows, f, link);
}

/* Datagrams do not wait here: what comes is consumed at once. */
void
qp_udp_open_window(struct qp_quic_stream *s)
{
	qp_quic_stream_consumed(s, STREAM_WINDOW - QP_QUIC_FIRST_CREDIT);
}

bool
qp_udp_within_limits(struct qp_udp *u, const struct qp_tunnel *t)
{
	if (u->counters.flows >= u->cfg.max_flows) {
		QP_UDP_COUNT(u, drop_limit);
		return false;
	}
	if (t->nflows >= u->cfg.max_flows_per_tunnel) {
		QP_UDP_COUNT(u, drop_tunnel_limit);
		return false;
	}
	if (t->nwaiting >= u->cfg.max_waiting) {
		QP_UDP_COUNT(u, drop_no_stream);
		return false;
	}
	if (*u->env.mem_level == QP_MEM_SCARCE) {
		QP_UDP_COUNT(u, drop_no_memory);
		return false;
	}
	return true;
}

struct qp_udp_flow *
qp_udp_flow_alloc(struct qp_udp *u, struct qp_tunnel *t)
{
	struct qp_udp_flow *f = calloc(1, sizeof(*f));
	uint64_t id;

	if (f == NULL || qp_slots_add(&t->relay_ids, f, &id) < 0) {
		free(f);
		QP_UDP_COUNT(u, drop_no_memory);
		return NULL;
	}
	f->kind = QP_STREAM_UDP;
	f->id = (uint32_t)id;
	f->udp = u;
	f->tunnel = t;
	f->idle.fn = qp_udp_flow_on_idle;
	return f;
}

void
qp_udp_flow_enter(struct qp_udp_flow *f, const struct qp_flow *flow)
{
	struct qp_udp *u = f->udp;
	struct qp_tunnel *t = f->tunnel;

	f->flow = *flow;
	f->last_ns = *u->env.now_ns;
	LIST_INSERT_HEAD(bucket_of(u, flow), f, bucket_link);
	qp_udp_flow_enqueue(f, false);
	t->nflows++;
	if (t->client != NULL)
		t->client->nflows++;
	u->counters.flows++;
	u->counters.flows_opened++;
	t->all->env.counters->conns_active++;
	t->all->env.counters->conns_total++;
	qp_usage_opened(t, &f->use, f->id, flow);
	qp_timer_arm(u->env.wheel, &f->idle, f->last_ns + u->cfg.idle_ns);
}

struct qp_udp_flow *
qp_udp_flow_new(struct qp_udp_port *p, const struct qp_flow *flow)
{
	struct qp_udp *u = p->udp;
	struct qp_tunnel *t = p->tunnel;
	struct qp_udp_flow *f;
	int rc;

	if (!qp_client_serves(t, &flow->remote)) {
		QP_UDP_COUNT(u, drop_source);
		return NULL;
	}
	if (!qp_udp_within_limits(u, t))
		return NULL;
	if (!qp_client_admit(t)) {
		QP_UDP_COUNT(u, drop_client_limit);
		return NULL;
	}
	f = qp_udp_flow_alloc(u, t);
	if (f == NULL)
		return NULL;
	qp_udp_flow_enter(f, flow);
	rc = qp_udp_flow_start(f);
	if (rc < 0) {
		QP_UDP_COUNT(u, drop_no_memory);
		qp_udp_flow_abort(f, QP_STREAM_LIMIT);
		return NULL;
	}
	return f;
}

void
qp_udp_flow_close(struct qp_udp_flow *f, uint8_t reason)
{
	if (reason == QP_WIRE_REFUSED) {
		QP_UDP_COUNT(f->udp, flows_refused);
		qp_udp_unreachable(f);
	}
	qp_udp_flow_abort(f, QP_STREAM_RESET);
}

void
qp_udp_flow_kick(struct qp_udp_flow *f)
{
	qp_usage_why(&f->use.why, QP_END_KICKED);
	qp_udp_flow_abort(f, QP_STREAM_CLOSED);
}

void
qp_udp_stream_acked(struct qp_udp_flow *f, uint64_t bytes)
{
	qp_udp_flow_queued(f, -(int64_t)RTE_MIN(bytes, f->queued_bytes));
}

/*
 * The outside learns of it as it would from a
 * socket that closed; when the client's own idle time was up, nothing was wrong.
 */
void
qp_udp_stream_reset(struct qp_udp_flow *f, uint64_t code)
{
	if (code == QP_STREAM_REFUSED || code == QP_STREAM_RESET) {
		QP_UDP_COUNT(f->udp, flows_refused);
		qp_udp_unreachable(f);
	}
	qp_udp_flow_abort(f, QP_STREAM_RESET);
}

void
qp_udp_stream_stopped(struct qp_udp_flow *f, uint64_t code)
{
	qp_udp_stream_reset(f, code);
}

void
qp_udp_stream_closed(struct qp_udp_flow *f)
{
	f->stream = NULL;
	flow_free(f);
}
