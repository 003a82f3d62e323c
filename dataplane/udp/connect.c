/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flows that a client asks for: a local port, and the ends are known. Whether
 * somebody is at the other end shows when datagrams come back, or an ICMP
 * error. Runs on the lcore that owns the tunnel.
 */
#include "dataplane/udp/internal.h"

#define PORT_TRIES 64u

void
qp_udp_set_ports(struct qp_udp *u, uint16_t first, uint32_t count)
{
	u->port_first = first;
	u->port_count = (uint16_t)count;
}

/* One at random (RFC 6056, 3.3.2) that this destination does not know. */
static bool
choose_port(struct qp_udp *u, struct qp_flow *f)
{
	for (unsigned i = 0; u->port_count > 0 && i < PORT_TRIES; i++) {
		uint64_t n = u->env.random(u->env.random_ctx) % u->port_count;

		f->lport_be = htons((uint16_t)(u->port_first + n));
		if (qp_udp_flow_find(u, f) == NULL)
			return true;
	}
	QP_UDP_COUNT(u, no_local_port);
	return false;
}

struct qp_udp_flow *
qp_udp_connect(struct qp_udp *u, struct qp_tunnel *t, const struct qp_flow *to,
	struct qp_quic_stream *s, struct qp_local_conn *local,
	uint32_t conn_id)
{
	struct qp_flow flow = *to;
	struct qp_udp_flow *f;

	if (!qp_udp_within_limits(u, t) || !choose_port(u, &flow) ||
		(f = qp_udp_flow_alloc(u, t)) == NULL)
		return NULL;
	f->stream = s;
	f->local = local;
	qp_udp_flow_enter(f, &flow);
	f->use.conn_id = conn_id;
	qp_quic_stream_set_ctx(s, f);
	qp_udp_open_window(s);
	return f;
}
