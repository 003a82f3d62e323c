/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A local forward's connection: the destination's addresses in turn, with a
 * limit of time for each, and what the client is told when none is reached. A
 * UDP destination is reached by sending: the relay that has collected the
 * stream's first bytes becomes a flow. Runs on the lcore that owns the tunnel.
 */
#include <arpa/inet.h>
#include <rte_mbuf.h>

#include "common/classifier.h"
#include "dataplane/local_internal.h"
#include "dataplane/shape.h"
#include "dataplane/udp/udp.h"

#define RETRY_NS (1000ull * 1000 * 1000)       /* after a failure the control plane is asked again */
#define FIRST_NS (3000ull * 1000 * 1000)       /* to reach an address that others follow */
#define LAST_NS (10ull * 1000 * 1000 * 1000)   /* to reach the last one */
#define PORT_NS (5ull * 1000 * 1000 * 1000)    /* to wait for a local port, when connections come and go fast */
#define PORT_RETRY_NS (50ull * 1000 * 1000)    /* between two looks for one: each may go through all of them */
#define MAX_NOTICE_BYTES (64u * 1024)          /* on stream 0: the stream's reset says the same */

/* Tells the client. The next connection may find that the name leads elsewhere. */
static void
tell_failure(struct qp_tunnel *t, const struct qp_local_conn *c)
{
	struct qp_wire_msg msg = {.type = QP_WIRE_CONNECTION_CLOSE};

	t->all->env.counters->local_conns_failed++;
	if (*t->all->env.now_ns - t->local->granted_ns > RETRY_NS)
		t->local->granted_ns = 0;
	msg.connection_close.id = c->id;
	msg.connection_close.reason = c->reason;
	if (t->control != NULL && qp_quic_stream_queued(t->control) < MAX_NOTICE_BYTES)
		(void)qp_tunnel_control_send(t, &msg);
}

/* Every address has been tried. */
static void
give_up(struct qp_relay *r)
{
	static const enum qp_stream_error codes[] = {
		[QP_WIRE_REFUSED] = QP_STREAM_REFUSED,
		[QP_WIRE_TIMEOUT] = QP_STREAM_TIMEOUT,
		[QP_WIRE_ERROR] = QP_STREAM_RESET,
	};

	tell_failure(r->tunnel, r->local);
	qp_relay_abort(r, codes[r->local->reason]);
}

void
qp_local_flow_refused(struct qp_tunnel *t, struct qp_local_conn *c)
{
	c->reason = QP_WIRE_REFUSED;
	/* Nobody knows whether a UDP destination is there: the next flow asks at the next address. */
	t->local->udp_first++;
	tell_failure(t, c);
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
	qp_usage_peer(&r->use, &f);
	rc = qp_tcp_connect(t->all->env.tcp, &f, &qp_relay_tcp_ops, r, &r->tcp);
	if (rc == 0)
		qp_usage_peer(&r->use, qp_tcp_flow(r->tcp)); /* its port is chosen now */
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
	c->state = QP_LOCAL_PORTLESS;
	qp_timer_arm(r->tunnel->all->env.wheel, &c->timer, now_ns + PORT_RETRY_NS);
	return true;
}

/* The stream's bytes so far, whose credit the connection has back already. */
static void
hand_over(struct qp_udp_flow *f, const struct rte_mbuf *early, bool fin)
{
	bool lives = true;

	for (const struct rte_mbuf *m = early; m != NULL && lives; m = m->next)
		lives = qp_udp_take(f, rte_pktmbuf_mtod(m, const uint8_t *), m->data_len,
			fin && m->next == NULL);
	if (early == NULL && fin)
		(void)qp_udp_take(f, NULL, 0, true);
}

/* The relay ends here, its stream goes on as a flow's. */
static void
become_flow(struct qp_relay *r)
{
	struct qp_tunnel *t = r->tunnel;
	struct qp_local *l = t->local;
	struct qp_local_conn *c = r->local;
	const struct qp_msg_local_grant *to = &l->to;
	struct rte_mbuf *early = r->out;
	bool fin = r->tunnel_fin;
	struct qp_flow flow;
	struct qp_udp_flow *f;

	if (to->naddrs == 0 || r->stream == NULL || r->stopped) {
		give_up(r);
		return;
	}
	flow = flow_to(&to->addr[l->udp_first % to->naddrs], to->port);
	f = qp_udp_connect(t->all->env.udp, t, &flow, r->stream, c, c->id);
	if (f == NULL) {
		give_up(r);
		return;
	}
	qp_timer_cancel(t->all->env.wheel, &c->timer);
	c->relay = NULL;
	c->flow = f;
	c->state = QP_LOCAL_OPEN;
	t->all->local_opening--;
	r->local = NULL;
	r->stream = NULL;
	r->out = NULL;
	t->all->env.counters->relay_bytes_out -= r->use.out_bytes; /* the flow counts them again */
	qp_usage_moved(t, &r->use);
	qp_relay_free(r);
	t->all->env.counters->conns_total--; /* counted as a relay and as a flow */
	hand_over(f, early, fin);
	rte_pktmbuf_free(early);
}

/* Not from TCP's callbacks. The relay may be gone afterwards. */
void
qp_local_connect(struct qp_relay *r)
{
	struct qp_tunnel *t = r->tunnel;
	struct qp_local_conn *c = r->local;
	const struct qp_msg_local_grant *to = &t->local->to;

	if (t->protocol == QP_WIRE_UDP) {
		become_flow(r);
		return;
	}
	c->state = QP_LOCAL_CONNECTING;
	while (c->next < to->naddrs) {
		int rc = connect_to(r, &to->addr[c->next]);

		if (rc == QP_E_INUSE && wait_for_port(r))
			return;
		c->next++;
		if (rc == 0) {
			qp_tcp_set_rcv_buf(r->tcp, qp_shape_cap(t, QP_WAY_IN, qp_relay_first_share(t)));
			qp_timer_arm(t->all->env.wheel, &c->timer, *t->all->env.now_ns +
				(c->next < to->naddrs ? FIRST_NS : LAST_NS));
			return;
		}
		c->reason = QP_WIRE_ERROR;
	}
	give_up(r);
}

void
qp_local_on_timer(struct qp_timer *timer, uint64_t now_ns)
{
	struct qp_local_conn *c =
		(struct qp_local_conn *)((char *)timer - offsetof(struct qp_local_conn, timer));
	struct qp_relay *r = c->relay;

	(void)now_ns;
	if (c->state == QP_LOCAL_ASKING) {
		r->tunnel->local->asking = false; /* the question may have been lost with its reader */
	} else if (c->state == QP_LOCAL_CONNECTING) {
		c->reason = QP_WIRE_TIMEOUT;
		qp_tcp_abort(r->tcp);
		r->tcp = NULL;
	}
	qp_local_connect(r);
}

void
qp_local_connected(struct qp_relay *r)
{
	r->local->state = QP_LOCAL_OPEN;
	r->tunnel->all->local_opening--;
	qp_timer_cancel(r->tunnel->all->env.wheel, &r->local->timer);
	qp_relay_mark(r); /* what has come meanwhile goes out */
}

void
qp_local_unreached(struct qp_relay *r, enum qp_tcp_end why)
{
	struct qp_local_conn *c = r->local;

	qp_timer_cancel(r->tunnel->all->env.wheel, &c->timer);
	c->state = QP_LOCAL_UNREACHED;
	c->reason = why == QP_TCP_END_REFUSED || why == QP_TCP_END_RESET ? QP_WIRE_REFUSED :
		    why == QP_TCP_END_TIMEOUT                            ? QP_WIRE_TIMEOUT :
									   QP_WIRE_ERROR;
	qp_relay_mark(r);
}

void
qp_local_flush(struct qp_relay *r)
{
	if (r->local->state == QP_LOCAL_UNREACHED)
		qp_local_connect(r);
}
