/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Local forwards: the client opens the streams, and for each of them a
 * connection is opened from here. Where to, the control plane says: it resolves
 * names, knows the policy and finds the way. What a client sends before the
 * connection is there waits in its relay, within the stream's credit. Once
 * it is there the relay does the rest. Runs on the lcore that owns the tunnel.
 */
#include <arpa/inet.h>
#include <rte_common.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/local_internal.h"
#include "dataplane/udp/udp.h"

#define FRESH_NS (30ull * 1000 * 1000 * 1000)  /* then the control plane is asked again */
#define ANSWER_NS (3000ull * 1000 * 1000)      /* without its answer, the old addresses must do */
#define MAX_OPENING 4096u                      /* connections of a worker that are not open yet */

static void
ask(struct qp_tunnel *t)
{
	struct qp_msg msg;

	qp_tunnel_message_init(t, &msg, QP_MSG_LOCAL_REQUEST);
	msg.local = t->local->asked;
	msg.local.again = t->state == QP_TUNNEL_OPEN;
	t->local->asking = true;
	qp_tunnel_message_send(t, &msg);
}

static void
refuse(struct qp_tunnel *t, enum qp_wire_status status, struct qp_slice text)
{
	qp_tunnel_respond(t, QP_WIRE_LOCAL_FORWARD_RESPONSE, status, text);
	qp_tunnel_last_words(t, QP_APP_REFUSED, NULL);
}

void
qp_local_request(struct qp_tunnel *t, const struct qp_wire_msg *msg)
{
	struct qp_slice destination = msg->local_forward_request.destination;
	struct qp_local *l;

	if (destination.len > sizeof(l->asked.destination)) {
		refuse(t, QP_WIRE_INTERNAL_ERROR, qp_slice_of("the destination's name is too long"));
		return;
	}
	l = calloc(1, sizeof(*l));
	if (l == NULL) {
		refuse(t, QP_WIRE_INTERNAL_ERROR, qp_slice_of("the gateway is out of memory"));
		return;
	}
	l->asked.protocol = msg->local_forward_request.protocol;
	l->asked.destination_len = (uint16_t)destination.len;
	memcpy(l->asked.destination, destination.ptr, destination.len);
	l->id_salt = (uint32_t)((uintptr_t)l >> 4) ^ (uint32_t)*t->all->env.now_ns;
	t->local = l;
	t->protocol = l->asked.protocol;
	t->state = QP_TUNNEL_GRANT;
	ask(t);
}

const char *
qp_local_destination(const struct qp_tunnel *t, size_t *len)
{
	*len = t->local->asked.destination_len;
	return t->local->asked.destination;
}

void
qp_local_sources(const struct qp_tunnel *t, uint16_t *first, uint16_t *count)
{
	*first = t->local->to.source_first;
	*count = t->local->to.source_count;
}

void
qp_local_ask_again(struct qp_tunnel *t)
{
	if (t->local->asking)
		ask(t);
}

void
qp_local_free(struct qp_tunnel *t)
{
	free(t->local);
	t->local = NULL;
}

/* The connection. */

static struct qp_local_bucket *
bucket_of(struct qp_local *l, uint32_t id)
{
	uint32_t h = (id ^ l->id_salt) * 0x9e3779b1u; /* 2^32 / golden ratio */

	return &l->ids[h >> 24];
}

void *
qp_local_find(const struct qp_tunnel *t, uint32_t id)
{
	struct qp_local_conn *c;

	LIST_FOREACH(c, bucket_of(t->local, id), by_id)
		if (c->id == id)
			return c->relay != NULL ? (void *)c->relay : c->flow;
	return NULL;
}

bool
qp_local_is_opening(const struct qp_relay *r)
{
	return r->local != NULL && r->local->state != QP_LOCAL_OPEN;
}

void
qp_local_conn_free(struct qp_tunnel *t, struct qp_local_conn *c)
{
	qp_timer_cancel(t->all->env.wheel, &c->timer);
	if (c->state != QP_LOCAL_OPEN)
		t->all->local_opening--;
	if (c->state != QP_LOCAL_ID)
		LIST_REMOVE(c, by_id);
	free(c);
}

/* What the control plane answers. */

static void
connect_those_that_wait(struct qp_tunnel *t)
{
	struct qp_relay *r, *next;

	for (r = TAILQ_FIRST(&t->relays); r != NULL; r = next) {
		next = TAILQ_NEXT(r, link);
		if (r->local->state != QP_LOCAL_ASKING)
			continue;
		qp_timer_cancel(t->all->env.wheel, &r->local->timer);
		qp_local_connect(r);
	}
}

void
qp_local_granted(struct qp_tunnel *t, const struct qp_msg *msg)
{
	const struct qp_msg_local_grant *g = &msg->local_grant;

	if (t->local == NULL || (t->state != QP_TUNNEL_GRANT && t->state != QP_TUNNEL_OPEN))
		return;
	t->local->to = *g;
	t->local->granted_ns = *t->all->env.now_ns;
	t->local->asking = false;
	if (g->source_count > 0 && g->protocol == QP_WIRE_UDP)
		qp_udp_set_ports(t->all->env.udp, g->source_first, g->source_count);
	else if (g->source_count > 0)
		qp_tcp_set_ports(t->all->env.tcp, g->source_first, g->source_count);
	if (t->state == QP_TUNNEL_OPEN) {
		connect_those_that_wait(t);
		return;
	}
	qp_timer_cancel(t->all->env.wheel, &t->deadline);
	t->state = QP_TUNNEL_OPEN;
	qp_tunnel_respond(t, QP_WIRE_LOCAL_FORWARD_RESPONSE, QP_WIRE_SUCCESS,
		(struct qp_slice) {g->message, g->message_len});
	qp_tunnel_process(t);
}

void
qp_local_denied(struct qp_tunnel *t, const struct qp_msg *msg)
{
	const struct qp_msg_forward_answer *a = &msg->forward_answer;

	if (t->local == NULL)
		return;
	t->local->asking = false;
	if (t->state == QP_TUNNEL_GRANT) {
		refuse(t, a->status, (struct qp_slice) {a->message, a->message_len});
		return;
	}
	if (t->state != QP_TUNNEL_OPEN)
		return;
	/* A resolver that fails now leaves what it said before; a policy's no is one. */
	t->local->granted_ns = *t->all->env.now_ns;
	if (a->status == QP_WIRE_PERMISSION_DENIED)
		t->local->to.naddrs = 0;
	connect_those_that_wait(t);
}

/* The client's streams. */

void
qp_local_stream_opened(struct qp_tunnel *t, struct qp_quic_stream *s)
{
	struct qp_local_conn *c = NULL;
	struct qp_relay *r = NULL;

	t->all->env.counters->local_conns_total++;
	if (t->all->local_opening < MAX_OPENING && *t->all->env.mem_level != QP_MEM_SCARCE &&
		qp_client_admit(t) &&
		(c = calloc(1, sizeof(*c))) != NULL)
		r = qp_relay_new(t, NULL);
	if (r == NULL) {
		free(c);
		t->all->env.counters->local_conns_refused++;
		qp_quic_stream_abort(s, QP_STREAM_LIMIT);
		return;
	}
	c->relay = r;
	c->reason = QP_WIRE_ERROR;
	c->timer.fn = qp_local_on_timer;
	t->all->local_opening++;
	r->kind = QP_STREAM_LOCAL;
	r->local = c;
	r->use.conn_id = 0;
	r->stream = s;
	qp_quic_stream_set_ctx(s, r);
}

/* The id is whole. Whose the stream is now: the relay's, a flow's, or (NULL) nobody's. */
static void *
begin(struct qp_relay *r)
{
	struct qp_tunnel *t = r->tunnel;
	struct qp_local *l = t->local;
	struct qp_local_conn *c = r->local;
	uint32_t id = qp_wire_get_conn_id(c->id_bytes);

	if (qp_local_find(t, id) != NULL) {
		t->all->env.counters->local_conns_unpaired++;
		qp_relay_abort(r, QP_STREAM_PROTOCOL);
		return NULL;
	}
	r->kind = QP_STREAM_RELAY;
	c->id = id;
	r->use.conn_id = id;
	c->state = QP_LOCAL_ASKING;
	LIST_INSERT_HEAD(bucket_of(l, id), c, by_id);
	if (*t->all->env.now_ns - l->granted_ns > FRESH_NS) {
		if (!l->asking)
			ask(t);
		qp_timer_arm(t->all->env.wheel, &c->timer, *t->all->env.now_ns + ANSWER_NS);
		return r;
	}
	qp_local_connect(r);
	return qp_local_find(t, id);
}

void
qp_local_stream_data(struct qp_relay *r, const uint8_t *data, size_t len, bool fin)
{
	struct qp_local_conn *c = r->local;
	size_t n = RTE_MIN(len, (size_t)QP_WIRE_CONN_ID_BYTES - c->id_len);
	void *ctx;

	if (n > 0)
		memcpy(c->id_bytes + c->id_len, data, n);
	c->id_len += (uint8_t)n;
	qp_quic_conn_consumed(r->tunnel->conn, n);
	qp_quic_stream_consumed(r->stream, n);
	if (c->id_len < QP_WIRE_CONN_ID_BYTES) {
		if (fin) {
			r->tunnel->all->env.counters->local_conns_unpaired++;
			qp_relay_abort(r, QP_STREAM_PROTOCOL);
		}
		return;
	}
	ctx = begin(r);
	if (ctx == NULL || (len == n && !fin))
		return;
	if (*(enum qp_stream_kind *)ctx == QP_STREAM_UDP)
		qp_udp_stream_data(ctx, data + n, len - n, fin);
	else
		qp_relay_stream_data(ctx, data + n, len - n, fin);
}
