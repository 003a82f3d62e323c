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

#include "common/classifier.h"
#include "dataplane/tunnel_internal.h"

#define FRESH_NS (30ull * 1000 * 1000 * 1000)  /* then the control plane is asked again */
#define RETRY_NS (1000ull * 1000 * 1000)       /* … but this long after a failure */
#define ANSWER_NS (3000ull * 1000 * 1000)      /* without its answer, the old addresses must do */
#define FIRST_NS (3000ull * 1000 * 1000)       /* to reach an address that others follow */
#define LAST_NS (10ull * 1000 * 1000 * 1000)   /* to reach the last one */
#define PORT_NS (5ull * 1000 * 1000 * 1000)    /* to wait for a local port, when connections come and go fast */
#define PORT_RETRY_NS (50ull * 1000 * 1000)    /* between two looks for one: each may go through all of them */
#define MAX_OPENING 512u                       /* connections of a tunnel that are not open yet */
#define ID_BUCKETS 256u
#define MAX_NOTICE_BYTES (64u * 1024)          /* on stream 0: the stream's reset says the same */

enum local_state {
	LOCAL_ID,         /* its stream's first bytes are awaited */
	LOCAL_ASKING,     /* the control plane is asked where to */
	LOCAL_PORTLESS,   /* all local ports lead to that destination already */
	LOCAL_CONNECTING, /* our SYN is out */
	LOCAL_UNREACHED,  /* it came to nothing: at the flush the next address has its turn */
	LOCAL_OPEN,
};

/* Owner: its relay. Life: the relay's. Lock: none. */
struct qp_local_conn {
	struct qp_relay *relay;
	enum local_state state;
	enum qp_wire_reason reason;      /* why the last address was not reached */
	uint8_t id_bytes[QP_WIRE_CONN_ID_BYTES];
	uint8_t id_len;
	uint8_t next;                    /* index of the address to be tried */
	uint32_t id;                     /* the client's */
	uint64_t port_by_ns;             /* LOCAL_PORTLESS: until then; 0: not yet */
	struct qp_timer timer;           /* for the answer, then for the connection */
	LIST_ENTRY(qp_local_conn) by_id; /* from LOCAL_ASKING on */
};
LIST_HEAD(id_bucket, qp_local_conn);

/* Owner: its tunnel. Life: from the client's request to the tunnel's end. Lock: none. */
struct qp_local {
	struct qp_msg_local asked;       /* what the client wants, as the control plane is asked */
	struct qp_msg_local_grant to;
	uint64_t granted_ns;             /* when it was answered last */
	bool asking;                     /* the control plane owes an answer */
	uint32_t opening;
	uint64_t ports_from_ns;          /* no local port is looked for before */
	uint32_t id_salt;                /* clients choose ids: nobody knows who shares a bucket */
	struct id_bucket ids[ID_BUCKETS];
};

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

void
qp_local_free(struct qp_tunnel *t)
{
	free(t->local);
	t->local = NULL;
}

/* The connection. */

static struct id_bucket *
bucket_of(struct qp_local *l, uint32_t id)
{
	uint32_t h = (id ^ l->id_salt) * 0x9e3779b1u; /* 2^32 / golden ratio */

	return &l->ids[h >> 24];
}

struct qp_relay *
qp_local_find(const struct qp_tunnel *t, uint32_t id)
{
	struct qp_local_conn *c;

	LIST_FOREACH(c, bucket_of(t->local, id), by_id)
		if (c->id == id)
			return c->relay;
	return NULL;
}

bool
qp_local_is_opening(const struct qp_relay *r)
{
	return r->local != NULL && r->local->state != LOCAL_OPEN;
}

void
qp_local_conn_free(struct qp_relay *r)
{
	struct qp_local_conn *c = r->local;

	qp_timer_cancel(r->tunnel->all->env.wheel, &c->timer);
	if (c->state != LOCAL_OPEN)
		r->tunnel->local->opening--;
	if (c->state != LOCAL_ID)
		LIST_REMOVE(c, by_id);
	free(c);
	r->local = NULL;
}

/* Every address has been tried. The next connection may find that the name leads elsewhere. */
static void
give_up(struct qp_relay *r)
{
	static const enum qp_stream_error codes[] = {
		[QP_WIRE_REFUSED] = QP_STREAM_REFUSED,
		[QP_WIRE_TIMEOUT] = QP_STREAM_TIMEOUT,
		[QP_WIRE_ERROR] = QP_STREAM_RESET,
	};
	struct qp_tunnel *t = r->tunnel;
	struct qp_wire_msg msg = {.type = QP_WIRE_CONNECTION_CLOSE};
	enum qp_wire_reason reason = r->local->reason;

	t->all->env.counters->local_conns_failed++;
	if (*t->all->env.now_ns - t->local->granted_ns > RETRY_NS)
		t->local->granted_ns = 0;
	msg.connection_close.id = r->local->id;
	msg.connection_close.reason = reason;
	if (t->control != NULL && qp_quic_stream_queued(t->control) < MAX_NOTICE_BYTES)
		(void)qp_tunnel_control_send(t, &msg);
	qp_relay_abort(r, codes[reason]);
}

static struct qp_flow
flow_to(const struct qp_msg_local_addr *a, uint16_t port)
{
	struct qp_flow f = {.rport_be = htons(port)};
	const uint8_t mac[6] = {QP_CLS_MARK_0, QP_CLS_MARK_LINK, (uint8_t)(a->ifindex >> 24),
		(uint8_t)(a->ifindex >> 16), (uint8_t)(a->ifindex >> 8), (uint8_t)a->ifindex};

	memcpy(f.remote.b, a->addr, sizeof(f.remote.b));
	memcpy(f.local.b, a->source, sizeof(f.local.b));
	memcpy(f.l2.peer_mac, mac, sizeof(f.l2.peer_mac));
	f.l2.mtu = a->mtu < UINT16_MAX ? (uint16_t)a->mtu : UINT16_MAX;
	return f;
}

static int
connect_to(struct qp_relay *r, const struct qp_msg_local_addr *a)
{
	struct qp_tunnel *t = r->tunnel;
	const struct qp_flow f = flow_to(a, t->local->to.port);
	const uint64_t now_ns = *t->all->env.now_ns;
	int rc;

	if (now_ns < t->local->ports_from_ns)
		return QP_E_INUSE;
	rc = qp_tcp_connect(t->all->env.tcp, &f, &qp_relay_tcp_ops, r, &r->tcp);
	if (rc == QP_E_INUSE)
		t->local->ports_from_ns = now_ns + PORT_RETRY_NS;
	return rc;
}

/* A TIME-WAIT gives its port back after a second. False: the relay has waited for long enough. */
static bool
wait_for_port(struct qp_relay *r)
{
	struct qp_local_conn *c = r->local;
	const uint64_t now_ns = *r->tunnel->all->env.now_ns;

	if (c->port_by_ns == 0)
		c->port_by_ns = now_ns + PORT_NS;
	if (now_ns >= c->port_by_ns)
		return false;
	c->state = LOCAL_PORTLESS;
	qp_timer_arm(r->tunnel->all->env.wheel, &c->timer, now_ns + PORT_RETRY_NS);
	return true;
}

/* Not from TCP's callbacks. The relay may be gone afterwards. */
static void
connect_next(struct qp_relay *r)
{
	struct qp_tunnel *t = r->tunnel;
	struct qp_local_conn *c = r->local;
	const struct qp_msg_local_grant *to = &t->local->to;

	c->state = LOCAL_CONNECTING;
	while (c->next < to->naddrs) {
		int rc = connect_to(r, &to->addr[c->next]);

		if (rc == QP_E_INUSE && wait_for_port(r))
			return;
		c->next++;
		if (rc == 0) {
			qp_tcp_set_rcv_buf(r->tcp, qp_relay_fair_share(t));
			qp_timer_arm(t->all->env.wheel, &c->timer, *t->all->env.now_ns +
				(c->next < to->naddrs ? FIRST_NS : LAST_NS));
			return;
		}
		c->reason = QP_WIRE_ERROR;
	}
	give_up(r);
}

static void
on_timer(struct qp_timer *timer, uint64_t now_ns)
{
	struct qp_local_conn *c =
		(struct qp_local_conn *)((char *)timer - offsetof(struct qp_local_conn, timer));
	struct qp_relay *r = c->relay;

	(void)now_ns;
	if (c->state == LOCAL_ASKING) {
		r->tunnel->local->asking = false; /* the question may have been lost with its reader */
	} else if (c->state == LOCAL_CONNECTING) {
		c->reason = QP_WIRE_TIMEOUT;
		qp_tcp_abort(r->tcp);
		r->tcp = NULL;
	}
	connect_next(r);
}

void
qp_local_connected(struct qp_relay *r)
{
	r->local->state = LOCAL_OPEN;
	r->tunnel->local->opening--;
	qp_timer_cancel(r->tunnel->all->env.wheel, &r->local->timer);
	qp_relay_mark(r); /* what has come meanwhile goes out */
}

void
qp_local_unreached(struct qp_relay *r, enum qp_tcp_end why)
{
	struct qp_local_conn *c = r->local;

	qp_timer_cancel(r->tunnel->all->env.wheel, &c->timer);
	c->state = LOCAL_UNREACHED;
	c->reason = why == QP_TCP_END_REFUSED || why == QP_TCP_END_RESET ? QP_WIRE_REFUSED :
		    why == QP_TCP_END_TIMEOUT                            ? QP_WIRE_TIMEOUT :
									   QP_WIRE_ERROR;
	qp_relay_mark(r);
}

void
qp_local_flush(struct qp_relay *r)
{
	if (r->local->state == LOCAL_UNREACHED)
		connect_next(r);
}

/* What the control plane answers. */

static void
connect_those_that_wait(struct qp_tunnel *t)
{
	struct qp_relay *r, *next;

	for (r = TAILQ_FIRST(&t->relays); r != NULL; r = next) {
		next = TAILQ_NEXT(r, link);
		if (r->local->state != LOCAL_ASKING)
			continue;
		qp_timer_cancel(t->all->env.wheel, &r->local->timer);
		connect_next(r);
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
	if (g->source_count > 0)
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
	if (t->local->opening < MAX_OPENING && *t->all->env.mem_level != QP_MEM_SCARCE &&
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
	c->timer.fn = on_timer;
	t->local->opening++;
	r->kind = QP_STREAM_LOCAL;
	r->local = c;
	r->stream = s;
	qp_quic_stream_set_ctx(s, r);
}

/* The id is whole. False: the relay is gone. */
static bool
begin(struct qp_relay *r)
{
	struct qp_tunnel *t = r->tunnel;
	struct qp_local *l = t->local;
	struct qp_local_conn *c = r->local;
	uint32_t id = qp_wire_get_conn_id(c->id_bytes);

	if (qp_local_find(t, id) != NULL) {
		t->all->env.counters->local_conns_unpaired++;
		qp_relay_abort(r, QP_STREAM_PROTOCOL);
		return false;
	}
	r->kind = QP_STREAM_RELAY;
	c->id = id;
	c->state = LOCAL_ASKING;
	LIST_INSERT_HEAD(bucket_of(l, id), c, by_id);
	if (*t->all->env.now_ns - l->granted_ns > FRESH_NS) {
		if (!l->asking)
			ask(t);
		qp_timer_arm(t->all->env.wheel, &c->timer, *t->all->env.now_ns + ANSWER_NS);
		return true;
	}
	connect_next(r);
	return qp_local_find(t, id) != NULL;
}

void
qp_local_stream_data(struct qp_relay *r, const uint8_t *data, size_t len, bool fin)
{
	struct qp_local_conn *c = r->local;
	size_t n = RTE_MIN(len, (size_t)QP_WIRE_CONN_ID_BYTES - c->id_len);

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
	if (begin(r) && (len > n || fin))
		qp_relay_stream_data(r, data + n, len - n, fin);
}
